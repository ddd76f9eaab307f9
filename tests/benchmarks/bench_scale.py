"""What a night's stages take by symbols, years and features: seconds, and the peak memory of the whole process tree.

Each case runs in a process of its own, on bars that ``enlarged`` resampled from real ones: ingest (checks, store,
snapshot), features, windows, and the search of the linear engine, in a process of its own as every night has it. Memory
is proportional: pages that processes share count once. A year of minutes is too short for windows of the least lengths
(a validation of 20 sessions): those stages have 1.4 years. What a cell (a row's column) took in the larger panels, from
the least to the most, says what a panel beyond them would take in proportion.

``python -m tests.benchmarks.bench_scale`` prints the table; names of cases pick some (``daily-50x5``).
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

STAGES = ("ingest", "features", "windows", "linear")
ALL, FEW = 756, 60
"""max_lookback of the whole catalogue, and of its shorter features alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A panel: ``years`` of 252 sessions."""

    bar: str
    symbols: int
    years: float
    max_lookback: int = ALL

    @property
    def name(self) -> str:
        few = "-few" if self.max_lookback == FEW else ""
        return f"{'daily' if self.bar == '1d' else 'minutes'}-{self.symbols}x{self.years:g}{few}"


CASES = (
    Case(bar="1d", symbols=50, years=7),
    Case(bar="1d", symbols=50, years=20),
    Case(bar="1d", symbols=200, years=20, max_lookback=FEW),
    Case(bar="1d", symbols=200, years=20),
    Case(bar="1d", symbols=500, years=20, max_lookback=FEW),
    Case(bar="1d", symbols=500, years=20),
    Case(bar="1min", symbols=5, years=1.4),
    Case(bar="1min", symbols=15, years=1.4),
    Case(bar="1min", symbols=50, years=1),
    Case(bar="1min", symbols=50, years=1.4, max_lookback=FEW),
)
LARGE = 100_000_000
BEYOND = (
    ("3,000 symbols, 20 years, daily", 3000 * 5040, 272),
    ("50 symbols, 5 years of minutes", 50 * 5 * 252 * 390, 272),
    ("500 symbols, 1 year of minutes", 500 * 252 * 390, 272),
)


def problem_of(case: Case, source: Path) -> Any:
    """The night's problem: volatility from daily bars, the next minute's return from those of a minute."""
    from tasks.problem import build  # noqa: PLC0415 - children only

    values: dict[str, Any] = {
        "name": "scale",
        "source": str(source),
        "bar": case.bar,
        "max_lookback": case.max_lookback,
    }
    if case.bar == "1d":
        values |= {"target": "volatility", "gate_sessions": 252}
    else:
        values |= {"target": "return", "gate_sessions": 60, "term": 21}
    return build(values, "demo", {}, "scale")


def measure(case: Case, source: Path) -> dict[str, Any]:
    """Run the stages in this process; rows, columns, and seconds, processor seconds and peak MB by stage."""
    from flows.resources import Meter  # noqa: PLC0415 - children only
    from tasks.bars.task import ingest  # noqa: PLC0415
    from tasks.contracts import EngineRequest  # noqa: PLC0415
    from tasks.features.task import build_features  # noqa: PLC0415
    from tasks.search.task import answered  # noqa: PLC0415
    from tasks.splits.task import make_rows  # noqa: PLC0415

    problem, meter = problem_of(case, source), Meter()
    found: dict[str, Any] = {"case": case.name, "stages": {}, "stopped": ""}
    try:
        with meter.stage("ingest"):
            snapshot = ingest.fn(problem)
        with meter.stage("features"):
            features = build_features.fn(problem, snapshot)
        found |= {"rows": snapshot.bars.rows, "columns": len(features.spec.columns)}
        with meter.stage("windows"):
            rows = make_rows.fn(problem, snapshot, features)
        with meter.stage("linear"):
            budget = dataclasses.replace(problem.budget("linear"), seconds=3600)
            request = EngineRequest(engine="linear", features=features, rows=rows, budget=budget, seed=1, mode="search")
            found["stopped"] = answered(request).error
    except Exception as error:  # noqa: BLE001 - what a case ends with is its result
        found["stopped"] = f"{type(error).__name__}: {error}"
    finally:
        meter.close()
    used = {name: dataclasses.asdict(use) for name, use in meter.stages.items()}
    return {**found, "stages": {name: used[name] for name in STAGES if name in used}}


def run(case: Case) -> dict[str, Any]:
    """The case in processes of its own, its bars and its state in a folder that is removed."""
    with tempfile.TemporaryDirectory(prefix="nocturne-scale-") as folder:
        source = Path(folder) / "bars.parquet"
        environment = {**os.environ, "NOCTURNE_HOME": f"{folder}/home", "PREFECT_HOME": f"{folder}/prefect"}
        for step in ("make", "measure"):
            command = [sys.executable, "-m", "tests.benchmarks.bench_scale", step, case.name, str(source)]
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
            if done.returncode:
                return {"case": case.name, "stages": {}, "stopped": f"ended with {done.returncode}"}
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found


def child(step: str, name: str, source: Path) -> None:
    """One step of a case: write its bars, or measure."""
    case = next(case for case in CASES if case.name == name)
    if step == "measure":
        print(json.dumps(measure(case, source)))
        return
    from tests.benchmarks import enlarged  # noqa: PLC0415 - children only

    (enlarged.daily if case.bar == "1d" else enlarged.minutes)(source, case.symbols, case.years)


def rates(results: Sequence[dict[str, Any]], what: str) -> dict[str, tuple[float, float, float]]:
    """By stage, what a cell took: least, median and most, over the panels of LARGE cells and more."""
    found = {}
    for stage in STAGES:
        taken = [each["stages"][stage][what] / cells(each) for each in large(results) if stage in each["stages"]]
        if taken:
            found[stage] = (min(taken), median(taken), max(taken))
    return found


def large(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The panels whose cells, and not a process's fixed costs, decide what they take."""
    return [each for each in results if cells(each) >= LARGE]


