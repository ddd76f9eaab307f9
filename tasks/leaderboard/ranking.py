"""The leaderboard: every candidate on the same selection rows, by one scorer, in an order that does not depend on luck.

Ranked by the target's loss (mean squared error on the log scale, mean squared error, or log loss). Losses that agree to
twelve digits are a tie, and a tie goes to the simpler engine, then to the name. Nothing here reads the gate window.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.contracts import Candidate, EngineName, Target
from tasks.documents import to_json
from tasks.errors import EngineError
from tasks.evaluation import Leaderboard, Score
from tasks.leaderboard.metrics import METRICS, Metric, Scored, ranking_metric, smearing_factor

FloatArray = npt.NDArray[np.float64]

SIMPLICITY: tuple[EngineName, ...] = ("baseline", "linear", "h2o", "autokeras")
DIGITS = 12
"""Beyond twelve digits sums differ by the order of their terms: no basis for a rank or a digest."""

LARGEST = 300.0
"""No log volatility, log return or probability is near it, and the square of its exponential still is a float."""

DECIMALS = 13
"""In the digest only: a skill of 1e-5 is a difference of numbers near 1, so its own twelfth digit is rounding too."""

TIMINGS = ("train_seconds", "predict_us_per_row")
SMEARING_WINDOWS = ("validation", "blending")
log = logging.getLogger("nocturne.leaderboard")


@dataclass(frozen=True, slots=True)
class _Field:
    """The rows that score, found once for all candidates."""

    target: Target
    label: FloatArray
    selection: npt.NDArray[np.int64]
    date: npt.NDArray[np.int64]
    held_out: npt.NDArray[np.int64]
    blocks: tuple[npt.NDArray[np.int64], ...]


def rank(
    candidates: Sequence[Candidate],
    predictions: Mapping[str, FloatArray],
    rows: pd.DataFrame,
    target: Target,
    folds: int,
) -> Leaderboard:
    """Score every candidate on the selection rows and put them in order; the candidates' order does not matter.

    predictions: by candidate's name, float64 (n,), aligned with ``rows`` (columns session, label, window; n rows),
    finite on every selection row; NaN elsewhere is ignored. ``folds``: consecutive blocks of selection dates, as equal
    as can be, in which the ranking loss is shown too. A candidate with a missing or non-finite prediction on a
    selection row (or one that is no probability, or beyond any scale) is not ranked and appears in ``refused``.
    Metrics that are undefined are left out of ``Score.metrics``.
    Skill is 1 - loss / the best baseline's loss.

    Raises EngineError where two candidates share a name, or where no baseline could be ranked.
    """
    _check_names(candidates)
    place = _field(rows, target, folds)
    refused = {c.name: reason for c in candidates if (reason := _refusal(predictions.get(c.name), place))}
    kept = [candidate for candidate in candidates if candidate.name not in refused]
    for name, reason in sorted(refused.items()):
        log.warning("candidate %s is not ranked: %s", name, reason)
    smearing = _smearing(kept, predictions, place)
    scores = [_score(c, predictions[c.name], place, smearing.get(c.name, math.nan)) for c in kept]
    board = Leaderboard(
        scores=_ordered(scores, refused),
        rows=len(place.selection),
        dates=int(place.date.max()) + 1,
        sha256="",
        smearing=dict(sorted(smearing.items())),
        refused=dict(sorted(refused.items())),
    )
    return replace(board, sha256=digest(board))


def digest(board: Leaderboard) -> str:
    """SHA-256 of the leaderboard in canonical JSON: floats at twelve digits, timings left out."""
    document = to_json(board)
    del document["sha256"]
    for score in document["scores"]:
        for name in TIMINGS:
            del score[name]
    text = json.dumps(_rounded(document), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _field(rows: pd.DataFrame, target: Target, folds: int) -> _Field:
    window = rows["window"].to_numpy()
    selection = np.flatnonzero(window == "selection")
    if len(selection) == 0:
        raise EngineError("no selection rows to score candidates on: the windows were not drawn for these rows")
    date = np.unique(rows["session"].to_numpy(dtype="datetime64[ns]")[selection], return_inverse=True)[1]
    parts = np.array_split(np.arange(int(date.max()) + 1), min(folds, int(date.max()) + 1))
    return _Field(
        target=target,
        label=rows["label"].to_numpy(dtype=np.float64),
        selection=selection,
        date=date.astype(np.int64),
        held_out=np.flatnonzero(np.isin(window, SMEARING_WINDOWS)),
        blocks=tuple(np.flatnonzero((date >= part[0]) & (date <= part[-1])) for part in parts),
    )


def _check_names(candidates: Sequence[Candidate]) -> None:
    names = [candidate.name for candidate in candidates]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise EngineError(f"candidates share a name: {', '.join(twice[:5])}; every candidate needs one of its own")


def _refusal(prediction: FloatArray | None, place: _Field) -> str:
    if prediction is None:
        return "it has no predictions"
    if len(prediction) != len(place.label):
        return f"it has {len(prediction):,} predictions for {len(place.label):,} rows"
    scored = prediction[place.selection]
    bad = ~np.isfinite(scored)
    fault = "are not finite"
    if place.target.kind == "classification" and not bad.any():
        bad, fault = (scored < 0) | (scored > 1), "are no probabilities"
    if bad.any():
        return f"{int(bad.sum()):,} of {len(scored):,} predictions on the selection rows {fault}"
    if np.abs(scored).max() > LARGEST:
        return f"a prediction on the selection rows is {np.abs(scored).max():.3g} in size: the fit has diverged"
    return ""


def _smearing(
    candidates: Sequence[Candidate], predictions: Mapping[str, FloatArray], place: _Field
) -> dict[str, float]:
    if place.target.name != "volatility":
        return {}
    rows = place.held_out
    factors = {
        c.name: c.held_out_smearing or smearing_factor(place.label[rows], predictions[c.name][rows]) for c in candidates
    }
    return {name: factor for name, factor in factors.items() if math.isfinite(factor) and factor > 0}


def _score(candidate: Candidate, prediction: FloatArray, place: _Field, smearing: float) -> Score:
    rows = Scored(
        label=place.label[place.selection],
        prediction=prediction[place.selection],
        date=place.date,
        smearing=smearing,
    )
    metric = ranking_metric(place.target.name)
    values = {each.name: each.compute(rows) for each in METRICS[place.target.name]}
    return Score(
        rank=0,
        candidate=candidate.name,
        engine=candidate.engine,
        metric=metric.name,
        direction=metric.direction,
        score=values[metric.name],
        skill=0.0,
        metrics={name: value for name, value in values.items() if math.isfinite(value)},
        fold_scores=tuple(_block_loss(metric, rows, block) for block in place.blocks),
        train_seconds=candidate.train_seconds,
        predict_us_per_row=candidate.predict_us_per_row,
    )


def _block_loss(metric: Metric, rows: Scored, block: npt.NDArray[np.int64]) -> float:
    return metric.compute(Scored(label=rows.label[block], prediction=rows.prediction[block], date=rows.date[block]))


def _ordered(scores: Sequence[Score], refused: Mapping[str, str]) -> tuple[Score, ...]:
    baselines = [score.score for score in scores if score.engine == "baseline"]
    if not baselines:
        why = "; ".join(f"{name}: {reason}" for name, reason in sorted(refused.items())[:5]) or "none was given"
        raise EngineError(f"no baseline could be ranked ({why}): without one there is nothing to measure skill against")
    best = min(baselines)
    ordered = sorted(scores, key=lambda s: (_round(s.score), SIMPLICITY.index(s.engine), s.candidate))
    return tuple(replace(s, rank=place, skill=_skill(s.score, best)) for place, s in enumerate(ordered, start=1))


def _skill(loss: float, best_baseline: float) -> float:
    # A baseline without any loss leaves nothing to gain.
    return 1.0 - loss / best_baseline if best_baseline > 0 else 0.0


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(_round(value), DECIMALS)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return value


def _round(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
