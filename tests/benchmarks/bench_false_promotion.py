"""How often is something promoted where nothing can be found? 300 noise universes, each through 60 nights of one term.

A universe counts once if anything but a baseline takes the alias. Beside it, on the same nights, two rules in common
use: "promote what leads the leaderboard", and "promote the leader if an ordinary t test on the last 252 dates of the
gate says 5 %". Worlds: ``worlds.py``; a night: ``nightly.py``.

``python -m tests.benchmarks.bench_false_promotion [--universes N] [--nights N] [--seed N] [--workers N]`` prints the
table. It ends with 1 if more than 8 of 300 universes promoted anything (exact upper 95 % bound above 5 %). The 300 take
six minutes of one processor (a universe of 60 nights one to two seconds); three are done in twenty seconds.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from scipy import stats

from tests.benchmarks import worlds
from tests.benchmarks.nightly import Problem
from tests.benchmarks.universes import CORES, lived, processor_seconds, side_by_side

UNIVERSES = 300
NIGHTS = 60
LIMIT = 0.05
PLAIN = 1.645
"""The one-sided 5 % point of the normal law."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lived:
    """One universe: what was promoted wrongly and on which night (0 if nothing), and what the naive rules would have.

    ``led``: nights on which something other than a baseline led; ``reads`` of the gate; ``least_p``: the smallest of
    the reads' p-values, each that of its hardest rival.
    """

    promoted: int
    led: int
    plain: bool
    reads: int
    least_p: float


def live(seed: int, kind: worlds.Kind, nights: int) -> Lived:
    """One universe through its nights; it goes on after a false promotion, with the champion that it had."""
    world = worlds.make(kind, seed)
    problem, last = Problem(world, seed), len(world.sessions) - 1
    led, reads, least, promoted, plain = 0, 0, 1.0, 0, False
    for number in range(1, nights + 1):
        night = problem.night(last - nights + number)
        problem.crown(night)
        led += not night.baseline
        plain = plain or (not night.baseline and night.plain_t > PLAIN)
        if night.evidence.comparisons:
            reads = max(reads, night.evidence.read)
            least = min(least, max(item.p_value for item in night.evidence.comparisons))
        if night.decision.promote and night.decision.promote not in problem.baselines:
            promoted = promoted or number
    return Lived(promoted=promoted, led=led, plain=plain, reads=reads, least_p=least)


def upper_bound(count: int, trials: int) -> float:
    """Clopper and Pearson's exact one-sided upper 95 % bound of a share."""
    return float(stats.beta.ppf(0.95, count + 1, trials - count)) if count < trials else 1.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the universes and print the table."""
    parser = argparse.ArgumentParser(prog="bench_false_promotion")
    parser.add_argument("--universes", type=int, default=UNIVERSES)
    parser.add_argument("--nights", type=int, default=NIGHTS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=CORES, help="processes side by side; the table is the same")
    given = parser.parse_args(arguments)
    begun, everything = time.monotonic(), list[Lived]()
    print(
        f"| noise, {given.nights} nights each | universes | promoted | leads the board | 5 % every night "
        "| reads | least p |"
    )
    print("|---|---|---|---|---|---|---|")
    with side_by_side(given.workers) as pool:
        for place, kind in enumerate(worlds.KINDS):
            count = (given.universes + place) // len(worlds.KINDS)
            several = lived(
                pool,
                partial(live, kind=kind, nights=given.nights),
                [1000 * given.seed + number for number in range(count)],
                what=kind,
                found=lambda one: one.promoted > 0,
            )
            print(_row(_title(kind), several), flush=True)
            everything += several
    print(_row("all", everything))
    false = sum(one.promoted > 0 for one in everything)
    bound = upper_bound(false, len(everything))
    print(
        f"\n{false} of {len(everything)} universes promoted something false: {false / len(everything):.1%}, "
        f"exact upper 95 % bound {bound:.1%}; {time.monotonic() - begun:.0f} s, "
        f"{processor_seconds():.0f} s of processor time"
    )
    return int(given.universes >= UNIVERSES and bound > LIMIT)


def _title(kind: worlds.Kind) -> str:
    if kind == "panel":
        return f"{worlds.NAMES} {'' if worlds.stocks().real else 'simulated '}stocks, returns dealt anew within dates"
    return "returns of the S&P 500, signs by coin" if kind == "signs" else "volatility made by LHAR"


def _row(title: str, lived: Sequence[Lived]) -> str:
    if not lived:
        return f"| {title} | 0 | | | | | |"
    shares = [
        f"{sum(flags)} ({sum(flags) / len(lived):.0%})"
        for flags in ([one.promoted > 0 for one in lived], [one.led > 0 for one in lived], [one.plain for one in lived])
    ]
    reads = sum(one.reads for one in lived) / len(lived)
    return f"| {title} | {len(lived)} | {' | '.join(shares)} | {reads:.0f} | {min(one.least_p for one in lived):.4f} |"


if __name__ == "__main__":
    sys.exit(main())
