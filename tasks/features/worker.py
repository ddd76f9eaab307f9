"""A worker process of ``parallel.panel``: takes chunks from a pipe until none is left, and reports each as done."""

from __future__ import annotations

import json
import os
import sys

# Arrays only are passed here; to recognise frames, TA-Lib's wrapper would import pandas and polars, a second of start.
for name in ("pandas", "polars"):
    sys.modules.setdefault(name, None)  # type: ignore[arg-type]

from .parallel import Block, Plan, taken  # noqa: E402


def main(handle: int, tickets: int, report: int) -> None:
    """Compute chunks into the shared block behind ``handle``. The plan comes on standard input."""
    document = json.load(sys.stdin)
    block = Block(Plan(**document), handle)
    for chunk in taken(tickets):
        os.write(report, bytes([block.compute(chunk)]))


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:4]))
