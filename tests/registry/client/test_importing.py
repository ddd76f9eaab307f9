"""The model's own code runs, from memory, beside other models' code and a consumer's own ``tasks``."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest

from tasks.errors import IntegrityError, ModelInputError, RegistryError
from tasks.registry.client.importing import Package, import_module
from tasks.registry.client.loading import Loaded
from tasks.registry.client.pulling import Pulled
from tasks.registry.client.records import Version
from tasks.registry.serving.folder import folder_digest, listed
from tests.registry.client.conftest import other_code, variant
from tests.registry.conftest import NAME

CONSUMER = """
import json, sys, threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

def ask(folder):
    import pandas as pd
    from nocturne_client.registry.client.service import Champion
    bars = pd.read_json("bars.json", orient="split", precise_float=True, convert_dates=False, dtype=False)
    with Champion("test-volatility", tracking_uri=folder, refresh_seconds=0) as champion:
        return float(champion.predict(bars)["prediction"].iloc[0])

if __name__ == "__main__":
    import tasks
    folders = sys.argv[1:]
    before = list(sys.path)
    said = [ask(folder) for folder in folders]
    threads = []
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        spawned = list(pool.map(ask, folders))
    packages = sorted(name for name in sys.modules if name.startswith("nocturne_model_") and "." not in name)
    print(json.dumps({
        "said": said, "spawned": spawned, "mine": tasks.MINE, "packages": packages, "path": sys.path == before,
        "mlflow": "mlflow" in sys.modules,
    }))
"""


DOUBLED = """

def _twice(self, bars, rows="last"):
    said = _whole(self, bars, rows)
    said["prediction"] *= 2
    return said


