"""The problem that a command means: a shipped one by its name, or a file's, with the changes of ``--set``."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from tasks.errors import ConfigurationError
from tasks.storage import PROJECT

if TYPE_CHECKING:
    from tasks.problem import Problem

PROBLEMS = PROJECT / "deployments" / "problems"
Level = Literal["demo", "nightly"]


def named(name: str, file: Path | None, changes: list[str] | None, budget: Level) -> Problem:
    """The problem ``name`` of ``deployments/problems``, or that of the file, with the changes (field=value) made.

    Raises ConfigurationError unless one of the two is given and there is such a problem, and for a change that is not
    understood, or that the problem refuses.
    """
    from tasks import problem as problems  # noqa: PLC0415 - 0.2 s that --help does not need

    if bool(name) == bool(file):
        raise ConfigurationError(f"name a problem ({_known()}) or give --file problem.yaml, one of the two")
    path = file or PROBLEMS / f"{name}.yaml"
    if file is None and (not path.is_file() or path.resolve().parent != PROBLEMS):
        own = f"; a file of yours is given with --file {name}" if Path(name).suffix in (".yaml", ".yml") else ""
        raise ConfigurationError(f"no problem '{name}' in {PROBLEMS}; there are: {_known()}{own}")
    return problems.load(path, budget, assigned(changes, tuple(problems.Problem.model_fields), "a problem"))


def assigned(changes: list[str] | None, fields: Sequence[str], what: str) -> dict[str, Any]:
    """The changes of ``--set`` by field. Raises ConfigurationError for one not understood, or of no such field."""
    overrides = dict(_assignment(change) for change in changes or [])
    for field in overrides:
        if field not in fields:
            near = difflib.get_close_matches(field, fields, n=1)
            raise ConfigurationError(
                f"--set {field}: {what} has no such field"
                + (f"; did you mean '{near[0]}'?" if near else f"; it has {', '.join(fields)}")
            )
    return overrides


def _known() -> str:
    return ", ".join(sorted(path.stem for path in PROBLEMS.glob("*.yaml")))


def _assignment(change: str) -> tuple[str, Any]:
    field, separator, value = change.partition("=")
    if not separator or not field:
        raise ConfigurationError(f"--set takes field=value, got '{change}'")
    try:
        return field.strip(), yaml.safe_load(value) if value.strip() else ""
    except yaml.YAMLError as error:
        raise ConfigurationError(f"--set {field}: value '{value}' is not readable as YAML") from error
