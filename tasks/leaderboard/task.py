"""The leaderboard as Prefect tasks: read rows and predictions, verified; call the pure rules; keep what they say.

Two steps, because between them the engines walk: ``shortlist`` picks from the search's candidates those that are
refitted on every fold; ``score`` joins the refits' predictions and ranks them.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.contracts import Candidate, EngineResult, FeatureMatrix, Rows, Snapshot, Target, resolved
from tasks.documents import from_json, to_json
from tasks.errors import EngineError
from tasks.evaluation import Backtest, CarriedError, Leaderboard
from tasks.leaderboard import alarm, canaries, carried, diagnostic, figures, noise
from tasks.leaderboard.joined import FOLD, Walked
from tasks.leaderboard.losses import FloatArray
from tasks.leaderboard.ranking import rank
from tasks.leaderboard.shortlist import Shortlist, choose, recipe_sha256
from tasks.masking import at_the_edge
from tasks.problem import Problem
from tasks.statistics.shuffle import shuffled_labels
from tasks.storage import StageStore, home, read_json, read_matrix, read_parquet, sha256_json, write_json, write_parquet

CODE = (
    "tasks/leaderboard",
    "tasks/statistics",
    "tasks/contracts.py",
    "tasks/documents.py",
    "tasks/errors.py",
    "tasks/evaluation.py",
    "tasks/storage.py",
)
SEARCHED = ["symbol", "time", "session", "label", "label_end", "window"]
ROWS = [*SEARCHED, "weight", "scored_by"]
LEARNED = ["symbol", "time", "session", "label", "label_end", "fit_gate"]
BOARD, PREDICTIONS = "leaderboard.json", "predictions.parquet"
HISTORIES = "histories.json"
log = logging.getLogger("nocturne.leaderboard")


@task(name="shortlist", cache_policy=NO_CACHE)
@at_the_edge
def shortlist(
    problem: Problem, rows: Rows, results: tuple[EngineResult, ...], champion_recipe_sha256: str = ""
) -> Shortlist:
    """Which of the search's candidates are refitted on every fold; see ``shortlist.choose``.

    champion_recipe_sha256: of the champion's recipe, empty where there is no champion. Raises EngineError if no engine
    left a candidate, naming each engine's failure.
    """
    candidates = _candidates(results)
    frame = read_parquet(rows.ref, SEARCHED)
    return choose(
        candidates,
        {candidate.name: _predictions(candidate) for candidate in candidates},
        frame,
        rows.target,
        leaders=problem.leaders,
        ensembles=problem.refit_ensembles,
        champion_recipe_sha256=champion_recipe_sha256,
    )


@task(name="leaderboard", cache_policy=NO_CACHE)
@at_the_edge
def score(
    problem: Problem,
    rows: Rows,
    results: tuple[EngineResult, ...],
    walked: tuple[EngineResult, ...],
    shortlist: Shortlist,
    *,
    features: FeatureMatrix | None = None,
) -> Leaderboard:
    """Rank the shortlist on the joined predictions of its refits on every fold; see ``ranking.rank``.

    results: what the search found; walked: its recipes refitted (jobs with rows ``fit_fold_k``), and the champion's
    under the name ``champion`` where the search did not come upon it. The problem's seed draws the resamples. The
    joined predictions are kept as Parquet; the whole board is taken from the store where nothing changed. features:
    where given, and where something was transferred, errors are told by regime and kind of symbol (``carried.py``).
    """
    night = _Walk(
        problem=problem,
        rows=rows,
        searched={candidate.name: candidate for candidate in _candidates(results)},
        refits=_refits(walked, shortlist),
        results=walked,
        shortlist=shortlist,
        features=features,
    )
    store = StageStore()
    key = store.key("leaderboard", night.inputs(), CODE)
    folder = store.get("leaderboard", key)
    if folder is None:
        with store.put("leaderboard", key) as staging:
            _compute(night, staging)
        folder = store.folder("leaderboard", key)
    else:
        log.info("leaderboard: reused")
    board: Leaderboard = resolved(from_json(Leaderboard, read_json(folder / BOARD)), str(folder))
    return board


@dataclass(frozen=True, slots=True, kw_only=True)
class _Walk:
    """What the engines left behind: the search's candidates by name, their refits by name and fold."""

    problem: Problem
    rows: Rows
    searched: dict[str, Candidate]
    refits: dict[str, dict[str, Candidate]]
    results: tuple[EngineResult, ...]
    shortlist: Shortlist
    features: FeatureMatrix | None = None

    @property
    def folds(self) -> list[str]:
        """The columns that mark what each fold's fit may learn from, in time order."""
        return [name for name in self.rows.fits if name.startswith(FOLD)]

    def inputs(self) -> dict[str, Any]:
        """Everything that the board depends on, by value: no paths."""
        return {
            "seed": self.problem.seed,
            "rows": self.rows.ref.sha256,
            "target": to_json(self.rows.target),
            "folds": self.folds,
            "search": {name: _fitted(self.searched[name]) for name in self.refits if name in self.searched},
            "refits": {name: {fit: _fitted(c) for fit, c in fits.items()} for name, fits in self.refits.items()},
            "said": sorted([r.engine, r.error, *sorted(r.notes)] for r in self.results),
            "shortlist": to_json(dataclasses.replace(self.shortlist, names=tuple(sorted(self.shortlist.names)))),
            "features": self.features.ref.sha256 if self.features is not None and self._transfers() else "",
        }

    def _transfers(self) -> bool:
        return any(fit.engine == "transfer" for fits in self.refits.values() for fit in fits.values())

    def walked(self) -> dict[str, Walked]:
        """Every recipe with the predictions of its fits."""
        return {name: found for name in self.refits if (found := self._of(name))}

    def _of(self, name: str) -> Walked | None:
        fits, search = self.refits[name], self.searched.get(name)
        known = next((fits[fit] for fit in reversed(self.folds) if fit in fits), search)
        if known is None:
            return None
        return Walked(
            name=name,
            engine=known.engine,
            fits={fit: _predictions(candidate) for fit, candidate in fits.items()},
            search=None if search is None else _predictions(search),
            lost={fit: self._why(name, known.engine, fit) for fit in self.folds if fit not in fits},
            train_seconds=known.train_seconds,
            predict_us_per_row=known.predict_us_per_row,
            recipe=(search or known).recipe if known.engine == "transfer" else {},
        )

    def _why(self, name: str, engine: str, fit: str) -> str:
        """What an engine said of a refit that it did not deliver."""
        prefix = f"{name} ({fit}): "
        said = [note.removeprefix(prefix) for r in self.results for note in r.notes if note.startswith(prefix)]
        failed = [f"{engine}: {r.error.splitlines()[0]}" for r in self.results if r.engine == engine and r.error]
        return next(iter(said + failed), "")


