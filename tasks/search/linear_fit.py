"""Linear models in closed form or by Newton steps, standardised and winsorised on the rows they are fitted on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tasks.errors import EngineError
from tasks.registry.serving.model_folder import write_model

CLIP = 8.0
BLOCK = 65_536
"""Rows that are looked at together: on a panel the features are the largest array, and no second one is made."""
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
        parts = [X[start : start + BLOCK] for start in range(0, len(X), BLOCK)]
        scaled = [_standardise(part.copy(), self.center, self.scale, self.clip) @ self.coefficients for part in parts]
        f = self.intercept + (np.concatenate(scaled) if scaled else np.empty(0))
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
    weight: Floats | None = None,
    penalty: float = 0.0,
    clip: float | None = None,
    logistic: bool = False,
    overwrite: bool = False,
) -> LinearModel:
    """Least squares or logistic regression of y (n,) on X (n, columns).

    ``weight`` (n,), of mean one, is what each row's loss counts; all the same if None. Columns are standardised by
    plain means and deviations in either case. ``penalty`` is the weight of the squared coefficients of the standardised
    columns, a row (a ridge of n · penalty); the intercept is free. Columns that do not vary get the coefficient zero.
    ``overwrite``: X may be changed, which saves a copy. Raises EngineError with too few rows.
    """
    if len(y) < 2:
        raise EngineError(f"{len(y)} rows are too few to fit {len(columns)} columns")
    center, spread = X.mean(axis=0), np.sqrt(_variance(X))
    constant_columns = ~(spread > 1e-12 * np.maximum(np.abs(center), 1e-300))
    scale = np.where(constant_columns, 1.0, spread)
    Z = _standardise(X if overwrite else X.copy(), center, scale, clip)
    Z[:, constant_columns] = 0.0
    intercept, coefficients = (_logistic if logistic else _ridge)(Z, y, penalty, weight)
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


def _variance(X: Floats) -> Floats:
    """Of each column, by blocks of rows: NumPy's own makes another X."""
    center = X.mean(axis=0)
    squares = [np.square(X[start : start + BLOCK] - center).sum(axis=0) for start in range(0, len(X), BLOCK)]
    return np.asarray(np.sum(squares, axis=0) / len(X), dtype=np.float64)


def _standardise(X: Floats, center: Floats, scale: Floats, clip: float | None) -> Floats:
    """In place, and the same array back."""
    X -= center
    X /= scale
    if clip is not None:
        np.clip(X, -clip, clip, out=X)
    return X


def mean(y: Floats, weight: Floats | None) -> float:
    """The mean of y (n,), weighted if there are weights."""
    return float(y.mean() if weight is None else np.average(y, weights=weight))


def _ridge(Z: Floats, y: Floats, penalty: float, weight: Floats | None) -> tuple[float, Floats]:
    middle = np.asarray(Z.mean(axis=0) if weight is None else weight @ Z / weight.sum(), dtype=np.float64)
    level = mean(y, weight)
    Z -= middle
    centred, above = Z, y - level
    if weight is not None:
        root: Floats = np.sqrt(weight)
        centred *= root[:, None]
        above *= root
    if penalty:
        # The penalty keeps the normal equations well-conditioned, and they cost a hundredth of the decomposition.
        gram = centred.T @ centred + penalty * len(y) * np.eye(Z.shape[1])
        slopes = np.asarray(np.linalg.solve(gram, centred.T @ above), dtype=np.float64)
        return float(level - middle @ slopes), slopes
    U, s, Vt = np.linalg.svd(centred, full_matrices=False)
    kept = s > s.max(initial=0.0) * max(Z.shape) * np.finfo(float).eps
    coefficients: Floats = Vt[kept].T @ ((U[:, kept].T @ above) / s[kept])
    return float(level - middle @ coefficients), coefficients


def _logistic(Z: Floats, y: Floats, penalty: float, weight: Floats | None, steps: int = 100) -> tuple[float, Floats]:
    """Newton's method on the mean negative log likelihood plus penalty/2 · |coefficients|², halving where it rises."""
    A = np.column_stack([np.ones(len(y)), Z])
    each = np.ones(len(y)) if weight is None else weight
    ridge = np.concatenate([[0.0], np.full(Z.shape[1], max(penalty, _LEAST_PENALTY))])
    w = np.zeros(A.shape[1])
    for _ in range(steps):
        p = _sigmoid(A @ w)
        gradient = A.T @ (each * (p - y)) / len(y) + ridge * w
        if np.abs(gradient).max() < 1e-10:
            break
        hessian = (A * (each * p * (1 - p))[:, None]).T @ A / len(y) + np.diag(ridge + 1e-12)
        w = _descend(_Objective(A, y, each, ridge), w, np.linalg.solve(hessian, gradient))
    return float(w[0]), w[1:]


class _Objective(NamedTuple):
    """The penalised mean negative log likelihood of coefficients w on rows A (n, 1 + columns), y (n,)."""

    A: Floats
    y: Floats
    weight: Floats
    ridge: Floats

    def at(self, w: Floats) -> float:
        f = self.A @ w
        likelihood = self.weight * (np.logaddexp(0.0, f) - self.y * f)
        return float(np.mean(likelihood) + 0.5 * np.sum(self.ridge * w**2))


def _descend(objective: _Objective, w: Floats, step: Floats) -> Floats:
    start = objective.at(w)
    for _ in range(30):
        if objective.at(w - step) <= start:
            return w - step
        step = step / 2
    return w
