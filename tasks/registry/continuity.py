"""Whether the ledger still holds what the registry's entries rest on: a count of reads must not begin anew unseen.

Every entry tells which row its night left in the ledger, and that row's hash. Before a night the newest entry of its
problem, and of every problem where registry and ledger lie in one state folder, must find its row there: a ledger that
was deleted, went back to an older copy, or is another one, does not hold it. Then the file is restored, or the count
begins anew knowingly (``nocturne ledger --begin-anew``), which is a row of the ledger like any other and stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tasks.errors import ConfigurationError, IntegrityError
from tasks.registry import mlflow_store
from tasks.registry.ledger import Ledger
from tasks.registry.mlflow_store import Store
from tasks.registry.records import Mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a registered version says about the ledger. ``read`` is the number of its read in its term, 0 if none."""

    name: str
    version: str
    mark: Mark
    read: int = 0

    @property
    def entry(self) -> str:
        """What it is called where it is given up."""
        return f"{self.name} version {self.version}"

    def __str__(self) -> str:
        read = f", read {self.read} of its term" if self.read else ""
        return f"{self.entry} (outcome {self.mark.row}{read})"


def told(store: Store, name: str) -> tuple[Told, ...]:
    """The newest entry of this problem, and of every problem of a registry that lies in the ledger's state folder.

    A registry of several state folders holds entries of several ledgers: of those only the problem's own is asked for.
    """
    known = {name, *mlflow_store.names(store)} if mlflow_store.is_own(store) else {name}
    return tuple(found for each in sorted(known - {""}) for found in told_by(store, each))


def told_by(store: Store, name: str) -> tuple[Told, ...]:
    """What the newest entry of this one name says; nothing where there is none, or it says nothing."""
    newest = mlflow_store.newest(store, name)
    found = None if newest is None else _told(*newest)
    return () if found is None else (found,)


def _told(name: str, version: str, tags: Mapping[str, str]) -> Told | None:
    """None where an entry tells nothing; one that was judged before entries told their row asks for some row."""
    if "ledger_row" not in tags and "gate_term" not in tags:
        return None
    mark = Mark(row=int(tags.get("ledger_row", 1)), sha256=tags.get("ledger_sha256", ""))
    return Told(name=name, version=version, mark=mark, read=int(tags.get("gate_read", 0)))


def lost(ledger: Ledger, entries: Iterable[Told]) -> tuple[Told, ...]:
    """The entries whose row this ledger does not hold, and of which nobody has said that they are lost."""
    given_up = {entry for anew in ledger.begun_anew() for entry in anew["lost"]}
    return tuple(entry for entry in entries if entry.entry not in given_up and not ledger.holds(entry.mark))


def require(ledger: Ledger, entries: Iterable[Told]) -> None:
    """Raise IntegrityError if the ledger lacks what an entry rests on."""
    missing = lost(ledger, entries)
    if not missing:
        return
    named = "; ".join(map(str, missing[:5])) + (f"; and {len(missing) - 5} more" if len(missing) > 5 else "")
    holds = ledger.told()
    raise IntegrityError(
        f"{ledger.chain.where}: the trial ledger holds {holds['nights']} nights and {len(holds['reads'])} reads of the "
        f"gate, and not what the registry's entries rest on: {named}. It was deleted, is an older copy or "
        "another one, and with it the count of reads would be lost. Restore it from a backup; if it is gone for good, "
        f"'nocturne ledger {missing[0].name} --begin-anew \"why\"' begins a new count, and the ledger says so for ever"
    )


def begin_anew(ledger: Ledger, entries: Iterable[Told], why: str) -> tuple[str, ...]:
    """Give up what the ledger lacks, and note why; the entries given up.

    Raises ConfigurationError without a reason, or if nothing is missing.
    """
    missing = tuple(entry.entry for entry in lost(ledger, entries))
    if not why.strip():
        raise ConfigurationError("--begin-anew: say why, for the ledger keeps it")
    if not missing:
        raise ConfigurationError(
            "--begin-anew: the ledger holds all that the registry's entries rest on; there is nothing to give up"
        )
    ledger.begin_anew(why.strip(), missing)
    return missing


def begun_anew(ledger: Ledger, term: str) -> tuple[str, ...]:
    """In words, each new beginning since the term's first session (ISO): the term's earlier reads are lost."""
    return tuple(
        f"The ledger was begun anew on {anew['at'][:10]} ({anew['why']}): what was read before is not counted."
        for anew in ledger.begun_anew()
        if anew["at"][:10] >= term
    )
