"""What a state folder need not keep: stage outputs and pulled backbones that nothing has used for long, and canaries'
old markets.

```
stages/<stage>/<key>/                 last made or used more than NOCTURNE_KEEP_DAYS (30) ago, and not needed
backbones/<name>/<version>-<digest>/  last pulled or used so long ago
canaries/state/<problem>-<week>/      nothing in it written for four weeks
```

Needed is what the journal of a problem's last whole night names, of whatever ended after it, and of every run that has
not ended or waits to be continued. All of it can be computed anew: only its time would be lost.

What this never touches: bars, snapshots, ledger, registry, models, recipes, rollouts, backfills, reports, records and
journals. A night is some hundred kilobytes in the last three.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks import journal
from tasks.errors import StorageError
from tasks.storage import MANIFEST, discard, home, stage_folder_name

SETTING = "NOCTURNE_KEEP_DAYS"
KEEP_DAYS = 30.0
MARKET_DAYS = 28.0
DAY = 86_400.0
SEVERAL = 20
"""Journals that are read in the hope of a whole night; only where there is none are they read all."""

log = logging.getLogger("nocturne.retention")


@dataclass(frozen=True, slots=True)
class Kept:
    """A folder of the state, and when it was last used: seconds since 1970."""

    folder: Path
    used: float


@dataclass(frozen=True, slots=True)
class Freed:
    """Folders removed, and their bytes."""

    folders: int
    bytes: int


def superfluous(found: Iterable[Kept], needed: frozenset[str], now: float, days: float) -> tuple[Path, ...]:
    """The folders that were not used for so many days and whose names nobody needs. Zero days or less: none."""
    if days <= 0:
        return ()
    return tuple(each.folder for each in found if each.folder.name not in needed and each.used < now - days * DAY)


def prune(days: float = KEEP_DAYS, now: float | None = None) -> Freed:
    """Remove what need not be kept of the present state folder; other nights may be at work meanwhile."""
    now = time.time() if now is None else now
    needed, root = _needed(), home()
    gone = (
        *superfluous(_outputs(root / "stages"), needed, now, days),
        *superfluous(_outputs(root / "backbones"), frozenset(), now, days),  # the registry has them
        *superfluous(_markets(root / "canaries" / "state"), frozenset(), now, MARKET_DAYS if days > 0 else 0.0),
    )
    return Freed(len(gone), sum(discard(folder) for folder in gone))


def prune_safely() -> None:
    """At a night's end: say what was freed; what cannot be removed costs itself, not the night."""
    try:
        freed = prune(keep_days())
    except (StorageError, OSError, ValueError) as error:
        log.warning("old stage outputs are not removed: %s", error)
        return
    if freed.folders:
        log.info("%d old folders of stages and canaries were removed: %.1f MB", freed.folders, freed.bytes / 1e6)


def keep_days() -> float:
    """NOCTURNE_KEEP_DAYS, or 30; zero keeps everything. Raises ValueError, in words, for what is no number of days."""
    given = os.environ.get(SETTING) or str(KEEP_DAYS)
    try:
        days = float(given)
    except ValueError:
        days = -1.0
    if not 0 <= days < float("inf"):
        raise ValueError(f"{SETTING} must be a number of days, 0 to keep everything, and is {given!r}")
    return days


def _outputs(stages: Path) -> Iterator[Kept]:
    """Published outputs, and damaged ones that were set aside; unpublished ones begin with a dot."""
    for folder in stages.glob("*/[!.]*"):
        try:
            manifest = folder / MANIFEST
            yield Kept(folder, (manifest if manifest.is_file() else folder).stat().st_mtime)
        except FileNotFoundError:  # another night was faster
            continue


def _markets(state: Path) -> Iterator[Kept]:
    for market in state.glob("[!.]*"):
        if not market.is_symlink():
            yield Kept(market, max((_written(path) for path in (market, *market.rglob("*"))), default=0.0))


def _written(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:
        return 0.0


def _needed() -> frozenset[str]:
    """Names of the output folders that a last whole night, or a run that has not ended for good, refers to."""
    names = {
        stage_folder_name(line["key"])
        for problem in sorted(path.name for path in (home() / "runs").glob("*"))
        for run in _runs_that_count(problem)
        for line in journal.lines(journal.path_of(problem, run))
        if line["state"] in ("reused", "computed")
    }
    return frozenset(names)


def _runs_that_count(problem: str) -> Iterator[str]:
    """The runs back to the last whole night, and all that are unfinished, however old."""
    few = journal.nights(problem, SEVERAL)
    for past in few if any(past.state == "done" for past in few) else journal.nights(problem):
        yield past.run
        if past.state == "done":
            break
    yield from (past.run for past in journal.unfinished(problem))
