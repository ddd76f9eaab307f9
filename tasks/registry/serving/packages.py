"""Whether the packages that a model needs are installed here, in versions that it was made for.

Asked when a model is loaded, before anything of it is computed: another TA-Lib gives other features, and nobody would
notice. Only plain requirements are understood (name, then comparisons with release numbers): the registry writes them.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Callable, Iterable

from ...errors import ConfigurationError

Version = tuple[int, ...]

_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(.*)\Z", re.DOTALL)
_CLAUSE = re.compile(r"\s*(>=|<=|==|!=|<|>)\s*([0-9]+(?:\.[0-9]+)*)\s*\Z")
_HOLDS: dict[str, Callable[[Version, Version], bool]] = {
    ">=": lambda found, wanted: found >= wanted,
    "<=": lambda found, wanted: found <= wanted,
    "==": lambda found, wanted: found == wanted,
    "!=": lambda found, wanted: found != wanted,
    "<": lambda found, wanted: found < wanted,
    ">": lambda found, wanted: found > wanted,
}


def require_packages(requires: Iterable[str]) -> None:
    """That every requirement (such as ``numpy>=2.2,<3``) is met by what is installed.

    Raises ConfigurationError that names every package that is missing or of another version, what is there, and the
    command that mends it; also for a requirement that cannot be read.
    """
    wrong = [(text, fault) for text in requires if (fault := _fault(text))]
    if wrong:
        faults = "; ".join(fault for _, fault in wrong)
        wanted = " ".join(f"'{text}'" for text, _ in wrong)
        raise ConfigurationError(f"this model cannot be used here: {faults}. Install: pip install {wanted}")


def _fault(requirement: str) -> str:
    """What is wrong with the installed package, or nothing."""
    name, clauses = _parsed(requirement)
    wanted = requirement.strip().removeprefix(name).strip()
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return f"{name} is not installed, the model needs {wanted or 'any version'}"
    release = _release(found)
    met = all(_HOLDS[sign](*_same_length(release, number)) for sign, number in clauses)
    return "" if met else f"{name} {found} is installed, the model needs {wanted}"


def _parsed(requirement: str) -> tuple[str, list[tuple[str, Version]]]:
    named = _NAME.match(requirement)
    parts = [part for part in named[2].split(",") if part.strip()] if named else []
    clauses = [_CLAUSE.match(part) for part in parts]
    if not named or not all(clauses):
        raise ConfigurationError(f"the model states a requirement that cannot be read: {requirement!r}")
    return named[1], [(clause[1], _release(clause[2])) for clause in clauses if clause]


def _release(version: str) -> Version:
    """The leading numbers: a build or a release candidate counts as the release that it is of."""
    numbers = re.match(r"[vV]?(?:\d+!)?(\d+(?:\.\d+)*)", version)
    return tuple(int(number) for number in numbers[1].split(".")) if numbers else ()


def _same_length(left: Version, right: Version) -> tuple[Version, Version]:
    size = max(len(left), len(right))
    return left + (0,) * (size - len(left)), right + (0,) * (size - len(right))
