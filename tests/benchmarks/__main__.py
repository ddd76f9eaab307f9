"""All benchmarks, one table each: ``make bench``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Run every ``bench_*.py`` beside this file in a process of its own; the worst exit code is ours."""
    worst = 0
    for path in sorted(Path(__file__).parent.glob("bench_*.py")):
        print(f"\n== {path.stem.removeprefix('bench_')}", flush=True)
        worst = max(
            worst, subprocess.run([sys.executable, "-m", f"tests.benchmarks.{path.stem}"], check=False).returncode
        )
    return worst


if __name__ == "__main__":
    sys.exit(main())
