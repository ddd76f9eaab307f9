"""Labels that belong to other rows: permuted by blocks of dates, for a fit that must find nothing.

```
dates     [ block 0 ][ block 1 ][ block 2 ][ block 3 ]   21 dates each, whole dates, all symbols together
labels of [ block 2 ][ block 0 ][ block 3 ][ block 1 ]   one cycle: no block stays where it was
```

Within a block the labels keep their order, and with it what overlap and clustering do to their dependence; no label
keeps its features.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

BLOCK = 21
Floats = npt.NDArray[np.float64]


def shuffled_labels(
    label: Floats,
    sessions: npt.NDArray[np.datetime64],
    symbols: npt.NDArray[np.object_],
    seed: int,
    block: int = BLOCK,
) -> Floats:
    """The labels (n,) with whole blocks of ``block`` dates permuted, float64 (n,); the same seed, the same permutation.

    Rows are in time order within each symbol; sessions: the date of each, one or several rows a date. All symbols of a
    date get the labels of the same other date. A symbol that lacks dates keeps its own labels in the order that the
    permutation gives them, so that it follows the others as closely as its gaps allow. NaN stays where it is, and no
    symbol gets another's label.

    The permutation is one cycle over all blocks (Sattolo 1986), since a block that stayed would be known by right.
    Raises ValueError where the labels span fewer than two blocks.
    """
    known = np.flatnonzero(np.isfinite(label))
    dates, date = np.unique(sessions[known], return_inverse=True)
    blocks = -(-len(dates) // block)
    if blocks < 2:
        raise ValueError(f"labels on {len(dates)} dates cannot be shuffled in blocks of {block} dates: two are needed")
    _, symbol = np.unique(symbols[known].astype(str), return_inverse=True)
    order = np.concatenate([np.arange(b * block, min((b + 1) * block, len(dates))) for b in _cycle(blocks, seed)])
    rank = np.empty(len(dates), dtype=np.int64)
    rank[order] = np.arange(len(dates))
    shuffled = np.array(label, dtype=np.float64)
    # The sorts are stable: several bars of a session keep their order.
    shuffled[known[np.lexsort((date, symbol))]] = label[known[np.lexsort((rank[date], symbol))]]
    return shuffled


def _cycle(count: int, seed: int) -> npt.NDArray[np.int64]:
    """A permutation of 0 … count - 1 that is a single cycle, each such with equal chance."""
    random, places = np.random.default_rng(seed), np.arange(count)
    for last in range(count - 1, 0, -1):
        other = int(random.integers(last))
        places[[last, other]] = places[[other, last]]
    return places
