"""Too good to be true: which figures of a night are likelier a leak than a discovery.

An alarm fires where even the lower 99 % bound of a figure's excess over its base rate passes a limit. Bounds come from
a stationary bootstrap over dates, so that neither the names of a panel nor overlapping labels count as independent
evidence (``figures.py``).

```
target        figure            base rate                      limit, 1 to 5 bars      beyond h = 5 bars
return        R²                a forecast of zero             1 %                     h / 5 times, at most 25 %
up or not up  R² (Brier)        the rows' own share of ups     1 %                     h / 5 times, at most 25 %
all of these  rank correlation  zero                           0.10                    √(h / 5) times, at most 0.5
              hit rate          the commoner side's share      5 points                √(h / 5) times, at most 25
volatility    skill             the best baseline              15 %                    the same
              R²                each symbol's own mean         90 %                    the same
backtests     Sharpe, net       zero                           3 a year                the same
```

Beyond five bars the limits follow what a persistent predictor would earn: its R² grows at most in proportion to the
horizon (Campbell, Lo and MacKinlay 1997, section 7.2), a correlation and a hit rate with the root of that. Published
figures stay far inside: an R² of 0.4 % a month (Gu, Kelly and Xiu 2020), an IC of 0.02 to 0.06.

Volatility can be forecast, so its limits were measured: on the S&P 500 and the NASDAQ 1999-2018, over stretches of half
a year to two years and 1, 5 and 22 bars ahead, no bound of an honest skill passed 3 % and none of an R² 70 %, while a
label that is one bar early has an R² or a skill near 100 %.

Baselines are looked at too: what leaks into the bars lifts them with all others, and skill over them shows nothing.
Buy-and-hold is not: it forecasts nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from tasks.contracts import Target
from tasks.leaderboard import figures
from tasks.leaderboard.figures import Bound, Dated, Figure, FloatArray, Name

SHORT = 5
STATED: dict[Name, float] = {"r2": 0.01, "ic": 0.10, "hit_rate": 0.05}
GROWTH: dict[Name, float] = {"r2": 1.0, "ic": 0.5, "hit_rate": 0.5}
MOST: dict[Name, float] = {"r2": 0.25, "ic": 0.5, "hit_rate": 0.25}
VOLATILITY: dict[Name, float] = {"skill": 0.15, "r2": 0.90}
SHARPE = 3.0

YEAR = 252
WORDS: dict[Name, tuple[str, str]] = {
    "r2": ("R² over the base rate", "{:.1%}"),
    "ic": ("rank correlation", "{:.3f}"),
    "hit_rate": ("share of sides called beyond the commoner side's", "{:.1%}"),
    "skill": ("skill over the best baseline", "{:.1%}"),
    "sharpe": ("Sharpe ratio after costs", "{:.2f}"),
}


def alarms(
    bounds: Sequence[Bound], target: Target, null: Mapping[Name, Sequence[float]] | None = None
) -> tuple[str, ...]:
    """Words for every bound that passes its limit, the highest above it first; empty on a night like any other.

    null: by figure, the bounds that canaries gave on earlier nights (``limits``).
    """
    allowed = limits(target, null)
    found = [(each, allowed[each.figure]) for each in bounds if each.lower > allowed[each.figure]]
    found.sort(key=lambda pair: (-pair[0].lower / pair[1], pair[0].candidate, pair[0].figure))
    return tuple(_words(each, limit, target) for each, limit in found)


def bounds(frame: pd.DataFrame, names: Sequence[str], baselines: Sequence[str], target: Target) -> tuple[Bound, ...]:
    """The figures of every candidate with their lower 99 % bounds.

    frame: the joined out-of-sample predictions, ``symbol, session, label`` and a column for each of ``names`` (n rows,
    without NaN), some of which are ``baselines``. On fewer than 20 dates bounds are NaN.
    """
    rows = Dated.of(frame, target.horizon)
    predictions = {name: frame[name].to_numpy(np.float64) for name in names}
    best = min((figures.squared(rows.label, predictions[name]) for name in baselines), key=np.mean, default=None)
    return tuple(
        figures.bound(name, figure, rows.overlap)
        for name in names
        for figure in _figures(rows, predictions[name], target, None if name in baselines else best)
    )


def traded_bound(candidate: str, returns: FloatArray, periods: float) -> Bound:
    """The Sharpe ratio of returns after costs and over cash (n,), one a date, with its lower 99 % bound.

    periods: dates a year.
    """
    return figures.bound(candidate, figures.sharpe(returns, periods), overlap=0)


def limits(target: Target, null: Mapping[Name, Sequence[float]] | None = None) -> dict[Name, float]:
    """The limit of each figure: the stated one, or what canaries showed to happen more than once a year.

    null: by figure, one bound a night of a canary, which knows nothing. With a year of them, the limit is at least
    their quantile 1 - 1/252, so that no more than one false alarm a year is to be expected; but never above twice the
    stated limit (half-way to one, where that is less), so that a leak which canaries share cannot silence the alarm.
    """
    found = stated(target)
    for name, scores in (null or {}).items():
        known = np.asarray([score for score in scores if np.isfinite(score)])
        if name in found and len(known) >= YEAR:
            raised = float(np.quantile(known, 1.0 - 1.0 / YEAR, method="higher"))
            found[name] = max(found[name], min(raised, _most(found[name])))
    return found


def stated(target: Target) -> dict[Name, float]:
    """The limits before any null distribution is known, by figure; the table above."""
    if target.name == "volatility":
        return {**VOLATILITY, "sharpe": SHARPE}
    longer = max(target.horizon / SHORT, 1.0)
    scaled = {name: min(limit * longer ** GROWTH[name], MOST[name]) for name, limit in STATED.items()}
    return {**scaled, "sharpe": SHARPE}


def _most(limit: float) -> float:
    return min(2.0 * limit, (1.0 + limit) / 2.0) if limit < 1 else 2.0 * limit


def _figures(rows: Dated, prediction: FloatArray, target: Target, baseline: FloatArray | None) -> list[Figure]:
    if target.name == "volatility":
        absolute = [figures.r2_of_means(rows, prediction)]
        if baseline is None:
            return absolute
        return [*absolute, figures.skill(rows, figures.squared(rows.label, prediction), baseline)]
    if target.kind == "classification":
        r2, up = figures.r2_of_share(rows, prediction), prediction > 0.5
    else:
        r2, up = figures.r2_zero(rows, prediction), prediction > 0
    return [r2, figures.hit_excess(rows, up), figures.correlation(rows, prediction)]


def _words(found: Bound, limit: float, target: Target) -> str:
    what, form = WORDS[found.figure]
    value, lower, allowed = (form.format(each) for each in (found.value, found.lower, limit))
    bars = f"{target.horizon} bar{'' if target.horizon == 1 else 's'}"
    return (
        f"{found.candidate}: {what} of {value} for {target.name} over {bars}, at least {lower} (lower 99 % bound on "
        f"{found.dates:,} dates); above {allowed} a leak is likelier than a discovery"
    )
