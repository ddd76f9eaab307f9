"""Whose keys lie on a shared H2O cluster, and which of them nobody works on any more.

```
h2o/<search>.json      in the state folder: which process works under that name, on which cluster
```

A search draws a name, and all that it makes on the cluster carries it. It leaves a lease of that name here before it
makes anything, renews the file's time while it lives, and takes the lease away once its keys are gone. So what carries
a name that has no lease here is somebody else's: another state folder's, or a person's.

A lease has ended where its process has certainly ended (``tasks.holder``, which tells for this kernel and this space
of process numbers alone), or where nobody renewed it for two minutes: on another machine, or in a pod that is no more.
Both times come from the file system that holds the leases, so that no machine's clock matters.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from pathlib import Path

from tasks.documents import from_json, to_json
from tasks.errors import NocturneError
from tasks.holder import Holder, is_gone, me
from tasks.storage import home, read_json, write_json

SECONDS = 120.0
log = logging.getLogger("nocturne.search.h2o")


class Lease:
    """A search's lease on a name of its own. Raises StorageError if it cannot be written."""

    def __init__(self, url: str) -> None:
        self.name = secrets.token_hex(8)
        self._url = url
        self._path = _folder() / f"{self.name}.json"
        write_json(self._path, {"url": url, "holder": to_json(me())})

    def renew(self) -> None:
        """Say that the search is under way. Where the file cannot be touched, others may come to think it is not."""
        with contextlib.suppress(OSError):
            os.utime(self._path)

    def give_back(self) -> None:
        """Nothing of that name is left on the cluster."""
        self._path.unlink(missing_ok=True)

    def ended(self) -> tuple[str, ...]:
        """Names of the searches on the same cluster that ended without giving their lease back."""
        self.renew()
        return tuple(path.stem for path in sorted(_folder().glob("*.json")) if self._has_ended(path))

    def _has_ended(self, path: Path) -> bool:
        try:
            told = read_json(path)
            if path == self._path or told["url"] != self._url:
                return False
            unseen = self._path.stat().st_mtime - path.stat().st_mtime
            return is_gone(from_json(Holder, told["holder"])) or unseen > SECONDS
        except (NocturneError, OSError, KeyError, TypeError) as error:
            log.warning("%s is left as it is: %s", path, error)  # given back meanwhile, or damaged
            return False


def forget(name: str) -> None:
    """What an ended search left behind was removed."""
    (_folder() / f"{name}.json").unlink(missing_ok=True)


def _folder() -> Path:
    return home() / "h2o"
