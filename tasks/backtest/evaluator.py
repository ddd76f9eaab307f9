"""The economic evaluator: every candidate's weights to equity, vectorised over bars and symbols.

Decided at the close of bar t, filled in full at the next bar (``market.Legs`` says at which moment), back to the target
weights every bar. A bar multiplies equity by

    (1 + w' · before - borrow) · (1 - cost of the fill) · (1 + w · after)

with w' what the earlier weights had drifted into and w the new ones; what is not invested earns the cash rate. *Gross*
leaves out every cost. A name without a bar keeps its weight and cannot be traded; one whose bars have ended is paid
out. Equity that is lost stays lost. What is not here: whole shares, pay dates (``zipline_mode.py``), margin calls.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.backtest.costs import BASIS_POINT, Costs, impact
from tasks.backtest.market import FloatArray, Legs, Liquidity, Market

CASH = 0.0
"""The rate on cash, a year. Nil unless given: an excess return is then the return itself, which the report says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What each bar after the first did to equity, all (bars - 1,), as shares of the equity at that moment.

    ``before`` and ``after`` are growth (about one) up to the fill and from it, without costs; ``traded`` the absolute
    weight that changed hands, ``unit`` the cost of a traded unit; ``impact`` and ``borrow`` are what those took.
    """

    sessions: npt.NDArray[np.datetime64]
    before: FloatArray
    after: FloatArray
    traded: FloatArray
    impact: FloatArray
    borrow: FloatArray
    unit: float
    periods: int
    cash: float = CASH

    def growth(self, unit: float | None = None, impact_scale: float = 1.0) -> FloatArray:
        """Growth of each bar after costs; at another cost of a traded unit, or a multiple of the impact, if given."""
        fill = (self.unit if unit is None else unit) * self.traded + impact_scale * self.impact
        return np.asarray(np.maximum(self.before - self.borrow, 0.0) * np.maximum(1.0 - fill, 0.0) * self.after)

    @property
    def gross(self) -> FloatArray:
        """Growth of each bar without any cost."""
        return self.before * self.after

    @property
    def taken(self) -> FloatArray:
        """What trading and borrowing took in each bar."""
        return self.unit * self.traded + self.impact + self.borrow


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What all candidates are evaluated on. ``known`` is the liquidity at each bar's close; ``cash`` a rate a year."""

    market: Market
    earned: Legs
    known: Liquidity
    costs: Costs
    cash: float = CASH

    @property
    def daily_cash(self) -> float:
        """What cash earns in a session."""
        return float((1.0 + self.cash) ** (1.0 / self.market.periods) - 1.0)


def run(ground: Ground, weights: FloatArray) -> Run:
    """Evaluate target weights (bars, symbols): ``weights[t]`` is decided at the close of bar t and filled at t + 1.

    The last bar's weights are never filled. Raises ValueError for weights that are not finite.
    """
    market, earned = ground.market, ground.earned
    if weights.shape != market.close.shape or not np.isfinite(weights).all():
        raise ValueError(f"weights must be finite and of shape {market.close.shape}, got {weights.shape}")
    held = _held(market, weights)
    after = _growth(1.0, held * earned.after)
    closing = _share(held * (1.0 + earned.after), after)[:-1]
    moves = np.where(closing < 0, earned.short_before[1:], earned.before[1:])
    idle = (1.0 - closing.sum(axis=1)) * _bar_rate(ground.cash, market)
    before = _growth(1.0 + idle, closing * moves)
    drifted = _share(closing * (1.0 + moves), before)
    changed = np.where(market.trades[1:], np.abs(held[1:] - drifted), 0.0)
    borrow = np.maximum(-closing, 0.0).sum(axis=1) * _bar_rate(ground.costs.borrow * BASIS_POINT, market)
    return _run(ground, before, after[1:], changed, borrow)


def buy_and_hold(ground: Ground) -> Run:
    """Equal shares of all names that trade on the first two bars, bought at the second's fill and never touched."""
    market, earned = ground.market, ground.earned
    bought = market.trades[0] & market.trades[min(1, len(market.trades) - 1)]
    first = bought / max(int(bought.sum()), 1)
    moves = earned.before.copy()
    moves[:2] = 0.0
    closing = first * np.cumprod((1.0 + moves) * (1.0 + earned.after), axis=0)
    value = closing.sum(axis=1)
    opening = (closing[:-1] * (1.0 + moves[1:])).sum(axis=1)
    changed = np.zeros(market.close.shape)[1:]
    changed[:1] = first
    before, after = _over(opening, value[:-1]), _over(value[1:], opening)
    return _run(ground, before, after, changed, np.zeros(len(before)))


def _run(ground: Ground, before: FloatArray, after: FloatArray, changed: FloatArray, borrow: FloatArray) -> Run:
    """``changed``: the absolute weight of each name that changed hands, decided with what was known a bar earlier."""
    known = Liquidity(volatility=ground.known.volatility[:-1], value=ground.known.value[:-1])
    return Run(
        sessions=ground.market.sessions[1:],
        before=before,
        after=after,
        traded=changed.sum(axis=1),
        impact=impact(changed, known, ground.costs),
        borrow=borrow,
        unit=ground.costs.unit,
        periods=ground.market.periods,
        cash=ground.cash,
    )


def _held(market: Market, weights: FloatArray) -> FloatArray:
    """The weight of each name after the fill of each bar: what was decided a bar earlier, where it could be traded."""
    decided = np.vstack([np.zeros((1, weights.shape[1])), weights[:-1]])
    settled = market.trades | market.ended
    settled[0] = True
    place = np.where(settled, np.arange(len(decided))[:, None], 0)
    np.maximum.accumulate(place, axis=0, out=place)
    return np.asarray(np.take_along_axis(np.where(market.ended, 0.0, decided), place, axis=0))


def _growth(base: FloatArray | float, earned: FloatArray) -> FloatArray:
    return np.asarray(np.maximum(base + earned.sum(axis=1), 0.0))


def _share(values: FloatArray, growth: FloatArray) -> FloatArray:
    wide = np.broadcast_to(growth[:, None], values.shape)
    return np.divide(values, wide, out=np.zeros(values.shape), where=wide > 0)


def _over(values: FloatArray, growth: FloatArray) -> FloatArray:
    return np.divide(values, growth, out=np.ones(values.shape), where=growth > 0)


def _bar_rate(rate: float, market: Market) -> float:
    return rate / (market.periods * market.bars_per_session)
