"""TA-Lib's 61 candlestick patterns: 1 bullish, -1 bearish, 0 none (2 and -2 where a pattern is confirmed).

They read the open, so they have a meaning only where opens are traded prices. Prices are counted on a grid, see series.
"""

from __future__ import annotations

from .feature import Feature
from .series import GRID, PRICES, Array, Parameters, Series, indicator

PENETRATION = {"ABANDONEDBABY": 0.3, "EVENINGDOJISTAR": 0.3, "EVENINGSTAR": 0.3, "MORNINGDOJISTAR": 0.3}
PENETRATION |= {"MORNINGSTAR": 0.3, "DARKCLOUDCOVER": 0.5, "MATHOLD": 0.5}

PATTERNS: dict[str, tuple[int, str]] = {
    "2CROWS": (13, "Two Crows"),
    "3BLACKCROWS": (14, "Three Black Crows"),
    "3INSIDE": (13, "Three Inside Up/Down"),
    "3LINESTRIKE": (9, "Three-Line Strike"),
    "3OUTSIDE": (4, "Three Outside Up/Down"),
    "3STARSINSOUTH": (13, "Three Stars In The South"),
    "3WHITESOLDIERS": (13, "Three Advancing White Soldiers"),
    "ABANDONEDBABY": (13, "Abandoned Baby"),
    "ADVANCEBLOCK": (13, "Advance Block"),
    "BELTHOLD": (11, "Belt-hold"),
    "BREAKAWAY": (15, "Breakaway"),
    "CLOSINGMARUBOZU": (11, "Closing Marubozu"),
    "CONCEALBABYSWALL": (14, "Concealing Baby Swallow"),
    "COUNTERATTACK": (12, "Counterattack"),
    "DARKCLOUDCOVER": (12, "Dark Cloud Cover"),
    "DOJI": (11, "Doji"),
    "DOJISTAR": (12, "Doji Star"),
    "DRAGONFLYDOJI": (11, "Dragonfly Doji"),
    "ENGULFING": (3, "Engulfing Pattern"),
    "EVENINGDOJISTAR": (13, "Evening Doji Star"),
    "EVENINGSTAR": (13, "Evening Star"),
    "GAPSIDESIDEWHITE": (8, "Up/Down-gap side-by-side white lines"),
    "GRAVESTONEDOJI": (11, "Gravestone Doji"),
    "HAMMER": (12, "Hammer"),
    "HANGINGMAN": (12, "Hanging Man"),
    "HARAMI": (12, "Harami Pattern"),
    "HARAMICROSS": (12, "Harami Cross Pattern"),
    "HIGHWAVE": (11, "High-Wave Candle"),
    "HIKKAKE": (6, "Hikkake Pattern"),
    "HIKKAKEMOD": (11, "Modified Hikkake Pattern"),
    "HOMINGPIGEON": (12, "Homing Pigeon"),
    "IDENTICAL3CROWS": (13, "Identical Three Crows"),
    "INNECK": (12, "In-Neck Pattern"),
    "INVERTEDHAMMER": (12, "Inverted Hammer"),
    "KICKING": (12, "Kicking"),
    "KICKINGBYLENGTH": (12, "Kicking - bull/bear determined by the longer marubozu"),
    "LADDERBOTTOM": (15, "Ladder Bottom"),
    "LONGLEGGEDDOJI": (11, "Long Legged Doji"),
    "LONGLINE": (11, "Long Line Candle"),
    "MARUBOZU": (11, "Marubozu"),
    "MATCHINGLOW": (7, "Matching Low"),
    "MATHOLD": (15, "Mat Hold"),
    "MORNINGDOJISTAR": (13, "Morning Doji Star"),
    "MORNINGSTAR": (13, "Morning Star"),
    "ONNECK": (12, "On-Neck Pattern"),
    "PIERCING": (12, "Piercing Pattern"),
    "RICKSHAWMAN": (11, "Rickshaw Man"),
    "RISEFALL3METHODS": (15, "Rising/Falling Three Methods"),
    "SEPARATINGLINES": (12, "Separating Lines"),
    "SHOOTINGSTAR": (12, "Shooting Star"),
    "SHORTLINE": (11, "Short Line Candle"),
    "SPINNINGTOP": (11, "Spinning Top"),
    "STALLEDPATTERN": (13, "Stalled Pattern"),
    "STICKSANDWICH": (8, "Stick Sandwich"),
    "TAKURI": (11, "Takuri (Dragonfly Doji with very long lower shadow)"),
    "TASUKIGAP": (8, "Tasuki Gap"),
    "THRUSTING": (12, "Thrusting Pattern"),
    "TRISTAR": (13, "Tristar Pattern"),
    "UNIQUE3RIVER": (13, "Unique 3 River"),
    "UPSIDEGAP2CROWS": (13, "Upside Gap Two Crows"),
    "XSIDEGAP3METHODS": (3, "Upside/Downside Gap Three Methods"),
}
"""By TA-Lib's name: the bars needed (the pattern's own and those that bodies and shadows are compared with), title."""


def _pattern(name: str, bars: int, title: str) -> Feature:
    function = f"CDL{name}"
    parameters: Parameters = {"penetration": PENETRATION[name]} if name in PENETRATION else {}

    asked = indicator(function, *GRID, **parameters)

    def compute(s: Series) -> Array:
        return s.value(asked) / 100.0

    return Feature(
        name=f"cdl_{name.lower()}",
        compute=compute,
        lookback=bars,
        inputs=PRICES,
        unit="sign",
        description=f"Candlestick pattern {title}.",
        formula=f"{function} / 100, on prices counted in ten-thousandths of a tick",
        functions=(function,),
        parameters=parameters,
    )


FEATURES: tuple[Feature, ...] = tuple(_pattern(name, bars, title) for name, (bars, title) in PATTERNS.items())
