"""The benchmarks, one table each: ``make bench``, or ``python -m tests.benchmarks night cost`` for some of them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

LENGTH = {
    "backbones": "20 minutes: three architectures on two sources, two seeds",
    "backtest": "15 seconds",
    "consumers": "3 minutes: nine new environments; with --cold as a script of its own, over the network",
    "continual": "5 minutes: a backbone through eight weeks, gone on with and anew",
    "cost": "4 minutes: a demo night, and a quick one before it",
    "drift": "2 minutes: 248 histories of fourteen to twenty years",
    "false_promotion": "4 minutes: 300 universes through 60 nights",
    "features": "1 minute",
    "intervals": "20 seconds",
    "night": "3 minutes: a demo night, and the unchanged one after it",
    "rollout": "1 minute: replays on the S&P 500, and 10,000 null rollouts",
    "scale": "30 minutes: ten panels, up to 500 shares of 20 years and 50 of a year of minutes; 20 GB of memory",
    "serving": "3 minutes: a GBM's 100,000 rows go to an H2O cluster and back",
    "transfer": "an hour: nine transfers, two seeds; with --out as a script of its own it goes on where it was stopped",
    "power": "5 minutes: 1,120 universes, 320 of them of 468 stocks",
}
"""About how long each takes on two cores with nothing else to do."""


def known() -> list[str]:
    """The names of the ``bench_*.py`` beside this file."""
    return sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))


def main(names: Sequence[str]) -> int:
    """Run these, or all, each in a process of its own; the worst exit code is ours, 2 for a name that is none."""
    unknown = sorted(set(names) - set(known()))
    if unknown:
        print(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(known())}", file=sys.stderr)
        return 2
    chosen = list(dict.fromkeys(names)) or known()
    print("what will run, and about how long it takes on two cores:")
    for name in chosen:
        print(f"  {name:16} {LENGTH[name]}")
    worst = 0
    for name in chosen:
        print(f"\n== {name}", flush=True)
        begun = time.monotonic()
        code = subprocess.run([sys.executable, "-m", f"tests.benchmarks.bench_{name}"], check=False).returncode
        print(f"-- exit {code} after {time.monotonic() - begun:.0f} s", flush=True)
        worst = max(worst, code)
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
