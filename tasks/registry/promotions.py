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

from tasks.live import Action, Move, Standing
from tasks.registry.ledger import Ledger
from tasks.registry.mlflow_store import Store
from tasks.registry.projection import project
from tasks.registry.standings import StaleEpochError, at, history, names, standing, swap

__all__ = ["StaleEpochError", "at", "by_hand", "champions", "history", "move", "names", "standing"]


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

    Returns the new standing. Raises StaleEpochError, with nothing moved, if another move came first; RegistryError for
    a change that no standing can be, or if MLflow refuses after the ledger has moved: the next look repairs that.
    """
    moved = swap(ledger, expected, change, action, why, evidence, by)
    project(store, ledger, moved.name)
    return moved


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
