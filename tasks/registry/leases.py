"""One night at a time by problem: a lease in the ledger's database, renewed while its holder lives.

How a lease is taken, in one transaction of the only writer:

1. It is free: nobody has it, or its holder gave it back.
2. Its holder has certainly ended: a process of this very kernel that is not there any more. It is taken at once.
3. Its holder has not renewed it for its whole term. That is not read off a clock, which may be a day off or jump: who
   wants the lease watches its count of renewals for that long, by a clock of its own that only runs forward.

Every grant has the next token, and the ledger refuses what a former holder still writes (``fence``): so taking a lease
from a holder who only slept is safe. The database's time serves to tell people since when, and to tell at once that a
holder lives: renewed within its term, it is not waited for. A thread renews, four times a term.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from tasks.errors import IntegrityError, NocturneError, RegistryError, StorageError
from tasks.holder import Holder, is_gone, me
from tasks.registry.chain import Chain
from tasks.registry.chain_database import Database, Row
from tasks.registry.chain_postgres import ledger_url
from tasks.registry.fence import Fence, FencedError, require, under
from tasks.registry.ledger_place import connect, ledger_path
from tasks.registry.ledger_tables import SCHEMA

TERM = 90.0
PATIENCE = 12 * 3600.0
RENEWALS = 4
log = logging.getLogger("nocturne.lease")


class LeaseHeldError(RegistryError):
    """Another run is at work; nothing was started."""

    exit_code = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """A lease as it stands. ``age``: seconds since the last renewal by the database's clock, which may have jumped."""

    name: str
    token: int
    run: str
    holder: Holder | None
    beat: int
    since: str
    age: float
    term: float

    @property
    def free(self) -> bool:
        """Whether it can be taken at once: given back, or its holder has certainly ended."""
        return not self.run or (self.holder is not None and is_gone(self.holder))

    @property
    def lives(self) -> bool:
        """Whether it was renewed within its term, as far as the database's clock tells."""
        return not self.free and 0.0 <= self.age <= self.term

    def __str__(self) -> str:
        return f"run {self.run} has been at work since {self.since} ({self.holder or 'unknown'}), lease {self.token}"


class Lease:
    """A granted lease; as a context it is renewed, ledgers opened inside write under it, and at the end it is free."""

    def __init__(self, fence: Fence, term: float = TERM) -> None:
        self.fence = fence
        self._term, self._over = term, threading.Event()
        self._renewing = threading.Thread(target=self._renew, name=f"lease {fence.name}", daemon=True)

    def __enter__(self) -> Self:
        self._under = under(self.fence)
        self._under.__enter__()
        self._renewing.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._renewing.join(self._term)  # what is being renewed is not lost, only given back a moment later
        self._under.__exit__(kind, error, trace)
        with suppress(NocturneError), _opened() as database, _only_writer(database):
            require(database, self.fence)
            _update(database, self.fence, "run = '', holder = '{}'")

    def require(self) -> None:
        """Raise FencedError if another run has been given this lease: an early look, which waits for no writer.

        What is written is fenced in its own transaction. A ledger that cannot be read is asked again for as long as the
        lease lasts without being renewed; then StorageError.
        """
        until = time.monotonic() + self._term
        while True:
            try:
                with _opened() as database, database.errors():
                    return require(database, self.fence)
            except IntegrityError:
                raise
            except StorageError as error:
                if time.monotonic() > until:
                    raise
                log.warning("%s: asked again whether the lease is held: %s", self.fence.name, error)
                time.sleep(min(1.0, self._term / 20))

    def _renew(self) -> None:
        while not self._over.wait(self._term / RENEWALS):
            try:
                with _opened() as database, _only_writer(database):
                    require(database, self.fence)
                    _update(database, self.fence, "beat = beat + 1, renewed = ?", (database.clock(),))
            except FencedError as lost:
                log.error("%s", lost)
                return
            except StorageError as error:  # tried again: whether the lease is lost, the next write is told
                log.warning("%s: the lease was not renewed: %s", self.fence.name, error)


def take(
    name: str,
    run: str,
    *,
    waits: bool = False,
    term: float = TERM,
    patience: float = PATIENCE,
    said: Callable[[str], None] = log.warning,
) -> Lease:
    """The lease of this name for a run, or LeaseHeldError, which tells who has it and what to do.

    A holder who renewed within its term is not waited for, unless ``waits``: then for at most ``patience`` seconds. One
    who may be dead is watched for its term. ``said`` is given what is waited for.
    """
    watch, until, told = _Watch(), time.monotonic() + patience, ""
    while True:
        with _opened() as database:
            held = look(name, database)
            if held is None or held.free or watch.ran_out(held):
                fence = _grant(database, name, run, held, term)
                if fence is not None:
                    return Lease(fence, term)
                continue
        if time.monotonic() > until or not (waits or watch.doubtful(held)):
            raise LeaseHeldError(_refusal(held))
        if told != held.run:
            told = held.run
            said(_waiting(held, waits))
        time.sleep(min(5.0, held.term / 20))


