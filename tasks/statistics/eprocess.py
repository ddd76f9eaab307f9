"""Evidence that may be looked at every night: an e-process for "the challenger is no better than the champion".

1. d_t = loss of the champion - loss of the challenger, averaged over the names of date t. A date is appended when its
   labels have ended.
2. x_t = d_t / c kept within [-1, 1]. The bound c is fixed before the first date (``clip_bound``).
3. Null: E[x_t | what was known at t] <= 0 on every date. It is about the *clipped* differences: no date counts for more
   than c. Nothing else is asked of them: tails, variances, dependence and drift are free (Choe and Ramdas 2023,
   Operations Research 72; Henzi and Ziegel 2022, Biometrika 109).
4. A bet b in (0, 1) on every date turns 1 into prod(1 + b x_t): under the null a supermartingale. Several bets are held
   at once, an equal part each (``BETS``). None is learnt from the dates, so that what was won rises with every x_t and
   does not depend on their order.
5. Labels over h bars overlap: the outcome of t is not known when t + 1 is bet on. So there are h purses that take turns
   (``streams``), each betting when its last bet is settled, and E is their mean.
6. While the other h - 1 purses have a bet open, stopping could be timed by what is already seen of those outcomes, and
   the plain mean is then not safe (Arnold, Henzi and Ziegel 2023). So an open bet counts as lost: E is what would be
   left if all were. Whoever stops at the first E >= 1 / level and bets no more ends with at least that, and started
   with 1, so that by Markov's inequality P(E ever reaches 1 / level) <= level, exactly, for every h.

All in logarithms; float64 throughout. Pure NumPy.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

BETS: tuple[float, ...] = (0.8, 0.4, 0.2, 0.1, 0.05)
"""Parts of a purse that are bet, in units of 1 / c. Half of the best bet still grows three quarters as fast."""

CLIP_QUANTILE = 0.99
LEAST_DATES = 60
MEAN_BLOCK = 10


def clip_bound(differences: FloatArray) -> float:
    """c: the 99th percentile of what the differences' sizes were on dates before the first that will count.

    differences: float64 (n,), in the unit of the loss; NaN is left out. Raises ValueError with fewer than 60 finite
    differences, or if they are all zero: two forecasts that never differ have nothing to settle.
    """
    sizes = np.abs(differences[np.isfinite(differences)])
    if len(sizes) < LEAST_DATES:
        raise ValueError(f"{len(sizes)} earlier dates are too few to fix the bound from; {LEAST_DATES} are needed")
    bound = float(np.quantile(sizes, CLIP_QUANTILE))
    if bound <= 0.0:
        raise ValueError(
            "the two forecasts had the same loss on (nearly) every earlier date: nothing can be told apart"
        )
    return bound


def clipped(differences: FloatArray, bound: float) -> FloatArray:
    """x (n,): differences over the bound, kept within [-1, 1]; NaN stays NaN. Raises ValueError for a bound <= 0."""
    if not bound > 0.0:
        raise ValueError(f"the bound must be positive, got {bound}")
    return np.asarray(np.clip(differences / bound, -1.0, 1.0), dtype=np.float64)


class Purses:
    """Running e-processes of one or many paths: ``add`` a date's x, read ``log_e``.

    streams: how many purses take turns (one more than the label's overlap). paths: how many histories are followed.
    """

    def __init__(self, streams: int = 1, paths: int = 1, bets: tuple[float, ...] = BETS) -> None:
        if streams < 1:
            raise ValueError(f"there must be at least one stream, got {streams}")
        self._bets = np.asarray(bets, dtype=np.float64)
        self._log_wealth = np.zeros((paths, streams, len(bets)))
        self._after_loss = np.log1p(-self._bets)
        # What each purse is worth with its open bet lost; the one whose turn it was has none open.
        self._floor = np.tile(_log_mean(self._after_loss[None, None, :]), (paths, streams))
        self.dates = 0

    def add(self, x: FloatArray) -> FloatArray:
        """Settle the next date, x (paths,) in [-1, 1], and return ``log_e`` (paths,). Raises ValueError outside."""
        values = np.atleast_1d(np.asarray(x, dtype=np.float64))
        _require_clipped(values)
        turn = self.dates % self._log_wealth.shape[1]
        purse = self._log_wealth[:, turn, :]
        purse += np.log1p(values[:, None] * self._bets)
        self._floor[:, turn] = _log_mean(purse)
        found = _log_mean(self._floor)
        self._floor[:, turn] = _log_mean(purse + self._after_loss)
        self.dates += 1
        return found

    def repeated(self, paths: int) -> Purses:
        """So many copies of a single path's purses, to be followed further."""
        copy = Purses(self._log_wealth.shape[1], paths, tuple(self._bets))
        copy._log_wealth[:] = self._log_wealth
        copy._floor[:] = self._floor
        copy.dates = self.dates
        return copy


def log_e_values(x: FloatArray, streams: int = 1) -> FloatArray:
    """ln E after each date: x (n,) or (paths, n) in [-1, 1], the same shape back. Raises ValueError outside.

    streams: one more than how many later dates' labels share a bar with a date's (h for daily bars and a horizon of h).
    """
    rows = np.atleast_2d(np.asarray(x, dtype=np.float64))
    _require_clipped(rows)
    bets = np.asarray(BETS)
    logs, after_loss = np.log1p(rows[:, :, None] * bets), np.log1p(-bets)
    date, worth = np.arange(rows.shape[1]), np.empty((*rows.shape, streams))
    for turn in range(streams):
        purse = np.concatenate([np.zeros((len(rows), 1, len(bets))), logs[:, turn::streams].cumsum(axis=1)], axis=1)
        settled = (date - turn) // streams + 1
        lost = _log_mean(purse + after_loss)[:, settled]
        worth[:, :, turn] = np.where(date % streams == turn, _log_mean(purse)[:, settled], lost)
    return _log_mean(worth).reshape(np.shape(x))


def first_reach(log_e: FloatArray, level: float) -> npt.NDArray[np.int64]:
    """The number of dates (from 1) after which each path's E is 1 / level at the first time; 0: never. (paths, n)."""
    reached = np.atleast_2d(log_e) >= -np.log(level)
    return np.where(reached.any(axis=1), reached.argmax(axis=1) + 1, 0)


def dates_to_come(
    known: FloatArray, past: FloatArray, *, streams: int, level: float, limit: int, paths: int = 400, seed: int = 1
) -> npt.NDArray[np.int64]:
    """How many more dates until E reaches 1 / level if the future is drawn from ``known`` in blocks: (paths,), 0 never.

    known: x of the dates to draw from (n,); past: x of the dates that already count, in order; limit: no path is
    followed for longer. The stationary bootstrap (Politis and Romano 1994), blocks of max(10, 2 streams) on average.
    """
    purses = Purses(streams)
    for value in past:
        purses.add(np.asarray([value]))
    running, out = purses.repeated(paths), np.zeros(paths, dtype=np.int64)
    places = _blocks(len(known), limit, paths, max(MEAN_BLOCK, 2 * streams), np.random.default_rng(seed))
    for date in range(limit):
        reached = (running.add(known[places[:, date]]) >= -np.log(level)) & (out == 0)
        out[reached] = date + 1
        if (out > 0).all():
            break
    return out


def _require_clipped(x: FloatArray) -> None:
    if not (np.abs(x) <= 1.0).all():
        raise ValueError("x must lie in [-1, 1] and not be NaN: clip it first")


def _blocks(n: int, length: int, paths: int, mean: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Places (paths, length) among n dates: blocks that go on with chance 1 - 1 / mean, round the end."""
    fresh = rng.random((paths, length)) < 1.0 / mean
    fresh[:, 0] = True
    starts = rng.integers(0, n, (paths, length))
    begun = np.maximum.accumulate(np.where(fresh, np.arange(length), 0), axis=1)
    return np.asarray((np.take_along_axis(starts, begun, axis=1) + np.arange(length) - begun) % n, dtype=np.int64)


def _log_mean(logs: FloatArray) -> FloatArray:
    """ln of the mean of exponentials along the last axis."""
    top = logs.max(axis=-1, keepdims=True)
    mean = np.exp(logs - top).mean(axis=-1)
    return np.asarray(top[..., 0] + np.log(mean), dtype=np.float64)
