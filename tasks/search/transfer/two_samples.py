"""Two samples of rows: how far are they apart, how do they weigh against each other, and one made like the other.

The maximum mean discrepancy, a logistic classifier and its AUC, Kolmogorov and Smirnov's distance, density ratios and
CORAL. Pure arrays: rows (n, k) of a source and (m, k) of a target, float64, without NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

Floats = npt.NDArray[np.float64]

PERMUTATIONS = 200
FOLDS = 5
PENALTY = 1.0


def standardised(source: Floats, target: Floats) -> tuple[Floats, Floats]:
    """Both, less their common mean and over their common spread; columns that do not vary are left out."""
    both = np.concatenate([source, target])
    spread = both.std(axis=0)
    varies = spread > 1e-9
    centre, scale = both.mean(axis=0)[varies], spread[varies]
    return (source[:, varies] - centre) / scale, (target[:, varies] - centre) / scale


def mmd(source: Floats, target: Floats, seed: int, permutations: int = PERMUTATIONS) -> tuple[float, float]:
    """Unbiased MMD² of (n, k) and (m, k), Gaussian kernel of the median distance's width; p by permutation."""
    both = np.concatenate([source, target])
    distance = _squared_distances(both)
    width = float(np.median(distance[np.triu_indices(len(both), 1)]))
    kernel = np.exp(-distance / (2.0 * max(width, 1e-12)))
    np.fill_diagonal(kernel, 0.0)
    first = np.zeros((permutations + 1, len(both)))
    first[:, : len(source)] = 1.0
    random = np.random.default_rng([seed, 23])
    first[1:] = random.permuted(first[1:], axis=1)
    found = _unbiased(kernel, first, len(source), len(target))
    return float(found[0]), float(1 + np.sum(found[1:] >= found[0])) / (permutations + 1.0)


def classifier_auc(source: Floats, target: Floats) -> tuple[float, float]:
    """How well a logistic model tells target from source on rows it was not fitted to: AUC, and its one-sided p.

    Five stretches of each side in their order are left out in turn, so that neighbours in time stay together. p by the
    normal limit of Mann and Whitney's statistic.
    """
    scores = [np.empty(len(source)), np.empty(len(target))]
    parts = [np.array_split(np.arange(len(side)), FOLDS) for side in (source, target)]
    for ours, theirs in zip(*parts, strict=True):
        model = Logistic.of(np.delete(source, ours, axis=0), np.delete(target, theirs, axis=0))
        scores[0][ours], scores[1][theirs] = model.logits(source[ours]), model.logits(target[theirs])
    found = auc(*scores)
    n, m = len(source), len(target)
    return found, float(special.ndtr(-(found - 0.5) / math.sqrt((n + m + 1) / (12.0 * n * m))))


def auc(low: Floats, high: Floats) -> float:
    """The chance that one of ``high`` (m,) lies above one of ``low`` (n,); ties count half."""
    ordered = np.sort(low)
    below, upto = (np.searchsorted(ordered, high, side=side) for side in ("left", "right"))
    return float((below + upto).sum()) / (2.0 * len(low) * len(high))


def kolmogorov_smirnov(one: Floats, other: Floats) -> tuple[float, float]:
    """The largest distance of two empirical distributions, (n,) and (m,), and its asymptotic p."""
    places = np.concatenate([one, other])
    shares = [np.searchsorted(np.sort(each), places, side="right") / len(each) for each in (one, other)]
    distance = float(np.abs(shares[0] - shares[1]).max())
    return distance, float(special.kolmogorov(distance * math.sqrt(len(one) * len(other) / (len(one) + len(other)))))


