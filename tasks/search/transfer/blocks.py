"""Blocks of dates to choose a penalty by: each left out once, in time order, predicted from what lies outside it.

```
dates ──▶  ├── fit ──┤ purged ├── left out ──┤ purged ├── fit ──┤
```

All rows of a date are in one block, whatever their symbol. A row outside whose label shares a bar with a label inside
is in neither part: labels that overlap would tell the fit what it is asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

BLOCKS = 5
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Rows left out, and the rows that they are predicted from: int64 places in what was cut."""

    fit: Rows
    left: Rows


def blocks(
    dates: npt.NDArray[Any], begins: npt.NDArray[Any], ends: npt.NDArray[Any], count: int = BLOCKS
) -> tuple[Block, ...]:
    """``count`` contiguous blocks of the dates (n,), as many dates in each, fewer blocks where there are fewer dates.

    begins, ends: when a row's bar closes and when its label is known (n,); a label is of what lies between.
    """
    distinct, found = np.unique(dates), []
    for part in np.array_split(distinct, min(count, len(distinct))) if len(distinct) else ():
        left = (dates >= part[0]) & (dates <= part[-1])
        since, until = begins[left].min(), ends[left].max()
        fit = ~left & ((begins >= until) | (ends <= since))
        found.append(Block(fit=np.flatnonzero(fit), left=np.flatnonzero(left)))
    return tuple(found)


def with_others(cut: tuple[Block, ...], several: int, others: int) -> tuple[Block, ...]:
    """The blocks of ``several`` rows, with ``others`` rows after them that every fit has and no block leaves out."""
    beside = np.arange(several, several + others)
    return tuple(Block(fit=np.concatenate([block.fit, beside]), left=block.left) for block in cut)
