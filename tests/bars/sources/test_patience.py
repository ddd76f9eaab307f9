"""Waiting for a vendor: how long, how often, and when not at all."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.bars.sources.patience import AskAgainError, Asker, Patience, judge, retry_after
from tasks.errors import SourceUnavailableError
from tests.bars.sources.vendor import HTML, Waits

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)


def _failing(times: int, after: float = 0.0) -> tuple[list[float], Callable[[float], str]]:
    timeouts: list[float] = []

    def call(timeout: float) -> str:
        timeouts.append(timeout)
        if len(timeouts) <= times:
            raise AskAgainError("busy", after)
        return "bars"

    return timeouts, call


@given(draw=st.floats(0, 1, exclude_max=True), tries=st.integers(2, 6))
def test_waits_double_between_their_half_and_their_whole(draw: float, tries: int) -> None:
    waits = Waits()
    _, call = _failing(tries - 1)
    patience = Patience(tries=tries, first_wait=1.0, longest_wait=8.0, total=1e6)
    assert Asker("vendor", patience, waits.clock(draw)).ask(call, "SPY") == "bars"
    for at, slept in enumerate(waits.slept):
        whole = min(2.0**at, 8.0)
        assert whole / 2 <= slept <= whole


def test_the_deadline_is_for_the_whole_fetch_and_cuts_the_last_timeout() -> None:
    waits = Waits()
    asker = Asker("vendor", Patience(call=20.0, total=30.0), waits.clock())
    timeouts, call = _failing(0)
    asker.ask(call, "A")
    waits.at = 25.0
    asker.ask(call, "B")
    assert timeouts == [20.0, 5.0]
    waits.at = 30.0
    with pytest.raises(SourceUnavailableError, match="vendor: C: not done within 30 s"):
        asker.ask(call, "C")
    assert len(timeouts) == 2


def test_a_wait_that_does_not_fit_is_not_begun() -> None:
    waits = Waits()
    _, call = _failing(9, after=29.0)
    with pytest.raises(SourceUnavailableError, match=r"busy \(asked once; it asks to come back after 29 s\)"):
        Asker("vendor", Patience(total=20.0), waits.clock()).ask(call, "SPY")
    assert waits.slept == []


def test_other_errors_are_not_asked_again() -> None:
    calls = []

    def call(_: float) -> None:
        calls.append(1)
        raise ValueError("a fault of ours")

    with pytest.raises(ValueError, match="ours"):
        Asker("vendor", Patience(), Waits().clock()).ask(call, "SPY")
    assert calls == [1]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        ("1.5", 1.5),
        ("Wed, 01 May 2024 12:00:30 GMT", 30.0),
        ("Wed, 01 May 2024 11:00:00 GMT", 0.0),
        ("", 0.0),
        ("soon", 0.0),
        ("-5", 0.0),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(header: str, seconds: float) -> None:
    assert retry_after(header, NOW) == seconds


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (429, "[]", "too many requests"),
        (418, "[]", "418"),
        (500, "[]", "500"),
        (503, HTML, "503"),
        (200, HTML, "a page of HTML instead of JSON"),
        (200, "", "the answer is empty"),
        (200, '{"chart": [', "JSON that is cut off"),
        (200, "Too Many Requests", "text instead of JSON"),
    ],
)
def test_what_may_pass_is_named(status: int, body: str, words: str) -> None:
    with pytest.raises(AskAgainError, match=words):
        judge(status, "", body)


@pytest.mark.parametrize(("status", "body"), [(200, "[1]"), (200, ' {"a": 1}'), (404, HTML), (401, "no"), (400, "{}")])
def test_what_will_not_pass_is_left_to_the_caller(status: int, body: str) -> None:
    judge(status, "", body)
