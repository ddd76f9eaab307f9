"""A night writes to the ledger under its lease or not at all.

Each grant of a lease has a token, larger than every earlier one. A night that was stopped (a laptop's lid, a debugger,
a machine that hung) does not know that its lease ran out and that another night was given it; but what it then writes
carries the old token, and the ledger refuses it inside the same transaction. ``Ledger.open`` asks here, so that
whatever is opened while a night runs, in whichever of its threads, is fenced; commands by hand carry no token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from tasks.errors import RegistryError
from tasks.registry.chain_database import Database


class FencedError(RegistryError):
    """The lease that a run works under has been given to another. Nothing was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """A grant: of which lease, in which database, its token, and to which run."""

    where: str
    name: str
    token: int
    run: str


_PRESENT: ContextVar[Fence | None] = ContextVar("fence", default=None)
_VERIFIED: ContextVar[dict[str, tuple[int, str]] | None] = ContextVar("verified", default=None)


@contextmanager
def under(fence: Fence) -> Iterator[None]:
    """While the block runs, ledgers of the lease's database that are opened in it write under this grant."""
    before, known = _PRESENT.set(fence), _VERIFIED.set({})
    try:
        yield
    finally:
        _PRESENT.reset(before)
        _VERIFIED.reset(known)


def guard(where: str) -> Callable[[Database], None] | None:
    """What asks for the present grant in a database; None where there is no grant, or one of another database."""
    fence = _PRESENT.get()
    return None if fence is None or fence.where != where else lambda database: require(database, fence)


def verified(where: str) -> dict[str, tuple[int, str]] | None:
    """What this night has verified of a database's rows, to be brought up to date; None where there is no such night.

    It is forgotten with the night: the next one's first look is at every row again.
    """
    fence = _PRESENT.get()
    return None if fence is None or fence.where != where else _VERIFIED.get()


def require(database: Database, fence: Fence) -> None:
    """Raise FencedError unless the lease is still this grant's; inside the transaction that it is to hold for."""
    found = database.query("SELECT token, run FROM leases WHERE name = ?", (fence.name,))
    token, run = (int(found[0]["token"]), str(found[0]["run"])) if found else (0, "")
    if (token, run) == (fence.token, fence.run):
        return
    since = f"run {run} has it since (token {token})" if run else f"it was given up (token {token})"
    raise FencedError(
        f"{fence.name}: run {fence.run} lost its lease (token {fence.token}) and {since}: it was stopped for longer "
        "than the lease lasts. Nothing was written, and the other run's result stands; start a new run if one is needed"
    )
