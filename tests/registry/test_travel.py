"""The code that travels works under its own name, beside a consumer's ``tasks``, and beside another version."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tasks.errors import ConfigurationError
from tasks.registry import travel
from tasks.registry.bundle import entry_facts, write_bundle
from tasks.registry.records import Entry, Night
from tests.registry.conftest import raw

PROJECT = Path(__file__).resolve().parents[2]


def test_what_travels_is_what_serving_reaches_and_no_more() -> None:
    names = set(travel.travelling_files())
    assert {"errors.py", "contracts.py", "features/matrix.py", "registry/serving/pyfunc.py"} <= names
    assert "registry/serving/mojo.py" in names, "imported inside a function only"
    at_home = {"task", "parallel", "worker", "table", "truncation", "pickles", "columns"}
    assert not {name for name in names if Path(name).stem in at_home}
    assert not {name for name in names if name.startswith("registry/") and "serving" not in name} - {
        "registry/__init__.py"
    }


def test_every_module_that_is_loaded_while_predicting_travels(
    tmp_path: Path, night: Night, entry: Entry, bars: pd.DataFrame
) -> None:
    """The import system as the oracle of the reading of sources."""
    write_bundle(tmp_path / "bundle", night, entry.shipped, entry_facts(entry, "shipped"))
    raw(bars).to_parquet(tmp_path / "bars.parquet")
    code = f"""
import json, sys
from pathlib import Path
import pandas as pd
from tasks.registry.serving.predictor import Predictor
from tasks.registry.serving import pyfunc
Predictor(Path({str(tmp_path / "bundle")!r})).predict(pd.read_parquet({str(tmp_path / "bars.parquet")!r}), rows="all")
files = [module.__file__ for name, module in sys.modules.items() if name.split(".")[0] == "tasks"]
print(json.dumps(files))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT, check=True)
    loaded = {Path(file).relative_to(travel.ROOT).as_posix() for file in json.loads(done.stdout.splitlines()[-1])}
    assert loaded <= set(travel.travelling_files())
    assert len(loaded) > 20


def test_a_closure_follows_every_kind_of_relative_import(tmp_path: Path) -> None:
    files = {
        "__init__.py": "",
        "main.py": "from . import one\nfrom .deep import two, word\nfrom .deep.three import thing\n"
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from . import typed\n"
        "else:\n    from . import real\n\ndef late():\n    if True:\n        from .late import x\n",
        "one.py": "", "typed.py": "", "real.py": "", "late.py": "from .deep import *\n", "never.py": "",
        "deep/__init__.py": "word = 1\n", "deep/two.py": "from ..up import a\n", "deep/three.py": "", "up.py": "",
        "deep/four.py": "",
    }  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert set(files) - travel.closure(["main.py"], tmp_path) == {"typed.py", "never.py", "deep/four.py"}


@pytest.mark.parametrize("line", ["from .gone import x", "from ...above import x", "from .gone.deep import x"])
def test_an_import_that_leads_nowhere_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "__init__.py").touch()
    (tmp_path / "main.py").write_text(f"\n{line}\n")
    with pytest.raises(ConfigurationError, match=r"main\.py:2"):
        travel.closure(["main.py"], tmp_path)


def test_the_name_follows_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = travel.package_name()
    copy_project(tmp_path / "tasks")
    monkeypatch.setattr(travel, "ROOT", tmp_path / "tasks")
    assert travel.package_name() == before
    (tmp_path / "tasks" / "errors.py").write_text((tmp_path / "tasks" / "errors.py").read_text() + "\n# changed\n")
    assert travel.package_name() != before
    assert before.startswith("nocturne_model_")
    assert len(before) == len("nocturne_model_") + 12


def test_an_absolute_import_is_refused_before_it_travels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy_project(tmp_path / "tasks")
    (tmp_path / "tasks" / "membership.py").write_text("def f():\n    from tasks.errors import DataError\n")
    monkeypatch.setattr(travel, "ROOT", tmp_path / "tasks")
    with pytest.raises(ConfigurationError, match=r"membership\.py:2"):
        travel.write_package(tmp_path / "out")


def test_two_versions_live_beside_a_module_called_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, night: Night, entry: Entry, bars: pd.DataFrame
) -> None:
    """A stranger's process: another ``tasks``, another working directory, no project on the path."""
    write_bundle(tmp_path / "bundle", night, entry.shipped, entry_facts(entry, "shipped"))
    raw(bars).to_parquet(tmp_path / "bars.parquet")
    old = travel.write_package(tmp_path / "one").name
    copy_project(tmp_path / "changed")
    double_features(tmp_path / "changed")
    monkeypatch.setattr(travel, "ROOT", tmp_path / "changed")
    new = travel.write_package(tmp_path / "two").name
    (tmp_path / "stranger").mkdir()
    (tmp_path / "stranger" / "tasks.py").write_text("MINE = True\n")
    code = f"""
import sys
sys.path[:0] = [{str(tmp_path / "stranger")!r}, {str(tmp_path / "one")!r}, {str(tmp_path / "two")!r}]
from importlib import import_module
from pathlib import Path
import pandas as pd
import tasks
said = [
    import_module(name + ".registry.serving.predictor").Predictor(Path({str(tmp_path / "bundle")!r}))
    .predict(pd.read_parquet({str(tmp_path / "bars.parquet")!r}))["prediction"].iloc[0]
    for name in ({old!r}, {new!r})
]
print(tasks.MINE, said[0] != said[1], sorted({{name for name in sys.modules if name.startswith("tasks.")}}))
"""
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, cwd=tmp_path / "stranger", check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split(maxsplit=2) == ["True", "True", "[]\n"]


def copy_project(folder: Path) -> None:
    for name in travel.travelling_files():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((travel.ROOT / name).read_bytes())


def double_features(project: Path) -> None:
    """Another version of the code, in which the columns of volatility are twice as large."""
    terms = project / "features" / "volatility_terms.py"
    twice = "tuple(replace(entry, compute=lambda s, plain=entry.compute: 2 * plain(s)) for entry in FEATURES)"
    terms.write_text(f"{terms.read_text()}\n\nfrom dataclasses import replace\n\nFEATURES = {twice}\n")