@dataclass(frozen=True, slots=True)
class Logistic:
    """A logistic model of "is from the target" with a quadratic penalty, both sides weighing the same."""

    intercept: float
    slopes: Floats

    @classmethod
    def of(cls, source: Floats, target: Floats, penalty: float = PENALTY) -> Logistic:
        """Newton's method on the penalised likelihood of standardised columns, (n, k) and (m, k)."""
        x = np.concatenate([source, target])
        x = np.column_stack([np.ones(len(x)), x])
        y = np.repeat([0.0, 1.0], [len(source), len(target)])
        weight = np.repeat([0.5 / len(source), 0.5 / len(target)], [len(source), len(target)]) * len(x)
        ridge = np.diag([1e-9, *np.full(x.shape[1] - 1, penalty)])
        found = np.zeros(x.shape[1])
        for _ in range(50):
            p = special.expit(x @ found)
            slope = x.T @ (weight * (y - p)) - ridge @ found
            step = np.linalg.solve((x * (weight * np.maximum(p * (1 - p), 1e-9))[:, None]).T @ x + ridge, slope)
            step /= max(1.0, float(np.abs(step).max()) / 4.0)
            found += step
            if float(np.abs(step).max()) < 1e-9:
                break
        return cls(float(found[0]), found[1:])

    def logits(self, x: Floats) -> Floats:
        """log(density of the target / density of the source) at rows (n, k), as the model has it."""
        return np.asarray(self.intercept + x @ self.slopes, dtype=np.float64)


def density_ratio(source: Floats, target: Floats, clip: float = 10.0) -> Floats:
    """For each source row the target's density over the source's, float64 (n,), of mean one.

    The odds of a logistic model (Bickel, Brückner and Scheffer 2009, JMLR 10); none counts for more than ``clip`` times
    the mean, so that no few rows stand for all (infinity: as the model has it). Rows (n, k) and (m, k), standardised.
    """
    logits = Logistic.of(source, target).logits(source)
    odds = np.exp(logits - logits.max())
    kept = np.minimum(odds, clip * odds.mean())
    return np.asarray(kept / kept.mean(), dtype=np.float64)


def effective_share(weights: Floats) -> float:
    """(Σ w)² / Σ w² over their number: 1 for equal weights (Kish 1965)."""
    return float(weights.sum() ** 2 / (weights**2).sum() / len(weights))


@dataclass(frozen=True, slots=True)
class Coral:
    """CORAL (Sun, Feng and Saenko 2016, AAAI): rows of the source, given the target's covariance and mean.

    ``matrix`` = C_s^(-1/2) C_t^(1/2) with C = cov + ridge · I: their formula has a ridge of one.
    """

    matrix: Floats
    source_mean: Floats
    target_mean: Floats

    @classmethod
    def of(cls, source: Floats, target: Floats, ridge: float = 1.0) -> Coral:
        """In closed form from (n, k) and (m, k), each of at least two rows."""
        whiten, colour = (
            _power(np.atleast_2d(np.cov(each, rowvar=False)) + ridge * np.eye(each.shape[1]), power)
            for each, power in ((source, -0.5), (target, 0.5))
        )
        return cls(whiten @ colour, source.mean(axis=0), target.mean(axis=0))

    def apply(self, x: npt.NDArray[Any]) -> Floats:
        """Source rows (n, k) as if they were the target's."""
        return np.asarray((x - self.source_mean) @ self.matrix + self.target_mean, dtype=np.float64)


def _power(symmetric: Floats, power: float) -> Floats:
    values, vectors = np.linalg.eigh(symmetric)
    return np.asarray((vectors * np.maximum(values, 1e-12) ** power) @ vectors.T, dtype=np.float64)


def _squared_distances(x: Floats) -> Floats:
    norms = (x**2).sum(axis=1)
    return np.asarray(np.maximum(norms[:, None] + norms[None, :] - 2.0 * x @ x.T, 0.0), dtype=np.float64)


def _unbiased(kernel: Floats, first: Floats, n: int, m: int) -> Floats:
    """MMD² for each assignment (rows of ``first``: 1 where a row is of the first sample); the diagonal is zero."""
    rows = first @ kernel
    inside = (rows * first).sum(axis=1)
    across = rows.sum(axis=1) - inside
    outside = kernel.sum() - inside - 2.0 * across
    return np.asarray(inside / (n * (n - 1)) + outside / (m * (m - 1)) - 2.0 * across / (n * m))