def cells(result: dict[str, Any]) -> int:
    """Rows times columns."""
    return int(result["rows"] * result["columns"])


def main(names: Sequence[str]) -> None:
    """Run the cases and print both tables: processor seconds of all cores together, and peak memory."""
    print("| panel | rows | columns | " + " | ".join(f"{stage}" for stage in STAGES) + " |")
    print("|---|---|---|" + "---|" * len(STAGES))
    results = []
    for case in CASES:
        if names and case.name not in names:
            continue
        found = run(case)
        parts = [_cell(found["stages"].get(stage)) for stage in STAGES]
        rows, columns = found.get("rows", 0), found.get("columns", 0)
        print(f"| {case.name} | {rows:,} | {columns} | {' | '.join(parts)} |", flush=True)
        if found["stopped"]:
            print(f"{case.name}: {found['stopped']}", file=sys.stderr, flush=True)
            if found["stages"]:  # the last one did not come to its end
                found["stages"].popitem()
        if rows and columns:
            results.append(found)
    _print_proportions(results)


def _cell(use: dict[str, float] | None) -> str:
    return f"{use['cpu_seconds']:.0f} s, {use['peak_mb'] / 1000:.1f} GB" if use else "-"


def _print_proportions(results: Sequence[dict[str, Any]]) -> None:
    seconds, megabytes = rates(results, "cpu_seconds"), rates(results, "peak_mb")
    if not seconds:
        print(f"\nno panel of {LARGE:,} cells was measured: nothing is said of larger ones", file=sys.stderr)
        return
    said = f"the median of {len(large(results))} panels of {LARGE:,} cells and more (least to most)"
    print(f"\nIn proportion to cells, {said}: extrapolated, not run, a minute bar counted as a daily one.\n")
    print("| stage | seconds a million cells | bytes a cell | " + " | ".join(name for name, *_ in BEYOND) + " |")
    print("|---|---|---|" + "---|" * len(BEYOND))
    for stage in seconds:
        beyond = [
            f"{_spread(seconds[stage], n / 60, 0)} min, {_spread(megabytes[stage], n / 1000, 0)} GB"
            for n in (rows * columns for _, rows, columns in BEYOND)
        ]
        a_cell = f"{_spread(seconds[stage], 1e6, 3)} | {_spread(megabytes[stage], 1e6, 1)}"
        print(f"| {stage} | {a_cell} | {' | '.join(beyond)} |")


def _spread(rate: tuple[float, float, float], times: float, digits: int) -> str:
    least, middle, most = (f"{value * times:.{digits}f}" for value in rate)
    return middle if least == most else f"{middle} ({least} to {most})"


if __name__ == "__main__":
    if sys.argv[1:2] in (["make"], ["measure"]):
        child(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
    else:
        main(sys.argv[1:])
