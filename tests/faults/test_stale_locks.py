"""A lock file that is empty, full of nonsense, or left by a process that died keeps nobody out; one that lives does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from flows.services import lock, state
from tasks import storage
from tasks.errors import NocturneError
from tasks.rollout.store import lease

HOLD = """
import sys
from flows.services.lock import held
from tasks.rollout.store import lease
with held("up"), lease("spx"):
    print("held", flush=True)
    sys.stdin.read()
"""
LEFT = {"empty": b"", "nonsense": b"\0\xff{", "a dead process": b"'nocturne up' (process 999999)"}
Taken = tuple[Path, Callable[[], AbstractContextManager[None]]]


@pytest.fixture(params=["up and down", "rollout"])
def place(request: pytest.FixtureRequest) -> Taken:
    """A lock's file, and how the lock is taken."""
    state.folder().mkdir(parents=True, exist_ok=True)
    if request.param == "rollout":
        return storage.home() / "live" / "spx" / "rollout.lock", lambda: lease("spx")
    return state.folder() / "lock", lambda: lock.held("up")


@pytest.mark.parametrize("kind", LEFT)
def test_what_somebody_left_keeps_nobody_out(place: Taken, kind: str) -> None:
    path, take = place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(LEFT[kind])
    with take():
        pass
    with take():
        pass


def test_who_lives_keeps_others_out_and_who_was_killed_does_not(
    place: Taken, record_property: Callable[[str, object], None]
) -> None:
    _, take = place
    with subprocess.Popen([sys.executable, "-c", HOLD], cwd=storage.PROJECT, stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(NocturneError), take():
            pass
        os.kill(other.pid, signal.SIGKILL)
        other.wait(30)
        with take():
            pass
    record_property("happened", "empty, nonsense or a dead process's: taken at once; a living one's: refused")
