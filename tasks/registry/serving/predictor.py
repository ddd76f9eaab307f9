"""Raw bars to predictions, without MLflow: verify the bundle, check the bars, compute the features, score.

1. ``read_manifest`` verifies every file of the bundle; ``load_scorer`` verifies the model folder once more.
2. ``read_bars`` cuts each symbol to the tail that matters and refuses what cannot be predicted from.
3. The features that the model uses, and no others, are computed from that tail, each from as much of it as it needs
   (see ``tail``); a model that compares names within each date takes the whole cross-section, see ``panel``.
4. The scorer predicts; rows inside the lookback are left out, never filled.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ...errors import IntegrityError, ModelInputError
from ...features.matrix import compute, lookback
from .arrays import Arrays, read_arrays
from .bars import SymbolBars, read_bars
from .bundle import MODEL, read_manifest
from .intervals import bounded, read_intervals
from .likeness import likeness_of
from .packages import require_packages
from .panel import Rows, predict_panel
from .scorers import Floats, Scorer, load_scorer
from .statistics import read_statistics
from .tail import Tail

if TYPE_CHECKING:
    from .streaming import Streaming


class Predictor:
    """A promoted model, loaded. Instances may be used from several threads."""

    def __init__(self, bundle: Path) -> None:
        """Raises IntegrityError for a damaged bundle, ConfigurationError if a package that it needs is missing or of
        another version."""
        self.bundle = bundle
        self.manifest = read_manifest(bundle)
        require_packages(self.manifest.requires)
        self._scorer = load_scorer(bundle / MODEL)
        if self._scorer.columns != self.manifest.spec.columns:
            raise IntegrityError(f"{bundle}: manifest and model disagree on the feature columns")
        self.statistics, self.intervals = read_statistics(bundle), read_intervals(bundle)
        likeness = likeness_of(self.statistics) if self.statistics else None
        self.rules = dataclasses.replace(self.manifest.rules, likeness=likeness)
        self._lookback = lookback(self._scorer.columns)
        self._needed = self._lookback + self._scorer.history
        self._tail = Tail(self._scorer, self.manifest.spec.tick)
        self._compares = self.manifest.spec.cross_section != "none"
        if self._compares and not self.manifest.spec.universe:
            raise IntegrityError(f"{bundle}: the model compares names within a date, but the manifest lists no names")

    @property
    def bars_needed(self) -> int:
        """How many bars of a symbol one prediction takes: the features' lookback and the model's own history."""
        return self._needed

    def predict(self, bars: pd.DataFrame, rows: str = "last", interval: float = 0.0) -> pd.DataFrame:
        """Columns ``symbol`` (if given), ``time`` (as given), ``prediction`` (float64, in the target's unit).

        interval: the coverage of columns ``lower`` and ``upper`` (see ``intervals``), 0.0 for none.

        rows: ``last`` predicts from each symbol's last bar, ``all`` from every bar that has ``bars_needed`` - 1 bars
        before it (earlier ones are left out). Symbols come in order of first appearance. A model that compares names
        within a date predicts, with ``last``, the latest date alone and the symbols that reach it; with ``all`` the
        dates on which at least 90 % of its universe is there. Raises ModelInputError for bars that cannot be predicted
        from; a prediction is never NaN.
        """
        if rows not in ("last", "all"):
            raise ModelInputError(f"rows must be 'last' or 'all', got {rows!r}")
        last = rows == "last"
        # The earlier dates that a model with a history filters need all their names, whose tails may end elsewhere.
        whole = not last or (self._compares and self._scorer.history)
        scaled = self.intervals.scaling.bars_needed if interval and self.intervals else 0
        read = read_bars(bars, self.rules, None if whole else max(self.bars_needed, scaled))
        parts = self._predict(read, last=last)
        columns: dict[str, object] = {}
        if "symbol" in bars.columns:
            columns["symbol"] = np.repeat([item.symbol for item in read], [len(part) for _, part in parts])
        columns["time"] = _times(read, parts)
        columns["prediction"] = np.concatenate([part for _, part in parts])
        if interval:
            columns["lower"], columns["upper"] = bounded(self.intervals, read, parts, self.manifest.spec.tick, interval)
        return pd.DataFrame(columns, copy=False)  # each was made here

    def predict_last(self, bars: Arrays, symbol: str = "") -> float:
        """The prediction from the last bar of ONE symbol's arrays: ``predict`` without frames, for services.

        bars: ``time`` (datetime64: closes in UTC, or a daily bar's bare date, see ``arrays.read_arrays``), ``open``,
        ``high``, ``low``, ``close`` and, where the model has one, ``volume`` (float64), of one length, in time order;
        at least ``bars_needed``. The same bars are refused as by ``predict``, with ModelInputError; so is a model that
        compares names within a date.
        """
        if self._compares:
            raise ModelInputError("the model compares names within a date: predict takes the bars of all of them")
        return float(self._predict_symbol(read_arrays(bars, self.rules, symbol, self._needed), last=True)[0])

    def predict_batch(self, X: Floats) -> Floats:
        """Feature rows, float64 (n, columns), to predictions (n,): the scorer alone, no bars and no features.

        Columns are those of ``manifest.spec``; a model with a history takes rows of one symbol in time order. Raises
        ModelInputError as ``Scorer.predict``.
        """
        return self._scorer.predict(X)

    @property
    def scorer(self) -> Scorer:
        """The loaded model alone: feature rows in, predictions out."""
        return self._scorer

    def explain(self, bars: pd.DataFrame, top: int | None = 10) -> pd.DataFrame:
        """What each feature adds to the last bar's prediction; see ``contributions.contributions``."""
        from .contributions import contributions  # noqa: PLC0415 - not needed to predict

        return contributions(self, bars, top)

    def streaming(self, symbol: str = "") -> Streaming:
        """A stream of one symbol's bars, which carries the indicators' state; see ``streaming.Streaming``."""
        from .streaming import Streaming  # noqa: PLC0415 - it is made from this class

        return Streaming(self, symbol)

    def _predict(self, read: list[SymbolBars], *, last: bool) -> list[tuple[Rows, Floats]]:
        """For each symbol, the places of the bars that are predicted, and their predictions."""
        if self._compares:
            return predict_panel(read, self.manifest.spec, self._scorer, last=last)
        parts = [self._predict_symbol(item, last=last) for item in read]
        return [
            (np.arange(len(item.time) - len(part), len(item.time)), part)
            for item, part in zip(read, parts, strict=True)
        ]

    def _predict_symbol(self, bars: SymbolBars, *, last: bool) -> Floats:
        given, needed = len(bars.time), self.bars_needed
        if given < needed:
            of = f" of {bars.symbol}" if bars.symbol else ""
            raise ModelInputError(f"the model needs at least {needed} bars{of}, got {given}: give more history")
        spec = self.manifest.spec
        if last and not self._scorer.history:
            features = self._tail.row(bars.arrays())
        else:
            features = compute(bars.arrays(), spec.columns, spec.tick)[self._lookback - 1 :]
        if not np.isfinite(features).all():
            raise ModelInputError(_not_computed(bars, features, spec.columns))
        return self._scorer.predict(features)[self._scorer.history if not last else -1 :]


def bars_needed(columns: tuple[str, ...], history: int) -> int:
    """How many bars of a symbol one prediction from these columns takes, the last one included."""
    return lookback(columns) + history


def _not_computed(bars: SymbolBars, features: Floats, columns: tuple[str, ...]) -> str:
    row, column = np.argwhere(~np.isfinite(features))[0]
    where = bars.given.iloc[len(bars.given) - len(features) + row]
    return f"feature '{columns[column]}' has no value at {where} {bars.symbol}: look at the bars before it"


def _times(read: list[SymbolBars], parts: list[tuple[Rows, Floats]]) -> object:
    """The times of the bars that are predicted, of the type that they were given in."""
    given = read[0].given.array
    if len(read) == 1 and isinstance(given, pd.arrays.DatetimeArray):  # most are, and a series takes longer
        return given[parts[0][0]]
    return pd.concat([item.given.iloc[at] for item, (at, _) in zip(read, parts, strict=True)], ignore_index=True)
