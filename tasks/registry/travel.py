"""The code that travels inside a model: what its entry modules import, and no more, under a name of their own.

The package is called ``nocturne_model_<first 12 of its digest>``: a consumer may have a module ``tasks`` of its own,
and two versions with different feature code live in one process, which Python's module cache would otherwise merge.
The parts keep their relative depth, and import each other relatively, so that the same files work in both places.

What is imported is read off the sources: every relative import of an entry module, also one inside a function, and of
what it imports in turn. What only a type checker imports stays at home.
"""

from __future__ import annotations

import ast
import functools
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from tasks.errors import ConfigurationError
from tasks.registry.serving.folder import names_digest
from tasks.storage import PROJECT, sha256_file

ROOT = PROJECT / "tasks"
SERVING = "registry/serving"
ENTRIES = tuple(f"{SERVING}/{name}.py" for name in ("pyfunc", "predictor", "streaming", "contributions", "statistics"))
"""What a consumer may ask for by name; those of them that exist, with all that they import, are what travels."""

MODEL_SCRIPT = '''"""MLflow loads this model from code: no pickle is involved."""

from mlflow.models import set_model

from {package}.registry.serving.pyfunc import BarsModel

set_model(BarsModel())
'''


def travelling_files() -> Iterator[str]:
    """Names, relative to ``tasks``, of all that a model takes along, sorted.

    Raises ConfigurationError if a file imports the project absolutely: it would find the consumer's own ``tasks``.
    """
    yield from sorted(closure([name for name in ENTRIES if (ROOT / name).is_file()]))


def closure(entries: Iterable[str], root: Path | None = None) -> set[str]:
    """The entry modules (paths below ``root``, by default ``tasks``) and all that they import from there, packages too.

    Raises ConfigurationError for an absolute import of the project, and for a relative one that leads nowhere.
    """
    base, found, waiting = root or ROOT, set[str](), list(entries)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        state = (base / name).stat()
        waiting += [*_packages_above(name), *_imported(base, name, state.st_mtime_ns, state.st_size)]
    return found


def travel_digest() -> str:
    """SHA-256 over the names and bytes of the travelling files."""
    return names_digest({name: sha256_file(ROOT / name) for name in travelling_files()})


def package_name() -> str:
    """The name under which the present code travels."""
    return f"nocturne_model_{travel_digest()[:12]}"


def write_package(folder: Path) -> Path:
    """Copy the travelling code to ``folder/<package name>`` and return that path. Raises as ``travelling_files``."""
    package = folder / package_name()
    for name in travelling_files():
        target = package / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
    return package


def write_script(folder: Path, package: str) -> Path:
    """The model script, which names the package that it was logged with."""
    script = folder / "model.py"
    script.write_text(MODEL_SCRIPT.format(package=package), encoding="utf-8")
    return script


def _packages_above(name: str) -> list[str]:
    """The ``__init__.py`` of every package that a module lies in."""
    parents = Path(name).parents
    return [above for parent in parents if (above := (parent / "__init__.py").as_posix()) != name]


@functools.lru_cache(maxsize=1024)
def _imported(base: Path, name: str, _changed: int, _size: int) -> tuple[str, ...]:
    """The project's files that a module imports; a night asks ten times for the same fifty."""
    path, found = base / name, list[str]()
    for node in _running(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            _require_foreign(path, node, [alias.name for alias in node.names])
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            _require_foreign(path, node, [node.module or ""])
        elif isinstance(node, ast.ImportFrom):
            found += _relative(base, name, node)
    return tuple(found)


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """Every node below but those that only a type checker sees."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            for other in child.orelse:
                yield from (other, *_running(other))
            continue
        yield child
        yield from _running(child)


def _relative(base: Path, name: str, node: ast.ImportFrom) -> Iterator[str]:
    """The files behind ``from ..package import name``: a module, or modules of a package."""
    parents = Path(name).parents
    if node.level > len(parents):
        raise ConfigurationError(f"{base / name}:{node.lineno}: imports from above the project's code")
    target = (parents[node.level - 1] / (node.module or "").replace(".", "/")).as_posix()
    if node.module and (base / f"{target}.py").is_file():
        yield f"{target}.py"
        return
    if not (base / target / "__init__.py").is_file():
        raise ConfigurationError(f"{base / name}:{node.lineno}: imports '{target}', which is not there")
    yield (Path(target) / "__init__.py").as_posix()
    for alias in node.names:
        for file in (f"{target}/{alias.name}.py", f"{target}/{alias.name}/__init__.py"):
            if (base / file).is_file():
                yield Path(file).as_posix()


def _require_foreign(path: Path, node: ast.stmt, names: list[str]) -> None:
    if any(name.split(".")[0] == "tasks" for name in names):
        raise ConfigurationError(
            f"{path}:{node.lineno}: travels inside models, so it must import relatively: {ast.unparse(node)!r}"
        )
