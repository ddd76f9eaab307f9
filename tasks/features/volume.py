"""Volume indicators, volume always relative to the symbol's own: a change of the unit of volume changes nothing.

Cumulative lines (OBV, AD, PVT, NVI, PVI) depend on where history starts; only their change over a window is used.
"""

from __future__ import annotations

import numpy as np

from .feature import Feature, ema
from .momentum import oscillator
from .series import Array, Series, by_range, choose, log_ratio, ratio

CLOSE = ("close", "volume")
BARS = ("high", "low", "close", "volume")


def _line(name: str, function: str, inputs: tuple[str, ...], bars: int, description: str) -> Feature:
    def compute(s: Series) -> Array:
        now, before = s.pair(bars, function, *inputs)
        return _per_volume(s, now - before, bars) / bars

    return Feature(
        name=f"{name}_{bars}",
        compute=compute,
        lookback=bars + 1,
        inputs=inputs,
        unit="share of volume",
        description=f"{description} over {bars} bars; 0 where nothing was traded.",
        formula=f"difference of {function} over n bars / volume of these bars",
        functions=(function, "SMA", "MAX"),
        parameters={"bars": bars},
    )


def _per_volume(s: Series, values: Array, bars: int) -> Array:
    """Values per mean volume of the last bars. Exactly nothing traded counts as 0, a remainder of rounding too."""
    mean = s.ta("SMA", "volume", timeperiod=bars)
    return choose(s.ta("MAX", "volume", timeperiod=bars) > 0.0, ratio(values, mean), 0.0)


def _index(name: str, function: str, bars: int, description: str) -> Feature:
    def compute(s: Series) -> Array:
        return log_ratio(*s.pair(bars, function, *CLOSE))

    return Feature(
        name=f"{name}_{bars}",
        compute=compute,
        lookback=bars + 1,
        inputs=CLOSE,
        unit="log return",
        description=description,
        formula=f"ln({function} / {function} n bars ago)",
        functions=(function,),
        parameters={"bars": bars},
    )


def _relative_volume(bars: int) -> Feature:
    def compute(s: Series) -> Array:
        # RVOL divides by the mean of the bars before, unguarded.
        before = s.pair(1, "MAX", "volume", timeperiod=bars)[1]
        return np.log1p(choose(before > 0.0, s.ta("RVOL", "volume", timeperiod=bars), 0.0))

    return Feature(
        name=f"relative_volume_{bars}",
        compute=compute,
        lookback=bars + 1,
        inputs=("volume",),
        unit="log of 1 + ratio",
        description=f"Volume against the mean of the {bars} bars before; 0 where nothing was traded.",
        formula="ln(1 + RVOL)",
        functions=("RVOL", "MAX"),
        parameters={"timeperiod": bars},
    )


def _force(bars: int) -> Feature:
    return Feature(
        name=f"efi_{bars}",
        compute=lambda s: by_range(s, _per_volume(s, s.ta("EFI", *CLOSE, timeperiod=bars), 20)),
        lookback=ema(bars) + 1,
        inputs=BARS,
        unit="average ranges",
        description=f"Elder's force of {bars} bars.",
        formula="EFI / (mean volume of 20 bars x average true range)",
        functions=("EFI", "SMA", "MAX", "TRANGE"),
        parameters={"timeperiod": bars},
    )


CHAIKIN = Feature(
    name="adosc",
    compute=lambda s: _per_volume(s, s.ta("ADOSC", *BARS, fastperiod=3, slowperiod=10), 20),
    lookback=ema(10),
    inputs=BARS,
    unit="share of volume",
    description="Chaikin oscillator of accumulation and distribution.",
    formula="ADOSC / mean volume of 20 bars",
    functions=("ADOSC", "SMA", "MAX"),
    parameters={"fastperiod": 3, "slowperiod": 10},
)


def facilitation(s: Series) -> Array:
    """TA-Lib's range per volume, 0 where nothing was traded."""
    values = s.ta("MARKETFI", "high", "low", "volume")
    return choose(s["volume"] > 0.0, values, 0.0)


FACILITATION = Feature(
    name="marketfi_20",
    compute=lambda s: np.log1p(ratio(s[facilitation], s.ta("SMA", facilitation, timeperiod=20))),
    lookback=20,
    inputs=("high", "low", "volume"),
    unit="log of 1 + ratio",
    description="Range per volume against its mean of 20 bars; a bar without volume counts as 0.",
    formula="ln(1 + MARKETFI / its mean)",
    functions=("MARKETFI", "SMA"),
    parameters={"timeperiod": 20},
)

FEATURES: tuple[Feature, ...] = (
    *(_relative_volume(bars) for bars in (5, 20, 60)),
    *(_line("obv", "OBV", CLOSE, bars, "On-balance volume") for bars in (10, 50)),
    *(_line("ad", "AD", BARS, bars, "Accumulation and distribution") for bars in (5, 60)),
    _line("pvt", "PVT", CLOSE, 20, "Price-volume trend"),
    _index("nvi", "NVI", 20, "Return of 20 bars earned on falling volume."),
    _index("pvi", "PVI", 20, "Return of 20 bars earned on rising volume."),
    CHAIKIN,
    *(oscillator(f"cmf_{n}", "CMF", BARS, n, f"Chaikin money flow of {n} bars.", timeperiod=n) for n in (20,)),
    *(oscillator(f"mfi_{n}", "MFI", BARS, n + 1, f"Money flow of {n} bars.", timeperiod=n) for n in (14, 28)),
    oscillator(
        "pvo", "PVO", ("volume",), ema(26), "Volume averages of 12 over 26.", fastperiod=12, slowperiod=26, matype=1
    ),
    _force(13),
    FACILITATION,
)