def look(name: str, database: Database | None = None) -> Holding | None:
    """Who has the lease of this name, or None if nobody ever had. Raises StorageError if it cannot be read."""
    if database is None:
        if ledger_url() is None and not ledger_path().exists():
            return None
        with _opened() as opened:
            return look(name, opened)
    with database.errors():
        found = database.query("SELECT * FROM leases WHERE name = ?", (name,))
        return _holding(found[0], database.clock()) if found else None


def refuse_if_held(name: str) -> None:
    """Raise LeaseHeldError if a run that lives has the lease: for those who want to know before anything starts."""
    held = look(name)
    if held is not None and held.lives:
        raise LeaseHeldError(_refusal(held))


def done_by(problem: str, slot: str) -> str:
    """The run that did a scheduled night, or nothing."""
    with _opened() as database, database.errors():
        found = database.query("SELECT * FROM slots WHERE problem = ? AND slot = ?", (problem, slot))
    return str(found[0]["run"]) if found and found[0]["state"] == "done" else ""


def note_slot(problem: str, slot: str, lease: Lease) -> None:
    """Note that the lease's run has done a scheduled night. Raises FencedError if the lease is lost."""
    with _opened() as database, _only_writer(database):
        require(database, lease.fence)
        database.execute("DELETE FROM slots WHERE problem = ? AND slot = ?", (problem, slot))
        values = (problem, slot, lease.fence.run, "done", database.clock())
        database.execute("INSERT INTO slots VALUES (?, ?, ?, ?, ?)", values)


class _Watch:
    """Whether a holder's count of renewals moves, by this process's own clock, which never jumps."""

    def __init__(self) -> None:
        self._seen, self._since = (0, 0), 0.0
        self._moved = False

    def ran_out(self, held: Holding) -> bool:
        """Whether the holder has been watched for a whole term, in which it has not renewed."""
        now, seen = time.monotonic(), (held.token, held.beat)
        if seen != self._seen:
            self._moved = self._seen != (0, 0)
            self._seen, self._since = seen, now
        return now - self._since > held.term

    def doubtful(self, held: Holding) -> bool:
        """Whether only watching can tell if the holder lives: its last renewal seems too old, or yet to come."""
        return not held.lives and not self._moved


def _grant(database: Database, name: str, run: str, seen: Holding | None, term: float) -> Fence | None:
    """The next token, if the lease still stands as it was seen; None if somebody was faster."""
    with _only_writer(database):
        now = look(name, database)
        if (now and (now.token, now.beat, now.run)) != (seen and (seen.token, seen.beat, seen.run)):
            return None
        token, at = (now.token if now else 0) + 1, database.clock()
        database.execute("DELETE FROM leases WHERE name = ?", (name,))
        values = (name, token, run, json.dumps(asdict(me())), 0, at, at, term)
        database.execute("INSERT INTO leases VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
    if seen is not None and seen.run:
        log.warning("%s: %s, and has ended without giving it back; run %s goes on", name, seen, run)
    return Fence(where=database.where, name=name, token=token, run=run)


def _update(database: Database, fence: Fence, change: str, values: tuple[float, ...] = ()) -> None:
    where = "name = ? AND token = ?"
    database.execute(f"UPDATE leases SET {change} WHERE {where}", (*values, fence.name, fence.token))  # noqa: S608


@contextmanager
def _opened() -> Iterator[Database]:
    database = connect()
    try:
        Chain(database, SCHEMA)  # makes the tables where they are missing
        yield database
    finally:
        database.close()


@contextmanager
def _only_writer(database: Database) -> Iterator[None]:
    with database.errors():
        try:
            database.begin()
            yield
            database.commit()
        except BaseException:
            database.rollback()
            raise


def _holding(row: Row, now: float) -> Holding:
    document = json.loads(row["holder"])
    return Holding(
        name=row["name"],
        token=int(row["token"]),
        run=row["run"],
        holder=Holder(**document) if document else None,
        beat=int(row["beat"]),
        since=datetime.fromtimestamp(row["granted"], UTC).isoformat(timespec="seconds"),
        age=now - row["renewed"],
        term=float(row["term"]),
    )


def _refusal(held: Holding) -> str:
    stop = f"; to stop it: kill {held.holder.pid} on {held.holder.host}" if held.holder else ""
    return f"{held.name}: {held}. Nothing was started: run again when it has ended{stop}"


def _waiting(held: Holding, waits: bool) -> str:
    if waits and held.lives:
        return f"{held.name}: {held}; this run waits for it to end"
    return (
        f"{held.name}: {held}, and seems not to have renewed it: watched for {held.term:.0f} s; the lease is taken "
        "from it then, if it does not"
    )
