"""Where training rows lie, for contributions that are sampled: from the bundle's statistics, or the model's own scaler.

A model that carries neither cannot be explained by sampling, and says so.
"""

from __future__ import annotations

from pathlib import Path
from statistics import NormalDist

import numpy as np

from ...errors import ModelInputError
from .bundle import MODEL
from .model_folder import read_document
from .scorers import Floats, Scorer
from .shapley import hypercube
from .statistics import LEVELS, read_statistics


class Background:
    """Draws of training-like rows for the columns of one scorer; nothing is read before the first draw."""

    def __init__(self, bundle: Path, scorer: Scorer) -> None:
        self._bundle, self._scorer = bundle, scorer
        self._quantiles: Floats | None = None

    def draw(self, rounds: int, rows: int, seed: int) -> Floats:
        """Flattened windows of ``rows`` rows each, float64 (rounds, rows * columns), every cell on its own.

        Raises ModelInputError for a model without training statistics and without a scaler.
        """
        if self._quantiles is None:
            self._quantiles = self._read()
        cells = np.tile(self._quantiles, (rows, 1))
        return hypercube(cells, np.asarray(LEVELS, dtype=np.float64), rounds, seed)

    def _read(self) -> Floats:
        """Quantiles of each of the scorer's columns at ``LEVELS``, (columns, levels)."""
        found = read_statistics(self._bundle)
        if found is not None:
            known = {column.name: column.quantiles for column in found.columns}
            if set(self._scorer.columns) <= set(known):
                return np.array([known[name] for name in self._scorer.columns]).reshape(-1, len(LEVELS))
        document = read_document(self._bundle / MODEL)
        if "center" not in document:
            raise ModelInputError(
                "this model was logged without the statistics of its training rows, which its contributions are "
                "measured against: register it again"
            )
        z = np.array([NormalDist().inv_cdf(min(max(level, 0.01), 0.99)) for level in LEVELS])
        center, scale = (np.asarray(document[name], dtype=np.float64) for name in ("center", "scale"))
        return np.asarray(center[:, None] + scale[:, None] * z, dtype=np.float64)
