"""Who is champion, challenger and fallback: asked here, and moved here. The ledger decides, MLflow shows.

```
standing(ledger, name)            now                     history(ledger, name)   every move, newest first
at(ledger, name, when)            then
move(ledger, store, expected, change, action, why, evidence, by)
    1. the ledger takes ``change`` as the epoch after ``expected``'s, or StaleEpochError: somebody was faster
    2. MLflow's aliases and tags are made to show it (``projection``); killed before that, the next look does it
```
"""

from __future__ import annotations

import getpass
import socket
from collections.abc import Iterable

from tasks.errors import ConfigurationError
from tasks.live import Action, Move, Standing
from tasks.registry.ledger import Ledger
from tasks.registry.mlflow_store import Store, version_tags
from tasks.registry.projection import project
from tasks.registry.standings import StaleEpochError, at, history, names, standing, swap
from tasks.registry.verification import passed

__all__ = ["StaleEpochError", "at", "by_hand", "champions", "history", "move", "names", "require_proved", "standing"]


def move(  # noqa: PLR0917 - the parts of a move, as the table keeps them
    ledger: Ledger,
    store: Store,
    expected: Standing,
    change: Standing,
    action: Action,
    why: Iterable[str],
    evidence: str,
    by: str,
) -> Standing:
    """Move a name from the standing that was looked at to another (whose epoch is not looked at), and show it.

    Who is newly shown to consumers must have been proved: see ``require_proved``, which this raises as. Returns the new
    standing. Raises StaleEpochError, with nothing moved, if another move came first; RegistryError for
    a change that no standing can be, or if MLflow refuses after the ledger has moved: the next look repairs that.
    """
    for version in sorted(_shown(change) - _shown(expected)):
        require_proved(store, ledger, change.name, version)
    moved = swap(ledger, expected, change, action, why, evidence, by)
    project(store, ledger, moved.name)
    return moved


def require_proved(store: Store, ledger: Ledger, name: str, version: str) -> dict[str, str]:
    """The tags of a version that consumers may be shown: whole, once loaded afresh and compared, never quarantined.

    Raises ConfigurationError if it is another, or if there is none.
    """
    tags = version_tags(store, name, version)
    if tags is None:
        raise ConfigurationError(f"{name} has no version {version} that is ready: see 'nocturne models {name}'")
    if "quarantined" in (tags.get("outcome"), tags.get("decision")):
        why = "it was quarantined: its night raised an alarm"
    elif not passed(tags):
        why = f"it was never verified ({tags.get('verified', 'no model of it was ever loaded afresh and compared')})"
    elif not tags.get("model_sha256") and version not in champions(history(ledger, name)):
        why = "it has no digest, and never was champion: it may not be whole"
    else:
        return tags
    raise ConfigurationError(f"{name}: version {version} cannot be put in service: {why}; nothing was moved")


def _shown(now: Standing) -> set[str]:
    """The versions whose predictions a consumer may be given."""
    tried = {now.challenger} if now.share > 0 else set()
    return {now.champion, now.fallback, *tried} - {""}


def champions(moves: Iterable[Move]) -> list[str]:
    """The champions that lie under the present one, oldest first, the present one last. moves: newest first.

    A rollback takes off what it leaves behind: rolled back from 3 to 2, the next one leads to 1 and not to 3 again.
    """
    stack: list[str] = []
    for step in reversed(list(moves)):
        version = step.standing.champion
        if stack and version == stack[-1]:
            continue
        if step.action == "rolled back" and version in stack:
            del stack[stack.index(version) :]
        stack.append(version)
    return stack


def by_hand() -> str:
    """Who gave a command on this machine, for the history."""
    return f"{getpass.getuser()}@{socket.gethostname()}"
