"""A worker process of ``parallel.panel``: computes the batches that come on standard input until it is closed."""

from __future__ import annotations

import json
import sys

# Arrays only are passed here; to recognise frames, TA-Lib's wrapper would import pandas and polars, a second of start.
for name in ("pandas", "polars"):
    sys.modules.setdefault(name, None)  # type: ignore[arg-type]

from .parallel import TICKET, Block, Plan  # noqa: E402


def main(handle: int) -> None:
    """Fill slots of the shared block behind ``handle``; a ticket goes back when its slot is full."""
    document = json.loads(sys.stdin.buffer.readline())
    batches = tuple(tuple(edges) for edges in document.pop("batches"))
    block = Block(Plan(**{**document, "batches": batches}), handle)
    while ticket := sys.stdin.buffer.read(TICKET.size):
        batch, slot = TICKET.unpack(ticket)
        block.compute(batch, block.slot(slot, batch))
        sys.stdout.buffer.write(ticket)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
