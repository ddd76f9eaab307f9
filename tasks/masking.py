"""Secrets are taken out of what is written to logs, events and pages: by their values, not by how they are written.

Known are the values of environment variables whose names say that they are secret, passwords inside addresses, and
the files below ``services/secrets``. Whatever looks like a password in an address is masked even if nobody knows it.

Prefect keeps the words of an error in the states of runs, in its logs and in what notifications say. So every flow and
task stands below ``at_the_edge``: no error leaves it with a secret, and no record reaches a handler with one.
"""

from __future__ import annotations

import inspect
import logging
import os
import re
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache, wraps
from pathlib import Path
from typing import ParamSpec, TypeVar
from urllib.parse import quote, unquote

from tasks.errors import NocturneError
from tasks.storage import home

MASK = "***"
SHORTEST = 6
"""A shorter value is part of too many words to be taken out wherever it stands."""

SECONDS = 10
ROOTS = ("nocturne", "prefect")
P = ParamSpec("P")
R = TypeVar("R")
_NAME = re.compile(
    r"PASSWORD|PASSWD|SECRET|TOKEN|CREDENTIAL|AUTH_STRING|API_KEY|ACCESS_KEY|PRIVATE_KEY|CONNECTION_URL"
    r"|^NOCTURNE_NOTIFY_(WEBHOOK|SLACK|SMTP)$",
    re.IGNORECASE,
)
_PASSWORD = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s/:@'\"]*:)([^\s/@'\"]+)@", re.IGNORECASE)

_FORMAT = logging.Formatter()


class Masking(logging.Filter):
    """Takes secrets out of a record before a handler sees it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask the record's message and traceback; it always passes."""
        text = record.getMessage()
        clean = masked(text)
        if clean != text:
            record.msg, record.args = clean, ()
        told = error_text(record)
        if masked(told) != told:
            record.exc_text, record.exc_info = masked(told), None
        return True


_MASKING = Masking()


def error_text(record: logging.LogRecord) -> str:
    """The record's traceback; empty where it has none."""
    return record.exc_text or (_FORMAT.formatException(record.exc_info) if record.exc_info else "")


def mask_logs() -> None:
    """Let every handler that our loggers and Prefect's have by now see masked records alone, until the process ends.

    Prefect tells how a run failed after its function has ended: a mask that ended with the run would miss that.
    """
    for name, logger in tuple(logging.root.manager.loggerDict.items()):
        if name.partition(".")[0] in ROOTS and isinstance(logger, logging.Logger):
            for handler in tuple(logger.handlers):
                handler.addFilter(_MASKING)


def at_the_edge(function: Callable[P, R]) -> Callable[P, R]:
    """The function, below a flow's or task's decorator: errors leave it without secrets, and logs are masked."""

    @wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        mask_logs()
        try:
            return function(*args, **kwargs)
        except Exception as error:
            left = without_secrets(error)
            if left is error:
                raise
        raise left  # outside of the block: inside, it would take the first one along as its context

    with suppress(NameError):  # Prefect would look for the names of annotations here, not where the function stands
        guarded.__signature__ = inspect.signature(function, eval_str=True)  # type: ignore[attr-defined]
    return guarded


def without_secrets(error: Exception) -> Exception:
    """The error itself, its words and those of its causes masked; one that keeps them elsewhere is replaced.

    A cause that does so is left off, and told in a note. The type says whether another try can help, so it is kept
    where that can be.
    """
    told = tuple(_with_causes(error))
    for each in told:
        with suppress(AttributeError, TypeError):  # whose arguments cannot be set is judged by its words, below
            each.args = tuple(masked(part) if isinstance(part, str) else part for part in each.args)
        notes = getattr(each, "__notes__", [])
        notes[:] = [masked(str(note)) for note in notes]
    if not any(_tells_secrets(each) for each in told):
        return error
    whole = masked("".join(traceback.format_exception(error)))
    if _tells_secrets(error) or isinstance(error, ExceptionGroup):
        error = NocturneError(masked(f"{type(error).__name__}: {error}"))
    error.__cause__ = error.__context__ = None
    error.add_note(f"Its traceback, masked:\n{whole}")
    return error


def _tells_secrets(error: BaseException) -> bool:
    words = f"{error!r}{''.join(traceback.format_exception_only(error))}"
    return masked(words) != words


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    """An error, and all that its traceback would show besides."""
    waiting, seen = [error], set()
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [other for other in (each.__cause__, each.__context__) if other is not None]
        waiting += each.exceptions if isinstance(each, BaseExceptionGroup) else ()


def masked(text: str) -> str:
    """The text without any secret that this process knows of."""
    return mask(text, _current(str(home()), int(time.monotonic() / SECONDS)))


def mask(text: str, secrets: tuple[str, ...]) -> str:
    """The text with these values, and the passwords of addresses, replaced by ``***``."""
    for secret in secrets:
        if secret in text:
            text = text.replace(secret, MASK)
    return _PASSWORD.sub(rf"\1{MASK}@", text) if "@" in text else text


def known_secrets(environment: Mapping[str, str], folder: Path) -> tuple[str, ...]:
    """Values to be masked, the longest first, as they are and as an address would carry them.

    folder: one secret a file; what cannot be read is left out (it cannot have been used by this process either).
    """
    values = {value for value in (*_of_variables(environment), *_of_files(folder)) if len(value) >= SHORTEST}
    forms = values | {quote(value, safe="") for value in values}
    return tuple(sorted(forms, key=lambda value: (-len(value), value)))


def _of_variables(environment: Mapping[str, str]) -> Iterator[str]:
    for name, value in environment.items():
        found = _PASSWORD.search(value)
        if found:
            yield from (found[2], unquote(found[2]))
        if _NAME.search(name) and not name.endswith("_ON"):
            yield value
            if "AUTH_STRING" in name.upper():
                yield value.partition(":")[2]


def _of_files(folder: Path) -> Iterator[str]:
    try:
        files = [path for path in folder.iterdir() if path.is_file()]
    except OSError:
        return
    for path in files:
        try:
            text = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            continue
        yield from (text, *text.split(), *(part for line in text.split() for part in line.split(":")[1:]))


@lru_cache(maxsize=2)
def _current(state: str, _period: int) -> tuple[str, ...]:
    return known_secrets(os.environ, Path(state) / "services" / "secrets")
