"""Registered models for the client's tests: one is logged as a night would log it, the others are made from it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tasks.registry import mlflow_store, model_log
from tasks.registry.bundle import entry_facts
from tasks.registry.client import pulling
from tasks.registry.serving.folder import folder_digest
from tasks.registry.serving.model_folder import digest
from tests.registry.conftest import NAME, linear_model, make_bars, make_entry, make_night, raw

BUNDLE = Path("artifacts/bundle")
Edit = Callable[[Path], None]


@pytest.fixture(scope="session")
def logged(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    """The folder of a logged model, without what MLflow or Python added to it."""
    import mlflow  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("logged")
    shutil.copyfile(empty_store, folder / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NOCTURNE_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        patch.setenv("NOCTURNE_HOME", str(folder / "home"))
        store = mlflow_store.open_store()
        night = make_night(folder, make_bars())
        entry = make_entry(night)
        run = mlflow_store.new_run(store, mlflow_store.experiment(store, "client"), "run", {})
        uri = model_log.log_model(run, "model", night, entry.shipped, entry_facts(entry, "shipped"))
        found = Path(mlflow.artifacts.download_artifacts(uri))
    copy = folder / "model"
    shutil.copytree(found, copy, ignore=shutil.ignore_patterns("__pycache__", "registered_model_meta"))
    return copy


@pytest.fixture(scope="session")
def bars() -> pd.DataFrame:
    """Raw bars as a consumer has them."""
    return raw(make_bars())


def variant(logged: Path, to: Path, intercept: float = -0.25, name: str = NAME, edit: Edit | None = None) -> Path:
    """Another whole model: its intercept is its mark; ``edit`` may change anything before the digests are taken."""
    shutil.copytree(logged, to)
    linear_model(to / BUNDLE / "model", intercept=intercept)
    health = to / BUNDLE / "health.json"
    if health.is_file():
        said = json.loads(health.read_bytes())
        said["predictions"] = [value + intercept + 0.25 for value in said["predictions"]]
        health.write_text(json.dumps(said))
    manifest = to / BUNDLE / "manifest.json"
    document = json.loads(manifest.read_bytes()) | {"problem": name}
    manifest.write_text(json.dumps(document))
    if edit is not None:
        edit(to)
    document = json.loads(manifest.read_bytes())
    document["files"] = {name: digest(to / BUNDLE / name) for name in document["files"]}
    manifest.write_text(json.dumps(document))
    return to


def other_code(text: str, package: str) -> Edit:
    """The model's package under another name, with code appended to its predictor."""

    def edit(model: Path) -> None:
        found = next((model / "code").iterdir())
        predictor = found / "registry" / "serving" / "predictor.py"
        predictor.write_text(predictor.read_text() + text)
        found.rename(found.with_name(package))

    return edit


FAILS = """

def _fail(self, bars, rows="last", **_):
    if bars["volume"].iloc[-1] == 12_345:
        raise RuntimeError("a defect")
    return _predict(self, bars, rows)

_predict, Predictor.predict = Predictor.predict, _fail
"""


@dataclass
class Shelf:
    """A registered name in a store: versions are put there, aliases and tags moved, as a promotion would."""

    store: mlflow_store.Store
    folder: Path
    logged: Path
    name: str = NAME
    sources: dict[str, Path] = field(default_factory=dict)

    def put(self, intercept: float = -0.25, edit: Edit | None = None, **tags: str) -> str:
        """Register a variant, sealed with its digest, and return its version."""
        path = variant(self.logged, self.folder / f"model-{len(self.sources)}", intercept, self.name, edit)
        return self.register(path, **tags)

    def register(self, path: Path, uri: str = "", run_id: str | None = None, **tags: str) -> str:
        """Register a folder as it is."""
        client = self.store.client
        if not self.sources:
            client.create_registered_model(self.name)
        version = str(client.create_model_version(self.name, uri or str(path), run_id).version)
        for key, value in ({"model_sha256": folder_digest(path)} | tags).items():
            client.set_model_version_tag(self.name, version, key, value)
        self.sources[version] = path
        return version

    def point(self, **aliases: str) -> None:
        """Move aliases; an empty version takes one away."""
        for alias, version in aliases.items():
            if version:
                self.store.client.set_registered_model_alias(self.name, alias, version)
            else:
                self.store.client.delete_registered_model_alias(self.name, alias)

    def tag(self, **tags: str) -> None:
        """Set the registered model's tags ``nocturne.<key>``."""
        for key, value in tags.items():
            self.store.client.set_registered_model_tag(self.name, f"nocturne.{key}", value)


@pytest.fixture
def shelf(store: mlflow_store.Store, tmp_path: Path, logged: Path) -> Shelf:
    """An empty name in a fresh SQLite store."""
    return Shelf(store, tmp_path, logged)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches the user's cache or keys; each says anew that signatures are not checked."""
    monkeypatch.setenv("NOCTURNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("NOCTURNE_TRUSTED_KEYS", raising=False)
    pulling._SAID.clear()


def settings(shelf: Shelf, **more: Any) -> dict[str, Any]:
    """Arguments of a client of this shelf that looks only when asked to."""
    return {"tracking_uri": shelf.store.tracking_uri, "refresh_seconds": 0} | more
