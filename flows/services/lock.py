"""One 'up' or 'down' of a state folder at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from flows.services import state
from tasks.errors import ConfigurationError


@contextlib.contextmanager
def held(what: str) -> Iterator[None]:
    """Hold the folder's lock meanwhile; it ends with the process, however that ends.

    Raises ConfigurationError, naming who holds it, if another does.
    """
    path = state.folder() / "lock"
    with path.open("a+", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            raise ConfigurationError(
                f"{stream.read().strip() or 'another command'} is at work on {state.folder()}; wait for it, or end it"
            ) from None
        stream.truncate(0)
        stream.write(f"'nocturne {what}' (process {os.getpid()})")
        stream.flush()
        yield
