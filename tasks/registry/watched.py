"""What the drift monitor asks of the registry, and what it leaves there: tags, and never an alias.

A registered model's tag ``nocturne.drift`` is ``exceeded`` where its champion is past its limit, else ``within``;
``nocturne.drift.version`` is the version that was judged. Another champion is not judged by it, but for the same recipe
refitted: a refresh takes the verdict along.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tasks.errors import RegistryError
from tasks.registry import mlflow_place, mlflow_store, projection
from tasks.registry.mlflow_place import as_registry_error
from tasks.registry.mlflow_store import Store
from tasks.registry.records import ChampionInfo
from tasks.registry.serving.bundle import MANIFEST, read_manifest

DRIFT, DRIFT_VERSION = "nocturne.drift", "nocturne.drift.version"


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A champion with the feature columns that it looks at, and the version that is ready to take over."""

    champion: ChampionInfo
    columns: tuple[str, ...]
    fallback_version: str


def watched(store: Store, name: str) -> Watched:
    """Who serves under this name. Raises RegistryError without a champion, or if its bundle cannot be had whole."""
    champion = mlflow_store.champion(store, name)
    if champion is None:
        raise RegistryError(f"{name}: no version is champion in {mlflow_place.shown_uri()}; run a night first")
    now = projection.shown(store, name)
    return Watched(
        champion=champion,
        columns=model_columns(store, champion.model_uri),
        fallback_version=now.fallback if now is not None else "",
    )


def model_columns(store: Store, uri: str) -> tuple[str, ...]:
    """The feature columns of a logged model, from its verified bundle; none for one that looks at no feature."""
    with tempfile.TemporaryDirectory(prefix="nocturne-watched-") as scratch:
        folder = mlflow_store.fetch(store, uri, Path(scratch))
        found = sorted(folder.rglob(MANIFEST))
        if not found:
            raise RegistryError(f"{uri}: its logged folder has no {MANIFEST}; register it again")
        return tuple(read_manifest(found[0].parent).spec.columns)


def set_model_tag(store: Store, name: str, key: str, value: str) -> None:
    """Set a tag of the registered model itself. Raises RegistryError if there is none, or MLflow refuses."""
    with as_registry_error(f"{name}: the tag {key} cannot be set"):
        store.client.set_registered_model_tag(name, key, value)


def clear_model_tag(store: Store, name: str, key: str) -> None:
    """Take a tag of the registered model away, if it has it. Raises RegistryError if MLflow refuses."""
    model = mlflow_store.registered_model(store, name)
    if model is not None and key in model.tags:
        with as_registry_error(f"{name}: the tag {key} cannot be taken away"):
            store.client.delete_registered_model_tag(name, key)


def show_drift(store: Store, name: str, version: str, verdict: Literal["within", "exceeded"]) -> None:
    """Let consumers see the verdict on this version; the version goes first, so that no other is ever condemned."""
    if verdict == "within":
        set_model_tag(store, name, DRIFT, verdict)
        set_model_tag(store, name, DRIFT_VERSION, version)
        return
    set_model_tag(store, name, DRIFT_VERSION, version)
    set_model_tag(store, name, DRIFT, verdict)


def carry_drift(store: Store, name: str, before: str, after: str) -> None:
    """Let the verdict on one version stand for another: the same recipe, refitted, which no drift is cured by."""
    model = mlflow_store.registered_model(store, name)
    if model is not None and before and model.tags.get(DRIFT_VERSION) == before:
        set_model_tag(store, name, DRIFT_VERSION, after)
