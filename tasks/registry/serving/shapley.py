"""Shapley values of one prediction by sampling: how much each feature moves it away from where training rows lie.

Permutation sampling (Castro, Gómez and Tejada 2009, Computers & Operations Research 36; Štrumbelj and Kononenko 2014,
Knowledge and Information Systems 41), each order walked forwards and backwards (antithetic; Mitchell et al. 2022, JMLR
23). A round takes one background row and puts the features of the explained row in, one after the other; what a
feature changes is its share. A round's shares add up to f(x) - f(background) exactly, and so do their means.

The background is drawn feature by feature from the training quantiles, as a Latin hypercube: dependence between
features is not kept, so the shares say what the model does with its inputs ("interventional"), not what markets do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Cells = npt.NDArray[np.intp]

ROUNDS = 64
"""Rounds of two orders each; with 45 features some 6,000 rows are scored."""
TAILS = (0.05, 0.95)
"""Draws beyond these shares are taken there: one broken training bar must not be anybody's background."""


@dataclass(frozen=True, slots=True)
class Shares:
    """``values`` (players,), their standard errors over rounds (players,), and the mean prediction of backgrounds.

    base + values.sum() is f(x), but for rounding.
    """

    values: Floats
    errors: Floats
    base: float


def shapley(
    f: Callable[[Floats], Floats], x: Floats, background: Floats, players: Sequence[Cells], seed: int
) -> Shares:
    """Sampled Shapley values of ``f`` at ``x``.

    f: float64 (n, cells) to (n,); x: (cells,); background: (rounds, cells), at least two rows; players: which cells
    each feature consists of. The same seed gives the same values.
    """
    random = np.random.default_rng(seed)
    count, rounds = len(players), len(background)
    orders = [random.permutation(count) for _ in range(rounds)]
    walks = [_walk(x, start, players, order) for start, order in zip(background, orders, strict=True)]
    back = [_walk(x, start, players, order[::-1])[1:-1] for start, order in zip(background, orders, strict=True)]
    said = f(np.concatenate([*walks, *back]))
    forward = said[: rounds * (count + 1)].reshape(rounds, count + 1)
    middle = said[rounds * (count + 1) :].reshape(rounds, max(count - 1, 0))
    backward = np.concatenate([forward[:, :1], middle, forward[:, -1:]], axis=1) if count else forward
    shares = np.zeros((rounds, count))
    for i, order in enumerate(orders):
        shares[i, order] += np.diff(forward[i]) / 2
        shares[i, order[::-1]] += np.diff(backward[i]) / 2
    errors = shares.std(axis=0, ddof=1) / np.sqrt(rounds)
    return Shares(shares.mean(axis=0), errors, float(forward[:, 0].mean()))


def hypercube(quantiles: Floats, levels: Floats, rounds: int, seed: int) -> Floats:
    """A Latin hypercube of (rounds, cells) from each cell's quantiles, (cells, levels), at these levels in [0, 1]."""
    random = np.random.default_rng([seed, rounds])
    shares = np.clip((np.arange(rounds) + 0.5) / rounds, *TAILS)
    drawn = np.empty((rounds, len(quantiles)))
    for cell, values in enumerate(quantiles):
        drawn[:, cell] = np.interp(random.permutation(shares), levels, values)
    return drawn


def _walk(x: Floats, start: Floats, players: Sequence[Cells], order: npt.NDArray[np.intp]) -> Floats:
    """The rows on the way from ``start`` to ``x``, (players + 1, cells)."""
    rows = np.tile(start, (len(order) + 1, 1))
    for step, player in enumerate(order, start=1):
        rows[step:, players[player]] = x[players[player]]
    return rows
