"""What a backbone learns from: bars, the labels that they carry themselves, and which rows are for what.

```
time ──▶   train               ┆ watched ┆ held out            rows whose labels or windows reach over a bar's edge
           ├───────────────────┤ ├─────┤ ├─────────┤           belong to neither side: they are purged
```

Weights are fitted on ``train``, the best of them is chosen on ``watched``, and the evidence is of ``held out``, which
nothing is chosen by. Labels come out of the channels alone: the volatility of the next h bars from their ranges
(½ log of the mean Parkinson variance, as the problem's own label), the direction from their returns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.errors import DataError
from tasks.search.transfer.channels import LOG_RANGE, RETURN, Bars, usable

PURGED, TRAIN, WATCHED, HELD = range(4)
LEAST = {TRAIN: 500, WATCHED: 50, HELD: 100}
"""Fewer windows than these teach nothing, choose nothing, and are no evidence."""

MOST_KEPT, LEAST_A_SYMBOL = 60_000, 1_000
LEAST_NEW = {TRAIN: 50, WATCHED: 10, HELD: 20}
"""An update's: earlier bars are replayed beside them."""

_NAMES = {TRAIN: "to learn from", WATCHED: "to choose by", HELD: "held out"}
Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Bars with labels: ``times`` int64 (n,), the close in nanoseconds since 1970; ``volatility`` and ``direction``
    float32 (n, horizons), NaN where unknown; ``part`` int8 (n,): PURGED, TRAIN, WATCHED or HELD.
    """

    bars: Bars
    times: npt.NDArray[np.int64]
    horizons: tuple[int, ...]
    volatility: npt.NDArray[np.float32]
    direction: npt.NDArray[np.float32]
    part: npt.NDArray[np.int8]

    def rows(self, part: int) -> Rows:
        """The rows of a part, ascending: each ends a whole window and has every label."""
        return np.flatnonzero(self.part == part).astype(np.int64)


def source_of(
    bars: Bars,
    times: npt.NDArray[Any],
    length: int,
    horizons: Sequence[int],
    *,
    held_out: float = 0.15,
    watched: float = 0.1,
    after: str = "",
) -> Source:
    """Bars (n) with their labels and parts, cut by time at the same moments for all symbols.

    times: datetime64 or int64 nanoseconds (n,). held_out, watched: shares of the rows, the latest. after: only rows
    whose labels end later than that (ISO, UTC) have a part, and shares are of these; windows may then reach back over
    an edge, labels not; so what is held out closes later than that too, after labels that end later. Where they are too
    few to be cut, all are to be learned from. Raises DataError where a part has too few windows to be used.
    """
    stamps = np.asarray(times).astype("datetime64[ns]").astype(np.int64)
    volatility, direction = labels(bars, horizons)
    whole = usable(bars, length) & np.isfinite(volatility).all(axis=1) & np.isfinite(direction).all(axis=1)
    horizon = max(horizons)
    if after:
        whole &= stamps[np.minimum(np.arange(len(stamps)) + horizon, len(stamps) - 1)] > nanoseconds(after)
    part = _parts(stamps, whole, (1 if after else length, horizon), (watched, held_out))
    if after and _short(part, LEAST_NEW) and whole.sum() >= sum(LEAST_NEW.values()):
        part[whole] = TRAIN  # a week's labels all overlap: none can be held out from the others
    made = Source(
        bars=bars,
        times=stamps,
        horizons=tuple(horizons),
        volatility=volatility.astype(np.float32),
        direction=direction.astype(np.float32),
        part=part,
    )
    if not (after and (part == TRAIN).sum() >= sum(LEAST_NEW.values())):
        _require_enough(made, length, LEAST_NEW if after else LEAST)
    return made


def unseen(source: Source, length: int, after: str) -> Source:
    """The same with those rows held out, and no other part, that close at ``after`` (ISO, UTC) or later, end a whole
    window and have a label over any horizon: labels that are not there yet are NaN.
    """
    known = np.isfinite(source.volatility + source.direction).any(axis=1)
    fresh = usable(source.bars, length) & known & (source.times >= nanoseconds(after))
    return replace(source, part=np.where(fresh, HELD, PURGED).astype(np.int8))


def labels(bars: Bars, horizons: Sequence[int]) -> tuple[Floats, Floats]:
    """Volatility and direction (1.0 up, 0.0 not) of the next h bars, each float64 (n, horizons); NaN at a symbol's end.

    Volatility: ½ log of the mean of exp(2 har_1), the Parkinson variance of a bar.
    """
    variance = np.exp(2.0 * bars.values[:, LOG_RANGE].astype(np.float64))
    returns = bars.values[:, RETURN].astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        volatility = np.column_stack([0.5 * np.log(_ahead(bars, variance, h) / h) for h in horizons])
    moved = np.column_stack([_ahead(bars, returns, h) for h in horizons])
    return volatility, np.where(np.isfinite(moved), (moved > 0).astype(np.float64), np.nan)


def har(bars: Bars, rows: Rows) -> Floats:
    """What HAR regresses on: 1, and ½ log of the mean variance of the last 1, 5 and 22 bars, float64 (m, 4).

    Rows end windows of at least 22 bars of their symbol.
    """
    variance = np.exp(2.0 * bars.values[:, LOG_RANGE].astype(np.float64))
    sums = np.append(0.0, np.cumsum(np.nan_to_num(variance)))
    means = [(sums[rows + 1] - sums[np.maximum(rows + 1 - d, 0)]) / d for d in (1, 5, 22)]
    return np.column_stack([np.ones(len(rows)), *(0.5 * np.log(np.maximum(mean, 1e-16)) for mean in means)])


def sample(source: Source, seed: int, most: int = MOST_KEPT) -> dict[str, npt.NDArray[Any]]:
    """At most so many bars to be kept with a backbone: the latest of each symbol, of a draw of symbols if there are
    many. What ``of_sample`` reads.
    """
    edges = np.append(source.bars.starts, len(source.times))
    count = len(edges) - 1
    each = max(most // max(count, 1), min(LEAST_A_SYMBOL, most)) if len(source.times) > most else most
    room, chosen = most, []
    for place in np.random.default_rng([seed, 17]).permutation(count):
        rows = np.arange(max(edges[place], edges[place + 1] - each), edges[place + 1])
        if len(rows) <= room:
            chosen.append((int(place), rows))
            room -= len(rows)
    stretches = [stretch for _, stretch in sorted(chosen, key=lambda one: one[0])]
    rows = np.concatenate(stretches) if stretches else np.zeros(0, dtype=np.int64)
    sizes = [len(stretch) for stretch in stretches]
    return {
        "values": source.bars.values[rows],
        "starts": np.cumsum([0, *sizes[:-1]]).astype(np.int64),
        "times": source.times[rows],
        "horizons": np.array(source.horizons, dtype=np.int64),
        "volatility": source.volatility[rows],
        "direction": source.direction[rows],
        "part": source.part[rows],
    }


def of_sample(arrays: Mapping[str, npt.NDArray[Any]], length: int) -> Source:
    """The source that ``sample`` kept; rows whose window the sample does not hold belong to no part."""
    bars = Bars(values=arrays["values"], starts=arrays["starts"])
    part = np.where(usable(bars, length), arrays["part"], PURGED).astype(np.int8)
    return Source(
        bars=bars,
        times=arrays["times"],
        horizons=tuple(int(h) for h in arrays["horizons"]),
        volatility=arrays["volatility"],
        direction=arrays["direction"],
        part=part,
    )


def since(source: Source, length: int) -> Source:
    """The bars from which on windows end that have a part, each symbol's with what its first window looks back on."""
    edges, keep = np.append(source.bars.starts, len(source.times)), np.zeros(len(source.times), dtype=np.bool_)
    for first, last in pairwise(edges):
        own = np.flatnonzero(source.part[first:last] != PURGED)
        if len(own):
            keep[max(first, first + own[0] - length + 1) : last] = True
    kept = np.append(0, np.cumsum(keep))
    starts = np.unique(kept[source.bars.starts])
    return Source(
        bars=Bars(values=source.bars.values[keep], starts=starts[starts < keep.sum()]),
        times=source.times[keep],
        horizons=source.horizons,
        volatility=source.volatility[keep],
        direction=source.direction[keep],
        part=source.part[keep],
    )


