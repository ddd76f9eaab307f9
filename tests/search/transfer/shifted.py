"""Markets that are alike, or differ in one stated way: persistent volatility, made here, as channels."""

from __future__ import annotations

import numpy as np

from tasks.search.transfer.channels import (
    BODY,
    BODY_KNOWN,
    KNOWN,
    LOG_RANGE,
    MEDIAN,
    RETURN,
    STEP,
    VOLUME,
    Bars,
    Rows,
    usable,
)


def market(
    bars: int = 1500,
    symbols: int = 1,
    seed: int = 1,
    *,
    persistence: float = 0.97,
    roughness: float = 0.2,
    lean: float = 0.0,
    size: float = 0.01,
    volume: bool = True,
    opens: bool = True,
) -> Bars:
    """Log volatility follows an autoregression of this persistence; log ranges are seen through noise.

    roughness: the noise on log ranges. lean: how far bodies lean to one side. size: of a usual bar.
    """
    random = np.random.default_rng(seed)
    values = np.zeros((symbols * bars, STEP), dtype=np.float32)
    for place in range(symbols):
        shocks = random.normal(0.0, 0.4 * np.sqrt(1 - persistence**2), bars)
        state = np.zeros(bars)
        state[0] = 0.4 * random.normal()
        for t in range(1, bars):
            state[t] = persistence * state[t - 1] + shocks[t]
        rows = slice(place * bars, (place + 1) * bars)
        scale = size * np.exp(state)
        body = np.tanh(lean + 0.7 * random.normal(size=bars))
        values[rows, RETURN] = scale * (0.8 * body + 0.3 * random.normal(size=bars))
        values[rows, LOG_RANGE] = np.log(scale) + roughness * random.normal(size=bars)
        values[rows, MEDIAN] = 0.3 * scale * body
        values[rows, BODY] = body if opens else 0.0
        values[rows, BODY_KNOWN] = float(opens)
        values[rows, VOLUME] = 0.3 * random.normal(size=bars) if volume else 0.0
        values[rows, KNOWN] = float(volume)
    return Bars(values=values, starts=np.arange(symbols, dtype=np.int64) * bars)


def ends(bars: Bars, length: int, first: int = 0, last: int | None = None) -> Rows:
    """The rows of [first, last) that end whole windows."""
    rows = np.flatnonzero(usable(bars, length)).astype(np.int64)
    return rows[(rows >= first) & (rows < (len(bars.values) if last is None else last))]
