"""What trading costs. Defaults are the problem's: stated, and the same for every candidate.

A fill of a share ``x`` of capital in one name costs, as a share of capital,

    x (commission + spread / 2) + x · impact · volatility · sqrt(x · capital / value traded a day)

the square-root law (Torre 1997, BARRA Market Impact Model Handbook; Almgren et al. 2005, Risk 18, find 0.6 for the
exponent) with volatility a day and value traded both from the 21 bars before the fill. Impact is taken at the stated
capital throughout: gains are not reinvested into impact, so that costs do not depend on how the test went. Where no
volume is known there is no impact, and no capacity either. Shorts pay ``borrow`` for each session they are held.
Dividends on shorts and delistings are not costs: they are part of what a position returns (``market.py``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.backtest.market import FloatArray, Liquidity
from tasks.problem import Problem

BASIS_POINT = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Basis points of what is traded (``commission``, full ``spread``), of what is short a year (``borrow``); impact in
    daily volatilities at a day's whole volume; capital in the currency of the prices."""

    commission: float = 0.0
    spread: float = 0.0
    impact: float = 0.0
    borrow: float = 0.0
    capital: float = 1e6

    def __post_init__(self) -> None:
        for name in ("commission", "spread", "impact", "borrow"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if not self.capital > 0:
            raise ValueError(f"capital must be positive, got {self.capital}")

    @classmethod
    def of(cls, problem: Problem) -> Costs:
        """The costs that a problem states."""
        return cls(
            commission=problem.commission_bps,
            spread=problem.spread_bps,
            impact=problem.impact,
            borrow=problem.borrow_bps,
            capital=problem.capital,
        )

    @property
    def unit(self) -> float:
        """Commission and half the spread: the cost of a traded unit, as a share of it."""
        return (self.commission + self.spread / 2.0) * BASIS_POINT


def impact(traded: FloatArray, known: Liquidity, costs: Costs) -> FloatArray:
    """Impact of what is traded, (bars,), as a share of capital; ``traded`` in shares of capital, (bars, symbols).

    ``known`` is what was known at each bar's decision. Nil where the volatility or the volume is not known.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        participation = np.where(known.value > 0, traded * costs.capital / known.value, 0.0)
    moved = np.nan_to_num(known.volatility) * np.sqrt(participation)
    return np.asarray((costs.impact * moved * traded).sum(axis=1))
