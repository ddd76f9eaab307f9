"""The ledger's side of promotions: every standing that a name ever had, each reached from the one before.

A row of ``promotions`` holds the whole standing after a move, with the move's reasons and author. A name's epochs count
from 1 without gaps. ``swap`` appends the next epoch only if the one that its caller saw is still the last: of two who
decided on the same standing exactly one moves it, and the other is told who was faster.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import get_args

from tasks.errors import RegistryError
from tasks.live import ALIASES, Action, Move, Standing
from tasks.registry.chain_database import Row
from tasks.registry.ledger import Ledger

TABLE = "promotions"
LAST = "name = ? AND epoch = (SELECT max(epoch) FROM promotions WHERE name = ?)"


class StaleEpochError(RegistryError):
    """The standing that a move was decided on is no longer the present one. Nothing was moved."""


def standing(ledger: Ledger, name: str) -> Standing:
    """The present standing of a name; epoch 0 and no versions where there never was one."""
    last = _last(ledger, name)
    return _standing(last) if last else Standing(name=name)


def history(ledger: Ledger, name: str) -> tuple[Move, ...]:
    """Every move of a name, newest first."""
    return tuple(_move(row) for row in reversed(ledger.chain.rows(TABLE, "name = ?", (name,))))


def at(ledger: Ledger, name: str, when: datetime) -> Standing:
    """The standing of a name at a moment, by when the ledger noted each move (to the millisecond).

    Raises ValueError for a moment without a time zone.
    """
    if when.tzinfo is None:
        raise ValueError(f"{when.isoformat()}: a moment needs a time zone")
    moment = when.astimezone(UTC)
    return next(
        (move.standing for move in history(ledger, name) if datetime.fromisoformat(move.at) <= moment),
        Standing(name=name),
    )


def names(ledger: Ledger) -> tuple[str, ...]:
    """Every name that ever had a standing."""
    return tuple(sorted({row["name"] for row in ledger.chain.rows(TABLE, "epoch = 1")}))


def swap(  # noqa: PLR0917 - the parts of a move, as the table keeps them
    ledger: Ledger,
    expected: Standing,
    change: Standing,
    action: Action,
    why: Iterable[str],
    evidence: str,
    by: str,
    *,
    alongside: tuple[str, Row] | None = None,
) -> Standing:
    """Append ``change`` as the epoch after ``expected``, and return it with that epoch; on return it is on the disk.

    alongside: a table and a row that are appended with it or not at all. The moment that it notes is never before the
    last one's, whatever this machine's clock says. Raises StaleEpochError if another move came first, RegistryError for
    a change that no standing can be.
    """
    _require_sound(expected, change, action)
    with ledger.chain.transaction():
        last = _last(ledger, expected.name)
        if (last["epoch"] if last else 0) != expected.epoch:
            raise _stale(expected, last)
        row = _next(change, last) | {"action": action, "why": json.dumps(list(why)), "evidence": evidence, "by": by}
        ledger.chain.append(TABLE, row)
        if alongside is not None:
            ledger.chain.append(*alongside)
    return _standing(row)


def _next(change: Standing, last: Row | None) -> Row:
    """The standing as the row after the last one, and when it was made."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    fields = {name: getattr(change, name) for name in ("name", *ALIASES, "share")}
    return fields | {"at": max(now, last["at"]) if last else now, "epoch": last["epoch"] + 1 if last else 1}


def _require_sound(expected: Standing, change: Standing, action: str) -> None:
    if expected.name != change.name:
        raise RegistryError(f"{expected.name}: a move cannot make it the standing of {change.name}")
    if action not in get_args(Action):
        raise RegistryError(f"{change.name}: '{action}' is no kind of move; there are {', '.join(get_args(Action))}")
    for alias in ALIASES:
        version = getattr(change, alias)
        if version and not (version.isdecimal() and version == str(int(version)) != "0"):
            raise RegistryError(f"{change.name}: '{version}' is no version's number as MLflow writes it")
    if not (math.isfinite(change.share) and 0 <= change.share <= 1):
        raise RegistryError(f"{change.name}: a share of {change.share} is not between 0 and 1")
    if change.share and not (change.challenger and change.champion):
        raise RegistryError(f"{change.name}: a share of {change.share:g} needs a champion and a challenger")
    if change.challenger and change.challenger == change.champion:
        raise RegistryError(f"{change.name}: version {change.champion} cannot challenge itself")


def _stale(expected: Standing, last: Row | None) -> StaleEpochError:
    if last is None:
        return StaleEpochError(
            f"{expected.name}: the move was decided in epoch {expected.epoch}, and this ledger knows of no move at all"
        )
    return StaleEpochError(
        f"{expected.name}: the move was decided in epoch {expected.epoch} (champion version "
        f"{expected.champion or 'none'}), and {last['by']} has moved it to epoch {last['epoch']} since "
        f"({last['action']}, {last['at']}, champion version {last['champion'] or 'none'}); nothing was moved. Look at "
        f"'nocturne models {expected.name} --history' and decide again"
    )


def _last(ledger: Ledger, name: str) -> Row | None:
    found = ledger.chain.rows(TABLE, LAST, (name, name))
    return found[0] if found else None


def _standing(row: Row) -> Standing:
    return Standing(**{field: row[field] for field in Standing.__slots__})


def _move(row: Row) -> Move:
    return Move(
        standing=_standing(row),
        action=row["action"],
        at=row["at"],
        why=tuple(json.loads(row["why"])),
        by=row["by"],
        evidence=row["evidence"],
    )
