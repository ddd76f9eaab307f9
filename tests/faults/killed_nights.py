"""Nights that are killed where a test wants it: one process imports everything once and forks a child for each night.

``python -m tests.faults.killed_nights``: for each line of JSON on standard input, a list of nights that begin at once,
each in a session of its own: ``{"home", "values" | "flow_run", "restart_from", "kill"}``. ``flow_run``: a run that a
server has scheduled, as a worker would run it, with one stage that takes ``seconds``. ``kill``: step, state, seconds,
signal; so long after that line of the journal the night is sent KILL, to its whole group, or TERM, to the process
alone, as a worker that cancels does.
Answers with a list of ``{"signal", "outcome", "digest"}``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from typing import Any
from uuid import UUID

from flows import settings

settings.apply()

from prefect import task  # noqa: E402 - Prefect reads its settings when it is imported
from prefect.cache_policies import NO_CACHE  # noqa: E402
from prefect.flow_engine import load_flow_run, run_flow  # noqa: E402

from flows import nightly as nightlies  # noqa: E402
from flows import opening as openings  # noqa: E402
from flows.nightly import nightly, run  # noqa: E402
from flows.opening import Opening  # noqa: E402
from tasks.evaluation import Decision  # noqa: E402
from tasks.journal import Journal  # noqa: E402
from tasks.problem import Problem, build  # noqa: E402
from tasks.storage import home  # noqa: E402


def kill_at(step: str, state: str, seconds: float, name: str = "KILL") -> None:
    """From now on, this line in the journal is followed by the signal."""
    write = Journal.write

    def deadly(self: Journal, *line: Any, **more: Any) -> None:
        write(self, *line, **more)
        if line[:2] == (step, state):
            die(name) if seconds == 0 else threading.Timer(seconds, die, [name]).start()

    Journal.write = deadly  # type: ignore[method-assign]


def die(name: str) -> None:
    """What the kernel's out-of-memory killer or a power cut does, or a worker that cancels a run."""
    if name == "KILL":
        os.killpg(0, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGTERM)


def night(asked: dict[str, Any], told: Path) -> None:
    """In the child: one night, its outcome written to a file."""
    os.setsid()
    os.environ["NOCTURNE_HOME"] = asked["home"]
    if asked.get("kill"):
        kill_at(*asked["kill"])
    if asked.get("flow_run"):
        short_nights(asked.get("seconds", 0.0))
        run_flow(nightly, flow_run=load_flow_run(UUID(asked["flow_run"])))
        return
    values = {"engines": ["baseline", "linear"], **asked["values"]}
    facts = run(build(values, "demo", {}, "test"), asked.get("restart_from", ""))
    told.write_text(json.dumps({"outcome": facts.decision.outcome, "digest": facts.leaderboard.sha256}))


def short_nights(seconds: float) -> None:
    """From now on a night has one stage, in which an engine's process sleeps so long; its opening and end are real."""

    @task(retries=1, retry_delay_seconds=1, cache_policy=NO_CACHE)
    def engine() -> None:
        command = [sys.executable, "-c", f"import time; time.sleep({seconds})"]
        subprocess.run(command, check=True, start_new_session=True)

    def stages(_problem: Problem, opening: Opening) -> Opening:
        with opening.stage("search"):
            engine.submit().result()
        return opening

    def document(opening: Opening) -> dict[str, Any]:
        (report := home() / "report.html").touch()
        decision = {"outcome": "kept", "champion_version": "", "headline": "Kept", "reasons": [], "version": ""}
        told = {"run_id": opening.run, "problem": opening.problem.name, "report": str(report), "leaderboard": []}
        return told | {"decision": decision, "whole": True, "reproducible": True}

    Opening.decision = property(lambda _: Decision(outcome="kept", promote="", reasons=()))  # type: ignore[attr-defined]
    for module, name, instead in (
        (nightlies, "_stages", stages), (nightlies, "tell_night", id), (openings, "document", document)
    ):  # fmt: skip
        setattr(module, name, instead)


def forked(asked: dict[str, Any], told: Path) -> int:
    """A night in a child: its number."""
    told.parent.mkdir(parents=True, exist_ok=True)
    told.unlink(missing_ok=True)
    child = os.fork()
    if child:
        return child
    try:
        night(asked, told)
    except BaseException:  # noqa: BLE001 - the child must never return into the parent's loop
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def at_once(batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Nights side by side; what came of each."""
    told = [Path(asked["home"]) / f"told-{place}.json" for place, asked in enumerate(batch)]
    children = [forked(asked, file) for asked, file in zip(batch, told, strict=True)]
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    return [
        {"signal": -min(code, 0), "failed": code > 0, **(json.loads(file.read_text()) if file.exists() else {})}
        for code, file in zip(codes, told, strict=True)
    ]


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(at_once(json.loads(line))), flush=True)
