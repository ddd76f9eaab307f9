"""Frozen embeddings: computed once for a backbone and a panel's bars, kept by digest, verified when read.

Few rows of many are embedded when they are asked for, and held in memory alone. Once half of all rows was asked for,
as in the first fits of a usual night, all are embedded and kept:

```
stages/embeddings/<key>/embeddings.npy     key: the encoder's digest, the channels' values, the code that embeds
```

A row's embedding depends on its window alone and on no label, so that one table of all rows serves every fit, every
fold and every canary of a night. It is a stage's output like others: a damaged one is set aside and computed again, an
old one is removed with the rest.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.errors import StorageError
from tasks.search.transfer.channels import Bars, Rows, usable
from tasks.storage import StageStore

STAGE = "embeddings"
FILE = "embeddings.npy"
MANY = 0.5
"""Of the rows that end a whole window: from here on the rest is embedded too."""

CODE = (
    "tasks/registry/serving",
    "tasks/search/fold_scaling.py",
    "tasks/search/keras_export.py",
    "tasks/search/transfer/allocation.py",
    "tasks/search/transfer/bodies.py",
    "tasks/search/transfer/channels.py",
    "tasks/search/transfer/embeddings.py",
    "tasks/search/transfer/export.py",
    "tasks/search/transfer/images.py",
    "tasks/search/transfer/networks.py",
)
"""What embeds, in keras and as the exported graph, with all that it imports: another version embeds anew."""

Table = npt.NDArray[np.float32]
Embed = Callable[[Rows], Table]
log = logging.getLogger("nocturne.search.transfer")


class Embeddings:
    """The embeddings of a panel's rows, by encoder. ``length`` bars a window; one instance a process.

    Only the last encoder's embeddings are held in memory: others are read again.
    """

    def __init__(self, bars: Bars, length: int, store: StageStore | None = None) -> None:
        self.bars, self.length = bars, length
        self._rows, self._ends = digest_of(bars), np.flatnonzero(usable(bars, length)).astype(np.int64)
        self._store = store or StageStore()
        self._held: tuple[str, Table | None] = ("", None)

    def of(self, encoder: str, embed: Embed, rows: Rows) -> Table:
        """Embedding and level of rows (m,) that end whole windows, float32 (m, e + 1).

        encoder: the digest of what embeds. embed: does it for the rows (m,) that it is given, float32 (m, e + 1).
        """
        table = self._opened(encoder)
        known = np.zeros(len(self.bars.values), dtype=np.bool_) if table is None else np.isfinite(table[:, -1])
        missing = np.unique(rows[~known[rows]])
        if known.sum() + len(missing) >= MANY * len(self._ends):
            return self.every(encoder, embed)[rows]
        if table is None or len(missing):
            found = embed(missing)
            table = self._empty(found) if table is None else table
            table[missing] = found
            self._held = (encoder, table)
        return table[rows]

    def every(self, encoder: str, embed: Embed) -> Table:
        """Embedding and level of every row, float32 (n, e + 1), NaN where no whole window ends."""
        table = self._opened(encoder)
        if table is None or not np.isfinite(table[self._ends, -1]).all():
            table = self._made(embed)
            self._held = (encoder, table)
            self._keep(encoder, table)
        return table

    def _opened(self, encoder: str) -> Table | None:
        """What is held of an encoder, or was kept by an earlier process."""
        if self._held[0] != encoder:
            folder = self._store.get(STAGE, self._key(encoder))
            table = None if folder is None else np.asarray(np.load(folder / FILE, allow_pickle=False))
            self._held = (encoder, table)
        return self._held[1]

    def _key(self, encoder: str) -> str:
        return self._store.key(STAGE, {"encoder": encoder, "rows": self._rows, "length": self.length}, CODE)

    def _keep(self, encoder: str, table: Table) -> None:
        try:
            with self._store.put(STAGE, self._key(encoder)) as staging:
                np.save(staging / FILE, table, allow_pickle=False)
        except StorageError as error:  # what cannot be kept costs the next process its time, and nothing else
            log.warning("embeddings are not kept: %s", error)

    def _made(self, embed: Embed) -> Table:
        found = embed(self._ends)
        table = self._empty(found)
        table[self._ends] = found
        return table

    def _empty(self, found: Table) -> Table:
        return np.full((len(self.bars.values), found.shape[1]), np.nan, dtype=np.float32)


def digest_of(bars: Bars) -> str:
    """SHA-256 of the channels' values and of where symbols begin."""
    found = hashlib.sha256()
    for array in (bars.values, bars.starts):
        whole: Any = np.ascontiguousarray(array)
        found.update(f"{whole.shape}{whole.dtype.str}".encode())
        found.update(whole.data)
    return found.hexdigest()
