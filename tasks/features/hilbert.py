"""Ehlers' Hilbert transform one bar at a time: one state behind HT_DCPERIOD, HT_PHASOR, HT_TRENDLINE and MAMA.

Of the smoothed price x the transform is (a x[t] + b x[t-2] - b x[t-4] - a x[t-6]) times a factor of the last period;
TA-Lib's constants. All start from nothing, which their columns' lookbacks forget. Ehlers 2001.

Travels inside promoted models: relative imports and the standard library only.
"""

from __future__ import annotations

import math
from collections import deque

A, B = 0.0962, 0.5769
FUNCTIONS = ("HT_DCPERIOD", "HT_PHASOR", "HT_TRENDLINE", "MAMA")
_LONGEST = 50
_PHASES = 10


class Hilbert:
    """``values`` by function: the outputs at the last bar."""

    def __init__(self, fastlimit: float = 0.5, slowlimit: float = 0.05) -> None:
        self._fast, self._slow = fastlimit, slowlimit
        self._prices: deque[float] = deque([0.0] * (_LONGEST + 1), maxlen=_LONGEST + 1)
        self._smooth, self._detrended, self._quadrature = (deque([0.0] * _PHASES, maxlen=_PHASES) for _ in range(3))
        self._period = self._smooth_period = 0.0
        self._i2 = self._q2 = self._re = self._im = self._phase = 0.0
        self._trends = (0.0, 0.0, 0.0)
        self._mama = self._fama = 0.0
        self.values: dict[str, tuple[float, ...]] = {}

    def step(self, price: float) -> None:
        """The next bar's price."""
        self._prices.appendleft(price)
        p, x, d, q = self._prices, self._smooth, self._detrended, self._quadrature
        adjusted = 0.075 * self._period + 0.54
        x.appendleft((4.0 * p[0] + 3.0 * p[1] + 2.0 * p[2] + p[3]) * 0.1)
        # In TA-Lib's order, in which a price that stands still leaves exactly nothing.
        d.appendleft((A * x[0] - A * x[6] - B * x[4] + B * x[2]) * adjusted)
        q.appendleft((A * d[0] - A * d[6] - B * d[4] + B * d[2]) * adjusted)
        ahead_i = (A * d[3] - A * d[9] - B * d[7] + B * d[5]) * adjusted
        ahead_q = (A * q[0] - A * q[6] - B * q[4] + B * q[2]) * adjusted
        self._measure(0.2 * (d[3] - ahead_q) + 0.8 * self._i2, 0.2 * (q[0] + ahead_i) + 0.8 * self._q2)
        self._adapt(price, d[3], q[0])
        self.values = {
            "HT_DCPERIOD": (self._smooth_period,),
            "HT_PHASOR": (d[3], q[0]),
            "HT_TRENDLINE": (self._trend(),),
            "MAMA": (self._mama, self._fama),
        }

    def _measure(self, i2: float, q2: float) -> None:
        """The dominant period, from how far the phasor turned; limited in its steps and to 6..50 bars."""
        self._re = 0.2 * (i2 * self._i2 + q2 * self._q2) + 0.8 * self._re
        self._im = 0.2 * (i2 * self._q2 - q2 * self._i2) + 0.8 * self._im
        self._i2, self._q2 = i2, q2
        before = period = self._period
        if self._im != 0.0 and self._re != 0.0:
            period = 360.0 / math.degrees(math.atan(self._im / self._re))
        period = max(min(period, 1.5 * before), 0.67 * before)
        period = min(max(period, 6.0), 50.0)
        self._period = 0.2 * period + 0.8 * before
        self._smooth_period = 0.33 * self._period + 0.67 * self._smooth_period

    def _adapt(self, price: float, in_phase: float, quadrature: float) -> None:
        """MESA's adaptive average: the faster the phase turns, the smaller the weight of the price."""
        phase = math.degrees(math.atan(quadrature / in_phase)) if in_phase else 0.0
        turned = max(self._phase - phase, 1.0)
        self._phase = phase
        weight = max(self._fast / turned, self._slow) if turned > 1.0 else self._fast
        self._mama = weight * price + (1.0 - weight) * self._mama
        self._fama = 0.5 * weight * self._mama + (1.0 - 0.5 * weight) * self._fama

    def _trend(self) -> float:
        bars = int(self._smooth_period + 0.5)
        mean = sum(list(self._prices)[:bars]) / bars if bars else 0.0
        first, second, third = self._trends
        self._trends = (mean, first, second)
        return (4.0 * mean + 3.0 * first + 2.0 * second + third) / 10.0
