"""Bundles around a serving folder, with no night behind them: what ``Predictor`` reads and no more."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from tasks.contracts import FeatureSpec, Target
from tasks.documents import to_json
from tasks.registry.serving.bundle import MANIFEST, MODEL, Manifest, files_below
from tasks.registry.serving.model_folder import digest, read_document


def bare_bundle(folder: Path, model: Path, *, bar: str = "1d", tick: float = 0.01, **changes: Any) -> Path:
    """A bundle of the model, of one symbol SPX unless told otherwise; format 1, so without statistics."""
    columns = tuple(read_document(model)["columns"])
    shutil.copytree(model, folder / MODEL)
    fields: dict[str, Any] = {
        "problem": "test",
        "target": Target(name="volatility", horizon=1, kind="regression", loss="mse"),
        "spec": FeatureSpec(columns=columns, tick=tick, bar=bar),
        "calendar": "XNYS",
        "tz": "America/New_York",
        "symbols": ("SPX",),
        "has_volume": True,
        "negative_prices": False,
        "training_end": "2018-12-31T21:00:00+00:00",
        "role": "gated",
        "candidate": "test",
        "engine": "linear",
        **dict.fromkeys(("recipe_sha256", "snapshot_sha256", "lock_sha256", "code_sha256"), "0" * 64),
        "code_version": "0",
        "seed": 1,
        "versions": {},
        "evidence": {},
        "format": 1,
        "files": {name: digest(folder / name) for name in files_below(folder)},
    }
    manifest = Manifest(**(fields | changes))
    (folder / MANIFEST).write_text(json.dumps(to_json(manifest)), encoding="utf-8")
    return folder
