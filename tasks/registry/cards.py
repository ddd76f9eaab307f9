"""Where a model card is kept: whole as a file of the night's run, and what fits of it as the version's description."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tasks.documents import digest
from tasks.errors import ConfigurationError
from tasks.registry import mlflow_place, mlflow_store
from tasks.registry.card import card, description
from tasks.registry.mlflow_store import Store
from tasks.registry.records import Entry, Night

FILE = "card_file"
"""The version's tag that names the card's file among the artifacts of its run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A version's card: ``whole`` says whether it is all of it, or what its description holds."""

    name: str
    version: str
    text: str
    whole: bool


def keep(store: Store, run_id: str, night: Night, entry: Entry) -> tuple[str, dict[str, str]]:
    """Write the card to the night's run; the description and the tags of the version that it belongs to.

    Raises RegistryError if MLflow refuses.
    """
    path = f"cards/{digest([entry.name, entry.gated.recipe, entry.shipped_training_end])[:16]}.md"
    with mlflow_place.as_registry_error(f"run {run_id}: {path} cannot be kept"):
        store.client.log_text(run_id, card(night, entry), path)
    return description(night, entry), {FILE: path}


def read(store: Store, name: str, version: str = "") -> Kept:
    """The card of a version: the champion's unless one is named, else the newest's.

    Raises ConfigurationError for an unknown name or version, RegistryError if the registry cannot be read.
    """
    known = mlflow_store.history(store, name)
    chosen = version or next((each.version for each in known if "champion" in each.aliases), known[0].version)
    if chosen not in {each.version for each in known}:
        raise ConfigurationError(f"{name} has no version {chosen}; there are: {', '.join(v.version for v in known)}")
    with mlflow_place.as_registry_error(f"{name}: version {chosen} cannot be read"):
        found = store.client.get_model_version(name, chosen)
        path = found.tags.get(FILE, "")
        text = _file(store, found.run_id, path) if path and found.run_id else ""
    return Kept(name=name, version=chosen, text=text or found.description or "", whole=bool(text))


def _file(store: Store, run_id: str, path: str) -> str:
    with TemporaryDirectory() as scratch:
        return Path(store.client.download_artifacts(run_id, path, scratch)).read_text(encoding="utf-8")
