"""How often the alarm fires where there is nothing to find: ``python -m tests.leaks.false_alarms``.

Two kinds of clean nights, each with the project's own fits walked over the real folds:

- markets of noise (``tasks.leaderboard.noise``): random signs for returns and directions, simulated ranges;
- the real S&P 500 and NASDAQ: half years, years and two years of the joined folds, as if each were a night's;
- many nights of two years with random signs and forecasts that are luck alone, several of them a night.

A night counts once, however many figures speak. Canaries are run on each market of noise too.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import numpy as np
from scipy.stats import beta

from tasks.bars.describe import from_options
from tasks.bars.ingest import read_accepted
from tasks.contracts import Target
from tasks.leaderboard import alarm, noise
from tests.leaks.clean import baseline, canary_of
from tests.leaks.every import scratch
from tests.leaks.night import Fit, Night, linear, night, source_of, walk

MARKETS = 12
STRETCHES = (126, 252, 504)
NIGHTS, DATES, LUCKY = 1000, 504, 4
TARGETS = (("return", 1), ("direction", 1), ("return", 5), ("volatility", 1))


def fits_of(tonight: Night) -> dict[str, Fit]:
    """What competes: the baseline, a strong and a weak penalty, and few columns."""
    few = ["return_1", "return_5", "return_22", "har_1", "har_5", "har_22"]
    return {
        "baseline": baseline(tonight.target),
        "ridge": linear(),
        "stiff": linear(penalty=10.0),
        "few": linear(few, penalty=1e-4),
    }


def spoke(tonight: Night) -> tuple[bool, bool]:
    """Whether the alarm, and whether the canary, speaks of a night."""
    joined = walk(tonight, fits_of(tonight))
    names = list(joined.predictions)
    found = alarm.alarms(alarm.bounds(joined.table(names), names, ["baseline"], tonight.target), tonight.target)
    return bool(found), bool(canary_of(tonight, linear()))


def on_noise(target: str, horizon: int, markets: int) -> tuple[int, int]:
    """In how many markets of noise the alarm speaks, and the canary."""
    bars = read_accepted(from_options("builtin:sp500")).frame
    make = noise.simulated_ranges if target == "volatility" else noise.signs
    told = [spoke(night(target, horizon, source=source_of(make(bars, seed)))) for seed in range(markets)]
    return sum(loud for loud, _ in told), sum(dead for _, dead in told)


def on_stretches(target: str, horizon: int) -> tuple[int, int]:
    """Alarms on stretches of the real folds, and how many stretches there are."""
    loud = tried = 0
    for source in ("builtin:sp500", "builtin:nasdaq"):
        tonight = night(target, horizon, source=source)
        joined = walk(tonight, fits_of(tonight))
        names = list(joined.predictions)
        table = joined.table(names)
        for size in STRETCHES:
            for first in range(0, len(table) - size + 1, size // 2):
                part = table.iloc[first : first + size].reset_index(drop=True)
                bounds = alarm.bounds(part, names, ["baseline"], tonight.target)
                loud += bool(alarm.alarms(bounds, tonight.target))
                tried += 1
    return loud, tried


def on_luck(nights: int) -> int:
    """In how many nights the alarm speaks of forecasts that know nothing, real returns with random signs."""
    bars = read_accepted(from_options("builtin:sp500")).frame
    returns = np.diff(np.log(bars["close"].to_numpy(float)))
    target = Target(name="return", horizon=1, kind="regression", loss="mse")
    names = [f"luck_{number}" for number in range(LUCKY)]
    loud = 0
    for seed in range(nights):
        random = np.random.default_rng(seed)
        first = int(random.integers(len(returns) - DATES))
        label = returns[first : first + DATES] * random.choice([-1.0, 1.0], DATES)
        frame = bars.loc[first : first + DATES - 1, ["symbol", "session"]].reset_index(drop=True).assign(label=label)
        forecasts = 1e-4 * random.standard_normal((LUCKY, DATES))
        frame = frame.assign(**dict(zip(names, forecasts, strict=True)))
        loud += bool(alarm.alarms(alarm.bounds(frame, names, [], target), target))
    return loud


def upper(events: int, tries: int) -> float:
    """The exact one-sided 95 % bound of a rate (Clopper and Pearson 1934)."""
    return 1.0 if events == tries else float(beta.ppf(0.95, events + 1, tries - events))


def main() -> None:
    """Print the rates."""
    logging.disable(logging.WARNING)
    markets = int(sys.argv[1]) if len(sys.argv) > 1 else MARKETS
    print(f"{'target':12}{'bars':>5}{'noise: alarms':>16}{'canaries':>11}{'of':>5}{'stretches: alarms':>20}{'of':>5}")
    totals = np.zeros(4, dtype=int)
    with scratch() as folder:
        os.environ["NOCTURNE_HOME"] = str(Path(folder) / "home")
        for target, horizon in TARGETS:
            loud, dead = on_noise(target, horizon, markets)
            real, stretches = on_stretches(target, horizon)
            totals += (loud, dead, real, stretches)
            print(f"{target:12}{horizon:5}{loud:16}{dead:11}{markets:5}{real:20}{stretches:5}", flush=True)
    nights = markets * len(TARGETS)
    print(
        f"\nalarms on noise {totals[0]} of {nights} (95 % bound {upper(totals[0], nights):.1%}), canaries {totals[1]} "
        f"({upper(totals[1], nights):.1%}), alarms on real stretches {totals[2]} of {totals[3]} "
        f"({upper(totals[2], totals[3]):.1%})"
    )
    loud = on_luck(NIGHTS)
    print(f"nights of {LUCKY} lucky forecasts on {DATES} dates: alarms {loud} of {NIGHTS} ({upper(loud, NIGHTS):.2%})")


if __name__ == "__main__":
    main()
