"""Where a night begins anew: outputs of earlier stages are reused, those from the named stage on are computed again.

A stage that is computed anew has addresses of its own, so that nothing that was verified is lost or overwritten before
its successor is whole, and no other problem that shares an output is disturbed. Later nights go on from the new ones:
which salt each stage's addresses have is kept below ``runs/<problem>/anew.json``. A restart that died is continued, by
a night that restarts from the same stage as by one that restarts from nowhere, however often those die too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

from tasks import storage
from tasks.errors import StorageError
from tasks.journal import Past, path_of, told

Stage = Literal[
    "", "ingest", "features", "windows", "search", "folds", "leaderboard", "refit", "gate", "register", "report"
]
STAGES: tuple[str, ...] = get_args(Stage)[1:]


def salts(problem: str, restart_from: Stage, run: str, died: Past | None) -> dict[str, str]:
    """By stage, what its outputs' addresses are salted with; a stage that is not named has the common addresses.

    died: the run that this one continues, if any.
    """
    path = storage.home() / "runs" / problem / "anew.json"
    try:
        known = storage.read_json(path) if path.exists() else {}
    except StorageError:  # it only says where outputs may be found: without it they are computed again
        known = {}
    before: dict[str, str] = {name: salt for name, salt in known.items() if name in STAGES}
    goes_on = any(past.run in before.values() for past in _line(died, restart_from) if past.restart_from)
    if not restart_from or goes_on:
        return before
    now = before | dict.fromkeys(STAGES[STAGES.index(restart_from) :], run)
    storage.write_json(path, now)
    return now


def _line(died: Past | None, restart_from: Stage) -> Iterator[Past]:
    """The run that died, the one that it continued, and so on: back to one that restarted from another stage."""
    seen: set[str] = set()
    while died is not None and died.run not in seen and died.restart_from in ("", restart_from):
        yield died
        seen.add(died.run)
        died = told(path_of(died.problem, died.continues)) if died.continues else None
