"""Errors that a recipe made out of sample: its intervals, and how well they held on the gate window.

The intervals come from the walk-forward folds, whose fits had seen none of the rows they were scored on. The gate
window is looked at once the gate has decided, with the gated fit, and decides nothing.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.contracts import Candidate
from tasks.documents import to_json
from tasks.registry.records import Entry, Night
from tasks.registry.serving.intervals import GAMMA, KEPT, Intervals, scaling_for
from tasks.statistics.conformal import Coverage, adapt, covered, radius
from tasks.storage import read_parquet, read_predictions

COVERAGE = 0.9
_STAMP = "datetime64[ns]"
_NUMBERS = ("open", "high", "low", "close", "volume")

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateCoverage:
    """How the interval held on the gate window: as it ships, and with ACI told each outcome when it was known.

    ``width``: mean width of the fixed interval, in the target's unit; ``adapted_width`` that of the adapted one over
    rows on which it was finite, ``unbounded`` the share of dates on which it was not.
    """

    coverage: float
    fixed: Coverage
    adapted: Coverage
    width: float
    adapted_width: float
    unbounded: float
    gamma: float


def intervals(night: Night, candidate: Candidate, measured: dict[str, Any] | None = None) -> Intervals | None:
    """Intervals from the candidate's walk-forward errors; None for probabilities, and without such errors.

    Raises IntegrityError for a damaged file.
    """
    if not has_errors(night, candidate.name):
        return None
    folds = _fold_rows(night, candidate.name)
    scores = np.sort(_scores(night, folds))
    return Intervals(
        scaling=scaling_for(night.rows.target),
        scores=_kept(scores),
        residuals=len(scores),
        dates=int(folds["time"].nunique()),
        measured=measured or {},
    )


def gate_coverage(night: Night, gated: Candidate) -> GateCoverage | None:
    """Coverage on the gate window by the gated fit; None where there are no ``intervals``, or no gate rows.

    Only for a fit that the gate has decided on. Raises IntegrityError for a damaged file.
    """
    gate = _gate_rows(night, gated) if has_errors(night, gated.name) else pd.DataFrame()
    if gate.empty:
        return None
    calibration, scores = _scores(night, _fold_rows(night, gated.name)), _scores(night, gate)
    scale = _scales(night, gate)
    number, times = pd.factorize(gate["time"], sort=True)
    date, overlap = number.astype(np.int64), night.rows.target.horizon - 1
    fixed = radius(calibration, COVERAGE)
    moved = adapt(calibration, scores, date, _known(gate, times), coverage=COVERAGE, gamma=GAMMA)
    reach = moved.radius[date]
    finite = np.isfinite(reach)
    return GateCoverage(
        coverage=COVERAGE,
        fixed=covered(scores <= fixed, date, overlap=overlap),
        adapted=covered(scores <= reach, date, overlap=overlap),
        width=float(2.0 * fixed * np.mean(scale)),
        adapted_width=float(2.0 * np.mean((reach * scale)[finite])) if finite.any() else float("nan"),
        unbounded=float(np.mean(~np.isfinite(moved.radius))),
        gamma=GAMMA,
    )


def with_coverage(entry: Entry, night: Night) -> Entry:
    """The entry with how its intervals held on the gate window, if the gate has measured it at all."""
    found = gate_coverage(night, entry.gated) if entry.gate_metrics else None
    return entry if found is None else dataclasses.replace(entry, coverage=to_json(found))


def coverage_tags(entry: Entry) -> dict[str, str]:
    """The version's tag ``coverage``: in words, what the intervals promised and what they held."""
    if not entry.coverage:
        return {}
    asked, fixed, adapted = (entry.coverage[name] for name in ("coverage", "fixed", "adapted"))
    between = "" if fixed["low"] is None else f", 95 % interval {fixed['low']:.3f} to {fixed['high']:.3f}"
    return {
        "coverage": f"asked {asked:.3f}; held {fixed['share']:.3f} on {fixed['dates']} gate dates as it ships"
        f"{between}; {adapted['share']:.3f} if told each outcome"
    }


def has_errors(night: Night, name: str) -> bool:
    """Whether the night kept walk-forward predictions of a candidate that predicts values."""
    board = night.leaderboard
    ranked = any(score.candidate == name for score in board.scores)
    return night.rows.target.kind == "regression" and board.predictions is not None and ranked


def _fold_rows(night: Night, name: str) -> pd.DataFrame:
    """Columns symbol, time, label, prediction of the walk-forward rows, in time order."""
    assert night.leaderboard.predictions is not None
    rows = read_parquet(night.leaderboard.predictions, ["symbol", "time", "label", name])
    return _in_time(rows.rename(columns={name: "prediction"}))


def _gate_rows(night: Night, gated: Candidate) -> pd.DataFrame:
    """Columns symbol, time, label, label_end, prediction of the gate's rows that have a label, in time order."""
    rows = read_parquet(night.rows.ref, ["symbol", "time", "label", "label_end", "window"])
    rows = rows.assign(prediction=read_predictions(gated.predictions))
    return _in_time(rows[(rows["window"] == "gate") & rows["label"].notna() & rows["prediction"].notna()])


def _in_time(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.sort_values(["time", "symbol"], kind="stable", ignore_index=True)


def _scores(night: Night, rows: pd.DataFrame) -> Floats:
    """|label - prediction| / scale, (n,), in the order of the rows."""
    errors = rows["label"].to_numpy(np.float64) - rows["prediction"].to_numpy(np.float64)
    return np.asarray(np.abs(errors) / _scales(night, rows))


def _scales(night: Night, rows: pd.DataFrame) -> Floats:
    """The scale of each row, (n,), by the code that serves."""
    scaling = scaling_for(night.rows.target)
    scales = np.ones(len(rows))
    if scaling.kind == "one":
        return scales
    times = rows["time"].to_numpy(_STAMP)
    bars = {str(name): part for name, part in read_parquet(night.snapshot.bars).groupby("symbol", sort=False)}
    for symbol, places in rows.groupby("symbol", sort=False).indices.items():
        part = bars[str(symbol)]
        at = np.searchsorted(part["time"].to_numpy(_STAMP), times[places])
        arrays: dict[str, npt.NDArray[Any]] = {name: part[name].to_numpy(np.float64) for name in _NUMBERS}
        arrays["session"] = part["session"].to_numpy().astype("datetime64[D]")
        scales[places] = scaling.at(arrays, at, night.features.spec.tick)
    return scales


def _known(gate: pd.DataFrame, times: pd.Index) -> npt.NDArray[np.int64]:
    """How many leading dates have all their labels ended when each date is predicted, (T,)."""
    ends = gate.groupby("time", sort=True)["label_end"].max().cummax()
    return np.asarray(np.searchsorted(ends.to_numpy(_STAMP), times.to_numpy(_STAMP), side="right"), dtype=np.int64)


def _kept(ascending: Floats) -> tuple[float, ...]:
    """Six digits of all of the scores, or of those at evenly spaced ranks."""
    count = min(len(ascending), KEPT)
    ranks = np.ceil(np.arange(1, count + 1) * len(ascending) / count).astype(np.int64)
    return tuple(float(f"{score:.6g}") for score in ascending[ranks - 1])
