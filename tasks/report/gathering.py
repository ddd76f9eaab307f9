"""What the state folder tells of each problem: last night, champion, drift, rollout; what cannot be read is told too.

Records of other rooms are read as the JSON documents that they are, field by field: a page over all problems must
stand whatever one of them left behind.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tasks import journal
from tasks.errors import NocturneError
from tasks.report.problems import ProblemRow
from tasks.storage import home, read_json

MONTH, MOST_SHOWN = 21, 120
FAILED: dict[str, str] = {"failed": "failed", "interrupted": "interrupted", "fenced": "failed", "dead": "died"}
BROKEN = (NocturneError, OSError, ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError)
"""What reading a record that is not as it should be can raise."""
AtWork = Callable[[str], str | None]
Look = Callable[[str], dict[str, Any]]


def rows(at_work: AtWork | None = None) -> tuple[ProblemRow, ...]:
    """A row for every problem that has left anything in the state folder; at_work: see ``row_of``."""
    return tuple(row_of(name, at_work) for name in names())


def names() -> tuple[str, ...]:
    """Problems with a night's record, a journal or a drift report."""
    found = {path.name for room in ("runs", "drift") for path in _folders(home() / room)}
    return tuple(sorted(found))


def row_of(name: str, at_work: AtWork | None = None) -> ProblemRow:
    """What is known of one problem; ``trouble`` says what could not be read.

    at_work: which run has a problem's lease and renews it, empty for none, None where that is not known. A night has it
    from its journal's first line to the last, so that one without it has died: with its machine, it may be.
    """
    fields: dict[str, Any] = {}
    troubles = []
    looks: dict[str, Look] = {**LOOKS, "the last night's record": partial(_night, at_work=at_work)}
    for what, look in looks.items():
        try:
            fields |= look(name)
        except BROKEN as error:
            troubles.append(f"{what} cannot be read: {error}" if str(error) else f"{what} cannot be read")
    return ProblemRow(name=name, trouble="; ".join(troubles), **fields)


def _night(name: str, at_work: AtWork | None = None) -> dict[str, Any]:
    """The last night's record, or what became of a later run that left none."""
    records = _records(name)
    document = read_json(records[0])["document"] if records else {}
    told = _ended(document) if records else {}
    past = journal.last(name)
    if past is None or (document and past.run == document["run_id"]) or past.started < told.get("at", ""):
        return told
    died = past.died or (past.state == "started" and at_work is not None and at_work(name) not in (past.run, None))
    state = "died" if died else FAILED.get(past.state, "running" if past.state == "started" else "")
    if not state:
        return told
    where = f" at stage {past.stage}" if past.stage else ""
    why = f" ({past.outcome})" if past.outcome and state == "failed" else ""
    said = f"Running{where}" if state == "running" else f"The run {_VERBS[state]}{where}{why}"
    return {**told, "outcome": state, "headline": said, "at": past.started, "seconds": 0.0, "report": "", "run_url": ""}


_VERBS = {"failed": "failed", "interrupted": "was interrupted", "died": "died"}


def _ended(document: dict[str, Any]) -> dict[str, Any]:
    decision = document["decision"]
    return {
        "outcome": str(decision["outcome"]),
        "headline": str(decision["headline"]),
        "at": str(document.get("answered_at") or document["started"]),
        "seconds": float(sum(document["seconds"].values())),
        "report": _relative(document["report"]),
        "run_url": _web(document.get("run_url", "")),
    }


def _champion(name: str) -> dict[str, Any]:
    """The champion that the last night left."""
    records = _records(name)
    if not records:
        return {}
    decision = read_json(records[0])["document"]["decision"]
    version = str(decision["champion_version"] or "")
    mine = decision["promoted"] and str(decision["version"]) == version
    return {"champion_version": version, "champion": str(decision["candidate"]) if mine else ""}


def _drift(name: str) -> dict[str, Any]:
    path = home() / "drift" / name / "report.json"
    if not path.is_file():
        return {}
    report = read_json(path)
    page = path.parent / "index.html"
    losses = tuple(_monthly([point["loss"] for point in report["curve"]]))[-MOST_SHOWN:]
    return {
        "drift": str(report["state"]),
        "drift_at": str(report["at"]),
        "drift_page": _relative(page) if page.is_file() else "",
        "losses": losses,
        "expected": _number((report.get("losses") or {}).get("reference_mean")),
    }


def _rollout(name: str) -> dict[str, Any]:
    plans = sorted((home() / "live" / name).glob("rollout-*/plan.json"))
    if not plans or (plans[-1].parent / "ended.json").exists():
        return {}
    plan = read_json(plans[-1])
    kind = "shadow of" if plan["mode"] == "shadow" else "rollout of"
    return {"rollout": f"{kind} version {plan['challenger']} since {str(plan['started'])[:10]}"}


LOOKS: dict[str, Look] = {
    "the last night's record": _night,
    "the champion": _champion,
    "the drift report": _drift,
    "the rollout's plan": _rollout,
}


def _records(name: str) -> list[Path]:
    """Nights' documents, the newest first: their names begin with their time."""
    return sorted((home() / "runs" / name).glob("[0-9]*T*Z-*.json"), reverse=True)


def _folders(parent: Path) -> Iterator[Path]:
    if parent.is_dir():
        yield from (path for path in parent.iterdir() if path.is_dir() and not path.name.startswith("."))


def _monthly(losses: list[Any]) -> Iterator[float]:
    """Means over the last month of known losses, from the first whole month on."""
    known = [value for value in map(_number, losses) if math.isfinite(value)]
    total = sum(known[:MONTH])
    if len(known) >= MONTH:
        yield total / MONTH
    for gone, came in zip(known, known[MONTH:], strict=False):
        total += came - gone
        yield total / MONTH


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan


def _relative(path: Any) -> str:
    """A link from the page in ``reports`` to a file below the state folder; empty for one that lies elsewhere."""
    try:
        inside = Path(str(path)).relative_to(home())
    except ValueError:
        return ""
    parts = inside.parts[1:] if inside.parts[:1] == ("reports",) else ("..", *inside.parts)
    return quote("/".join(parts))


def _web(address: Any) -> str:
    return str(address) if str(address).startswith(("https://", "http://")) else ""
