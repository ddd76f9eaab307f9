"""Registered versions without any model behind them, for tests of aliases alone."""

from __future__ import annotations

from pathlib import Path

from tasks.registry.mlflow_store import Store

PROVED = {"verified": "largest relative difference 0 in a clean process", "model_sha256": "d" * 64}


def make_versions(store: Store, name: str, *tags: dict[str, str]) -> None:
    """A registered model with a version for each set of tags, beside what every proved version has."""
    store.client.create_registered_model(name)
    nowhere = Path(store.tracking_uri.removeprefix("sqlite:///")).parent.as_uri()
    for mine in tags:
        given = {key: value for key, value in (PROVED | mine).items() if value}
        store.client.create_model_version(name, source=nowhere, tags=given)
