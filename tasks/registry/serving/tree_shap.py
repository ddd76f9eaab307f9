"""TreeSHAP by the genmodel jar that comes with a MOJO: its own contributions, in float32, without a background sample.

They add up to the prediction before its link: the value, or log-odds. Boosted trees only. A forest's inner nodes count
all rows and its leaves those in the bag, so that the jar's base for it is 0.632 times the mean prediction, and columns
that do nothing carry the rest (measured: a base of -0.97 where labels average -1.54). Forests are sampled instead.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from .scorers import Floats

BIAS = "BiasTerm"
BOOSTED = ("gbm", "xgboost")


class TreeShap:
    """The contributions of one MOJO's trees. Instances may be used from several threads."""

    def __init__(self, model: Any, columns: tuple[str, ...], order: list[int], output: str) -> None:
        """Raises TypeError for a model that is not made of boosted trees, or whose trees the jar cannot take apart."""
        import jpype  # noqa: PLC0415

        if str(model._algoName) not in BOOSTED:
            raise TypeError(f"{model._algoName} is not made of boosted trees")
        try:
            self._trees = model.makeContributionsPredictor()
        except jpype.JException as error:
            raise TypeError(f"no TreeSHAP: {error}") from error
        names = [str(name) for name in self._trees.getContributionNames()]
        self._bias = names.index(BIAS)
        self._places = [(i, columns.index(name)) for i, name in enumerate(names) if name != BIAS]
        self._order, self._columns = order, len(columns)
        self.link = "log-odds" if output == "probability" else "identity"
        self._lock = threading.Lock()

    def __call__(self, row: Floats) -> tuple[Floats, float]:
        """A row (columns,) to its contributions (columns,) and the base; 0.0 for columns that the model left out."""
        import jpype  # noqa: PLC0415

        with self._lock:
            found = self._trees.calculateContributions(jpype.JArray(jpype.JDouble)(row[self._order].tolist()))
        said = np.array(found, dtype=np.float64)
        shares = np.zeros(self._columns)
        for at, column in self._places:
            shares[column] = said[at]
        return shares, float(said[self._bias])
