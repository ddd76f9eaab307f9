"""Risk figures of a series of simple returns, in the conventions of the empyrical library (its published test vectors).

Every function takes returns (n,) and leaves NaN out (``annual_return`` says how); ``periods`` is how many returns make
a year. A figure that is not defined (too few returns, no spread, no loss) is NaN.
"""

from __future__ import annotations

import numpy as np

from tasks.backtest.market import FloatArray

NAN = float("nan")


def annual_return(returns: FloatArray, periods: int) -> float:
    """Geometric: the constant yearly rate that gives the same end. A NaN earns nothing, and its period passes."""
    kept = _finite(returns)
    if not len(kept):
        return NAN
    end = float(np.prod(1.0 + kept))
    return float(max(end, 0.0) ** (periods / len(returns)) - 1.0)


def annual_volatility(returns: FloatArray, periods: int) -> float:
    """Sample standard deviation, a year."""
    kept = _finite(returns)
    return float(np.std(kept, ddof=1)) * periods**0.5 if len(kept) > 1 else NAN


def sharpe(excess: FloatArray, periods: int) -> float:
    """Mean over sample standard deviation of returns over cash, a year (Sharpe 1994)."""
    kept = _finite(excess)
    spread = float(np.std(kept, ddof=1)) if len(kept) > 1 else 0.0
    return float(np.mean(kept)) / spread * periods**0.5 if spread > 0 else NAN


def max_drawdown(returns: FloatArray) -> float:
    """The largest loss from a peak of equity, start included, as a positive share."""
    equity = np.concatenate([[1.0], np.cumprod(1.0 + _finite(returns))])
    return float(np.max(1.0 - equity / np.maximum.accumulate(equity)))


def calmar(returns: FloatArray, periods: int) -> float:
    """Annual return over maximum drawdown."""
    fall = max_drawdown(returns)
    return annual_return(returns, periods) / fall if fall > 0 else NAN


def omega(excess: FloatArray, periods: int, required: float = 0.0) -> float:
    """Gains over losses about a required return a year, from returns over cash (Keating and Shadwick 2002)."""
    about = _finite(excess) - ((1.0 + required) ** (1.0 / periods) - 1.0)
    losses = -float(about[about < 0].sum())
    return float(about[about > 0].sum()) / losses if losses > 0 else NAN


def downside_risk(excess: FloatArray, periods: int) -> float:
    """Root mean square of the returns below what is required, a year; ``excess`` is less the required return."""
    kept = _finite(excess)
    return float(np.sqrt(np.mean(np.minimum(kept, 0.0) ** 2))) * periods**0.5 if len(kept) else NAN


def sortino(excess: FloatArray, periods: int) -> float:
    """Mean over downside risk, a year; ``excess`` is less the required return (Sortino and Price 1994)."""
    risk = downside_risk(excess, periods)
    return float(np.mean(_finite(excess))) * periods / risk if risk > 0 else NAN


def information_ratio(active: FloatArray) -> float:
    """Mean over sample standard deviation of returns over a benchmark's, a period."""
    return sharpe(active, 1)


def beta(returns: FloatArray, benchmark: FloatArray) -> float:
    """Slope of the regression on a benchmark's returns, over the rows where both are known."""
    both = np.isfinite(returns) & np.isfinite(benchmark)
    about = benchmark[both] - np.mean(benchmark[both]) if both.any() else benchmark[both]
    spread = float(about @ about)
    return float(about @ returns[both]) / spread if spread > 0 else NAN


def alpha(returns: FloatArray, benchmark: FloatArray, periods: int) -> float:
    """Intercept of that regression times the periods of a year (Jensen 1968)."""
    both = np.isfinite(returns) & np.isfinite(benchmark)
    slope = beta(returns, benchmark)
    return float(np.mean(returns[both]) - slope * np.mean(benchmark[both])) * periods if slope == slope else NAN  # noqa: PLR0124


def alpha_t(returns: FloatArray, benchmark: FloatArray) -> float:
    """Newey and West's (1987) t statistic of alpha: Bartlett kernel, floor(4 (n/100)^(2/9)) lags, no correction."""
    both = np.isfinite(returns) & np.isfinite(benchmark)
    y, n = returns[both], int(both.sum())
    X = np.column_stack([np.ones(n), benchmark[both]])
    if n < 3 or np.linalg.matrix_rank(X) < 2:
        return NAN
    bread = np.linalg.inv(X.T @ X)
    coefficients = bread @ X.T @ y
    residual = y - X @ coefficients
    if residual @ residual <= 1e-20 * (y @ y):
        return NAN  # the benchmark itself: nothing but rounding is left
    scores = X * residual[:, None]
    lags = int(4 * (n / 100) ** (2 / 9))
    meat = scores.T @ scores
    for lag in range(1, min(lags, n - 1) + 1):
        cross = scores[lag:].T @ scores[:-lag]
        meat += (1.0 - lag / (lags + 1.0)) * (cross + cross.T)
    variance = float((bread @ meat @ bread)[0, 0])
    return float(coefficients[0]) / variance**0.5 if variance > 0 else NAN


def _finite(values: FloatArray) -> FloatArray:
    return values[np.isfinite(values)]
