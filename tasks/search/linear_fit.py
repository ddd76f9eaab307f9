"""Linear models in closed form or by Newton steps, standardised and winsorised on the rows they are fitted on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tasks.errors import EngineError
from tasks.registry.serving.model_folder import write_model
from tasks.search.parts import BLOCK, Part, whole

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

    def predict(self, X: Floats | Part) -> Floats:
        """float64 (n, columns) to float64 (n,)."""
        given = X if isinstance(X, Part) else whole(X)
        f = np.full(given.shape[0], self.intercept)
        for rows, block in given.blocks():
            f[rows] += _standardise(block, self.center, self.scale, self.clip) @ self.coefficients
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
    X: Floats | Part,
    y: Floats,
    *,
    weight: Floats | None = None,
    penalty: float = 0.0,
    clip: float | None = None,
    logistic: bool = False,
) -> LinearModel:
    """Least squares or logistic regression of y (n,) on X (n, columns).

    ``weight`` (n,), of mean one, is what each row's loss counts; all the same if None. Columns are standardised by
    plain means and deviations in either case. ``penalty`` is the weight of the squared coefficients of the standardised
    columns, a row (a ridge of n · penalty); the intercept is free. Columns that do not vary get the coefficient zero.
    Raises EngineError with too few rows.
    """
    return fit_each(columns, X, y, weight=weight, penalties=(penalty,), clip=clip, logistic=logistic)[0]


def fit_each(
    columns: tuple[str, ...],
    X: Floats | Part,
    y: Floats,
    *,
    penalties: Sequence[float],
    weight: Floats | None = None,
    clip: float | None = None,
    logistic: bool = False,
) -> list[LinearModel]:
    """As ``fit`` with each of the penalties, for little more than one costs."""
    if len(y) < 2:
        raise EngineError(f"{len(y)} rows are too few to fit {len(columns)} columns")
    scaled = _scaled(X if isinstance(X, Part) else whole(X), clip)
    return [
        LinearModel(
            columns=columns,
            center=scaled.center,
            scale=scaled.scale,
            intercept=intercept,
            coefficients=coefficients,
            clip=clip,
            logistic=logistic,
        )
        for intercept, coefficients in (_logistic if logistic else _ridge)(scaled, y, penalties, weight)
    ]


class _Scaled(NamedTuple):
    """The rows of a fit, standardised and clipped as they are read; columns that do not vary are zero."""

    given: Part
    center: Floats
    scale: Floats
    clip: float | None
    constant: npt.NDArray[np.bool_]

    def blocks(self) -> Iterator[tuple[slice, Floats]]:
        for rows, block in self.given.blocks():
            Z = _standardise(block, self.center, self.scale, self.clip)
            Z[:, self.constant] = 0.0
            yield rows, Z

    def all(self, before: int = 0) -> Floats:
        """As one new array, with so many columns of ones before the others."""
        found = np.ones((self.given.shape[0], before + self.given.shape[1]))
        for rows, Z in self.blocks():
            found[rows, before:] = Z
        return found


def _scaled(given: Part, clip: float | None) -> _Scaled:
    n, columns = given.shape
    center, squares = np.zeros(columns), np.zeros(columns)
    for _, block in given.blocks():
        center += block.sum(axis=0) / n
    for _, block in given.blocks():
        squares += np.square(block - center).sum(axis=0)
    spread = np.sqrt(squares / n)
    constant = ~(spread > 1e-12 * np.maximum(np.abs(center), 1e-300))
    return _Scaled(given, center, np.where(constant, 1.0, spread), clip, constant)


def _sigmoid(f: Floats) -> Floats:
    p: Floats = 0.5 * (1.0 + np.tanh(0.5 * f))  # does not overflow
    return p


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


def _ridge(
    scaled: _Scaled, y: Floats, penalties: Sequence[float], weight: Floats | None
) -> Iterator[tuple[float, Floats]]:
    level = mean(y, weight)
    above = y - level
    sums = _sums(scaled, above, weight) if any(penalties) else None
    for penalty in penalties:
        if penalty and sums is not None:
            # The penalty keeps the normal equations well-conditioned, and they cost a hundredth of the decomposition.
            middle, gram, moment = sums
            slopes = np.asarray(np.linalg.solve(gram + penalty * len(y) * np.eye(len(moment)), moment))
        else:
            middle, slopes = _least_squares(scaled.all(), above, weight)
        yield float(level - middle @ slopes), slopes


def _sums(scaled: _Scaled, above: Floats, weight: Floats | None) -> tuple[Floats, Floats, Floats]:
    """The columns' mean, and of the columns about it their products with each other and with ``above``; weighted.

    ``above`` has the weighted mean zero. The standardised columns' means are small, so little is lost by taking them
    off the products afterwards.
    """
    columns, total = scaled.given.shape[1], float(len(above) if weight is None else weight.sum())
    middle, gram, moment = np.zeros(columns), np.zeros((columns, columns)), np.zeros(columns)
    for rows, Z in scaled.blocks():
        weighted = Z if weight is None else Z * weight[rows, None]
        middle += weighted.sum(axis=0) / total
        gram += weighted.T @ Z
        moment += weighted.T @ above[rows]
    return middle, gram - total * np.outer(middle, middle), moment


def _least_squares(Z: Floats, above: Floats, weight: Floats | None) -> tuple[Floats, Floats]:
    """The columns' weighted mean, and the slopes of ``above`` on them; Z is changed."""
    middle = np.asarray(Z.mean(axis=0) if weight is None else weight @ Z / weight.sum(), dtype=np.float64)
    Z -= middle
    if weight is not None:
        root: Floats = np.sqrt(weight)
        Z *= root[:, None]
        above = above * root
    U, s, Vt = np.linalg.svd(Z, full_matrices=False)
    kept = s > s.max(initial=0.0) * max(Z.shape) * np.finfo(float).eps
    return middle, np.asarray(Vt[kept].T @ ((U[:, kept].T @ above) / s[kept]), dtype=np.float64)


def _logistic(
    scaled: _Scaled, y: Floats, penalties: Sequence[float], weight: Floats | None
) -> Iterator[tuple[float, Floats]]:
    """Newton's method on the mean negative log likelihood plus penalty/2 · |coefficients|², halving where it rises."""
    A = scaled.all(before=1)
    each = np.ones(len(y)) if weight is None else weight
    for penalty in penalties:
        w = _newton(A, y, each, np.concatenate([[0.0], np.full(A.shape[1] - 1, max(penalty, _LEAST_PENALTY))]))
        yield float(w[0]), w[1:]


def _newton(A: Floats, y: Floats, each: Floats, ridge: Floats, steps: int = 100) -> Floats:
    w = np.zeros(A.shape[1])
    for _ in range(steps):
        p = _sigmoid(A @ w)
        gradient = A.T @ (each * (p - y)) / len(y) + ridge * w
        if np.abs(gradient).max() < 1e-10:
            break
        hessian = _products(A, each * p * (1 - p)) / len(y) + np.diag(ridge + 1e-12)
        step = np.asarray(np.linalg.solve(hessian, gradient), dtype=np.float64)
        w = _descend(_Objective(A, y, each, ridge), w, step)
    return w


def _products(A: Floats, weight: Floats) -> Floats:
    """The columns' weighted products with each other, (columns, columns)."""
    found = np.zeros((A.shape[1], A.shape[1]))
    for start in range(0, len(A), BLOCK):
        block = A[start : start + BLOCK]
        found += (block * weight[start : start + BLOCK, None]).T @ block
    return found


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
