"""Which recipes are worth refitting on every fold: chosen on the selection rows, before any fold is looked at.

```
every searched candidate ── selection loss ─┬─ all baselines and all linear models ────────┐
                                            ├─ the leading few of h2o, autokeras, transfer ─┼─ walked over the folds
                                            ├─ what a walked transfer is compared with ─────┤
                                            ├─ the champion's own recipe, where found again ┘
                                            └─ the rest: their selection loss is all that is known of them
```

Each engine's best is among the few, for the selection rows are few as well: three recipes of one kind would be one bet.
A transfer is nothing without the same network from scratch on the same rows: that control is walked beside it, and
takes no place. An ensemble costs as much as all its members, so whether it may take one of the places is the problem's
choice. Of identical recipes one is walked: the simpler engine's. The order in which candidates arrive changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from tasks.contracts import Candidate, EngineName, Target, WindowName
from tasks.documents import digest
from tasks.errors import EngineError
from tasks.leaderboard.joined import RESERVED, check_unseen
from tasks.leaderboard.losses import FloatArray, IntArray, by_date, date_codes, fault, rounded
from tasks.statistics.losses import row_losses

SIMPLICITY: tuple[EngineName, ...] = ("baseline", "linear", "h2o", "autokeras", "transfer")
LEADING: tuple[EngineName, ...] = ("h2o", "autokeras", "transfer")
FITTED: tuple[WindowName, ...] = ("train", "validation", "blending")
ENSEMBLE = "stackedensemble"
log = logging.getLogger("nocturne.leaderboard")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortlist:
    """The candidates to be refitted on every fold, in order of their selection loss.

    ``losses``: the selection loss of every candidate that could be scored there; ``refused``: those that could not,
    with the reason; ``champion``: the name of the candidate that is the champion's recipe, empty where the search did
    not come upon it.
    """

    names: tuple[str, ...]
    losses: dict[str, float] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    champion: str = ""

    @property
    def left(self) -> dict[str, float]:
        """Those that stay behind, with their selection loss."""
        return {name: loss for name, loss in self.losses.items() if name not in self.names}


def choose(
    candidates: Sequence[Candidate],
    predictions: Mapping[str, FloatArray],
    rows: pd.DataFrame,
    target: Target,
    *,
    leaders: int,
    ensembles: bool,
    champion_recipe_sha256: str = "",
) -> Shortlist:
    """Score every searched candidate on the selection rows and pick those that are walked.

    predictions: by candidate's name, float64 (n,), aligned with ``rows`` (columns symbol, time, session, label,
    label_end, window; n rows); what is not finite outside the selection window is ignored. leaders: so many of H2O's,
    AutoKeras's and the transfer's together. champion_recipe_sha256: that recipe is walked, wherever it stands.

    Raises EngineError where two candidates share a name, or where no selection rows exist; DataError where the search
    may have learned from them.
    """
    _check_names(candidates)
    window = rows["window"].to_numpy()
    place = np.flatnonzero(window == "selection")
    if not len(place):
        raise EngineError("no selection rows to score candidates on: the windows were not drawn for these rows")
    check_unseen(rows, np.isin(window, FITTED), window == "selection", "the search")
    label = rows["label"].to_numpy(dtype=np.float64)[place]
    date = date_codes(rows["session"].to_numpy(dtype="datetime64[ns]")[place])
    refused: dict[str, str] = {}
    losses: dict[str, float] = {}
    for name in sorted(candidate.name for candidate in candidates):
        if reason := _refusal(name, predictions.get(name), len(rows), place, target):
            refused[name] = reason
            log.warning("candidate %s is not ranked: %s", name, reason)
        else:
            losses[name] = float(by_date(date, row_losses(target.loss, label, predictions[name][place])).mean())
    simplest = _once([c for c in candidates if c.name in losses], losses)
    ours = next((c.name for c in simplest if recipe_sha256(c.recipe) == champion_recipe_sha256), "")
    picked = _walked(simplest, leaders, ensembles) | ({ours} if ours else set())
    picked |= _controls(simplest, picked)
    return Shortlist(
        names=tuple(c.name for c in simplest if c.name in picked), losses=losses, refused=refused, champion=ours
    )


def _walked(ordered: Sequence[Candidate], leaders: int, ensembles: bool) -> set[str]:
    """Names: everything quick to fit, and of what is not each engine's best and then the leading, up to ``leaders``."""
    costly = [c for c in ordered if c.engine in LEADING and (ensembles or not is_ensemble(c.recipe))]
    first = {c.engine: c for c in reversed(costly)}
    best = [c for c in costly if first[c.engine] is c]
    leading = [*best, *(c for c in costly if c not in best)][:leaders]
    return {c.name for c in ordered if c.engine not in LEADING} | {c.name for c in leading}


def _controls(candidates: Sequence[Candidate], picked: set[str]) -> set[str]:
    """Names of the candidates that those picked name as their control."""
    wanted = {c.recipe.get("control") for c in candidates if c.name in picked}
    return {c.name for c in candidates if recipe_sha256(c.recipe) in wanted}


def _once(candidates: Sequence[Candidate], losses: Mapping[str, float]) -> list[Candidate]:
    """Of identical recipes the simpler engine's, then the better; ordered by loss, ties to the simpler engine."""
    simplest: dict[str, Candidate] = {}
    for candidate in sorted(candidates, key=lambda c: (SIMPLICITY.index(c.engine), rounded(losses[c.name]), c.name)):
        simplest.setdefault(recipe_sha256(candidate.recipe), candidate)
    return sorted(simplest.values(), key=lambda c: (rounded(losses[c.name]), SIMPLICITY.index(c.engine), c.name))


def is_ensemble(recipe: Mapping[str, Any]) -> bool:
    """Whether a recipe stacks others."""
    return recipe.get("algorithm") == ENSEMBLE


def recipe_sha256(recipe: Mapping[str, Any]) -> str:
    """What makes two recipes one: the digest that the registry's entries carry too."""
    return digest(recipe)


def _check_names(candidates: Sequence[Candidate]) -> None:
    names = [candidate.name for candidate in candidates]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise EngineError(f"candidates share a name: {', '.join(twice[:5])}; every candidate needs one of its own")


def _refusal(name: str, prediction: FloatArray | None, rows: int, place: IntArray, target: Target) -> str:
    if name in RESERVED:
        return f"the name {name} is reserved: {', '.join(sorted(RESERVED))} are"
    if prediction is None:
        return "it has no predictions"
    if len(prediction) != rows:
        return f"it has {len(prediction):,} predictions for {rows:,} rows"
    return fault(prediction[place], target, "on the selection rows")
