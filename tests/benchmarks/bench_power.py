"""What the gate finds where there is something to be found, and from which strength on the alarm takes it for a leak.

One night a universe: a first read of the gate, at half of the term's error (2.5 %). Promotion is counted as if there
were no alarm, and the alarm as if there were no gate; last, what both leave. Worlds: ``planted.py``; the night:
``nightly.py``; the alarm: ``tasks.leaderboard.alarm`` on the night's walk.

``python -m tests.benchmarks.bench_power [--universes N] [--seed N] [--workers N]`` prints two tables, by strength and
form. The whole takes eight minutes of one processor; ``--universes 4`` half a minute.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

import numpy as np

from tasks.leaderboard.alarm import alarms, bounds
from tests.benchmarks import planted, worlds
from tests.benchmarks.nightly import Night, Problem
from tests.benchmarks.planted import FORMS, Form
from tests.benchmarks.universes import CORES, lived, processor_seconds, side_by_side

INDEX = (0.005, 0.01, 0.03, 0.10)
STOCKS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.10, 0.15, 0.20)
UNIVERSES = 100
PANELS = 0.2
"""Universes of all stocks, as a share of those of the index: each costs as much as twenty."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One universe: whether something other than a baseline led, was promoted, was alarmed about."""

    led: bool
    promoted: bool
    alarmed: bool


def live(world: worlds.World, seed: int) -> Outcome:
    """One night, judged with and without the alarm."""
    problem = Problem(world, seed)
    night = problem.night(len(world.sessions) - 1)
    promoted = night.decision.promote
    return Outcome(
        led=not night.baseline,
        promoted=bool(promoted) and promoted not in problem.baselines,
        alarmed=alarmed(night, problem),
    )


def alarmed(night: Night, problem: Problem) -> bool:
    """Whether any candidate of the walk is too good to be true."""
    names = list(night.order)
    found = bounds(night.joined.table(names), names, [n for n in names if n in problem.baselines], problem.world.target)
    return bool(alarms(found, problem.world.target))


Maker = Callable[[float, Form, int], worlds.World]


def one_of(seed: int, make: Maker, strength: float, form: Form) -> Outcome:
    """The universe of this seed."""
    return live(make(strength, form, seed), seed)


def curve(pool: Executor | None, make: Maker, strengths: Sequence[float], universes: int, seed: int) -> None:
    """Print a row for each strength and form."""
    print("| strength | signal | leads the board | promoted | alarm | promoted without alarm |")
    print("|---|---|---|---|---|---|")
    for form in FORMS:
        for strength in strengths:
            runs = lived(
                pool,
                partial(one_of, make=make, strength=strength, form=form),
                range(seed, seed + universes),
                what=f"{strength:.3g} {form}",
                found=lambda run: run.promoted,
            )
            shares = (
                np.mean([run.led for run in runs]),
                np.mean([run.promoted for run in runs]),
                np.mean([run.alarmed for run in runs]),
                np.mean([run.promoted and not run.alarmed for run in runs]),
            )
            print(f"| {strength:.3g} | {form} | {' | '.join(f'{share:.0%}' for share in shares)} |", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both curves and print them."""
    parser = argparse.ArgumentParser(prog="bench_power")
    parser.add_argument("--universes", type=int, default=UNIVERSES)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=CORES, help="processes side by side; the tables are the same")
    given = parser.parse_args(arguments)
    begun = time.monotonic()
    panels = max(round(PANELS * given.universes), 1)
    made = "" if worlds.stocks().real else "simulated "
    with side_by_side(given.workers) as pool:
        print(f"R² in the S&P 500's real returns, {given.universes} universes each\n")
        curve(pool, planted.in_index, INDEX, given.universes, given.seed)
        print(f"\nIC in the {made}residual returns of {len(worlds.stocks().symbols)} stocks, {panels} universes each\n")
        curve(pool, planted.in_stocks, STOCKS, panels, given.seed)
    print(f"\n{time.monotonic() - begun:.0f} s, {processor_seconds():.0f} s of processor time")
    return 0


if __name__ == "__main__":
    sys.exit(main())
