"""Predictions of a model that compares names within each date: it takes the whole cross-section or none.

1. The features of every symbol, from its own bars.
2. Who is compared on a date: all symbols given, or, where the model knows who belonged when, the members of that date;
   after what it learned from, those who were members at its end. The others are left out.
3. Which symbols of the training universe have every feature on a date: below 90 % a date cannot be predicted, since a
   rank among the wrong names is another quantity than the one the model learned.
4. The cross-section of each date; then the scorer.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ...contracts import FeatureSpec
from ...errors import ModelInputError
from ...features.cross_section import LEAST_NAMES, standardise
from ...features.dates import closing_dates
from ...features.matrix import lookback, stacked
from ...membership import belongs, present
from .bars import SymbolBars
from .scorers import Floats, Scorer

PRESENT = 0.9
"""Share of the training universe that must be there on a predicted date."""
CHUNK = 2**15
"""Rows that are scored together: scorers make copies, and a panel's whole history is large."""
_EXAMPLES = 5
log = logging.getLogger("nocturne.serving")
Rows = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Panel:
    """Bars of many symbols, one after the other.

    name: the symbol of each row, as its number among ``symbols``; place: which of the symbol's bars the row is; date:
    int64, which rows share a date; member: who is compared; expected: how many of the universe belong on the row's
    date; values: float64 (rows, columns), the features; ready: whether a row is a member's and has them all.
    """

    symbols: tuple[str, ...]
    name: Rows
    place: Rows
    date: npt.NDArray[np.int64]
    member: Mask
    expected: npt.NDArray[np.int64]
    values: Floats
    ready: Mask

    def only(self, rows: Mask) -> _Panel:
        """The panel of these rows."""
        return replace(
            self,
            name=self.name[rows],
            place=self.place[rows],
            date=self.date[rows],
            member=self.member[rows],
            expected=self.expected[rows],
            values=np.asfortranarray(self.values[rows]),
            ready=self.ready[rows],
        )


def predict_panel(
    read: Sequence[SymbolBars], spec: FeatureSpec, scorer: Scorer, *, last: bool
) -> list[tuple[Rows, Floats]]:
    """For each symbol, in the order given, the places of the bars that are predicted and their predictions.

    ``last`` predicts the latest date that any symbol reaches, for the symbols that have every feature there; otherwise
    every date on which enough of the universe has, others being left out as rows inside the lookback are. Rows of
    names that are no members on their date have no prediction; names without any that has are told in the log. Raises
    ModelInputError, naming how many and which are missing, if the latest date, or every date, lacks too many.
    """
    panel = _panel(sorted(read, key=lambda item: item.symbol), spec)
    latest = panel.date == panel.date.max()
    if last and not scorer.history:
        panel = panel.only(latest)
        latest = np.ones(len(panel.date), dtype=bool)
    asked = latest if last else np.ones(len(latest), dtype=bool)
    _tell_left_out(panel, asked)
    complete = asked & _complete(panel, spec.universe)
    if not complete.any():
        raise ModelInputError(_incomplete(panel, asked, spec))
    standardise(panel.values, spec.columns, panel.date, spec.cross_section, member=panel.member)
    predicted = np.where(complete, _predict(panel, scorer), np.nan)
    if not np.isfinite(predicted).any():
        raise ModelInputError(_too_few(panel, complete, scorer))
    return _by_symbol(panel, predicted, read)


def _panel(read: Sequence[SymbolBars], spec: FeatureSpec) -> _Panel:
    lengths = [len(item.time) for item in read]
    edges = [0, *np.cumsum(lengths).tolist()]
    arrays = [item.arrays() for item in read]
    bars: dict[str, npt.NDArray[Any]] = {name: np.concatenate([one[name] for one in arrays]) for name in arrays[0]}
    values = stacked(bars, edges, spec)
    symbols, name = tuple(item.symbol for item in read), np.repeat(np.arange(len(read)), lengths)
    member = belongs(np.array(symbols, dtype=object)[name], bars["session"], spec.spells)
    return _Panel(
        symbols=symbols,
        name=name,
        place=np.concatenate([np.arange(length) for length in lengths]),
        date=bars["session"].astype(np.int64) if spec.bar == "1d" else np.concatenate([item.time for item in read]),
        member=member,
        expected=present(spec.universe, bars["session"], spec.spells),
        values=values,
        ready=np.asarray(member & np.isfinite(values).all(axis=1)),
    )


