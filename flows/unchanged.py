"""A night on which nothing changed is answered from the last one's record: on the command line before Prefect is even
imported, by a deployment's run before its first stage.

"Nothing" means: the problem, the bytes of its source and of its membership file, the day (a bar that was unfinished
yesterday is finished today), the code, the lock, the registry, and the champion that the last night left. While a night
that died waits to be continued, none is answered. Every night, answered or run, leaves a record of its own below
``runs/<problem>/``.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks import storage
from tasks.bars.describe import from_problem
from tasks.bars.sources.due import source_digest
from tasks.bars.sources.registry import BUILT_IN
from tasks.errors import StorageError
from tasks.journal import unfinished
from tasks.problem import Problem
from tasks.registry.mlflow_place import tracking_uri


def fingerprint(problem: Problem) -> str:
    """SHA-256 of everything that a night's result depends on, besides the champion."""
    return storage.sha256_json(
        {
            "problem": problem.digest(),
            "source": source_digest(from_problem(problem)),
            "membership": _membership(problem),
            "day": "" if problem.source.startswith("builtin:") else str(datetime.now(UTC).date()),
            "registry": tracking_uri(),
            "code": storage.code_digest("tasks", "flows"),
            "lock": storage.lock_digest(),
        }
    )


def is_fetched(problem: Problem) -> bool:
    """Whether the night fetches its bars from a vendor, so that only once it has is its mark that of what it read."""
    return not BUILT_IN.get(from_problem(problem).prefix, "").startswith("tasks.bars.sources.local")


def _membership(problem: Problem) -> str:
    """What the file says who belonged when; a file that is missing is for the night to tell."""
    path = Path(problem.membership)
    return storage.sha256_file(path) if path.is_file() else ""


def last_night(problem: Problem, mark: str) -> dict[str, Any] | None:
    """The document of the last complete night with this fingerprint, or None if another night must run."""
    path = _folder(problem) / "last.json"
    if not path.exists() or unfinished(problem.name):
        return None
    try:
        record = storage.read_json(path)
    except StorageError:
        return None
    document: dict[str, Any] = record["document"]
    whole = record["fingerprint"] == mark and not record["partial"] and Path(document["report"]).is_file()
    return document if whole else None


def answer(problem: Problem, document: dict[str, Any], seconds: float, run_id: str = "") -> dict[str, Any]:
    """The document of an unchanged night, recorded: the last one's facts, and that nothing was run.

    run_id: of the flow's run, where there is one.
    """
    run_id = run_id or str(uuid.uuid4())
    before = document["decision"]
    reason = (
        f"nothing changed since run {document['run_id']}: same bars, problem, code, lock and champion; "
        f"its outcome was '{before['outcome']}'"
    )
    answered = {
        **document,
        "run_id": run_id,
        "unchanged_since": document.get("unchanged_since") or document["run_id"],
        "decision": {
            **before,
            "outcome": "unchanged",
            "promoted": False,
            "headline": "Nothing changed since the last run",
            "reasons": [reason, *before["reasons"]],
        },
        "leaderboard": [_as_before(entry) for entry in document["leaderboard"]],
        "seconds": {"unchanged": round(seconds, 3)},
        "engine_seconds": {},
    }
    storage.write_json(_folder(problem) / f"{_stamp()}-{run_id}.json", {"document": answered, "answered": True})
    return answered


def _as_before(entry: dict[str, Any]) -> dict[str, Any]:
    """Who became champion then is champion already."""
    renamed = {"now champion": "champion"}
    return {**entry, "standing": [renamed.get(word, word) for word in entry["standing"]]}


def record(problem: Problem, mark: str, document: dict[str, Any], partial: bool) -> None:
    """Keep a night's document, so that an unchanged one can be answered from it (never a partial one)."""
    entry = {"fingerprint": mark, "partial": partial, "document": document, "answered": False}
    storage.write_json(_folder(problem) / f"{_stamp()}-{document['run_id']}.json", entry)
    storage.write_json(_folder(problem) / "last.json", entry)


def _folder(problem: Problem) -> Path:
    return storage.home() / "runs" / problem.name


def _stamp() -> str:
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
