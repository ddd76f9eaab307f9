"""A stranger pulls the model: a new environment with MLflow's client, pandas, NumPy, TA-Lib and one scorer, no more.

Over HTTP from a server and from a folder, with pandas 2 and pandas 3; and ``mlflow models serve``, which needs nothing
of this project either.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from tasks.registry import mlflow_store
from tasks.registry.bundle import entry_facts, write_bundle
from tasks.registry.serving.predictor import Predictor
from tests.registry import strangers
from tests.registry.conftest import Mojos, make_bars, make_entry, make_night, mojo_model, raw
from tests.registry.servers import Server, register, serving
from tests.registry.serving.test_scorers import onnx_model

pytestmark = [pytest.mark.slow, pytest.mark.needs_java]
NEEDED = (*strangers.BASE, *(name for needs in strangers.SCORERS.values() for name in needs))
METHODS = {"linear": "exact", "mojo": "TreeSHAP", "onnx": "sampled"}
PANDAS = {"pandas 2": "", "pandas 3": "pandas>=3,<4"}
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Models:
    """A model of each kind, registered on a server and pulled to a folder, with what it says in this process."""

    server: Server
    uris: dict[str, str]
    folders: dict[str, str]
    expected: dict[str, Floats]


def bars() -> pd.DataFrame:
    """Raw bars as JSON has them."""
    return raw(make_bars()).assign(time=lambda frame: frame["time"].dt.strftime("%Y-%m-%d"))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, mlflow_server: Server, mojos: Mojos) -> Iterator[Models]:
    """Linear, MOJO and ONNX, champions of three names."""
    folder = tmp_path_factory.mktemp("registered")
    night = make_night(folder, make_bars())
    entry = make_entry(night)
    made = {
        "linear": Path(entry.shipped.model),
        "mojo": mojo_model(folder / "mojo", mojos),
        "onnx": onnx_model(folder / "onnx")[0],
    }
    uris, folders, expected = {}, {}, {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NOCTURNE_TRACKING_URI", mlflow_server.uri)
        store = mlflow_store.open_store()
        for kind, model in made.items():
            candidate, facts = replace(entry.shipped, name=kind, model=str(model)), entry_facts(entry, "shipped")
            register(store, night, candidate, facts, f"plain-{kind}")
            uris[kind] = f"models:/plain-{kind}@champion"
            folders[kind] = str(mlflow_store.fetch(store, uris[kind], folder / "pulled" / kind))
            write_bundle(folder / f"bundle-{kind}", night, candidate, facts)
            said = Predictor(folder / f"bundle-{kind}").predict(bars(), rows="all")
            expected[kind] = said["prediction"].to_numpy(np.float64)
    yield Models(mlflow_server, uris, folders, expected)
    shutil.rmtree(folder)


@pytest.fixture(scope="module", params=list(PANDAS))
def python(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The interpreter of a virtual environment with what a consumer needs, at this project's locked versions."""
    folder = tmp_path_factory.mktemp("stranger") / "env"
    other = PANDAS[request.param]
    wanted = strangers.pinned(*(name for name in NEEDED if name != "pandas" or not other))
    yield request.param, strangers.environment(folder, [*wanted, *filter(None, [other])])
    shutil.rmtree(folder)


def tolerance(kind: str) -> float:
    """float32 inside; everything else to rounding."""
    return 1e-6 if kind == "onnx" else 1e-12


def test_a_plain_environment_repeats_the_projects_predictions_over_http_and_from_a_folder(
    python: tuple[str, Path], models: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = models.uris | {f"{kind} folder": folder for kind, folder in models.folders.items()}
    answer = strangers.ask(python[1], tmp_path, asked, bars(), models.server.uri)
    assert answer["found"] == []
    assert answer["pandas"].split(".")[0] == python[0].split()[1]
    for name, said in answer["said"].items():
        kind = name.split()[0]
        np.testing.assert_allclose(said["all"], models.expected[kind], rtol=tolerance(kind))
        assert said["last"] == pytest.approx(models.expected[kind][-1], rel=tolerance(kind))
        assert said["explained"] == [pytest.approx(said["last"], rel=1e-4), METHODS[kind]]
    count, megabytes = strangers.size(python[1])
    with capsys.disabled():
        seconds = ", ".join(f"{name} {said['load']:.1f} s" for name, said in answer["said"].items())
        print(
            f"\n{python[0]}: {count} packages, {megabytes:.0f} MB; import {answer['import']:.1f} s; loaded: {seconds}"
        )


def test_mlflows_own_server_gives_the_same_numbers(models: Models, tmp_path: Path) -> None:
    """``mlflow models serve``: raw bars as ``dataframe_split`` in, the prediction out, refusals in words."""
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local", "-m", models.uris["mojo"]]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # it starts uvicorn by name
    with serving(command, tmp_path, "/ping", MLFLOW_TRACKING_URI=models.server.uri, PATH=path) as scorer:
        frame = bars()
        data = frame.to_numpy(dtype=object).tolist()
        split = {"columns": list(frame.columns), "data": data}
        answer = invoke(scorer, {"dataframe_split": split})
        (row,) = answer["predictions"]
        assert row["prediction"] == pytest.approx(models.expected["mojo"][-1], rel=1e-12)
        assert row["time"] == frame["time"].iloc[-1]
        everything = invoke(scorer, {"dataframe_split": split, "params": {"rows": "all"}})["predictions"]
        np.testing.assert_allclose([row["prediction"] for row in everything], models.expected["mojo"], rtol=1e-12)
        records = {"dataframe_records": frame.tail(60).to_dict("records")}
        assert invoke(scorer, records)["predictions"][0]["prediction"] == pytest.approx(row["prediction"], rel=1e-9)
        few = {"columns": list(frame.columns), "data": data[:3]}
        assert "the model needs at least" in json.dumps(invoke(scorer, {"dataframe_split": few}, expect=400))


def invoke(server: Server, document: Mapping[str, object], expect: int = 200) -> dict[str, list[dict[str, float]]]:
    """The answer to a POST of this document to /invocations."""
    body = json.dumps(document).encode()
    asked = urllib.request.Request(f"{server.uri}/invocations", data=body, headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            status, text = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read()
    assert status == expect, text[:500]
    said: dict[str, list[dict[str, float]]] = json.loads(text)
    return said
