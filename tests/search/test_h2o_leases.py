"""Which searches on a shared cluster have ended: told by what their leases say, never by a number or a name alone."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest

from tasks.holder import Holder, me
from tasks.search.h2o_leases import SECONDS, Lease, forget
from tasks.storage import home
from tests.search.h2o_cloud import ELSEWHERE, GONE, lease_of

URL = "http://127.0.0.1:54321"
NAME = "0123456789abcdef"


@pytest.mark.parametrize(
    ("holder", "unseen", "ended"),
    [
        (GONE, 0.0, True),
        (me(), 0.0, False),
        (ELSEWHERE, 0.0, False),
        (ELSEWHERE, SECONDS / 2, False),
        (ELSEWHERE, SECONDS + 30, True),
    ],
    ids=["killed here", "at work", "at work in a pod", "at work in a slow pod", "its pod was killed"],
)
def test_what_has_ended_is_certain_here_and_unrenewed_elsewhere(holder: Holder, unseen: float, ended: bool) -> None:
    lease_of(NAME, holder, URL, unseen=unseen)
    assert Lease(URL).ended() == ((NAME,) if ended else ())


def test_a_process_that_is_killed_leaves_a_lease_that_has_ended() -> None:
    script = f"import os; from tasks.search.h2o_leases import Lease; Lease({URL!r}); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", script], check=False, timeout=60)
    (left,) = Lease(URL).ended()
    forget(left)
    assert Lease(URL).ended() == ()


def test_another_clusters_leases_are_its_own() -> None:
    lease_of(NAME, GONE, "http://127.0.0.1:1")
    assert Lease(URL).ended() == ()


def test_a_lease_that_was_given_back_is_no_lease() -> None:
    mine = Lease(URL)
    assert [path.stem for path in (home() / "h2o").iterdir()] == [mine.name]
    mine.give_back()
    mine.give_back()
    mine.renew()
    assert not list((home() / "h2o").iterdir())


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"url": 1}', '{"url": "http://127.0.0.1:54321", "holder": {"pid": 1}}']
)
def test_a_damaged_lease_is_left_as_it_is(content: str, caplog: pytest.LogCaptureFixture) -> None:
    path = lease_of(NAME, GONE, URL)
    path.write_text(content)
    with caplog.at_level(logging.WARNING, logger="nocturne.search.h2o"):
        assert Lease(URL).ended() == ()
    assert path.read_text() == content


def test_a_lease_is_renewed() -> None:
    other = Lease(URL)
    path = home() / "h2o" / f"{other.name}.json"
    os.utime(path, (0, 0))
    other.renew()
    assert path.stat().st_mtime > 0