def _compute(walk: _Walk, staging: Path) -> None:
    frame = read_parquet(walk.rows.ref, [*ROWS, *walk.folds])
    ranked = rank(frame, walk.walked(), walk.rows.target, walk.shortlist, walk.problem.seed)
    names = [score.candidate for score in ranked.leaderboard.scores]
    joined = ranked.joined.table(names)
    ref = write_parquet(staging / PREDICTIONS, joined)
    board = dataclasses.replace(
        ranked.leaderboard,
        predictions=dataclasses.replace(ref, path=PREDICTIONS),
        carried=_carried(walk, frame, joined, ranked.leaderboard),
    )
    write_json(staging / BOARD, to_json(board))
    log.info("%d candidates ranked on %d rows, first %s", len(names), board.rows, names[0])


def _carried(walk: _Walk, frame: pd.DataFrame, joined: pd.DataFrame, board: Leaderboard) -> tuple[CarriedError, ...]:
    """Errors with and without transfer; nothing where none was, or where a column that groups are drawn by lacks."""
    features = walk.features
    if features is None or not board.transfers or not set(carried.COLUMNS) <= set(features.spec.columns):
        return ()
    level, returned = read_matrix(features.ref, carried.COLUMNS).T
    drawn = carried.groups(frame, level, returned)
    return carried.carried(board.transfers, joined, drawn, walk.rows.target, walk.problem.seed)


