"""The scaling inside the fold: statistics of the training rows, carried by the exported model.

Features are standardised in float64, clipped and cast to float32 (what the serving scorer does too); a value to be
predicted is standardised, a label of a direction is left as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

CLIP = 8.0
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldScaling:
    """center and scale: float64 (features,), every scale positive. clip: in standard deviations."""

    center: Floats
    scale: Floats
    target_center: float = 0.0
    target_scale: float = 1.0
    clip: float = CLIP

    @classmethod
    def fit(cls, X: Floats, y: Floats, *, scale_target: bool, clip: float = CLIP) -> FoldScaling:
        """Means and population standard deviations of these rows, which must be finite; a constant is scaled by 1."""
        target = {"target_center": float(y.mean()), "target_scale": float(_deviation(y))} if scale_target else {}
        return cls(center=X.mean(axis=0), scale=_deviation(X), clip=clip, **target)

    def features(self, X: Floats) -> npt.NDArray[np.float32]:
        """float32 (n, features), within ±clip."""
        return np.clip((X - self.center) / self.scale, -self.clip, self.clip).astype(np.float32)

    def targets(self, y: Floats) -> npt.NDArray[np.float32]:
        """float32 (n, 1), as a network's output is."""
        return ((y - self.target_center) / self.target_scale).astype(np.float32)[:, None]

    def original(self, outputs: npt.NDArray[np.float32]) -> Floats:
        """A network's outputs (n, 1), in the target's own unit, float64 (n,)."""
        return self.target_center + self.target_scale * np.asarray(outputs, dtype=np.float64).reshape(-1)


def _deviation(values: Floats) -> Floats:
    """Standard deviation over rows; 1 where it is zero or mere rounding, so that a constant stays at zero."""
    deviation = values.std(axis=0)
    rounding = 1e-12 * np.maximum(np.abs(values.mean(axis=0)), np.finfo(np.float64).tiny)
    return np.asarray(np.where(deviation > rounding, deviation, 1.0))