def stacked(
    older: Mapping[str, npt.NDArray[Any]], newer: Mapping[str, npt.NDArray[Any]]
) -> dict[str, npt.NDArray[Any]]:
    """Two samples with the same horizons as one: the symbols of the first, then those of the second."""
    starts = np.append(older["starts"], newer["starts"] + len(older["times"]))
    joined = {name: np.concatenate([older[name], newer[name]]) for name in older if name not in ("starts", "horizons")}
    return {**joined, "starts": starts.astype(np.int64), "horizons": newer["horizons"]}


def thinned(rows: Rows, most: int) -> Rows:
    """At most so many rows, evenly chosen."""
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]


def iso(nanoseconds: int) -> str:
    """A time in ISO 8601, UTC, to the second."""
    return f"{np.datetime64(nanoseconds, 'ns').astype('datetime64[s]')}+00:00"


def nanoseconds(text: str) -> int:
    """A time in ISO 8601 with its zone, as nanoseconds since 1970."""
    return int(datetime.fromisoformat(text).timestamp()) * 10**9


def _ahead(bars: Bars, values: Floats, horizon: int) -> Floats:
    """The sum over the next ``horizon`` bars of the symbol, float64 (n,); NaN where one is missing or not known."""
    n = len(values)
    sums = np.append(0.0, np.cumsum(np.nan_to_num(values)))
    lacking = np.append(0, np.cumsum(~np.isfinite(values)))
    rows = np.arange(n)
    last = np.minimum(rows + horizon, n - 1)
    whole = (rows + horizon < _stops(bars, n)) & (lacking[last + 1] == lacking[rows + 1])
    return np.where(whole, sums[last + 1] - sums[rows + 1], np.nan)


