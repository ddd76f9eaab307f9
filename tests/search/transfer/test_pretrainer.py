"""The process that trains a backbone, asked here: bodies that look at candles, weights from a file, what it says."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.contracts import FeatureMatrix, FeatureSpec, Ref, Snapshot
from tasks.documents import to_json
from tasks.errors import IntegrityError, StorageError
from tasks.pretraining import LEAST_PIXELS, OWN_BODIES, Pretraining
from tasks.registry.serving.candles import heights
from tasks.search.auto_keras import use_jax
from tasks.search.transfer import backbone
from tasks.search.transfer.channels import CHANNELS
from tasks.search.transfer.pretrainer import CODE, FOLDER, train
from tasks.storage import PROJECT, sha256_file, write_parquet
from tests.search.transfer.windows import KERAS_WARNING, candles, matrix_of

if importlib.util.find_spec("autokeras") is None:
    pytest.skip("the engines extra is not installed", allow_module_level=True)
use_jax(2)
import keras  # noqa: E402 - after its settings

from tasks.search.transfer import descent, images, networks, objectives  # noqa: E402

pytestmark = pytest.mark.filterwarnings(KERAS_WARNING)
BARS = 1100
GIVEN: dict[str, Any] = {
    "name": "tiny", "source": "made", "architecture": "image", "length": 24, "width": 4, "depth": 1, "embedding": 4,
    "tasks": ("volatility",), "horizons": (1,), "steps": 10, "batch": 64, "seconds": 60,
}  # fmt: skip
ANSWERS = (
    "tasks/evaluation.py", "tasks/registry/serving/", "tasks/search/exported.py", "tasks/search/fold_scaling.py",
    "tasks/search/jobs.py", "tasks/search/keras_", "tasks/search/training.py", "tasks/search/warm.py",
    "tasks/search/engine_log.py", "tasks/stages_remote.py",
)  # fmt: skip
"""What is imported for the answers of engines, their logs and shared folders, and touches no backbone."""


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> FeatureMatrix:
    values = matrix_of(candles(BARS, 6))
    frame = pd.DataFrame(values, columns=list(CHANNELS))
    frame.insert(0, "time", pd.date_range("2015-01-01", periods=BARS, tz="UTC"))
    frame.insert(0, "symbol", "A")
    ref = write_parquet(tmp_path_factory.mktemp("features") / "features.parquet", frame)
    return FeatureMatrix(ref=ref, spec=FeatureSpec(columns=CHANNELS, tick=0.01), lookback=22)


def narrow(input_shape: tuple[int, int, int], name: str, **_given: Any) -> Any:
    """An application as keras makes one, with one convolution and a normalisation."""
    inputs = keras.Input(input_shape)
    x = keras.layers.Conv2D(3, 5, strides=4, name="conv1")(inputs)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.5, name="conv1_bn")(x))
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x), name=name)


@pytest.fixture
def application(monkeypatch: pytest.MonkeyPatch) -> str:
    """A name of the form behind which stands a network that is trained in a second."""
    monkeypatch.setitem(images.APPLICATIONS, "MobileNet", images._Application(narrow, 32, 32, True))
    return "MobileNet"


def trained(features: FeatureMatrix, out: Path, sha256: str = "", **changes: Any) -> backbone.Loaded:
    snapshot = Snapshot(
        sha256="0", bars=Ref(path="", sha256="", rows=BARS), symbols=("A",), first="", last="", bar="1d",
        calendar="24/7", true_opens=True, has_volume=True,
    )  # fmt: skip
    asked = {
        "pretraining": Pretraining(**{**GIVEN, **changes}).model_dump(mode="json"),
        "snapshot": to_json(snapshot), "features": to_json(features), "parent": None, "weights": sha256,
    }  # fmt: skip
    assert train(asked, out, lambda *_: None) == {"folder": FOLDER}
    return backbone.read(backbone.described(out / FOLDER))


def test_an_application_begins_with_the_weights_of_a_file_and_its_folder_says_which(
    features: FeatureMatrix, application: str, tmp_path: Path
) -> None:
    network = narrow((32, 32, 3), "application")
    rng = np.random.default_rng(3)
    network.set_weights([np.abs(rng.normal(1.0, 0.1, weight.shape)) for weight in network.weights])
    path = tmp_path / "tiny.weights.h5"
    network.save_weights(path)
    kernel = np.asarray(network.get_layer("conv1").kernel)
    given = {"body": application, "pixels": 32, "weights_from": str(path), "rate": 1e-6}
    found = trained(features, tmp_path / "out", sha256_file(path), **given)
    assert found.spec.body == "MobileNet@32"
    assert found.manifest["weights_from"] == {"file": path.name, "sha256": sha256_file(path)}
    np.testing.assert_allclose(found.weights["conv1/kernel"], kernel, atol=1e-3)
    assert found.manifest["pretraining"]["weights_from"] == str(path)


def test_what_a_network_counts_while_it_learns_is_kept_with_what_was_learned_then(application: str) -> None:
    """The moving statistics of normalisations are no weights that learn, and what was learned hangs on them."""
    spec = networks.Spec(architecture="image", length=24, embedding=4, body=f"{application}@32")
    encoder = networks.encoder(spec, 9)
    learned = [each.value for each in encoder.trainable_variables]
    counted = [each.value + 1 for each in encoder.non_trainable_variables]
    descent.put(encoder, descent._best({"variables": (learned, {}), "others": counted}))
    np.testing.assert_allclose(networks.weights(encoder)["conv1_bn/moving_mean"], 1.0)


def test_a_file_that_does_not_match_or_was_altered_is_refused_before_a_step(
    features: FeatureMatrix, application: str, tmp_path: Path
) -> None:
    other = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(2, 5, name="conv1")])
    path = tmp_path / "other.weights.h5"
    other.save_weights(path)
    given = {"body": application, "pixels": 32, "weights_from": str(path)}
    with pytest.raises(IntegrityError, match="weights that do not match: layer 'conv1'"):
        trained(features, tmp_path, sha256_file(path), **given)
    with pytest.raises(IntegrityError, match="was altered since the run began"):
        trained(features, tmp_path, "0" * 64, **given)
    path.unlink()
    with pytest.raises(StorageError, match="cannot be read"):
        trained(features, tmp_path, "0" * 64, **given)
    assert not (tmp_path / FOLDER).exists()


def test_the_blocks_of_autokeras_are_a_body_as_well(
    features: FeatureMatrix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "PICTURES", 9 * (sum(heights(24)) + 1) * 72 * 4)
    found = trained(features, tmp_path, body="autokeras", other_bars="refused")
    assert found.spec.body == "autokeras"
    assert any(name.startswith("autokeras_0/") for name in found.weights)
    assert found.manifest["weights_from"] is None
    assert found.manifest["pretraining"]["batch"] == 9, "no larger than its pictures allow, and written so"
    assert found.backbone.other_bars == ""
    assert backbone.refusal(found.backbone, bar="1h", columns=CHANNELS, first_scored="2030-01-02T00:00:00+00:00")


def test_the_form_names_the_bodies_that_there_are() -> None:
    named = Pretraining.model_json_schema()["properties"]["body"]["enum"]
    assert named == [*OWN_BODIES, *images.APPLICATIONS]
    pixels = Pretraining.model_fields["pixels"].metadata
    assert {name: each.smallest for name, each in images.APPLICATIONS.items() if each.smallest > 32} == LEAST_PIXELS
    assert pixels


@pytest.mark.parametrize(("body", "least"), [("", 64), ("autokeras", 64), ("MobileNetV2@96", 16), ("Xception@160", 4)])
def test_pictures_of_a_step_are_bounded_in_bytes(body: str, least: int) -> None:
    spec = networks.Spec(architecture="image", body=body)
    one, both = (objectives.at_once(spec, tasks) for tasks in (("volatility",), ("masked", "volatility")))
    assert least <= both <= one // 2 + 1
    size = int(body.partition("@")[2] or 0)
    assert one * size * size * 3 * 4 <= images.DEEP_PICTURES
    assert objectives.at_once(networks.Spec(architecture="tcn"), ("masked",)) == objectives.MOST_AT_ONCE


def test_whatever_can_alter_a_backbone_is_part_of_its_address() -> None:
    """Every module of the project that the process imports, but what serves the answers of engines alone."""
    reached = {path.relative_to(PROJECT).as_posix() for path in _reached("tasks.search.transfer.pretrainer")}
    missing = {name for name in reached if not name.startswith((*CODE, *ANSWERS))}
    assert not missing
    assert {"tasks/statistics/bootstrap.py", "tasks/pretraining.py", "tasks/search/transfer/descent.py"} <= reached
    assert all(any(name.startswith(each) for name in reached) for each in (*CODE, *ANSWERS))


def _reached(start: str) -> set[Path]:
    """The files of the modules that a module imports anywhere in it, and these in turn."""
    seen: set[Path] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        path = PROJECT / f"{name.replace('.', '/')}.py"
        if name.startswith("tasks.") and path.is_file() and path not in seen:
            seen.add(path)
            waiting.extend(_imported(ast.parse(path.read_text(encoding="utf-8")), name))
    return seen


def _imported(tree: ast.AST, name: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = ".".join(name.split(".")[: -node.level]) if node.level else ""
            base = ".".join(part for part in (package, node.module or "") if part)
            yield from (base, *(f"{base}.{each.name}" for each in node.names))