def _candidates(results: Sequence[EngineResult]) -> list[Candidate]:
    candidates = [candidate for result in results for candidate in result.candidates]
    if not candidates:
        causes = "; ".join(f"{result.engine}: {result.error or 'no candidate'}" for result in results)
        raise EngineError(f"no engine left a candidate ({causes})")
    return candidates


def _refits(walked: Iterable[EngineResult], shortlist: Shortlist) -> dict[str, dict[str, Candidate]]:
    """By name and fit: the refits over the folds; canaries and fits on other rows are not among them."""
    refits: dict[str, dict[str, Candidate]] = {name: {} for name in shortlist.names}
    for candidate in (c for result in walked for c in result.candidates):
        if candidate.rows.startswith(FOLD) and not candidate.shuffle:
            fits = refits.setdefault(candidate.name, {})
            if candidate.rows in fits:
                raise EngineError(f"{candidate.name} was refitted twice on {candidate.rows}: which one counts?")
            fits[candidate.rows] = candidate
    return refits


def _fitted(candidate: Candidate) -> list[Any]:
    # What a transfer was worth depends on what its recipe says of it.
    recipe = [recipe_sha256(candidate.recipe)] if candidate.engine == "transfer" else []
    seconds = [candidate.train_seconds, candidate.predict_us_per_row]
    return [candidate.engine, candidate.predictions.sha256, *seconds, *recipe]


def _predictions(candidate: Candidate) -> FloatArray:
    frame = read_parquet(candidate.predictions, ["prediction"])
    return frame["prediction"].to_numpy(dtype=np.float64)


@task(name="other-histories", cache_policy=NO_CACHE)
@at_the_edge
def other_histories(features: FeatureMatrix, rows: Rows) -> tuple[float, ...]:
    """Skills of ridge on the paths of ``diagnostic.py``, on the rows before the gate; taken from the store if known.

    For the report alone: it trains on what came after, so neither the board nor the gate is given it.
    """
    store, columns = StageStore(), features.spec.columns
    inputs = {"rows": rows.ref.sha256, "features": features.ref.sha256, "columns": columns, "embargo": rows.embargo}
    key = store.key("histories", {**inputs, "target": to_json(rows.target)}, CODE)
    folder = store.get("histories", key)
    if folder is None:
        frame, matrix = read_parquet(rows.ref, LEARNED), read_matrix(features.ref, columns)
        found = diagnostic.other_histories(frame, matrix, columns, rows.target, embargo=rows.embargo)
        with store.put("histories", key) as staging:
            write_json(staging / HISTORIES, list(found))
        folder = store.folder("histories", key)
    return tuple(read_json(folder / HISTORIES))


@task(name="inspect", cache_policy=NO_CACHE)
@at_the_edge
def inspect(
    problem: Problem, rows: Rows, board: Leaderboard, refitted: tuple[EngineResult, ...], truncation: tuple[str, ...]
) -> tuple[str, ...]:
    """Every reason to suspect a leak behind a night's figures, in words; empty on a night like any other.

    board: with its joined predictions, and with backtests where there are any. refitted: among the refits, the canary
    (a fit with ``shuffle``) of the winner's recipe. truncation: what ``check_features`` found. The canary of a night
    without alarms is kept below the state folder: from a year of them on, they help to set the limits.
    """
    target = rows.target
    family = {"predicts": problem.predicts, "source": problem.source, "symbols": sorted(problem.symbols)}
    folder = home() / "canaries" / sha256_json(family)[:16]
    canary = _canary(rows, refitted)
    told = canaries.canary_alarms(canary, target) if canary is not None else ()
    found = (*truncation, *told, *alarm.alarms(_bounds(problem, board, target), target, _null(folder)))
    drawn = canaries.null_bounds(canary, target) if canary is not None and not found else {}
    if drawn:
        # Named by its values: the same night looked at twice counts once.
        write_json(folder / f"{sha256_json(drawn)[:32]}.json", drawn)
    for each in found:
        log.warning("%s: %s", problem.name, each)
    return found


