"""Scores windows of consecutive rows with an ONNX graph: what a transfer's network serves as.

The document (``kind`` is ``sequence``) holds, besides what every model has: ``length``, bars a window; ``channels``,
the columns of one step in the graph's order, of which those that ``columns`` lacks are unknown; ``masked``, the
channels beside which a mask stands (1 known, 0 not; an unknown one is 0); ``image``, whether the graph takes the
places of a picture's marks (``candles``) instead of the steps; ``target_center`` and ``target_scale``.

A row's window are the ``length`` rows that end with it: ``history`` is one less. Where there are fewer, the first row
is repeated. Rows are scored in batches; a row's prediction does not depend on what it is scored with but for the last
bits of float32 (at most 1e-6 of the network's own scale).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import IntegrityError
from .candles import places
from .onnx import open_session
from .scorers import BaseScorer, Floats

BATCH = 4096


class SequenceScorer(BaseScorer):
    """target_center + target_scale · output for values; the output itself for probabilities."""

    def __init__(self, folder: Path, document: dict[str, Any]) -> None:
        super().__init__(document)
        self._length, self._image = int(document["length"]), bool(document["image"])
        self._channels, self._masked = tuple(document["channels"]), tuple(document["masked"])
        if self.history != self._length - 1:
            raise IntegrityError(f"{folder}: history is {self.history}, a window of {self._length} needs one row less")
        if lacking := [name for name in self._channels if name not in self.columns and name not in self._masked]:
            raise IntegrityError(f"{folder}: channel '{lacking[0]}' is neither a column nor masked")
        if strange := [name for name in self.columns if name not in self._channels]:
            raise IntegrityError(f"{folder}: column '{strange[0]}' is no channel of the network")
        self._center = float(document.get("target_center", 0.0))
        self._scale = float(document.get("target_scale", 1.0))
        self._session = open_session(folder / document["files"]["onnx"])
        self._input = _input_of(self._session, (self._length, len(self._channels) + len(self._masked)), folder)

    def _score(self, X: Floats) -> Floats:
        steps = self._steps(X)
        padded = np.concatenate([np.repeat(steps[:1], self.history, axis=0), steps])
        windows = np.lib.stride_tricks.sliding_window_view(padded, self._length, axis=0).transpose(0, 2, 1)
        raw = np.concatenate([self._run(windows[first : first + BATCH]) for first in range(0, len(X), BATCH)])
        # A graph may swallow what is not finite (a rectifier does): ``predict`` is to refuse it.
        raw[_tainted(padded, self._length)] = np.nan
        return raw if self.output == "probability" else self._center + self._scale * raw

    def _steps(self, X: Floats) -> npt.NDArray[np.float32]:
        """Rows as steps, float32 (n, channels and masks)."""
        steps = np.zeros((len(X), len(self._channels) + len(self._masked)), dtype=np.float32)
        for place, name in enumerate(self._channels):
            if name in self.columns:
                with np.errstate(over="ignore"):  # past float32's range is not finite, and is refused
                    steps[:, place] = X[:, self.columns.index(name)]
        for place, name in enumerate(self._masked, start=len(self._channels)):
            steps[:, place] = float(name in self.columns)
        return steps

    def _run(self, windows: npt.NDArray[np.float32]) -> Floats:
        fed = places(windows) if self._image else np.ascontiguousarray(windows)
        output = self._session.run(None, {self._input: fed})[0]
        return np.asarray(output, dtype=np.float64).reshape(len(windows), -1)[:, -1]


def _tainted(steps: npt.NDArray[np.float32], length: int) -> npt.NDArray[np.bool_]:
    """Windows that hold anything not finite, bool (n,)."""
    broken = ~np.isfinite(steps).all(axis=1)
    return np.asarray(np.lib.stride_tricks.sliding_window_view(broken, length).any(axis=1), dtype=np.bool_)


def _input_of(session: Any, step: tuple[int, int], folder: Path) -> str:
    """The name of the graph's one input, which must take windows of this shape."""
    inputs = session.get_inputs()
    if len(inputs) != 1 or tuple(inputs[0].shape[1:]) != step:
        shapes = [list(each.shape) for each in inputs]
        raise IntegrityError(f"{folder}: the graph takes {shapes}, the model describes windows of {list(step)}")
    return str(inputs[0].name)
