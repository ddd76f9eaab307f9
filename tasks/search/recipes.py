"""Leading recipes, kept from one night to the next: what a search starts from instead of from nothing.

```
recipes/<problem>/<kind>/<last bar>-<snapshot>.json      one file a night: each engine's leaders, best first
```

**Who leads.** The candidates with the lowest loss on the night's selection rows, the recipes carried over among them.
No fold and no gate has a say: a recipe that won there would be tried there again, on rows that chose it.

**Which night counts.** The last earlier one that has leaders of the engine, among the last 30. It compared what it
found with what it had been handed, on the same rows; figures of different nights, on different rows, are never set side
by side. Of a night that was run on two snapshots (restated bars, say) the run that was written down last counts.

**Earlier** means that its last bar lies before tonight's. So a night that is run again is handed what it was handed the
first time, never its own findings, and a run ``as_of`` a past date gets nothing that was found later.

**No leak.** A recipe was chosen on labels up to the end of its night's selection window. Windows only move forward: in
a term they stay where they are, in the next they lie later. So that end is not behind tonight's selection window, and
folds and gate are as unseen as they are by tonight's own search. Where a changed problem (more folds, a longer gate)
moves them backward, the recipe is left out.

**What is comparable.** The same problem by name, the same forecast quantity (``Problem.predicts``) and cross-section,
the same engine, and columns that tonight's matrix has. Neither bars nor code need be the same: nothing is taken over
but the recipe, which tonight's code fits and scores on tonight's rows; what it cannot fit, it refuses in words.

A file carries its own digest, checked before it is used. A damaged one is left out and told, and the night before it
counts: a warm start is no condition of a night.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from tasks.contracts import Candidate, EngineResult, FeatureMatrix, Rows, Snapshot, WarmRecipe
from tasks.documents import digest
from tasks.errors import NocturneError, StorageError
from tasks.problem import Problem
from tasks.storage import home, read_json, write_json

FORMAT = 1
LEADERS = 20
"""So many are kept an engine, whatever ``Problem.warm_start`` asks for today."""

NIGHTS = 30
"""So many nights are looked through for an engine that led in none of the last: some six weeks."""

ENGINES = ("linear", "h2o", "autokeras", "transfer")
"""Baselines are the same every night."""

ENSEMBLE = "stackedensemble"
_MARK = re.compile(r"-warm-[0-9a-f]{6}$")
log = logging.getLogger("nocturne.search")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """By engine, the recipes to start from, best first; ``notes`` say what was left out."""

    recipes: dict[str, tuple[WarmRecipe, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def of(self, engine: str) -> tuple[WarmRecipe, ...]:
        """What this engine starts from."""
        return self.recipes.get(engine, ())


def keep(
    problem: Problem, snapshot: Snapshot, rows: Rows, results: Sequence[EngineResult], losses: Mapping[str, float]
) -> Path | None:
    """Write down a night's leaders; None, and nothing is written, where there are none.

    losses: the loss on the selection rows by candidate's name; who has none does not lead. The same night again
    replaces its file. Raises StorageError if it cannot be written.
    """
    leaders = {engine: _leaders(problem, _candidates(results, engine), losses) for engine in ENGINES}
    if not any(leaders.values()):
        return None
    night = {
        "problem": problem.name,
        "predicts": problem.predicts,
        "last": snapshot.last,
        "snapshot": snapshot.sha256,
        "chosen_through": _chosen_through(rows),
        "written": datetime.now(UTC).isoformat(),
        "leaders": leaders,
    }
    path = _folder(problem) / f"{_mark_of(snapshot.last)}-{snapshot.sha256[:12]}.json"
    write_json(path, {"format": FORMAT, "night": night, "sha256": digest(night)})
    return path


def recall(problem: Problem, snapshot: Snapshot, rows: Rows, features: FeatureMatrix) -> Recalled:
    """What tonight's engines start from: nothing where ``warm_start`` is 0 or there is no earlier night."""
    wanted = [engine for engine in ENGINES if engine in problem.engines and problem.warm_start]
    found: dict[str, tuple[WarmRecipe, ...]] = {}
    notes: list[str] = []
    for night in _earlier(problem, snapshot, notes):
        for engine in wanted:
            if engine not in found and night["leaders"].get(engine):
                found[engine] = _with_controls(_usable(night, engine, rows, features, notes), problem.warm_start)
        if len(found) == len(wanted):
            break
    for note in notes:
        log.warning("%s", note)
    return Recalled(recipes={engine: recipes for engine, recipes in found.items() if recipes}, notes=tuple(notes))


def _candidates(results: Sequence[EngineResult], engine: str) -> list[Candidate]:
    return [c for result in results for c in result.candidates if c.engine == engine and not c.rows]