def _tell_left_out(panel: _Panel, asked: Mask) -> None:
    names = np.setdiff1d(panel.name[asked], panel.name[asked & panel.member])
    if len(names):
        given = [panel.symbols[name] for name in names]
        log.warning("%d of the symbols given are no members and are left out: %s", len(given), _some(given))


def _complete(panel: _Panel, universe: Sequence[str]) -> Mask:
    """Which rows lie on a date on which enough symbols of the universe are ready."""
    date = np.unique(panel.date, return_inverse=True)[1]
    there = np.bincount(date, _wanted(panel, universe) & panel.ready)[date]
    return np.asarray((there >= np.ceil(PRESENT * panel.expected)) & (panel.expected > 0), dtype=bool)


def _wanted(panel: _Panel, universe: Sequence[str]) -> Mask:
    wanted = set(universe)
    return np.array([symbol in wanted for symbol in panel.symbols])[panel.name]


def _predict(panel: _Panel, scorer: Scorer) -> Floats:
    """Predictions of the rows that have every feature and the model's history, float64 (rows,), NaN elsewhere."""
    finite = panel.ready & np.isfinite(panel.values).all(axis=1)
    predicted = np.full(len(finite), np.nan)
    if not scorer.history:
        known = np.flatnonzero(finite)
        for start in range(0, len(known), CHUNK):
            rows = known[start : start + CHUNK]
            predicted[rows] = scorer.predict(panel.values[rows])
        return predicted
    for name in range(len(panel.symbols)):
        rows = np.flatnonzero(finite & (panel.name == name))
        # A row that is missing between others would shift a filter's time: what comes before it does not count.
        rows = rows[np.flatnonzero(np.diff(rows, prepend=-2) > 1)[-1] :] if len(rows) else rows
        if len(rows) > scorer.history:
            predicted[rows[scorer.history :]] = scorer.predict(panel.values[rows])[scorer.history :]
    return predicted


def _by_symbol(panel: _Panel, predicted: Floats, read: Sequence[SymbolBars]) -> list[tuple[Rows, Floats]]:
    chosen = np.flatnonzero(np.isfinite(predicted))
    edges = np.searchsorted(panel.name[chosen], np.arange(len(panel.symbols) + 1))
    parts = {
        symbol: (panel.place[chosen[start:stop]], predicted[chosen[start:stop]])
        for symbol, (start, stop) in zip(panel.symbols, pairwise(edges), strict=True)
    }
    return [parts[item.symbol] for item in read]


def _incomplete(panel: _Panel, asked: Mask, spec: FeatureSpec) -> str:
    """What is missing on the date, of those asked for, that lacks least (of several, the latest)."""
    dates, date = np.unique(panel.date[asked], return_inverse=True)
    there = np.bincount(date, (_wanted(panel, spec.universe) & panel.ready)[asked])
    best = panel.date == dates[len(dates) - 1 - int(np.argmax(there[::-1]))]
    ready = {panel.symbols[name] for name in panel.name[best & panel.ready]}
    shown = {panel.symbols[name] for name in panel.name[best]}
    expected = _expected(panel.date[best][:1], spec)
    missing = [symbol for symbol in expected if symbol not in ready]
    short = sum(symbol in shown for symbol in missing)
    when = np.datetime_as_string(panel.date[best][:1].view("datetime64[D]" if spec.bar == "1d" else "datetime64[ns]"))
    words = f"{len(missing)} of the model's {len(expected)} symbols are missing on {when[0]}"
    if short:
        words += f" ({short} of them have bars, but fewer than the {lookback(spec.columns)} that features need)"
    return (
        f"{words}: {_some(missing)}. The model compares names within a date and needs at least {PRESENT:.0%} of those "
        "that it was trained on: give their bars up to that date"
    )


def _expected(date: npt.NDArray[np.int64], spec: FeatureSpec) -> list[str]:
    """The symbols of the universe that belong on a date, (1,)."""
    day = date.view("datetime64[D]") if spec.bar == "1d" else closing_dates(date)
    there = belongs(np.array(spec.universe, dtype=object), day.repeat(len(spec.universe)), spec.spells)
    return [symbol for symbol, belonging in zip(spec.universe, there, strict=True) if belonging]


def _too_few(panel: _Panel, complete: Mask, scorer: Scorer) -> str:
    names = len(np.unique(panel.name[complete & panel.ready]))
    return (
        f"{names} symbols can be compared on the dates asked for; the model needs at least {LEAST_NAMES} on a date and "
        f"{scorer.history} earlier bars of each: give more symbols, or more history"
    )


def _some(values: Sequence[str]) -> str:
    return ", ".join(values[:_EXAMPLES]) + (", …" if len(values) > _EXAMPLES else "")
