"""Which modules the client needs: its own, and what they import relatively, and nothing else."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tasks.errors import ConfigurationError

CLIENT = "registry/client"


def closure(root: Path) -> tuple[str, ...]:
    """Names relative to ``root``, sorted, of the client's modules and all that they import, with their packages.

    Raises ConfigurationError for a module that imports the project absolutely: under the wheel's name there is none.
    """
    waiting = [path.relative_to(root).as_posix() for path in sorted((root / CLIENT).glob("*.py"))]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found |= {name, *_packages(name)}
            waiting += imported(root, name)
    return tuple(sorted(found))


def imported(root: Path, name: str) -> list[str]:
    """The project's modules that one module imports, at its top or inside functions."""
    tree = ast.parse((root / name).read_bytes(), filename=name)
    return [module for node in ast.walk(tree) for module in _targets(root, name, node)]


def _targets(root: Path, name: str, node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            _refuse_absolute(name, node.lineno, alias.name)
    if not isinstance(node, ast.ImportFrom):
        return
    if not node.level:
        _refuse_absolute(name, node.lineno, node.module or "")
        return
    base = Path(name).parents[node.level - 1].joinpath(*(node.module or "").split("."))
    candidates = [base, *(base / alias.name for alias in node.names)]
    files = [f"{path.as_posix()}.py" for path in candidates if (root / f"{path.as_posix()}.py").is_file()]
    if not files and not (root / base).is_dir():
        raise ConfigurationError(f"{name}:{node.lineno}: imports {base}, which is not there")
    yield from files


def _refuse_absolute(name: str, line: int, module: str) -> None:
    if module.partition(".")[0] in ("tasks", "flows", "deployments"):
        raise ConfigurationError(f"{name}:{line}: is part of the client, so it must import '{module}' relatively")


def _packages(name: str) -> set[str]:
    return {(parent / "__init__.py").as_posix() for parent in Path(name).parents}