def _stops(bars: Bars, n: int) -> Rows:
    """For each row, the row after its symbol's last."""
    edges = np.append(bars.starts[1:], n)
    return np.repeat(edges, np.diff(np.append(bars.starts, n)))


def _parts(
    times: npt.NDArray[np.int64], whole: npt.NDArray[np.bool_], reach: tuple[int, int], shares: tuple[float, float]
) -> npt.NDArray[np.int8]:
    n = len(times)
    part = np.zeros(n, dtype=np.int8)
    if not whole.any():
        return part
    ordered, (length, horizon), (watched, held) = np.sort(times[whole]), reach, shares
    m = len(ordered)
    watch_from, held_from = (ordered[min(int(m * (1.0 - cut)), m - 1)] for cut in (watched + held, held))
    rows = np.arange(n)
    first_bar = times[np.maximum(rows - length + 1, 0)]
    label_end = times[np.minimum(rows + horizon, n - 1)]
    part[whole & (label_end < watch_from)] = TRAIN
    part[whole & (first_bar >= watch_from) & (label_end < held_from)] = WATCHED
    part[whole & (first_bar >= held_from)] = HELD
    return part


def _short(part: npt.NDArray[np.int8], least: Mapping[int, int]) -> dict[int, int]:
    """How many rows the parts have that have too few."""
    found = {each: int((part == each).sum()) for each in least}
    return {each: count for each, count in found.items() if count < least[each]}


def _require_enough(source: Source, length: int, least: Mapping[int, int]) -> None:
    short = _short(source.part, least)
    if short:
        told = ", ".join(f"{count} of at least {least[part]} {_NAMES[part]}" for part, count in short.items())
        raise DataError(
            f"too few bars to pre-train on: {len(source.times)} bars of {len(source.bars.starts)} symbols hold, in "
            f"windows of {length} bars, {told}; give more bars or symbols, a shorter length, or a later 'until'"
        )
