"""Heads in closed form on frozen embeddings: ridge for values, logistic regression for probabilities.

Both standardise the columns by the fit rows (weighted), leave the intercept without a penalty, and may shrink towards a
head that is known already (``toward``, the one of the encoder's pre-training): what is fitted is then what that head
leaves over, the kernel shrunk to zero and the known one added back. With an infinite penalty a prediction is the known
head's own but for a constant; without a known head it is a constant.

The penalty is the one of ``PENALTIES`` with the least loss on blocks of dates left out (``blocks``), each block
predicted by the fit on the rows outside it, and of equals the largest; without blocks it is the largest. Single rows
left out would not do: rows share dates, adjacent dates are alike, and what few dates have in common would pass for
knowledge of all.

- ridge: one singular value decomposition serves all penalties;
- logistic: iteratively reweighted least squares, each penalty from the fit of the larger one before.

A penalty is per row: the loss is mean(weight · squared error or cross-entropy) + penalty / 2 · |coefficients|² (for
ridge half the squared error), on standardised columns. What comes back are a dense layer's kernel and bias on the
columns as they were: ``into`` puts them into ``networks.head`` with ``level=(0.0, 1.0)``: embedding and head are then
one keras model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.errors import EngineError
from tasks.search.transfer.blocks import Block

Floats = npt.NDArray[np.float64]
PENALTIES = (*(float(x) for x in np.logspace(-5, 4, 10)), math.inf)
STEPS, CONVERGED = 50, 1e-10
LEAST_ROWS = 3
_EDGE = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Dense:
    """A dense layer of one unit. kernel: float64 (columns,); bias; the penalty chosen and its loss on blocks left out.

    loss: the mean over rows of weight · squared error, or · cross-entropy; NaN where no block was left out.
    """

    kernel: Floats
    bias: float
    penalty: float = math.inf
    loss: float = math.nan

    def __call__(self, X: npt.NDArray[Any]) -> Floats:
        """X (n, columns) to the layer's output (n,), float64, without any link."""
        return np.asarray(np.asarray(X, dtype=np.float64) @ self.kernel + self.bias, dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """What a fit takes: columns, labels, what the known head says of each row, weights of mean one."""

    X: Floats
    y: Floats
    known: Floats
    weight: Floats

    def only(self, rows: npt.NDArray[np.int64]) -> _Rows:
        weight = self.weight[rows]
        return _Rows(X=self.X[rows], y=self.y[rows], known=self.known[rows], weight=weight / weight.mean())


Solve = Callable[[_Rows, tuple[float, ...]], tuple[Floats, Floats]]
"""Kernels (columns, penalties) and biases (penalties,) on the columns as they were, beside the known head."""


def ridge(
    X: npt.NDArray[Any],
    y: Floats,
    weight: Floats | None = None,
    blocks: Sequence[Block] = (),
    *,
    toward: Dense | None = None,
    penalties: tuple[float, ...] = PENALTIES,
) -> Dense:
    """Ridge regression of y (n,) on X (n, columns), the penalty by blocks left out.

    weight: (n,), what a row counts, None for all the same. Raises EngineError for fewer than three rows and for numbers
    that are not finite.
    """
    rows = _rows(X, y, weight, toward)
    return _chosen(rows, blocks, toward, penalties, _ridges, lambda f, labels: (f - labels) ** 2)


def logistic(
    X: npt.NDArray[Any],
    y: Floats,
    weight: Floats | None = None,
    blocks: Sequence[Block] = (),
    *,
    toward: Dense | None = None,
    penalties: tuple[float, ...] = PENALTIES,
) -> Dense:
    """Logistic regression of labels 0 and 1 (n,) on X (n, columns), the penalty by blocks left out.

    A known head is an offset of the logit. Raises EngineError as ``ridge`` does, and for labels that are not both 0 and
    1.
    """
    rows = _rows(X, y, weight, toward)
    if set(np.unique(y)) != {0.0, 1.0}:
        raise EngineError(f"labels must be both 0 and 1, got {np.unique(y)[:5].tolist()}: widen the train window")
    told = [block for block in blocks if len(np.unique(y[block.fit])) == 2]
    return _chosen(rows, told, toward, penalties, _logistics, _cross_entropy)


def into(model: Any, dense: Dense, name: str = "head") -> None:
    """Put the weights into a model's dense layer of this name. Raises EngineError where their number differs."""
    layer = model.get_layer(name)
    if tuple(layer.kernel.shape) != (len(dense.kernel), 1):
        raise EngineError(
            f"the layer '{name}' takes {layer.kernel.shape[0]} columns, the head was fitted on {len(dense.kernel)}: "
            "embedding and level together need networks.head(…, level=(0.0, 1.0))"
        )
    layer.kernel.assign(dense.kernel[:, None].astype(np.float32))
    layer.bias.assign(np.array([dense.bias], dtype=np.float32))


def _rows(X: npt.NDArray[Any], y: Floats, weight: Floats | None, toward: Dense | None) -> _Rows:
    if len(y) < LEAST_ROWS or X.shape[0] != len(y):
        raise EngineError(f"{len(y)} labelled rows of {X.shape} to fit a head on: widen the train window")
    if not (np.isfinite(X).all() and np.isfinite(y).all()):
        raise EngineError("a head cannot be fitted: embeddings or labels are not finite")
    weight = np.ones(len(y)) if weight is None else np.asarray(weight / weight.mean(), dtype=np.float64)
    known = np.zeros(len(y)) if toward is None else toward(X)
    return _Rows(X=np.asarray(X, dtype=np.float64), y=y, known=known, weight=weight)


def _chosen(  # noqa: PLR0917 - the two heads differ in the last two alone
    rows: _Rows,
    blocks: Sequence[Block],
    toward: Dense | None,
    penalties: tuple[float, ...],
    solve: Solve,
    error: Callable[[Floats, Floats], Floats],
) -> Dense:
    """The fit of all rows with the penalty that does best on the blocks, the known head added back."""
    if not penalties:
        raise EngineError("a head needs at least one penalty to choose")
    tried = tuple(sorted(penalties, reverse=True))
    told = [block for block in blocks if len(block.fit) >= LEAST_ROWS and len(block.left)]
    losses, count = np.zeros(len(tried)), sum(len(block.left) for block in told)
    for block in told:
        kernels, biases = solve(rows.only(block.fit), tried)
        left = block.left
        found = rows.known[left, None] + rows.X[left] @ kernels + biases
        losses += rows.weight[left] @ error(found, rows.y[left, None])
    best = int(np.argmin(losses))
    kernels, biases = solve(rows, tried[: best + 1])
    kernel, bias = kernels[:, best], float(biases[best])
    if toward is not None:
        kernel, bias = kernel + toward.kernel, bias + toward.bias
    loss = float(losses[best]) / count if count else math.nan
    return Dense(kernel=kernel, bias=bias, penalty=tried[best], loss=loss)


def _ridges(rows: _Rows, penalties: tuple[float, ...]) -> tuple[Floats, Floats]:
    center, scale = _standard(rows.X, rows.weight)
    root = np.sqrt(rows.weight / len(rows.y))
    left, singular, right = np.linalg.svd((rows.X - center) / scale * root[:, None], full_matrices=False)
    over = rows.y - rows.known
    mean = float(rows.weight @ over / len(over))
    projected = left.T @ ((over - mean) * root)
    # A column that is constant has a singular value of zero, and no coefficient whatever the penalty.
    shrunk = singular[:, None] / np.maximum(singular[:, None] ** 2 + np.array(penalties), _EDGE)
    return _unscaled(right.T @ (shrunk * projected[:, None]), np.full(len(penalties), mean), center, scale)


def _logistics(rows: _Rows, penalties: tuple[float, ...]) -> tuple[Floats, Floats]:
    center, scale = _standard(rows.X, rows.weight)
    Z = np.column_stack([(rows.X - center) / scale, np.ones(len(rows.y))])
    share = rows.weight / len(rows.y)
    rate = float(share @ rows.y)
    start = np.append(np.zeros(Z.shape[1] - 1), np.log(rate / (1.0 - rate)))
    found = []
    for penalty in penalties:  # from the largest down
        if math.isinf(penalty):
            start = np.append(np.zeros(Z.shape[1] - 1), _newton(Z[:, -1:], rows, share, 0.0, start[-1:]))
        else:
            start = _newton(Z, rows, share, penalty, start)
        found.append(start)
    betas = np.column_stack(found)
    return _unscaled(betas[:-1], betas[-1], center, scale)


def _standard(X: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Weighted mean and deviation of each column; a constant column is scaled by 1."""
    center = weight @ X / len(X)
    deviation = np.sqrt(weight @ (X - center) ** 2 / len(X))
    constant = deviation <= 1e-9 * np.maximum(np.abs(center), 1e-9)
    return center, np.where(constant, 1.0, deviation)


def _unscaled(coefficients: Floats, intercepts: Floats, center: Floats, scale: Floats) -> tuple[Floats, Floats]:
    kernels = coefficients / scale[:, None]
    return kernels, intercepts - center @ kernels


def _newton(Z: Floats, rows: _Rows, share: Floats, penalty: float, start: Floats) -> Floats:
    """Newton's steps, halved while they do not lower the penalised loss; Z's last column is the intercept's."""
    y, known = rows.y, rows.known
    ridge_term = np.append(np.full(Z.shape[1] - 1, penalty), 0.0)

    def penalised(beta: Floats) -> float:
        return float(share @ _cross_entropy(known + Z @ beta, y) + 0.5 * ridge_term @ beta**2)

    beta, loss = start, penalised(start)
    for _ in range(STEPS):
        p = probability(known + Z @ beta)
        gradient = Z.T @ (share * (p - y)) + ridge_term * beta
        step = np.linalg.solve(_curvature(Z, share * p * (1 - p), ridge_term), gradient)
        size = 1.0
        while (trial := penalised(beta - size * step)) > loss and size > _EDGE:
            size /= 2
        if trial > loss:
            break
        beta, gained, loss = beta - size * step, loss - trial, trial
        if gained < CONVERGED * (1 + abs(loss)) and float(np.abs(gradient).max()) < np.sqrt(CONVERGED):
            break
    return beta


def _curvature(Z: Floats, curve: Floats, ridge_term: Floats) -> Floats:
    hessian: Floats = (Z * curve[:, None]).T @ Z
    # What keeps a column that is constant, or a probability that is certain, from being singular.
    hessian[np.diag_indices_from(hessian)] += ridge_term + _EDGE
    return hessian


def _cross_entropy(f: Floats, y: Floats) -> Floats:
    return np.asarray(np.logaddexp(0.0, f) - y * f, dtype=np.float64)


def probability(f: Floats) -> Floats:
    """The logistic function, without an overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * f)), dtype=np.float64)
