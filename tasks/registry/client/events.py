"""What a service is told: events as they happen, and its state at any time."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

Kind = Literal[
    "loaded",
    "reloaded",
    "registry away",
    "registry back",
    "refused",
    "fallback",
    "withdrawn",
    "recovered",
    "challenger failed",
    "log incomplete",
]
_QUIET = ("loaded", "reloaded", "recovered", "registry back")
log = logging.getLogger("nocturne.client")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something happened to the model ``name``: in words, with the version concerned, at ISO UTC."""

    kind: Kind
    name: str
    message: str
    version: str = ""
    at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What serves now.

    ``version`` and ``role`` make the predictions that callers are shown (``role``: the alias that the version holds, or
    ``pinned``). ``champion``, ``challenger`` and ``fallback`` are the versions that are loaded, empty where none is.
    ``degraded`` says in words why it is not the champion that serves, or why it may be an old one; empty when all is
    well. ``version`` and ``role`` are empty where the alias was taken away and there is no fallback: then nothing
    answers. ``signed``: whether its signature was checked. ``checked_at``: when the registry last answered, ISO UTC.
    """

    name: str
    version: str
    role: str
    champion: str
    challenger: str
    fallback: str
    share: float
    epoch: int
    signed: bool
    degraded: str
    checked_at: str


class Reporter:
    """Tells the log and the caller's ``on_event``; what the caller's function raises is logged and goes no further."""

    def __init__(self, name: str, on_event: Callable[[Event], None] | None) -> None:
        self._name, self._on_event = name, on_event
        self._said: dict[str, str] = {}

    def say(self, kind: Kind, message: str, version: str = "") -> None:
        """Report an event. Where the same was said of the same thing last, it is not said again."""
        if (
            kind in ("registry away", "refused", "challenger failed", "withdrawn")
            and self._said.get(kind + version) == message
        ):
            return
        self._said[kind + version] = message
        log.log(logging.INFO if kind in _QUIET else logging.WARNING, "%s: %s", self._name, message)
        if self._on_event is None:
            return
        try:
            self._on_event(Event(kind=kind, name=self._name, message=message, version=version))
        except Exception:  # the caller's own code, in our thread: a prediction must not fail by it
            log.exception("%s: on_event failed", self._name)

    def incomplete(self, message: str) -> None:
        """Report that predictions are missing in the log."""
        self.say("log incomplete", message)

    def forget(self, kind: Kind) -> bool:
        """Forget that something was said, since it is over; whether it had been."""
        said = [key for key in self._said if key.startswith(kind)]
        for key in said:
            del self._said[key]
        return bool(said)
