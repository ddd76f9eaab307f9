"""Windows in time order, purged by each label's own end and embargoed: indices and dates only, no prices, no models.

```
        search rows: 60 % of the dates before the gate; the engines see these only      refits only
|......|== train ==|.|= validation =|.|= blending =|.|= selection =|.|= fold 1 =|.| … |.|= fold K =|.|=== gate ===|hhh|
   no      58 %           14 %            14 %           14 %        (40 / K) % each               ^               no
features                                                                        term boundary: fixed for a term  label

fit_fold_k    [============ all that ends before fold k, and the embargo ============]. scored on fold k
fit_gate      [============ all that ends before the gate, and the embargo ==================================].|gate …
fit_origin_j  [============ all that ends before the j-th origin inside the gate, every 63 sessions ==============].|…
fit_all       [============ all that has features and a label: what is shipped; scored on nothing ================]
  .  purge and embargo: rows whose label ends, plus embargo bars, at or after the first bar of the next stretch
```

Every cut lies between two sessions, for all symbols at once, so that one date of a panel is never in two windows and an
intraday window starts with a session. A row stays in its window only if the bar at which its label ends, plus the
embargo, lies before the first bar of the next window or fold; a fit learns only from rows of which the same holds for
the stretch that it is scored on. The gate moves once a term and not every night.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.contracts import SEARCH_WINDOWS, Window, WindowName
from tasks.splits.layout import Layout, lay_out
from tasks.splits.sizes import check_sizes

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
DayArray = npt.NDArray[np.datetime64]
Names = npt.NDArray[np.object_]

ALL_WINDOWS: tuple[WindowName, ...] = (*SEARCH_WINDOWS, "fold", "gate")


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowPlan:
    """Row-aligned windows. ``window``: object (n,), a WindowName or ""; ``fits``: bool (n,) by name, in time order.

    ``scored_by``: object (n,), the fit whose predictions count on the row, "" outside folds and gate. ``windows`` has
    one entry a name (all folds together), ``folds`` one a fold. ``purged`` counts rows with features and a label that
    lie in no window because of purge or embargo. ``term_start`` is the session (ISO date) at which the gate begins.
    """

    window: Names
    scored_by: Names
    fits: dict[str, BoolArray]
    windows: tuple[Window, ...]
    folds: tuple[Window, ...]
    purged: int
    term_start: str


@dataclass(frozen=True, slots=True)
class _Rows:
    """Every row's place in time: its bar and its label's end as ordinals of the distinct bar times, and its session."""

    times: pd.DatetimeIndex
    bar: IntArray
    end: IntArray
    session: DayArray
    eligible: BoolArray
    symbol: IntArray
    weight: FloatArray


def assign_windows(
    times: pd.DatetimeIndex,
    sessions_of_rows: pd.DatetimeIndex,
    label_end: pd.DatetimeIndex,
    usable: BoolArray,
    calendar_sessions: pd.DatetimeIndex,
    *,
    gate_sessions: int,
    term: int,
    embargo: int,
    horizon: int,
    folds: int = 5,
    symbols: Names | None = None,
    weight: FloatArray | None = None,
) -> WindowPlan:
    """Give every row (n rows, any order) its window, and say what each fit may learn from and is scored on.

    times, label_end: UTC bar closes, label_end NaT where there is no label; sessions_of_rows: naive midnights; usable:
    bool (n,), every feature is finite; calendar_sessions: all sessions of the calendar from its fixed beginning;
    symbols: (n,), one symbol if not given; weight: float64 (n,), each label's average uniqueness, 1 if not given.
    The embargo is counted in distinct bar times of the whole panel.

    Raises ConfigurationError, naming each window, its size and what to change, where a window is too short.
    """
    rows = _place(times, sessions_of_rows, label_end, usable, symbols=symbols, weight=weight)
    label_sessions = np.unique(rows.session[rows.eligible])
    calendar = calendar_sessions.to_numpy(dtype="datetime64[ns]")
    layout = lay_out(label_sessions, calendar, gate_sessions=gate_sessions, term=term, folds=folds)
    walked: list[WindowName] = ["fold"] * folds
    names: list[WindowName] = [*SEARCH_WINDOWS, *walked, "gate"]
    stretch = _stretches(rows, layout, embargo)
    each = [(_describe(rows, stretch == i, name), _bars(rows, stretch == i)) for i, name in enumerate(names)]
    check_sizes([item for item, _ in each], [bars for _, bars in each], horizon=horizon, gate_sessions=gate_sessions)
    window = np.array([*names, ""], dtype=object)[stretch]
    together = {item.name: item for item, _ in each} | {"fold": _describe(rows, window == "fold", "fold")}
    return WindowPlan(
        window=window,
        scored_by=_scored_by(rows, window, layout.scored),
        fits=_fits(rows, layout.scored, embargo),
        windows=tuple(together[name] for name in ALL_WINDOWS),
        folds=tuple(item for item, _ in each if item.name == "fold"),
        purged=int((rows.eligible & (rows.session >= layout.search[0]) & (window == "")).sum()),
        term_start=str(np.datetime_as_string(layout.gate, unit="D")),
    )


def _place(
    times: pd.DatetimeIndex,
    sessions: pd.DatetimeIndex,
    label_end: pd.DatetimeIndex,
    usable: BoolArray,
    *,
    symbols: Names | None,
    weight: FloatArray | None,
) -> _Rows:
    stamps, ends = (index.to_numpy(dtype="datetime64[ns]") for index in (times, label_end))
    distinct, bar = np.unique(stamps, return_inverse=True)
    eligible = np.asarray(usable, dtype=bool) & ~np.isnat(ends)
    # Without a label a row's end is beyond every bar; it is never eligible, so the value is never compared.
    end = np.where(eligible, np.searchsorted(distinct, ends), len(distinct))
    return _Rows(
        times=pd.DatetimeIndex(distinct).tz_localize("UTC"),
        bar=bar.astype(np.int64),
        end=end.astype(np.int64),
        session=sessions.to_numpy(dtype="datetime64[ns]"),
        eligible=eligible,
        symbol=np.zeros(len(bar), dtype=np.int64) if symbols is None else pd.factorize(symbols)[0].astype(np.int64),
        weight=np.ones(len(bar)) if weight is None else np.asarray(weight, dtype=np.float64),
    )


def _first_bar(rows: _Rows, session: np.datetime64) -> int:
    """Ordinal of the first bar of the panel in or after a session (of any row, usable or not)."""
    later = rows.bar[rows.session >= session]
    return int(later.min()) if len(later) else len(rows.times)


def _ends_before(rows: _Rows, session: np.datetime64, embargo: int) -> BoolArray:
    return rows.eligible & (rows.end + embargo < _first_bar(rows, session))


def _stretches(rows: _Rows, layout: Layout, embargo: int) -> IntArray:
    """The number of the search window, fold or gate that each row lies in, in time order; -1 for none."""
    starts = [*layout.search, *layout.folds, layout.gate]
    which = np.searchsorted(np.array(starts), rows.session, side="right") - 1
    next_bar = np.array([*(_first_bar(rows, start) for start in starts[1:]), np.iinfo(np.int64).max])
    keep = rows.eligible & (which >= 0) & (rows.end + embargo < next_bar[np.maximum(which, 0)])
    return np.where(keep, which, -1)


def _fits(rows: _Rows, scored: Mapping[str, np.datetime64], embargo: int) -> dict[str, BoolArray]:
    """What each fit may learn from: rows that end, with the embargo, before the stretch that it is scored on."""
    return {**{name: _ends_before(rows, start, embargo) for name, start in scored.items()}, "fit_all": rows.eligible}


def _scored_by(rows: _Rows, window: Names, scored: Mapping[str, np.datetime64]) -> Names:
    latest = np.searchsorted(np.array(list(scored.values())), rows.session, side="right") - 1
    names = np.array([*scored, ""], dtype=object)
    return names[np.where((window == "fold") | (window == "gate"), latest, -1)]


def _bars(rows: _Rows, inside: BoolArray) -> int:
    return len(np.unique(rows.bar[inside]))


def _describe(rows: _Rows, inside: BoolArray, name: WindowName) -> Window:
    if not inside.any():
        return Window(name=name, first="", last="", rows=0, dates=0)
    bars = rows.bar[inside]
    return Window(
        name=name,
        first=rows.times[int(bars.min())].isoformat(),
        last=rows.times[int(bars.max())].isoformat(),
        rows=int(inside.sum()),
        dates=len(np.unique(rows.session[inside])),
        effective=float(rows.weight[inside].sum() / len(np.unique(rows.symbol[inside]))),
    )
