"""How often 90 % intervals hold on real bars: S&P 500, as a model ships them, and told each outcome.

Recipes are walked over the folds and fitted before the gate window, in this process; the intervals and what is said of
them come from the registry's own code. Columns: share of gate dates inside the fixed interval with its 95 % stationary
block-bootstrap interval, worst and best 63 dates in a row, mean full width; then the adapted one (ACI, told each label
at its end): share, its interval, mean width where finite, share of dates with the whole line.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from tasks.contracts import Candidate, RefitJob
from tasks.evaluation import Leaderboard, Score
from tasks.registry.coverage import IntervalCoverage, gate_coverage
from tasks.registry.records import Night
from tasks.search import training
from tasks.search.baselines import HAR, SIGNED
from tasks.storage import write_parquet
from tests.leaks.night import Fit, linear, night, walk
from tests.leaks.night import Night as Before

LHAR = [*HAR, *SIGNED]
PROBLEMS: tuple[tuple[str, int, Mapping[str, Fit]], ...] = (
    ("volatility", 1, {"har": linear(HAR, 0.0), "lhar": linear(LHAR, 0.0), "ridge": linear(None, 0.1)}),
    ("volatility", 5, {"har": linear(HAR, 0.0), "lhar": linear(LHAR, 0.0), "ridge": linear(None, 0.1)}),
    ("return", 1, {"momentum": linear(["return_22"], 0.0), "ridge": linear(None, 0.1)}),
    ("return", 5, {"momentum": linear(["return_22"], 0.0), "ridge": linear(None, 0.1)}),
)


def coverages(target: str, horizon: int, fits: Mapping[str, Fit], folder: Path) -> dict[str, IntervalCoverage]:
    """By recipe, what a registered version would say of its intervals."""
    before = night(target, horizon)
    names = list(fits)
    table = walk(before, dict(fits)).table(names)
    board = Leaderboard(
        scores=tuple(_score(name, rank) for rank, name in enumerate(names, start=1)),
        rows=len(table),
        dates=table["time"].nunique(),
        sha256="",
        predictions=write_parquet(folder / f"{target}-{horizon}.parquet", table),
    )
    tonight = Night(
        problem=before.problem,
        snapshot=before.snapshot,
        features=before.features,
        rows=before.rows,
        results=(),
        leaderboard=board,
        code_version="",
    )
    found = {name: gate_coverage(tonight, _gated(before, name, fit, folder)) for name, fit in fits.items()}
    return {name: coverage for name, coverage in found.items() if coverage is not None}


def _gated(before: Before, name: str, fit: Fit, folder: Path) -> Candidate:
    """The recipe fitted on what lies before the gate, with its predictions of every row."""
    job = RefitJob(name=name, recipe={}, rows="fit_gate")
    predictions = pd.DataFrame({"prediction": fit(training.for_job(before.data, job), job)})
    return Candidate(
        name=name,
        engine="linear",
        recipe={},
        model="",
        predictions=write_parquet(folder / f"{name}-{before.target.name}-{before.target.horizon}.parquet", predictions),
        train_seconds=0.0,
        predict_us_per_row=0.0,
        rows="fit_gate",
    )


def _score(name: str, rank: int) -> Score:
    return Score(rank=rank, candidate=name, engine="linear", metric="mse", direction="minimize", score=0.0, skill=0.0)


def line(problem: str, name: str, found: IntervalCoverage) -> str:
    """One row of the table."""
    fixed, adapted = found.fixed, found.adapted
    return (
        f"{problem:14} {name:9} {fixed.dates:5} {fixed.share:6.3f} [{fixed.low:.3f}, {fixed.high:.3f}] "
        f"{fixed.worst:5.2f}-{fixed.best:.2f} {found.width:7.4f}   {adapted.share:.3f} [{adapted.low:.3f}, "
        f"{adapted.high:.3f}] {adapted.worst:5.2f}-{adapted.best:.2f} {found.adapted_width:7.4f} {found.unbounded:6.1%}"
    )


def main() -> None:
    """A line a problem and recipe."""
    logging.disable()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["NOCTURNE_HOME"] = scratch
        print(f"{'target':14} {'recipe':9} dates  fixed [95 % interval] 63 dates    width   adapted [95 % interval] "
              "63 dates    width  whole line")  # fmt: skip
        for target, horizon, fits in PROBLEMS:
            for name, found in coverages(target, horizon, fits, Path(scratch)).items():
                print(line(f"{target}, {horizon}", name, found), flush=True)


if __name__ == "__main__":
    main()
