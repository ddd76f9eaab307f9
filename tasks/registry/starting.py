"""Which pre-trained encoders a night's transfer may begin with: those of its search, and those that recipes name."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from tasks.contracts import Backbone, Backbones, FeatureMatrix, Rows
from tasks.errors import NocturneError
from tasks.problem import Problem
from tasks.registry import backbones, mlflow_store

log = logging.getLogger("nocturne.registry.backbones")


def for_search(
    problem: Problem, rows: Rows, matrix: FeatureMatrix, recipes: Iterable[Mapping[str, Any]] = ()
) -> Backbones:
    """What tonight's search may begin with, and what ``recipes`` of earlier nights name besides; or why there is none.

    What a recipe brings along serves that recipe and no other: the search chooses among those of tonight's problem. A
    refusal costs the one engine and not the night, whose others need no backbone.
    """
    try:
        found = backbones.resolve(problem, rows, matrix)
    except NocturneError as error:
        return Backbones(refused=str(error))
    others = set(named(recipes)) - {each.sha256 for each in found}
    return Backbones(found=found, recalled=_pulled(others), notes=(_chosen(problem, found),))


def for_jobs(recipes: Iterable[Mapping[str, Any]]) -> Backbones:
    """The backbones that recipes name, whichever versions those are; what is gone, the engine refuses in words."""
    return Backbones(recalled=_pulled(named(recipes)))


def named(recipes: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Digests of the backbones that recipes start from, each once."""
    digests = (recipe.get("backbone", {}).get("sha256", "") for recipe in recipes)
    return tuple(dict.fromkeys(each for each in digests if each))


def _pulled(digests: Collection[str]) -> tuple[Backbone, ...]:
    """The backbones of these digests; one that cannot be had does not take the others along."""
    if not digests:
        return ()
    try:
        store = mlflow_store.open_store()
        known = [each.backbone for each in backbones.versions(store) if each.backbone.sha256 in digests]
    except NocturneError as error:
        log.warning("backbones that recipes of earlier nights name cannot be had: %s", error)
        return ()
    return tuple(found for each in known if (found := _had(store, each)) is not None)


def _had(store: mlflow_store.Store, backbone: Backbone) -> Backbone | None:
    try:
        return backbones.pull(store, backbone)
    except NocturneError as error:
        log.warning("%s:%s, which a recipe names, cannot be had: %s", backbone.name, backbone.version, error)
        return None


def _chosen(problem: Problem, found: tuple[Backbone, ...]) -> str:
    told = "; ".join(
        f"{each.name}:{each.version} ({each.architecture}, {each.length} bars of {each.bar}, up to {each.end[:10]})"
        for each in found
    )
    how = "named by the problem" if problem.backbone else "the newest of each name that may be used"
    return f"backbones, {how}: {told}"
