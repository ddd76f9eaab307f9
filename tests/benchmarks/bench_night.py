"""A whole demo night in a fresh state folder, and the unchanged night after it: wall seconds by stage.

Engines search side by side, so the night's engine time is that of the busiest one, without bringing its JVM up;
everything else (imports, Prefect's server, MLflow, JVM starts, features, gate, verification, report) is overhead.
``python -m tests.benchmarks.bench_night [problem]`` prints the table.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]


def night(home: Path, problem: str, *options: str) -> tuple[dict[str, Any], float]:
    """The night's document and its wall seconds as a whole process; options are the command's."""
    environment = {**os.environ, "NOCTURNE_HOME": str(home)}
    begun = time.monotonic()
    # A file and not a pipe: what a night that died has left running would hold the pipe open.
    with tempfile.TemporaryFile() as told:
        subprocess.run(
            [sys.executable, "-m", "flows.cli", "run", problem, *options, "--json"],
            cwd=PROJECT, env=environment, stdout=told, check=True,
        )  # fmt: skip
        took = time.monotonic() - begun
        told.seek(0)
        return json.load(told), took


def main() -> None:
    """Run the problem twice and print where the time went."""
    problem = sys.argv[1] if len(sys.argv) > 1 else "sp500-volatility"
    with tempfile.TemporaryDirectory() as folder:
        first, wall = night(Path(folder), problem)
        second, again = night(Path(folder), problem)
    engines = max(first["engine_seconds"].values())
    print(f"{'stage':14}{'seconds':>9}")
    for stage, seconds in first["seconds"].items():
        print(f"{stage:14}{seconds:9.1f}")
    print(f"{'whole':14}{wall:9.1f}   engines at work {engines:.1f}, overhead {wall - engines:.1f}")
    print(f"{'unchanged':14}{again:9.1f}   {wall / again:.0f} times quicker; outcome {second['decision']['outcome']}")
    print("work by engine: " + ", ".join(f"{name} {value:.1f}" for name, value in first["engine_seconds"].items()))


if __name__ == "__main__":
    main()