def _bounds(problem: Problem, board: Leaderboard, target: Target) -> tuple[figures.Bound, ...]:
    """The bounds of every ranked candidate's forecasts, and of what trading on them would have earned.

    Buy-and-hold, which the backtests put beside them, forecasts nothing: a market that rose steeply is no leak.
    """
    names = [score.candidate for score in board.scores]
    baselines = [score.candidate for score in board.scores if score.engine == "baseline"]
    known = alarm.bounds(read_parquet(board.predictions), names, baselines, target) if board.predictions else ()
    return (*known, *(_traded(each, problem) for each in board.backtests if each.equity and each.candidate in names))


def _traded(backtest: Backtest, problem: Problem) -> figures.Bound:
    assert backtest.equity is not None
    growth = read_parquet(backtest.equity, ["net"])["net"].to_numpy(np.float64)
    periods = {"24/7": 365, "24/5": 260}.get(problem.calendar, 252)
    cash = (1.0 + backtest.annual_return - backtest.excess_return) ** (1.0 / periods) - 1.0
    return alarm.traded_bound(backtest.candidate, np.diff(growth) / growth[:-1] - cash, periods)


def _canary(rows: Rows, refitted: Iterable[EngineResult]) -> pd.DataFrame | None:
    """The canary's predictions on the fold that follows its fit, and the labels as they were shuffled for it."""
    fit = next((c for result in refitted for c in result.candidates if c.shuffle), None)
    if fit is None:
        log.warning("no canary was fitted: nothing is known of leaks into the fit itself")
        return None
    frame = read_parquet(rows.ref, ["symbol", "session", "label", "scored_by", fit.rows])
    shuffled = shuffled_labels(
        frame["label"].to_numpy(np.float64), frame["session"].to_numpy(), frame["symbol"].to_numpy(), fit.shuffle
    )
    scored = (frame["scored_by"] == fit.rows).to_numpy()
    return canaries.scored_rows(frame, shuffled, _predictions(fit), frame[fit.rows].to_numpy(bool), scored)


def _null(folder: Path) -> dict[figures.Name, list[float]]:
    """By figure, the bounds of earlier canaries."""
    null: dict[figures.Name, list[float]] = {}
    for path in sorted(folder.glob("*.json")):
        for name, value in read_json(path).items():
            null.setdefault(name, []).append(float(value))
    return null


def market_of_noise(problem: Problem, snapshot: Snapshot, seed: int) -> Problem:
    """The same problem on a market in which nothing can be known, made from the snapshot's bars (``noise.py``).

    The bars lie below the state folder's ``canaries``. A whole night on it must promote nothing but a baseline and
    raise no alarm; run it below a state folder of its own, so that neither registry nor ledger mistakes it for real.
    """
    make = noise.simulated_ranges if problem.target == "volatility" else noise.signs
    made = make(read_parquet(snapshot.bars), seed)
    frame = made.drop(columns=["time"]).rename(columns={"session": "date"}) if problem.bar == "1d" else made
    ref = write_parquet(home() / "canaries" / "markets" / f"{problem.name}-{seed}.parquet", frame)
    # What the source needed to be read is done; what remains is bars stamped with their ends in UTC.
    changes = {"source": ref.path, "tz": "", "label": "end", "price_scale": 1.0, "as_of": ""}
    return problem.model_copy(update={"name": f"{problem.name[:55]}-canary", **changes})
