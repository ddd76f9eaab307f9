"""The code that travels works under its own name, beside a consumer's ``tasks``, and beside another version."""

from __future__ import annotations

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


def test_what_travels_is_serving_and_features_and_no_task() -> None:
    names = list(travel.travelling_files())
    assert {"errors.py", "contracts.py", "features/matrix.py", "registry/serving/pyfunc.py"} <= set(names)
    assert not [name for name in names if name.endswith("task.py")]
    assert not [
        name for name in names if name.startswith("registry/") and "serving" not in name and "__init__" not in name
    ]


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
    (tmp_path / "tasks" / "features" / "late.py").write_text("def f():\n    from tasks.errors import DataError\n")
    monkeypatch.setattr(travel, "ROOT", tmp_path / "tasks")
    with pytest.raises(ConfigurationError, match=r"late\.py:2"):
        travel.write_package(tmp_path / "out")


def test_two_versions_live_beside_a_module_called_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, night: Night, entry: Entry, bars: pd.DataFrame
) -> None:
    """A stranger's process: another ``tasks``, another working directory, no project on the path."""
    write_bundle(tmp_path / "bundle", night, entry.shipped, entry_facts(entry, "shipped"))
    raw(bars).to_parquet(tmp_path / "bars.parquet")
    old = travel.write_package(tmp_path / "one").name
    copy_project(tmp_path / "changed")
    matrix = tmp_path / "changed" / "features" / "matrix.py"
    # The other version computes every feature twice as large.
    matrix.write_text(
        matrix.read_text() + "\n\n_plain = compute\n\n\ndef compute(*given):\n    return 2 * _plain(*given)\n"
    )
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
