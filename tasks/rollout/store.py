"""Where a rollout lies: ``live/<name>/rollout-<id>/`` below the state folder, append-only.

```
agreed.json                 the plan but for its read and level, written before a read is claimed for it
plan.json                   written once; from then on it goes on
forecasts-00001.parquet     what both models said, as it came in; beside each part a .json that makes it count
outcomes-00001.parquet      what both lost, as labels ended
ended.json                  how it ended
```

Why Parquet and not a table of the ledger: evidence is rows by the symbol (a panel adds 500 a night), it is read whole
every night, anyone can read it with any tool, and it can be computed again from bars and models; the ledger keeps what
cannot: reads, levels, who took over.

A part counts once its ``.json`` stands: rows, SHA-256 of the file, and the SHA-256 of the part before. Nothing that
counts is written again; a part that is missing or altered is found when the folder is read. A run that dies in between
leaves a file that counts for nothing, and the next run writes it anew.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from tasks.contracts import Ref
from tasks.documents import from_json, to_json
from tasks.errors import ConfigurationError, IntegrityError, StorageError
from tasks.rollout import evidence
from tasks.rollout.plan import Ending, Plan
from tasks.storage import home, read_json, read_parquet, sha256_json, write_json, write_parquet

Kind = Literal["forecasts", "outcomes"]
AGREED, PLAN, ENDED, BEGINNING = "agreed.json", "plan.json", "ended.json", "0" * 64


class RolloutStore:
    """One rollout's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def plan(self) -> Plan:
        """What was agreed. Raises StorageError or IntegrityError if it cannot be read."""
        plan: Plan = from_json(Plan, read_json(self.folder / PLAN))
        return plan

    @property
    def ending(self) -> Ending | None:
        """How it ended; None while it goes on."""
        path = self.folder / ENDED
        return from_json(Ending, read_json(path)) if path.exists() else None

    def end(self, ending: Ending) -> Ending:
        """Write how it ended, once: what stands already stays."""
        before = self.ending
        if before is None:
            write_json(self.folder / ENDED, to_json(ending))
        return before or ending

    def append(self, kind: Kind, rows: pd.DataFrame) -> int:
        """Add a part; returns how many rows. Nothing is written for none."""
        if len(rows):
            parts = self._parts(kind)
            path = self.folder / f"{kind}-{len(parts) + 1:05}"
            ref = write_parquet(path.with_suffix(".parquet"), rows)
            at = datetime.now(UTC).isoformat(timespec="seconds")
            previous = sha256_json(parts[-1]) if parts else BEGINNING
            write_json(
                path.with_suffix(".json"), {"sha256": ref.sha256, "rows": ref.rows, "at": at, "previous": previous}
            )
        return len(rows)

    def read(self, kind: Kind) -> pd.DataFrame:
        """All parts, in the order in which they came in. Raises IntegrityError if one was altered or is missing."""
        parts = self._parts(kind)
        frames = [
            read_parquet(
                Ref(path=str(self.folder / f"{kind}-{place:05}.parquet"), sha256=part["sha256"], rows=part["rows"])
            )
            for place, part in enumerate(parts, start=1)
        ]
        empty = evidence.no_forecasts() if kind == "forecasts" else evidence.no_outcomes()
        return pd.concat(frames, ignore_index=True) if frames else empty

    def _parts(self, kind: Kind) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = []
        previous = BEGINNING
        for place, path in enumerate(sorted(self.folder.glob(f"{kind}-*.json")), start=1):
            part = read_json(path)
            if path.stem != f"{kind}-{place:05}" or part["previous"] != previous:
                raise IntegrityError(
                    f"{path}: part {place} of the {kind} is missing or was altered. Restore the folder from a backup, "
                    "or end this rollout and begin another"
                )
            parts.append(part)
            previous = sha256_json(part)
        return parts


def agree(plan: Plan) -> Plan:
    """Write down what is agreed before anything is spent on it: the plan but for its read and level."""
    write_json(folder_of(plan.name) / f"rollout-{plan.id}" / AGREED, to_json(plan))
    return plan


def agreed(name: str) -> Plan | None:
    """What was agreed last and has neither begun nor ended: a run died over it. None if there is no such thing."""
    folders = sorted(path.parent for path in folder_of(name).glob(f"rollout-*/{AGREED}"))
    if not folders or (folders[-1] / PLAN).exists() or (folders[-1] / ENDED).exists():
        return None
    plan: Plan = from_json(Plan, read_json(folders[-1] / AGREED))
    return plan


def begin(plan: Plan) -> RolloutStore:
    """Write a plan; the same plan again is the same rollout. Raises ConfigurationError if another one is going on."""
    found = current(plan.name)
    if found is not None:
        if found.plan == plan:
            return found
        raise ConfigurationError(
            f"{plan.name}: {found.plan.mode} of version {found.plan.challenger} has been going on since "
            f"{found.plan.started[:10]}; end it first: nocturne rollout {plan.name} --stop"
        )
    store = RolloutStore(folder_of(plan.name) / f"rollout-{plan.id}")
    write_json(store.folder / PLAN, to_json(plan))
    return store


def current(name: str) -> RolloutStore | None:
    """The rollout that goes on, or None."""
    last = latest(name)
    return last if last is not None and last.ending is None else None


def latest(name: str) -> RolloutStore | None:
    """The rollout that began last, ended or not, or None."""
    folders = sorted(path.parent for path in folder_of(name).glob(f"rollout-*/{PLAN}"))
    return RolloutStore(folders[-1]) if folders else None


def folder_of(name: str) -> Path:
    """``live/<name>`` below the state folder. Raises ConfigurationError if the name cannot be a folder's."""
    if not name or name in (".", "..") or Path(name).name != name or "\0" in name:
        raise ConfigurationError(f"{name!r} is no name of a model: use letters, digits and hyphens")
    return home() / "live" / name


@contextmanager
def lease(name: str) -> Iterator[None]:
    """One process at a time works on a name's rollout; the lease ends with its process, however that ends.

    Raises StorageError if another one holds it.
    """
    folder = folder_of(name)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "rollout.lock").open("a", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StorageError(
                f"{name}: another process works on its rollout at this moment; nothing was written. Run again"
            ) from error
        yield
