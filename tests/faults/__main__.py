"""``make faults``: every bad input and every fault injected, what happened a line each, and how many were survived.

``--only 1,7`` injects some of the faults, ``--inputs 25`` some of the inputs; ``--seed N`` replays the kills and flips.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import TextIO

from tests.faults.outcome import Outcome, counted, shown


def main() -> int:
    """Inject, print, count; 0 if everything was survived."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--only", type=_numbers, default=None, help="numbers of faults; then no input")
    parser.add_argument("--inputs", type=_numbers, default=None, help="numbers of bad inputs; then no fault")
    parser.add_argument("--gone", type=int, default=150, help="seconds without a Prefect server (fault 4)")
    asked = parser.parse_args()
    os.environ |= {"NOCTURNE_FAULTS_SEED": str(asked.seed), "NOCTURNE_FAULTS_GONE": str(asked.gone)}
    # Imported only now: they read the seed.
    from tests.faults import injecting, inputs  # noqa: PLC0415
    from tests.faults.table import FAULTS  # noqa: PLC0415

    begun, outcomes = time.monotonic(), []
    log = Path(tempfile.gettempdir()) / f"nocturne-faults-{asked.seed}.log"
    out = _aside(log)

    def tell(outcome: Outcome) -> None:
        print(shown(outcome), file=out, flush=True)

    if asked.inputs is not None or asked.only is None:
        print(
            "Bad input: what was injected, and what happened (the champion is looked at after each)",
            file=out,
            flush=True,
        )
        for outcome in inputs.every(asked.inputs or frozenset()):
            tell(outcome)
            outcomes.append(outcome)
    if asked.only is not None or asked.inputs is None:
        print(
            f"Faults, seed {asked.seed} (after each the champion is the ledger's, and was proved)", file=out, flush=True
        )
        outcomes += injecting.run(asked.only or FAULTS, tell)
    print(f"{time.monotonic() - begun:.0f} seconds; what the tests themselves said: {log}", file=out)
    print(counted(outcomes), file=out, flush=True)
    return int(not all(outcome.survived for outcome in outcomes))


def _aside(log: Path) -> TextIO:
    """What is printed from now on, by tests and libraries, goes to the log; the terminal is what is returned."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    with log.open("wb") as stream:
        os.dup2(stream.fileno(), sys.stdout.fileno())
    return out


def _numbers(text: str) -> frozenset[int]:
    return frozenset(int(part) for part in text.split(","))


if __name__ == "__main__":
    sys.exit(main())
