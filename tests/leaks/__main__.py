"""``make leaks``: plant every leak in real bars, show which defence catches it, and what would happen without it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from tests.leaks.clean import quiet
from tests.leaks.every import LEAKS, plant, scratch
from tests.leaks.outcome import counted, shown


def main() -> int:
    """Plant them all; 0 if every one was caught and the clean night was quiet."""
    begun = time.monotonic()
    outcomes = []
    with scratch() as folder:
        os.environ["NOCTURNE_HOME"] = str(Path(folder) / "home")
        silent, words = quiet()
        for number, name in enumerate(LEAKS, start=1):
            outcomes.append(plant(name))
            print(shown(number, outcomes[-1]), flush=True)
    print(f"\n{words}\n{time.monotonic() - begun:.0f} seconds\n{counted(outcomes)}")
    return 0 if silent and all(each.counts for each in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
