"""The ranking loss of a row: what searches, leaderboard, gate and pictures all mean by "loss"."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Loss = Literal["mse", "log_loss"]

CLIP = 1e-6
"""Probabilities are kept this far from 0 and 1: one sure mistake costs 13.8 nats and not infinity."""


def row_losses(loss: Loss, label: FloatArray, prediction: FloatArray) -> FloatArray:
    """Squared error, or -(y ln p + (1 - y) ln(1 - p)) with p kept 1e-6 from 0 and 1; float64 (n,), NaN stays NaN."""
    if loss == "mse":
        return np.asarray((label - prediction) ** 2, dtype=np.float64)
    p = np.clip(prediction, CLIP, 1.0 - CLIP)
    return np.asarray(-(label * np.log(p) + (1.0 - label) * np.log1p(-p)), dtype=np.float64)
