"""The leaderboard: every refitted candidate on the same walk-forward rows, in an order that does not depend on luck.

1. Rank by the target's loss, averaged over the rows of a date first and over dates then (``losses.py``): the figure
   that the gate tests. Losses that agree to twelve digits are a tie; it goes to the simpler engine, then to the name.
2. Skill is 1 - loss / the best baseline's loss, with a 95 % stationary bootstrap interval over dates.
3. One-sided Diebold-Mariano p-values against every baseline and the champion, on the same losses by date, with the
   lag and the fixed-b law of the gate. They describe; recipes were chosen on these very rows, so none promotes.
4. Smearing from out-of-sample residuals, the target's whole set of metrics, the night's statistics.
5. What each pre-trained candidate owes to its pre-training, against the same network from scratch (``transfers.py``).

The champion's recipe stands on the board like any other, under the name ``champion`` where only the walk knows it, and
never counts as a baseline. Nothing here reads the gate window.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from tasks.contracts import Target
from tasks.documents import to_json
from tasks.errors import EngineError
from tasks.evaluation import CHAMPION, Leaderboard, Score
from tasks.leaderboard.joined import Joined, Walked, join
from tasks.leaderboard.losses import DIGITS, FloatArray, IntArray, by_date, date_codes, rounded
from tasks.leaderboard.metrics import METRICS, Panel, Scored, ranking_metric
from tasks.leaderboard.night import Ranked, night_statistics
from tasks.leaderboard.shortlist import SIMPLICITY, Shortlist
from tasks.leaderboard.smearing import fold_smearing, gate_smearing
from tasks.leaderboard.transfers import worth
from tasks.statistics.bootstrap import skill_interval
from tasks.statistics.diebold_mariano import diebold_mariano
from tasks.statistics.losses import row_losses
from tasks.statistics.overlap import label_overlap

DECIMALS = 13
"""In the digest only: a skill of 1e-5 is a difference of numbers near 1, so its own twelfth digit is rounding too."""

TIMINGS = ("train_seconds", "predict_us_per_row")
LATER = ("sha256", "predictions", "backtests", "alarms", "carried")
"""Not in the digest: itself, where a file lies, and what later stages add to the board."""

log = logging.getLogger("nocturne.leaderboard")


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """The leaderboard and the rows that it rests on."""

    leaderboard: Leaderboard
    joined: Joined


@dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    """The rows that score, found once for all candidates: codes of each row's date, of each date's fold."""

    target: Target
    label: FloatArray
    date: IntArray
    panel: Panel | None
    fold_of_date: IntArray
    overlap: int
    effective: float

    @classmethod
    def of(cls, joined: Joined, target: Target) -> _Field:
        frame = joined.frame
        date = date_codes(frame["session"].to_numpy(dtype="datetime64[ns]"))
        symbol = pd.factorize(frame["symbol"], sort=True)[0].astype(np.int64)
        bar = date_codes(frame["time"].to_numpy(dtype="datetime64[ns]"))
        symbols = int(symbol.max()) + 1
        fold_of_date = np.zeros(int(date.max()) + 1, dtype=np.int64)
        fold_of_date[date] = frame["fold"].to_numpy(np.int64)
        return cls(
            target=target,
            label=frame["label"].to_numpy(np.float64),
            date=date,
            panel=Panel(symbol=symbol, bar=bar) if symbols > 1 else None,
            fold_of_date=fold_of_date,
            overlap=label_overlap(frame, target.horizon),
            effective=float(joined.weight.sum()) / symbols,
        )

    def losses(self, prediction: FloatArray) -> FloatArray:
        """The ranking loss of each date."""
        return by_date(self.date, row_losses(self.target.loss, self.label, prediction))


def rank(
    rows: pd.DataFrame, candidates: Mapping[str, Walked], target: Target, shortlist: Shortlist, seed: int = 1
) -> Board:
    """Join, score and order the walked candidates; neither their order nor that of the shortlist matters.

    rows: the columns of ``Rows`` (n rows); candidates by name. A candidate that cannot be scored on every fold row is
    not ranked and appears in ``refused``, as does one of the shortlist that was not walked at all. Metrics that are
    undefined are left out of ``Score.metrics``. seed: of every resampling.

    Raises EngineError where no baseline could be ranked, and what ``joined.join`` raises.
    """
    joined = join(rows, candidates, target)
    refused = _refused(joined, candidates, shortlist)
    for name, reason in sorted(joined.refused.items()):
        log.warning("candidate %s is not ranked: %s", name, reason)
    place = _Field.of(joined, target)
    losses = {name: place.losses(prediction) for name, prediction in joined.predictions.items()}
    best = _best_baseline(losses, candidates, refused)
    rivals = _rivals(losses, candidates, shortlist)
    scores = [
        replace(
            _score(candidates[name], joined, place, losses[name], fold_smearing(joined, candidates[name], rows)),
            skill=_skill(losses[name], losses[best]),
            skill_interval=skill_interval(losses[name], losses[best], seed=seed, overlap=place.overlap),
            p_values=_p_values(name, losses, rivals, place.overlap),
            selection_score=shortlist.losses.get(name, math.nan),
        )
        for name in losses
    ]
    ordered = sorted(scores, key=lambda s: (rounded(s.score), SIMPLICITY.index(s.engine), s.candidate))
    board = Leaderboard(
        scores=tuple(replace(score, rank=number) for number, score in enumerate(ordered, start=1)),
        rows=len(place.label),
        dates=len(place.fold_of_date),
        sha256="",
        smearing=_gate_factors(joined, target),
        refused=refused,
        not_refitted=dict(sorted(shortlist.left.items())),
        statistics=night_statistics(_ranked(joined, place, losses, best, seed)),
        transfers=worth(losses, _transferred(candidates), place.overlap, seed),
    )
    return Board(leaderboard=replace(board, sha256=digest(board)), joined=joined)


def digest(board: Leaderboard) -> str:
    """SHA-256 of the leaderboard in canonical JSON: floats at twelve digits; timings, files and later stages left out.

    So it is the same before and after backtests, alarms and the count of trials are added.
    """
    document = to_json(board)
    for name in LATER:
        del document[name]
    for score in document["scores"]:
        for name in TIMINGS:
            del score[name]
    if document["statistics"]:
        del document["statistics"]["trials"]
    if not document["transfers"]:  # a board on which nothing was transferred is what it was before there was transfer
        del document["transfers"]
    text = json.dumps(_rounded(document), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _refused(joined: Joined, candidates: Mapping[str, Walked], shortlist: Shortlist) -> dict[str, str]:
    absent = {name: "it was not refitted on any fold" for name in shortlist.names if name not in candidates}
    return dict(sorted({**shortlist.refused, **absent, **joined.refused}.items()))


def _best_baseline(
    losses: Mapping[str, FloatArray], candidates: Mapping[str, Walked], refused: Mapping[str, str]
) -> str:
    found = [name for name in losses if _is_baseline(candidates[name])]
    if not found:
        why = "; ".join(f"{name}: {reason}" for name, reason in sorted(refused.items())[:5]) or "none was given"
        raise EngineError(f"no baseline could be ranked ({why}): without one there is nothing to measure skill against")
    return min(found, key=lambda name: (rounded(float(losses[name].mean())), name))


def _is_baseline(candidate: Walked) -> bool:
    return candidate.engine == "baseline" and candidate.name != CHAMPION


def _rivals(
    losses: Mapping[str, FloatArray], candidates: Mapping[str, Walked], shortlist: Shortlist
) -> tuple[str, ...]:
    champions = {CHAMPION, shortlist.champion}
    return tuple(sorted(name for name in losses if _is_baseline(candidates[name]) or name in champions))


def _transferred(candidates: Mapping[str, Walked]) -> dict[str, Mapping[str, Any]]:
    return {name: candidate.recipe for name, candidate in candidates.items() if candidate.engine == "transfer"}


def _p_values(name: str, losses: Mapping[str, FloatArray], rivals: tuple[str, ...], overlap: int) -> dict[str, float]:
    return {rival: diebold_mariano(losses[rival] - losses[name], overlap).p_value for rival in rivals if rival != name}


def _score(candidate: Walked, joined: Joined, place: _Field, losses: FloatArray, smearing: FloatArray) -> Score:
    metric = ranking_metric(place.target.name)
    rows = Scored(
        label=place.label,
        prediction=joined.predictions[candidate.name],
        date=place.date,
        panel=place.panel,
        smearing=smearing,
        effective=place.effective,
    )
    values = {each.name: each.compute(rows) for each in METRICS[place.target.name]}
    folds = range(1, joined.folds + 1)
    return Score(
        rank=0,
        candidate=candidate.name,
        engine=candidate.engine,
        metric=metric.name,
        direction=metric.direction,
        score=float(losses.mean()),
        skill=0.0,
        metrics={name: value for name, value in values.items() if math.isfinite(value)},
        fold_scores=tuple(float(losses[place.fold_of_date == fold].mean()) for fold in folds),
        train_seconds=candidate.train_seconds,
        predict_us_per_row=candidate.predict_us_per_row,
    )


def _gate_factors(joined: Joined, target: Target) -> dict[str, float]:
    if target.name != "volatility":
        return {}
    factors = {name: gate_smearing(joined, name) for name in joined.predictions}
    return {name: factor for name, factor in factors.items() if factor > 0}


def _ranked(joined: Joined, place: _Field, losses: Mapping[str, FloatArray], best: str, seed: int) -> Ranked:
    return Ranked(
        label=place.label,
        date=place.date,
        predictions=joined.predictions,
        losses=losses,
        best_baseline=best,
        overlap=place.overlap,
        seed=seed,
    )


def _skill(losses: FloatArray, baseline: FloatArray) -> float:
    # A baseline without any loss leaves nothing to gain.
    reference = float(baseline.mean())
    return 1.0 - float(losses.mean()) / reference if reference > 0 else 0.0


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(float(f"{value:.{DIGITS}g}"), DECIMALS)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return value