def _leaders(problem: Problem, candidates: Sequence[Candidate], losses: Mapping[str, float]) -> list[dict[str, Any]]:
    """Best first, each recipe once; ensembles only where they may be refitted on the folds."""
    known = [c for c in candidates if math.isfinite(losses.get(c.name, math.nan))]
    leaders: dict[str, dict[str, Any]] = {}
    for candidate in sorted(known, key=lambda c: (losses[c.name], c.name)):
        if candidate.recipe.get("algorithm") == ENSEMBLE and not problem.refit_ensembles:
            continue
        mark = digest(candidate.recipe)
        leaders.setdefault(
            mark,
            {
                "name": _MARK.sub("", candidate.name),
                "recipe": candidate.recipe,
                "sha256": mark,
                "loss": losses[candidate.name],
            },
        )
    return _led(list(leaders.values()))


def _led(leaders: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first of them, and wherever they stand the controls that these name."""
    named = {leader["recipe"].get("control") for leader in leaders[:LEADERS]}
    return [*leaders[:LEADERS], *(leader for leader in leaders[LEADERS:] if leader["sha256"] in named)]


def _usable(
    night: Mapping[str, Any], engine: str, rows: Rows, features: FeatureMatrix, notes: list[str]
) -> tuple[WarmRecipe, ...]:
    """A night's leaders that may be fitted tonight; of the others it is noted why not."""
    day = night["last"][:10]
    if _moment(night["chosen_through"]) > _moment(_chosen_through(rows)):
        notes.append(
            f"{engine}: the recipes of {day} are not used: they were chosen on bars to {night['chosen_through']}, and "
            f"tonight's search ends at {_chosen_through(rows)}, so that they have seen what they would be ranked on"
        )
        return ()
    usable = []
    for leader in night["leaders"][engine]:
        missing = sorted(set(leader["recipe"].get("columns", ())) - set(features.spec.columns))
        if missing:
            notes.append(
                f"{engine}: {leader['name']} of {day} wants columns that are not there: {', '.join(missing[:5])}"
            )
            continue
        name = f"{leader['name']}-warm-{leader['sha256'][:6]}"
        usable.append(WarmRecipe(name=name, recipe=leader["recipe"], night=day))
    return tuple(usable)


def _with_controls(recipes: Sequence[WarmRecipe], most: int) -> tuple[WarmRecipe, ...]:
    """The first of the recipes, and right after each the control that it names: without it, it says nothing."""
    by_digest = {digest(each.recipe): each for each in recipes}
    wanted: dict[str, WarmRecipe] = {}
    for each in recipes[:most]:
        control = by_digest.get(each.recipe.get("control", ""))
        wanted |= {one.name: one for one in (each, control) if one is not None}
    return tuple(wanted.values())


def _earlier(problem: Problem, snapshot: Snapshot, notes: list[str]) -> Iterator[Mapping[str, Any]]:
    """The nights whose last bar lies before tonight's, latest first; of one night what was written last comes first."""
    tonight = _mark_of(snapshot.last)
    paths = sorted((p for p in _folder(problem).glob("[0-9]*.json") if _last_in(p) < tonight), reverse=True)
    for _, files in islice(groupby(paths, _last_in), NIGHTS):
        found = [night for path in files if (night := _sound(path, notes))]
        for night in sorted(found, key=lambda night: _moment(night.get("written", "")), reverse=True):
            if _moment(night["last"]) < _moment(snapshot.last):
                yield night


def _sound(path: Path, notes: list[str]) -> Mapping[str, Any] | None:
    """A night as it was kept; None, and a note, where it is not that any more."""
    try:
        return _read(path)
    except NocturneError as error:
        notes.append(f"recipes of an earlier night are not used: {error}")
        return None


def _read(path: Path) -> Mapping[str, Any]:
    """A night as it was kept. Raises StorageError if it was altered, is damaged or of another format."""
    document = read_json(path)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise StorageError(f"{path}: not recipes of format {FORMAT}; delete the file")
    night: Mapping[str, Any] = document["night"]
    if digest(night) != document.get("sha256"):
        raise StorageError(f"{path}: its content is not what was recorded: altered or damaged; delete the file")
    return night


def _folder(problem: Problem) -> Path:
    kind = digest([problem.predicts, problem.cross_section])[:12]
    return home() / "recipes" / problem.name / kind


def _chosen_through(rows: Rows) -> str:
    """The last bar of the selection window, ISO UTC; of the search's last window where there is none."""
    windows = {window.name: window.last for window in rows.windows}
    return next((windows[name] for name in ("selection", "blending", "validation", "train") if name in windows), "")


def _moment(text: str) -> datetime:
    """An ISO instant; the beginning of time for an empty one."""
    return datetime.fromisoformat(text or "0001-01-01T00:00:00+00:00")


def _mark_of(last: str) -> str:
    """How a file's name begins for a night with this last bar: in the order of time."""
    return f"{_moment(last):%Y%m%dT%H%M%S}"


def _last_in(path: Path) -> str:
    return path.name.partition("-")[0]
