"""Scores an ONNX graph with onnxruntime: float64 standardised, cast to float32 at the last step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ConfigurationError, IntegrityError
from .scorers import BaseScorer, Floats, Standardizer


class OnnxScorer(BaseScorer):
    """target_center + target_scale · output for values; the last output column (class "1") for probabilities."""

    def __init__(self, folder: Path, document: dict[str, Any]) -> None:
        super().__init__(document)
        self._standardize = Standardizer(document)
        self._center = float(document.get("target_center", 0.0))
        self._scale = float(document.get("target_scale", 1.0))
        self._session = open_session(folder / document["files"]["onnx"])
        self._input = self._session.get_inputs()[0].name

    def _score(self, X: Floats) -> Floats:
        z = self._standardize(X).astype(np.float32)
        output = np.asarray(self._session.run(None, {self._input: z})[0], dtype=np.float64)
        raw = output.reshape(len(X), -1)[:, -1]
        return raw if self.output == "probability" else self._center + self._scale * raw


def open_session(path: Path) -> Any:
    """An onnxruntime session on one thread. Raises IntegrityError for a graph that it refuses, ConfigurationError if it
    is not installed."""
    try:
        import onnxruntime  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError(
            "this model is scored by onnxruntime, which is not installed: pip install onnxruntime"
        ) from error
    options = onnxruntime.SessionOptions()
    # These networks are small: a second thread costs more than it gives, and spinning threads burn a core when idle.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no base of their own
        raise IntegrityError(f"{path}: onnxruntime refuses the model: {error}") from error
