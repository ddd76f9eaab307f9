"""One night at a time reads a vendor's history: problems may share a source, and with it its store.

What a night has read is marked by what is stored once it has read (``source_digest``). Were another problem's night to
add bars between the two, the mark would be of bars that the first night never saw, and its next one that day would be
answered as unchanged. Taking turns also asks the vendor once for what both lack.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from tasks import storage
from tasks.bars.describe import SourceDescription
from tasks.errors import StorageError


@contextmanager
def turn(description: SourceDescription) -> Iterator[None]:
    """Wait until no other process of this state folder is in such a block for the source; a killed one is out of it.

    Raises StorageError if the lock cannot be made.
    """
    path = storage.home() / "bars" / description.key() / ".turn"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("a", encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{path}: the lock of the source cannot be made: {error.strerror}") from error
    with stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
