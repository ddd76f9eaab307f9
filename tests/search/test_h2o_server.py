"""A server that is up but slow: the client is given the time that a busy machine takes."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.search import h2o_server

h2o = pytest.importorskip("h2o", reason="the engines extra is not installed")


class Slow:
    """Too slow for the client so many times."""

    def __init__(self, times: int) -> None:
        self.times, self.asked = times, 0

    def __call__(self, **_: Any) -> None:
        self.asked += 1
        if self.asked <= self.times:
            raise h2o.exceptions.H2OConnectionError("Could not establish link to the H2O cloud after 5 retries")


def test_a_server_that_is_slow_to_answer_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(2)
    monkeypatch.setattr(h2o, "connect", slow)
    h2o_server.connect("http://127.0.0.1:1", "me", "it")
    assert slow.asked == 3


def test_one_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(h2o, "connect", Slow(2))
    monkeypatch.setattr(h2o_server, "START_SECONDS", -1.0)
    with pytest.raises(h2o.exceptions.H2OConnectionError, match="Could not establish link"):
        h2o_server.connect("http://127.0.0.1:1", "me", "it")
