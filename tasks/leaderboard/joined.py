"""Predictions joined over the walk-forward folds: on each fold those of the fit that ends before it.

```
fit_fold_1 |=========|.. fold 1                        fold:   1 1 1 1 2 2 2 2 3 3 3 3
fit_fold_2 |=================|.. fold 2                column: each row from the fit that ``scored_by`` names,
fit_fold_3 |=========================|.. fold 3                never from one that saw it
```

That no fit saw what it is scored on is checked here once more, row by row, whatever drew the windows: nothing that a
fit learned from may end at or after the first row that it is scored on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.contracts import EngineName, Target
from tasks.errors import DataError, EngineError
from tasks.evaluation import CHAMPION
from tasks.leaderboard.losses import FloatArray, IntArray, fault

KEYS = ("symbol", "time", "session", "label", "label_end", "fold")

RESERVED = frozenset({*KEYS, CHAMPION})
"""Names that no searched candidate may have."""

FOLD = "fit_fold_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Walked:
    """A recipe refitted over the folds. ``fits``: by column of ``Rows.fits``, predictions (n,) aligned with the rows.

    ``search``: predictions of the search's own fit (n,), None where there was no search; ``lost``: by column, why a
    fit is missing; ``recipe``: what the transfer engine says of what it transfers, and of its control.
    """

    name: str
    engine: EngineName
    fits: Mapping[str, FloatArray]
    search: FloatArray | None = None
    lost: Mapping[str, str]
    train_seconds: float = 0.0
    predict_us_per_row: float = 0.0
    recipe: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """``frame``: the fold rows, in the order of the snapshot, with ``symbol, time, session, label, label_end, fold``.

    ``weight``: average uniqueness of their labels (m,).
    ``predictions``: by candidate, float64 (m,), finite; ``refused``: those that cannot be ranked, and why.
    """

    frame: pd.DataFrame
    weight: FloatArray
    predictions: dict[str, FloatArray]
    refused: dict[str, str]

    @property
    def folds(self) -> int:
        """How many folds there are."""
        return int(self.frame["fold"].max())

    def table(self, names: list[str]) -> pd.DataFrame:
        """The fold rows with a column for each of these candidates: what is kept of a night."""
        return pd.concat([self.frame, pd.DataFrame({name: self.predictions[name] for name in names})], axis=1)


def join(rows: pd.DataFrame, candidates: Mapping[str, Walked], target: Target) -> Joined:
    """Join each candidate's predictions over the fold rows.

    rows: the columns of ``Rows`` (n rows). A candidate that lacks a fold, or whose predictions there are not finite, no
    probabilities where such are asked for or beyond any scale, is refused with the reason; it does not cost the others.
    Raises EngineError where there are no fold rows, DataError where a fit may have seen a row that it is scored on.
    """
    positions = np.flatnonzero(rows["window"].to_numpy() == "fold").astype(np.int64)
    if not len(positions):
        raise EngineError("no fold rows to rank candidates on: the windows were not drawn for these rows")
    chosen = rows.iloc[positions].reset_index(drop=True)
    number, names = pd.factorize(chosen["scored_by"].astype(str))
    folds = sorted(names, key=fold_number)
    fold = np.array([fold_number(name) for name in names], dtype=np.int64)[number]
    _check_folds(rows, positions, fold, folds)
    predictions: dict[str, FloatArray] = {}
    refused: dict[str, str] = {}
    for name, candidate in sorted(candidates.items()):
        reason = _missing(candidate, folds, len(rows))
        values = np.empty(0) if reason else _assembled(candidate, positions, fold, folds)
        reason = reason or fault(values, target, "on the fold rows")
        if reason:
            refused[name] = reason
        else:
            predictions[name] = values
    return Joined(
        frame=chosen[["symbol", "time", "session", "label", "label_end"]].assign(fold=fold),
        weight=chosen["weight"].to_numpy(np.float64),
        predictions=predictions,
        refused=refused,
    )


def fold_number(fit: object) -> int:
    """3 for ``fit_fold_3``. Raises DataError for any other name: a fold row must say which fit scores it."""
    number = str(fit).removeprefix(FOLD)
    if not str(fit).startswith(FOLD) or not number.isdigit():
        raise DataError(f"a fold row is scored by {str(fit)!r}, which is no walk-forward fit: compute the rows again")
    return int(number)


def check_unseen(rows: pd.DataFrame, learned: npt.NDArray[np.bool_], scored: npt.NDArray[np.bool_], fit: str) -> None:
    """That every label a fit learned from had ended before the first row that it is scored on; masks are (n,).

    rows: columns ``symbol, time, label_end``. Raises DataError naming the fit, the label's end and the row: the score
    would be in part a look at its own answers.
    """
    times, ends = (rows[name].to_numpy(dtype="datetime64[ns]") for name in ("time", "label_end"))
    first = times[scored].min()
    late = np.flatnonzero(learned & ~(ends < first))
    if len(late):
        row = int(late[0])
        raise DataError(
            f"{fit} learns from {len(late):,} labels that end at or after its first scored row ({first}), the first of "
            f"{rows['symbol'].iloc[row]} at {times[row]}, ending {ends[row]}: the windows are not purged"
        )


def _check_folds(rows: pd.DataFrame, positions: IntArray, fold: IntArray, folds: list[str]) -> None:
    for fit in folds:
        if fit not in rows.columns:
            raise DataError(f"fold rows are scored by {fit}, and no column says what it may learn from")
        scored = np.zeros(len(rows), dtype=bool)
        scored[positions[fold == fold_number(fit)]] = True
        check_unseen(rows, rows[fit].to_numpy(dtype=bool), scored, fit)


def _missing(candidate: Walked, folds: list[str], rows: int) -> str:
    lost = [fit for fit in folds if fit not in candidate.fits]
    if lost:
        named = ", ".join(str(fold_number(fit)) for fit in lost[:5])
        why = candidate.lost.get(lost[0], "")
        return f"it was not fitted for fold {named} of {len(folds)}" + (f" ({why})" if why else "")
    short = next((fit for fit in folds if len(candidate.fits[fit]) != rows), None)
    return f"its {short} has {len(candidate.fits[short]):,} predictions for {rows:,} rows" if short else ""


def _assembled(candidate: Walked, positions: IntArray, fold: IntArray, folds: list[str]) -> FloatArray:
    values = np.full(len(positions), np.nan)
    for fit in folds:
        mine = fold == fold_number(fit)
        values[mine] = candidate.fits[fit][positions[mine]]
    return values
