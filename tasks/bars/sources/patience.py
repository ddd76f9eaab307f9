"""Asking a vendor: paced, with a timeout on each call, bounded retries with jitter, and a deadline over all of it.

Retried is only what a retry can help: a timeout, a broken connection, 408, 425, 429, a server's error, a body that is
cut off or not what was asked for. The wait doubles from one try to the next and is drawn at random between its half and
its whole, so that many clients do not come back together; a vendor's Retry-After is waited for, if it fits.
"""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from tasks.errors import SourceUnavailableError

T = TypeVar("T")
log = logging.getLogger("nocturne.bars")

TRY_AGAIN = frozenset({408, 418, 425, 429, *range(500, 600)})
"""HTTP statuses that may pass: 418 is how some exchanges say 429 for the second time."""


class AskAgainError(Exception):
    """A call failed in a way that may pass. ``after``: seconds that the vendor asks to wait, 0 if it did not say."""

    def __init__(self, reason: str, after: float = 0.0) -> None:
        super().__init__(reason)
        self.after = after


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a vendor is waited for, all in seconds: ``call`` bounds one call, ``total`` a whole fetch."""

    tries: int = 4
    first_wait: float = 1.0
    longest_wait: float = 60.0
    interval: float = 0.0
    call: float = 20.0
    total: float = 900.0


@dataclass(slots=True)
class Clock:
    """Time and chance, in one place for tests."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    draw: Callable[[], float] = field(default_factory=lambda: random.Random().random)  # noqa: S311 - jitter


class Asker:
    """One fetch's calls to one vendor. Its deadline runs from its making."""

    def __init__(self, vendor: str, patience: Patience, clock: Clock | None = None) -> None:
        self.vendor, self.patience, self.clock = vendor, patience, clock or Clock()
        self._ends = self.clock.now() + patience.total
        self._last = float("-inf")

    def left(self) -> float:
        """Seconds until the deadline of the whole fetch; not below zero."""
        return max(self._ends - self.clock.now(), 0.0)

    def timeout(self) -> float:
        """Seconds that the next call may take."""
        return min(self.patience.call, max(self.left(), 0.001))

    def ask(self, call: Callable[[float], T], what: str) -> T:
        """``call(timeout)``, tried again where it raises AskAgainError.

        Raises SourceUnavailableError, naming vendor, ``what``, the last reason and how often it was tried.
        """
        for tried in range(1, self.patience.tries + 1):
            self._pace(what)
            try:
                return call(self.timeout())
            except AskAgainError as error:
                self._wait(tried, error, what)
        raise AssertionError("the last try raises")

    def _pace(self, what: str) -> None:
        due = self._last + self.patience.interval - self.clock.now()
        if due > 0:
            self.clock.sleep(due)
        if not self.left():
            raise SourceUnavailableError(
                f"{self.vendor}: {what}: not done within {self.patience.total:g} s; ask for less, or run it again later"
            )
        self._last = self.clock.now()

    def _wait(self, tried: int, error: AskAgainError, what: str) -> None:
        doubled = min(self.patience.first_wait * 2.0 ** (tried - 1), self.patience.longest_wait)
        wait = max(error.after, doubled * (0.5 + self.clock.draw() / 2))
        times = "once" if tried == 1 else f"{tried} times"
        if error.after > self.patience.longest_wait or wait >= self.left():
            later = f"; it asks to come back after {error.after:g} s" if error.after else ""
            raise SourceUnavailableError(f"{self.vendor}: {what}: {error} (asked {times}{later})") from error
        if tried == self.patience.tries:
            raise SourceUnavailableError(f"{self.vendor}: {what}: {error} (asked {times})") from error
        log.info("%s: %s: %s; asked again in %.1f s", self.vendor, what, error, wait)
        self.clock.sleep(wait)


def retry_after(header: str, now: datetime | None = None) -> float:
    """Seconds that a Retry-After header asks to wait, given as seconds or as a date; 0 if it says nothing readable."""
    text = header.strip()
    if text.isascii() and text.replace(".", "", 1).isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max((moment - (now or datetime.now(UTC))).total_seconds(), 0.0)


def judge(status: int, header: str, body: str) -> None:
    """Raise AskAgainError for an answer that a retry can help: a status that may pass, or a body that is not JSON.

    ``header``: the answer's Retry-After. An answer with a status of 400 or more that cannot pass is left to the caller.
    """
    if status in TRY_AGAIN:
        words = "too many requests (429)" if status == 429 else f"HTTP status {status}"
        raise AskAgainError(words, retry_after(header))
    if status < 400:
        try:
            json.loads(body)
        except ValueError as error:
            raise AskAgainError(f"the answer is {described(body)}") from error


def described(body: str) -> str:
    """What a body that is not whole JSON is, in a few words."""
    text = body.lstrip()[:15].lower()
    if not text:
        return "empty"
    if text.startswith(("{", "[")):
        return "JSON that is cut off"
    return f"{'a page of HTML' if text.startswith(('<!doctype html', '<html', '<head')) else 'text'} instead of JSON"
