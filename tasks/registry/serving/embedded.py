"""Scores a model that looks at ordinary columns and at a frozen encoder's embedding of the last bars beside them.

```
model.json        kind ``embedded``; what ``sequence`` says of windows, and ``decimals``
encoder.onnx      windows to embeddings (n, e)
inner/            the folder of a model of rows (MOJO, linear) whose columns are ordinary ones and ``embedding_0`` …
```

Embeddings are rounded to ``decimals`` before the inner model sees them, as they were when it was fitted: a tree that
splits on one gives another answer a hair above its threshold than a hair below, and float32 leaves the last bits open.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...errors import IntegrityError
from .candles import places
from .scorers import BaseScorer, Floats, load_scorer
from .sequence import SequenceScorer

DECIMALS = 4
ENCODER, INNER, PREFIX = "encoder.onnx", "inner", "embedding_"


def embedding_names(count: int) -> tuple[str, ...]:
    """The names of so many embedding columns."""
    return tuple(f"{PREFIX}{place}" for place in range(count))


class Encoder(SequenceScorer):
    """An encoder's graph: rows of one symbol to embeddings."""

    def embed(self, X: Floats, decimals: int) -> Floats:
        """Rows of one symbol in time order (n, columns) to rounded embeddings, float64 (n, e); NaN as ``sequence``."""
        return np.asarray(np.round(self._score(X), decimals), dtype=np.float64)

    def of_windows(self, windows: Any) -> Floats:
        """Windows float32 (m, length, channels and masks) to embeddings, float64 (m, e)."""
        return self._run(windows)

    def _run(self, windows: Any) -> Floats:
        fed = places(windows) if self._image else np.ascontiguousarray(windows)
        output = self._session.run(None, {self._input: fed})[0]
        return np.asarray(output, dtype=np.float64).reshape(len(windows), -1)


class EmbeddedScorer(BaseScorer):
    """The inner model's predictions for a row's ordinary columns and its window's embedding."""

    def __init__(self, folder: Path, document: dict[str, Any]) -> None:
        super().__init__(document)
        seen = [name for name in document["channels"] if name in self.columns]
        self._encoder = Encoder(folder, {**document, "columns": seen, "output": "value"})
        self._places = [self.columns.index(name) for name in seen]
        self._decimals = int(document["decimals"])
        self._inner = load_scorer(folder / INNER)
        if self._inner.history or self._inner.output != self.output:
            raise IntegrityError(
                f"{folder}: the inner model gives a {self._inner.output} from {self._inner.history} earlier rows, "
                f"the outer one a {self.output} from none"
            )
        ordinary = [name for name in self._inner.columns if not name.startswith(PREFIX)]
        if strange := [name for name in ordinary if name not in self.columns]:
            raise IntegrityError(f"{folder}: the inner model wants '{strange[0]}', which the outer one does not take")
        self._ordinary = [self.columns.index(name) for name in ordinary]
        self._embedded = len(self._inner.columns) - len(ordinary)
        if self._inner.columns[len(ordinary) :] != embedding_names(self._embedded):
            raise IntegrityError(f"{folder}: the inner model's embedding columns must come last, numbered from 0")

    def _score(self, X: Floats) -> Floats:
        embedding = self._encoder.embed(X[:, self._places], self._decimals)
        if embedding.shape[1] != self._embedded:
            raise IntegrityError(
                f"the encoder gives {embedding.shape[1]} numbers, the inner model wants {self._embedded}"
            )
        return self._inner.predict(np.column_stack([X[:, self._ordinary], embedding]))
