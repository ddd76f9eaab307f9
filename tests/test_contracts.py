"""Contracts survive JSON, and relative references are taken as lying below the folder that holds them."""

from __future__ import annotations

import json

import pytest

from tasks.contracts import Candidate, EngineResult, FeatureSpec, Ref, Snapshot, resolved
from tasks.documents import from_json, to_json

CANDIDATE = Candidate(
    name="ridge",
    engine="linear",
    recipe={"alpha": 1.0},
    model="ridge/model",
    predictions=Ref(path="ridge/predictions.parquet", sha256="0" * 64, rows=3),
    train_seconds=0.1,
    predict_us_per_row=1.0,
    notes=("a note",),
)
RESULT = EngineResult(engine="linear", candidates=(CANDIDATE,), importance=(("har_1", 0.5),))


def test_json_round_trip_of_nested_values() -> None:
    assert from_json(EngineResult, json.loads(json.dumps(to_json(RESULT)))) == RESULT


def test_optional_reference_round_trip() -> None:
    snapshot = Snapshot(
        sha256="1", bars=CANDIDATE.predictions, symbols=("A",), first="", last="", bar="1d", calendar="XNYS",
        true_opens=True, has_volume=False, findings=CANDIDATE.predictions,
    )  # fmt: skip
    assert from_json(Snapshot, to_json(snapshot)) == snapshot


def test_unknown_field_is_refused() -> None:
    with pytest.raises(TypeError, match="colour"):
        from_json(Ref, {"path": "", "sha256": "", "rows": 0, "colour": "red"})


def test_resolved_moves_references_and_models_below_the_folder() -> None:
    moved = resolved(RESULT, "/store/abc")
    assert moved.candidates[0].model == "/store/abc/ridge/model"
    assert moved.candidates[0].predictions.path == "/store/abc/ridge/predictions.parquet"
    assert moved.candidates[0].recipe == {"alpha": 1.0}
    assert resolved(moved, "/elsewhere") == moved


def test_tick_must_be_positive() -> None:
    with pytest.raises(ValueError, match="tick"):
        FeatureSpec(columns=(), tick=0.0)
