"""The package as it travels inside a model: under another name, with nothing else of the project at hand."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from tasks.features import catalogue, matrix
from tests.features.market import TICK, made_bars

ROOT = Path(matrix.__file__).resolve().parents[1]
MODULES = sorted(path for path in (ROOT / "features").glob("*.py") if path.name != "task.py")
ALLOWED = {"numpy", "pandas", "talib"} | set(sys.stdlib_module_names)

SCRIPT = """
import json, sys
import numpy as np
from elsewhere.nocturne_model.features import catalogue, matrix
bars = dict(np.load(sys.argv[1]))
values = matrix.compute(bars, tuple(catalogue.CATALOGUE), 0.01)
np.save(sys.argv[2], values)
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules} & {"tasks", "flows", "prefect", "mlflow"})))
"""


def test_only_relative_imports_and_what_travels_with_a_model() -> None:
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert {alias.name.split(".")[0] for alias in node.names} <= ALLOWED, path.name
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                assert (node.module or "").split(".")[0] in ALLOWED, path.name
            if isinstance(node, ast.ImportFrom) and node.level == 2:
                assert node.module in ("contracts", "errors", "membership"), path.name


def test_a_copy_under_another_name_gives_the_same_values(tmp_path: Path) -> None:
    package = tmp_path / "elsewhere" / "nocturne_model"
    (package / "features").mkdir(parents=True)
    for path in [*MODULES, ROOT / "contracts.py", ROOT / "errors.py", ROOT / "membership.py"]:
        shutil.copy(path, package / path.relative_to(ROOT))
    (package / "__init__.py").touch()
    bars = made_bars(41, 800)
    np.savez(tmp_path / "bars.npz", **bars)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, "bars.npz", "values.npy"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    expected = matrix.compute(bars, tuple(catalogue.CATALOGUE), TICK)
    np.testing.assert_array_equal(np.load(tmp_path / "values.npy"), expected)
    assert json.loads(done.stdout) == []
