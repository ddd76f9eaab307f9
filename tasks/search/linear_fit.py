"""Linear models in closed form or by Newton steps, standardised and winsorised on the rows they are fitted on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.errors import EngineError
from tasks.registry.serving.model_folder import write_model

CLIP = 8.0
_LEAST_PENALTY = 1e-6  # classes that a line separates would ask for infinite coefficients
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearModel:
    """intercept + clip((x - center) / scale) · coefficients, through the logistic function for a probability."""

    columns: tuple[str, ...]
    center: Floats
    scale: Floats
    intercept: float
    coefficients: Floats
    clip: float | None
    logistic: bool

    def predict(self, X: Floats) -> Floats:
        """float64 (n, columns) to float64 (n,)."""
        f = self.intercept + _clipped((X - self.center) / self.scale, self.clip) @ self.coefficients
        return _sigmoid(f) if self.logistic else f

    def write(self, folder: Path) -> None:
        """Write the serving folder."""
        document: dict[str, Any] = {
            "kind": "linear",
            "output": "probability" if self.logistic else "value",
            "columns": list(self.columns),
            "intercept": self.intercept,
            "coefficients": self.coefficients.tolist(),
            "center": self.center.tolist(),
            "scale": self.scale.tolist(),
            "clip": self.clip,
            "link": "logistic" if self.logistic else "identity",
        }
        write_model(folder, document)


def constant(value: float, *, logistic: bool = False) -> LinearModel:
    """A model without columns: always ``value``, or the probability whose log odds it is."""
    none = np.empty(0)
    return LinearModel(
        columns=(), center=none, scale=none, intercept=value, coefficients=none, clip=None, logistic=logistic
    )


def fit(
    columns: tuple[str, ...],
    X: Floats,
    y: Floats,
    *,
    penalty: float = 0.0,
    clip: float | None = None,
    logistic: bool = False,
) -> LinearModel:
    """Least squares or logistic regression of y (n,) on X (n, columns).

    ``penalty`` is the weight of the squared coefficients of the standardised columns, a row (a ridge of n · penalty);
    the intercept is free. Columns that do not vary get the coefficient zero. Raises EngineError with too few rows.
    """
    if len(y) < 2:
        raise EngineError(f"{len(y)} rows are too few to fit {len(columns)} columns")
    center, spread = X.mean(axis=0), X.std(axis=0)
    constant_columns = ~(spread > 1e-12 * np.maximum(np.abs(center), 1e-300))
    scale = np.where(constant_columns, 1.0, spread)
    Z = _clipped((X - center) / scale, clip)
    Z[:, constant_columns] = 0.0
    intercept, coefficients = (_logistic if logistic else _ridge)(Z, y, penalty)
    return LinearModel(
        columns=columns,
        center=center,
        scale=scale,
        intercept=intercept,
        coefficients=coefficients,
        clip=clip,
        logistic=logistic,
    )


def _sigmoid(f: Floats) -> Floats:
    p: Floats = 0.5 * (1.0 + np.tanh(0.5 * f))  # does not overflow
    return p


def _clipped(Z: Floats, clip: float | None) -> Floats:
    return Z if clip is None else np.clip(Z, -clip, clip)


def _ridge(Z: Floats, y: Floats, penalty: float) -> tuple[float, Floats]:
    middle = Z.mean(axis=0)
    if penalty:
        # The penalty keeps the normal equations well-conditioned, and they cost a hundredth of the decomposition.
        centred = Z - middle
        gram = centred.T @ centred + penalty * len(y) * np.eye(Z.shape[1])
        slopes: Floats = np.linalg.solve(gram, centred.T @ (y - y.mean()))
        return float(y.mean() - middle @ slopes), slopes
    U, s, Vt = np.linalg.svd(Z - middle, full_matrices=False)
    kept = s > s.max(initial=0.0) * max(Z.shape) * np.finfo(float).eps
    coefficients: Floats = Vt[kept].T @ ((U[:, kept].T @ (y - y.mean())) / s[kept])
    return float(y.mean() - middle @ coefficients), coefficients


def _logistic(Z: Floats, y: Floats, penalty: float, steps: int = 100) -> tuple[float, Floats]:
    """Newton's method on the mean negative log likelihood plus penalty/2 · |coefficients|², halving where it rises."""
    A = np.column_stack([np.ones(len(y)), Z])
    ridge = np.concatenate([[0.0], np.full(Z.shape[1], max(penalty, _LEAST_PENALTY))])
    w = np.zeros(A.shape[1])
    for _ in range(steps):
        p = _sigmoid(A @ w)
        gradient = A.T @ (p - y) / len(y) + ridge * w
        if np.abs(gradient).max() < 1e-10:
            break
        hessian = (A * (p * (1 - p))[:, None]).T @ A / len(y) + np.diag(ridge + 1e-12)
        w = _descend(A, y, ridge, w, np.linalg.solve(hessian, gradient))
    return float(w[0]), w[1:]


def _descend(A: Floats, y: Floats, ridge: Floats, w: Floats, step: Floats) -> Floats:
    start = _objective(A, y, ridge, w)
    for _ in range(30):
        if _objective(A, y, ridge, w - step) <= start:
            return w - step
        step = step / 2
    return w


def _objective(A: Floats, y: Floats, ridge: Floats, w: Floats) -> float:
    f = A @ w
    return float(np.mean(np.logaddexp(0.0, f) - y * f) + 0.5 * np.sum(ridge * w**2))
