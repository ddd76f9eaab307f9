"""Which architecture carries the most from the same bars in the same time: three encoders, two sources, later bars.

Each is pre-trained on volatility and direction with the same number of gradient steps, or until it gets no better; the
evidence is the product's own, on held-out later bars: skill over HAR and over the base rate with 95 % intervals over
dates. Columns: weights, steps made, processor seconds of the whole, microseconds to embed a window, skill at one, five
and twenty-two bars. Chosen is the highest mean skill at volatility.

``python -m tests.benchmarks.bench_backbones [--steps N] [--seeds N] [--quick]``
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.search.auto_keras import device, use_jax
from tests.benchmarks.scarcity import channels
from tests.benchmarks.transfers import FAST, Market, large_stocks, shares
from tests.benchmarks.universes import CORES

ARCHITECTURES = ("tcn", "patches", "image")
TASKS = ("volatility", "direction")
UNTIL = "2017-01-03"
EMBEDDED = 4096


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One encoder on one source: skill by task and horizon with its interval."""

    steps: int
    cpu: float
    weights: int
    microseconds: float
    skill: dict[tuple[str, int], tuple[float, float, float]]


def measured(architecture: str, market: Market, steps: int, seed: int) -> Measured:
    """Pre-train on the market's bars and read the evidence."""
    from tasks.search.transfer import networks, pretraining  # noqa: PLC0415 - after the backend is chosen
    from tasks.search.transfer.channels import usable  # noqa: PLC0415

    bars, times = channels(market)
    spec = networks.Spec(architecture=architecture)  # type: ignore[arg-type]
    budget, began = pretraining.Budget(seconds=3600.0, steps=steps), time.process_time()
    made = pretraining.pretrain(bars, times, spec, TASKS, budget, seed)  # type: ignore[arg-type]
    cpu = time.process_time() - began
    base = networks.encoder(spec, seed)
    networks.load_weights(base, made.weights)
    ends = np.flatnonzero(usable(bars, spec.length))[:EMBEDDED].astype(np.int64)
    networks.embed(base, bars, ends)
    begun = time.perf_counter()
    networks.embed(base, bars, ends)
    return Measured(
        steps=made.steps,
        cpu=cpu,
        weights=int(base.count_params()),
        microseconds=1e6 * (time.perf_counter() - begun) / len(ends),
        skill={
            (each.task, each.horizon): (each.skill, each.low or np.nan, each.high or np.nan) for each in made.evidence
        },
    )


def line(source: str, architecture: str, found: Sequence[Measured]) -> str:
    """A row of the table, seeds averaged: the ends of the intervals too."""
    cells = []
    for key in found[0].skill:
        skill, low, high = np.mean([each.skill[key] for each in found], axis=0)
        cells.append(f"{100 * skill:6.2f} [{100 * low:5.1f}, {100 * high:5.1f}]")
    costs = [float(np.mean([getattr(each, name) for each in found])) for name in ("steps", "cpu", "microseconds")]
    told = " | ".join([source, architecture, f"{found[0].weights:,}", *(f"{cost:.0f}" for cost in costs), *cells])
    return f"| {told} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and the architecture with the highest mean skill at volatility; 1 if none was measured."""
    parser = argparse.ArgumentParser(prog="bench_backbones")
    parser.add_argument("--steps", type=int, default=1500, help="gradient steps of each, at most")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="one source, one seed, fifty steps")
    given = parser.parse_args(arguments)
    logging.disable()
    use_jax(CORES)

    sources = {"hours": shares("hour", FAST), "stocks": large_stocks()}
    if given.quick:
        sources = {"hours": sources["hours"]}
    steps, seeds = (50, 1) if given.quick else (given.steps, given.seeds)
    print(f"at most {steps:,} steps each on {device()}, {seeds} seeds, bars before {UNTIL}\n")
    names = [f"{task} {h}, skill in % [95 %]" for task in TASKS for h in (1, 5, 22)]
    print(
        f"| source | architecture | weights | steps | cpu s | µs | {' | '.join(names)} |\n|{'---|' * (6 + len(names))}"
    )
    mean: dict[str, list[float]] = {}
    for source, market in sources.items():
        for architecture in ARCHITECTURES:
            found = [measured(architecture, market.between(last=UNTIL), steps, seed) for seed in range(1, seeds + 1)]
            print(line(source, architecture, found), flush=True)
            each = [skill[0] for one in found for (task, _), skill in one.skill.items() if task == "volatility"]
            mean.setdefault(architecture, []).append(float(np.mean(each)))
    best = max(mean, key=lambda name: float(np.mean(mean[name])))
    print(f"\nchosen: {best}, mean skill at volatility {100 * np.mean(mean[best]):.2f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
