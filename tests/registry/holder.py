"""A process that takes a lease and then does what it is told, a word a line: for tests that stop, kill and outlive it.

``python -m tests.registry.holder NAME RUN TERM``: prints ``held TOKEN`` or ``refused MESSAGE``; then it takes ``write``
(a move of the standing; prints ``wrote`` or the error's type), ``look`` (``kept`` or the error's type), ``release``.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from tasks.errors import NocturneError
from tasks.registry import leases
from tasks.registry.ledger import Ledger
from tasks.registry.standings import standing, swap


def say(words: str) -> None:
    """A line that the test reads at once."""
    print(words, flush=True)


def write(name: str, run: str) -> str:
    """Move the standing to another version, under the lease that is held."""
    try:
        with Ledger.open() as ledger:
            now = standing(ledger, name)
            swap(ledger, now, replace(now, champion=str(now.epoch + 1)), "promoted", (), "", run)
    except NocturneError as error:
        return type(error).__name__
    return "wrote"


def look(lease: leases.Lease) -> str:
    """Whether the lease is still this run's."""
    try:
        lease.require()
    except NocturneError as error:
        return type(error).__name__
    return "kept"


def main(name: str, run: str, term: float) -> None:
    """Take, then obey."""
    try:
        with leases.take(name, run, term=term) as lease:
            say(f"held {lease.fence.token}")
            for line in sys.stdin:
                if line.strip() == "release":
                    break
                say(write(name, run) if line.strip() == "write" else look(lease))
    except leases.LeaseHeldError as error:
        say(f"refused {error}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
