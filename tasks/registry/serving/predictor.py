"""Raw bars to predictions, without MLflow: verify the bundle, check the bars, compute the features, score.

1. ``read_manifest`` verifies every file of the bundle; ``load_scorer`` verifies the model folder once more.
2. ``read_bars`` cuts each symbol to the tail that matters and refuses what cannot be predicted from.
3. The features that the model uses, and no others, are computed from that tail.
4. The scorer predicts; rows inside the lookback are left out, never filled.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from ...errors import IntegrityError, ModelInputError
from ...features.matrix import compute, lookback
from .bars import SymbolBars, read_bars
from .bundle import MODEL, read_manifest
from .scorers import Floats, load_scorer


class Predictor:
    """A promoted model, loaded. Instances may be used from several threads."""

    def __init__(self, bundle: Path) -> None:
        """Raises IntegrityError for a damaged bundle, ConfigurationError if its scorer's package is missing."""
        self.manifest = read_manifest(bundle)
        self._scorer = load_scorer(bundle / MODEL)
        if self._scorer.columns != self.manifest.spec.columns:
            raise IntegrityError(f"{bundle}: manifest and model disagree on the feature columns")
        self._lookback = lookback(self._scorer.columns)

    @property
    def bars_needed(self) -> int:
        """How many bars of a symbol one prediction takes: the features' lookback and the model's own history."""
        return bars_needed(self._scorer.columns, self._scorer.history)

    def predict(self, bars: pd.DataFrame, rows: str = "last") -> pd.DataFrame:
        """Columns ``symbol`` (if given), ``time`` (as given), ``prediction`` (float64, in the target's unit).

        rows: ``last`` predicts from each symbol's last bar, ``all`` from every bar that has ``bars_needed`` - 1 bars
        before it (earlier ones are left out). Symbols come in order of first appearance. Raises ModelInputError for
        bars that cannot be predicted from; a prediction is never NaN.
        """
        if rows not in ("last", "all"):
            raise ModelInputError(f"rows must be 'last' or 'all', got {rows!r}")
        tail = self.bars_needed if rows == "last" else None
        read = read_bars(bars, self.manifest.rules, tail)
        parts = [self._predict_symbol(symbol, last=rows == "last") for symbol in read]
        columns: dict[str, object] = {}
        if "symbol" in bars.columns:
            columns["symbol"] = np.repeat([item.symbol for item in read], [len(part) for part in parts])
        columns["time"] = _concatenate([item.given.iloc[-len(part) :] for item, part in zip(read, parts, strict=True)])
        return pd.DataFrame(columns | {"prediction": np.concatenate(parts)})

    def _predict_symbol(self, bars: SymbolBars, *, last: bool) -> Floats:
        given, needed = len(bars.time), self.bars_needed
        if given < needed:
            of = f" of {bars.symbol}" if bars.symbol else ""
            raise ModelInputError(f"the model needs at least {needed} bars{of}, got {given}: give more history")
        spec = self.manifest.spec
        features = compute(bars.arrays(), spec.columns, spec.tick)[self._lookback - 1 :]
        if last and not self._scorer.history:
            features = features[-1:]
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


def _concatenate(parts: list[pd.Series]) -> pd.Series:
    return parts[0].reset_index(drop=True) if len(parts) == 1 else pd.concat(parts, ignore_index=True)