_whole, Predictor.predict = Predictor.predict, _twice
"""


def pulled(model: Path) -> Pulled:
    """A folder as if it had been pulled and checked."""
    version = Version(name=NAME, version="1", model_sha256=folder_digest(model))
    folder = model.parent / f"{model.name}-pulled"
    shutil.copytree(model, folder / "model")
    return Pulled(version=version, folder=folder, files=listed(folder / "model"))


def test_two_models_with_different_code_live_side_by_side(logged: Path, tmp_path: Path, bars: pd.DataFrame) -> None:
    one = Loaded(pulled(variant(logged, tmp_path / "one")))
    other = Loaded(pulled(variant(logged, tmp_path / "other", edit=other_code(DOUBLED, "nocturne_model_0123456789ab"))))
    path = list(sys.path)
    with ThreadPoolExecutor(8) as pool:
        pairs = list(pool.map(lambda _: (value(one, bars), value(other, bars)), range(40)))
    assert len(set(pairs)) == 1
    assert pairs[0][1] == 2 * pairs[0][0]
    assert type(one.predictor) is not type(other.predictor)
    assert sys.path == path


def test_code_runs_from_memory_and_writes_no_bytecode(logged: Path, tmp_path: Path, bars: pd.DataFrame) -> None:
    edit = other_code("\n# another\n", "nocturne_model_0123456789ac")
    found = pulled(variant(logged, tmp_path / "model", edit=edit))
    loaded = Loaded(found)
    assert not list(found.folder.rglob("__pycache__"))
    shutil.rmtree(found.folder / "model" / "code")
    module = import_lately("nocturne_model_0123456789ac.registry.serving.mojo")
    assert module is not None, "what is imported later comes from memory too"
    assert pd.notna(value(loaded, bars))


def import_lately(name: str) -> object:
    import importlib  # noqa: PLC0415

    return importlib.import_module(name)


def test_the_same_package_name_with_other_code_is_refused(logged: Path, tmp_path: Path) -> None:
    name = "nocturne_model_0123456789ad"
    Loaded(pulled(variant(logged, tmp_path / "one", edit=other_code("\nONE = 1\n", name))))
    with pytest.raises(IntegrityError, match="another package of this name, with other code"):
        Loaded(pulled(variant(logged, tmp_path / "two", edit=other_code("\nTWO = 2\n", name))))


def test_code_that_mlflow_loaded_unchecked_is_not_used(
    logged: Path, tmp_path: Path, bars: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same package name, taken by who puts folders on the path: the checked copy gets a name of its own."""
    name = "nocturne_model_0123456789ae"
    model = variant(logged, tmp_path / "model", edit=other_code("\n# the same\n", name))
    unchecked = tmp_path / "unchecked" / name
    unchecked.mkdir(parents=True)
    (unchecked / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(unchecked.parent)
    foreign = import_lately(name)
    loaded = Loaded(pulled(model))
    assert type(loaded.predictor).__module__ == f"{name}_checked.registry.serving.predictor"
    assert sys.modules[name] is foreign
    assert pd.notna(value(loaded, bars))


@pytest.mark.parametrize("names", [(), ("nocturne_model_0123456789af", "nocturne_model_0123456789b0"), ("os",)])
def test_a_folder_without_exactly_one_package_is_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (tmp_path / "code" / name).mkdir(parents=True)
    with pytest.raises(IntegrityError, match="brings one package"):
        import_module(tmp_path, "registry", {})


def test_code_that_was_exchanged_after_the_check_is_not_imported(logged: Path, tmp_path: Path) -> None:
    edit = other_code("\n# whole\n", "nocturne_model_0123456789b3")
    for change in ("predictor.py", "more.py"):
        found = pulled(variant(logged, tmp_path / change, edit=edit))
        code = next((found.model / "code").iterdir()) / "registry" / "serving" / change
        code.write_text("raise RuntimeError('it ran')\n")
        with pytest.raises(IntegrityError, match=f"{change}: is not the file that was checked"):
            Loaded(found)


def test_modules_tell_their_source_and_unknown_ones_are_not_found(logged: Path, tmp_path: Path) -> None:
    package = Package("nocturne_model_x", tmp_path, {"__init__.py": b"", "a/__init__.py": b"A = 1", "b.py": b"B = 2"})
    assert package.find_spec("nocturne_model_x.c", None) is None
    assert package.find_spec("os", None) is None
    assert package.get_source("nocturne_model_x.b") == "B = 2"
    assert package.is_package("nocturne_model_x.a")
    with pytest.raises(ImportError, match="not in the model"):
        package.get_source("nocturne_model_x.c")


def test_a_pickle_that_a_model_opens_while_it_loads_is_stopped(logged: Path, tmp_path: Path) -> None:
    code = '\nimport pickle\n\npickle.loads(b"cos\\ngetcwd\\n(tR.")\n'
    edit = other_code(code, "nocturne_model_0123456789b1")
    with pytest.raises(RegistryError, match="must not contain a pickle"):
        Loaded(pulled(variant(logged, tmp_path / "model", edit=edit)))


def test_errors_are_the_clients_own_and_options_are_named(logged: Path, tmp_path: Path, bars: pd.DataFrame) -> None:
    loaded = Loaded(pulled(variant(logged, tmp_path / "model")))
    with pytest.raises(ModelInputError, match="needs at least 22 bars"):
        loaded.predict(bars.iloc[:5])
    with pytest.raises(ModelInputError, match="takes no option colour; it takes rows"):
        loaded.predict(bars, colour="red")
    assert len(loaded.predict(bars, rows="all")) > 1


def test_a_consumer_with_its_own_tasks_in_threads_and_after_spawn(
    logged: Path, tmp_path: Path, bars: pd.DataFrame
) -> None:
    """The built wheel's package beside a module ``tasks`` of the consumer's, without MLflow, from a pulled folder."""
    package = tmp_path / "site" / "nocturne_client"
    shutil.copytree(Path(__file__).parents[3] / "tasks", package, ignore=shutil.ignore_patterns("__pycache__"))
    folders = []
    for number, edit in enumerate((None, other_code("\n# more\n", "nocturne_model_0123456789b2"))):
        found = pulled(variant(logged, tmp_path / f"m{number}", -0.25 - number, edit=edit))
        record = {"name": NAME, "version": "1", "model_sha256": found.version.model_sha256}
        (found.folder / "version.json").write_text(json.dumps(record))
        folders.append(str(found.folder))
    home = tmp_path / "consumer"
    home.mkdir()
    (home / "tasks.py").write_text("MINE = True\n")
    (home / "main.py").write_text(CONSUMER)
    told = bars.assign(time=bars["time"].dt.strftime("%Y-%m-%d")).to_dict(orient="split")
    (home / "bars.json").write_text(json.dumps(told))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "main.py", *folders],
        cwd=home, capture_output=True, text=True, timeout=120, check=False,
        env={"PYTHONPATH": str(tmp_path / "site"), "NOCTURNE_CACHE": str(tmp_path / "cache"), "HOME": str(home)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["said"] == answer["spawned"]
    assert answer["said"][0] - answer["said"][1] == pytest.approx(1.0, rel=1e-9)
    assert (answer["mine"], answer["path"], len(answer["packages"]), answer["mlflow"]) == (True, True, 2, False)


def value(loaded: Loaded, bars: pd.DataFrame) -> float:
    """The last bar's prediction."""
    return float(loaded.predict(bars)["prediction"].iloc[0])
