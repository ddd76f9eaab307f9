"""How much was tried: every night's candidates in the ledger, and how many independent things they are.

The walk-forward predictions are kept beside the ledger, content-addressed, because later nights cluster them: the
deflated Sharpe ratio counts what was tried over all nights, whatever the problem was called.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.contracts import EngineResult, Ref, Snapshot
from tasks.documents import digest
from tasks.errors import StorageError
from tasks.evaluation import Leaderboard
from tasks.problem import Problem
from tasks.registry.families import Family
from tasks.registry.ledger import Ledger, Trial
from tasks.statistics.trials import independent_trials
from tasks.storage import read_parquet, sha256_file

MOST_SERIES = 400
MOST_ROWS = 20_000
KEYS = ["symbol", "time"]
log = logging.getLogger("nocturne.registry")


def trials_of(board: Leaderboard, results: tuple[EngineResult, ...]) -> tuple[Trial, ...]:
    """Every candidate that was scored tonight: those that walked, and those that stayed behind on the selection rows.

    results: whose candidates tell the recipes (digest empty where they do not).
    """
    found = {candidate.name: candidate for result in results for candidate in result.candidates}

    def trial(name: str, engine: str, selection: float, fold: float) -> Trial:
        fit = found.get(name)
        engine = engine or (fit.engine if fit else "")
        recipe = digest(fit.recipe) if fit else ""
        return Trial(candidate=name, engine=engine, recipe=recipe, selection_loss=selection, fold_loss=fold)

    walked = [trial(s.candidate, s.engine, s.selection_score, s.score) for s in board.scores]
    behind = [trial(name, "", loss, math.nan) for name, loss in sorted(board.not_refitted.items())]
    return (*walked, *behind)


def record(
    ledger: Ledger,
    family: Family,
    tonight: tuple[Problem, Snapshot, Leaderboard],
    results: tuple[EngineResult, ...],
    folder: Path,
) -> None:
    """Keep tonight's walk-forward predictions in ``folder``, then note the candidates; a night known already is not
    noted twice. Raises StorageError or IntegrityError."""
    problem, snapshot, board = tonight
    if board.predictions is not None:
        keep(board.predictions, folder)
    night = {
        "last": snapshot.last[:10],
        "leaderboard": board.sha256,
        "snapshot": snapshot.sha256,
        "predictions": board.predictions.sha256 if board.predictions is not None else "",
        "rows": board.rows,
        "dates": board.dates,
    }
    ledger.append_trials(problem.name, family, night, trials_of(board, results))


def keep(ref: Ref, folder: Path) -> Path:
    """The predictions' file below ``folder`` under its own digest; a link where the disk allows it, else a copy.

    Raises StorageError if it cannot be written or is not what was recorded.
    """
    target = folder / f"{ref.sha256}.parquet"
    if target.exists():
        return target
    staged = folder / f".{ref.sha256}-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            os.link(ref.path, staged)
        except OSError:
            shutil.copyfile(ref.path, staged)
        if sha256_file(staged) != ref.sha256:
            raise StorageError(f"{ref.path}: the leaderboard's predictions are not what was recorded; run again")
        os.replace(staged, target)
    except OSError as error:
        raise StorageError(f"{target}: the predictions cannot be kept: {error.strerror}") from error
    finally:
        staged.unlink(missing_ok=True)
    return target


def count(ledger: Ledger, family: Family, folder: Path) -> int:
    """Independent trials of a family so far, by clusters of the predictions that are kept in ``folder``.

    The latest 400 distinct series are clustered; if there are more, the count is scaled up to all of them. A kept file
    that is gone or damaged leaves its candidates as one trial each.
    """
    nights = ledger.nights(family)
    series: dict[tuple[str, str], Any] = {}
    lost = 0
    for night in reversed(nights):
        fresh = {trial["candidate"]: (night["predictions"], trial["candidate"]) for trial in _walked(night)}
        wanted = {name: key for name, key in fresh.items() if key not in series}
        if not wanted:
            continue
        table = _read(folder, night["predictions"], list(wanted)) if len(series) < MOST_SERIES else {}
        lost += len(wanted) if table is None else 0
        series |= {key: (table or {}).get(name) for name, key in wanted.items()}
    loaded = {key: column for key, column in series.items() if column is not None}
    skipped = len(series) - lost - len(loaded)
    return lost + _clustered(loaded, skipped)


def _clustered(loaded: Mapping[tuple[str, str], pd.Series], skipped: int) -> int:
    if not loaded:
        return skipped
    joined = pd.concat(list(loaded.values()), axis=1).sort_index()
    step = math.ceil(len(joined) / MOST_ROWS)
    found = independent_trials(joined.to_numpy(np.float64)[::step])
    return math.ceil(found * (len(loaded) + skipped) / len(loaded))


def _walked(night: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Trials that have predictions on the folds."""
    return (trial for trial in night["trials"] if trial["fold_loss"] is not None and night["predictions"])


def _read(folder: Path, digest: str, names: list[str]) -> dict[str, pd.Series] | None:
    """Columns of a kept file, indexed by symbol and time; None, with a warning, if it is gone or damaged."""
    path = folder / f"{digest}.parquet"
    try:
        table = read_parquet(Ref(path=str(path), sha256=digest, rows=0), [*KEYS, *names])
    except (StorageError, ValueError) as error:
        log.warning("kept predictions are left out of the count of trials: %s", error)
        return None
    indexed = table.set_index(KEYS)
    return {name: indexed[name].rename(f"{digest[:8]}-{name}") for name in names}
