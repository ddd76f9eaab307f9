"""Warm start inside an engine's process: earlier nights' recipes first, then the search with what is left.

1. Every recipe is fitted again by the engine's own ``refit`` on all rows before the selection window, with trees and
   epochs as it fixed them: the same rows and the same fit as the engine's own leading recipes get.
2. What that took is taken off the budget: a model a recipe, and the seconds. At most half of either goes into it.
3. The search explores with a seed drawn from the problem's and from the recipes: with the same seed on the same rows it
   would find again what was kept already. Where a night finds nothing that belongs among the leaders, these stay what
   they were, and so does the seed: on the same rows the exploring comes to rest.
4. A recipe that the search comes upon again is one candidate, under the name that the search gave it. One that differs
   in words alone (a seed that its algorithm does not use) and predicts the same to the last bit is left out: the ledger
   knows the older one.

A recipe's document is handed on unchanged, so that its digest, by which the ledger knows what was read at the gate,
stays the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from tasks.contracts import Candidate, EngineBudget, RefitJob, WarmRecipe, WindowName
from tasks.documents import digest
from tasks.search.engine import TrainingData

FIT = "fit_search"
SHARE = 0.5
_WINDOWS: tuple[WindowName, ...] = ("train", "validation", "blending")


def marked(data: TrainingData) -> TrainingData:
    """The data with another fit, ``fit_search``: the rows that a search may fit on, all before the selection window."""
    return dataclasses.replace(data, fits={**data.fits, FIT: np.isin(data.window.astype(str), _WINDOWS)})


def job(warm: WarmRecipe) -> RefitJob:
    """The recipe as a job on the search's rows."""
    return RefitJob(name=warm.name, recipe=warm.recipe, rows=FIT)


def once(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates without those of tonight's that predict what an earlier night's does, to the last bit."""
    known = {each.predictions.sha256 for each in candidates if each.night}
    return [each for each in candidates if each.night or each.predictions.sha256 not in known]


def affordable(recipes: Sequence[WarmRecipe], budget: EngineBudget) -> tuple[WarmRecipe, ...]:
    """The first of the recipes, at most as many as half the models of the budget."""
    return tuple(recipes[: int(budget.models * SHARE)])


def left(budget: EngineBudget, models: int, seconds: float) -> EngineBudget:
    """What of a budget is left to explore with: at least one model and a second."""
    return dataclasses.replace(
        budget, models=max(budget.models - models, 1), seconds=max(int(budget.seconds - seconds), 1)
    )


def seed_of(seed: int, recipes: Iterable[WarmRecipe]) -> int:
    """The seed that a search explores with, 1 to 2^31 - 1; without recipes the problem's own.

    The order of the recipes, which changes with the bars, is not part of it.
    """
    known = sorted(digest(each.recipe) for each in recipes)
    return int(digest([seed, known])[:8], 16) % (2**31 - 1) + 1 if known else seed
