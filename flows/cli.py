"""The ``nocturne`` command: thin over the same functions that the flows call.

Standard output holds the result (with ``--json`` one JSON document and nothing else); progress, warnings and errors go
to standard error. Exit codes: 0 done, 2 bad usage or configuration, 3 bad data, 4 no engine gave a result.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
import yaml
from rich.console import Console

from flows import settings
from tasks.errors import ConfigurationError, NocturneError
from tasks.storage import PROJECT

app = typer.Typer(
    name="nocturne",
    help="Nightly AutoML for market data: honest leaderboards, gated promotion, models anyone can pull.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
err = Console(stderr=True)
PROBLEMS = PROJECT / "deployments" / "problems"

Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output, nothing else there.")]
Tz = Annotated[str, typer.Option(help="Time zone of stamps that carry none, for example America/New_York.")]
Calendar = Annotated[str, typer.Option(help="Exchange calendar: XNYS, 24/7, …")]
Bar = Annotated[str, typer.Option(help="Size of a bar: 1d, 1h, 30min, 15min, 5min, 1min.")]
Scale = Annotated[float, typer.Option(help="Prices in the file are divided by this.")]
Label = Annotated[str, typer.Option(help="Whether a bar is stamped with its 'end' or its 'start'.")]
Source = Annotated[str, typer.Argument(help="builtin:sp500, builtin:nasdaq, or a CSV or Parquet file, folder or glob.")]


def main() -> None:
    """Entry point: errors that this project names become one sentence and their exit code."""
    settings.apply()
    try:
        app()
    except NocturneError as error:
        err.print(f"[bold red]error[/] {type(error).__name__}: ", end="")
        err.print(str(error), markup=False, highlight=False, soft_wrap=True)
        sys.exit(error.exit_code)


@app.command()
def run(
    problem: Annotated[str, typer.Argument(help="Name of a problem in deployments/problems.")] = "",
    file: Annotated[Path | None, typer.Option(help="A problem file instead of a name.")] = None,
    changes: Annotated[list[str] | None, typer.Option("--set", help="field=value; may be repeated.")] = None,
    budget: Annotated[Literal["demo", "nightly"], typer.Option(help="How hard to search.")] = "demo",
    again: Annotated[bool, typer.Option("--again", help="Run the flow even if nothing changed.")] = False,
    as_json: Json = False,
) -> None:
    """Run a night: ingest, features, search, leaderboard, gate, registry, report."""
    from flows import unchanged  # noqa: PLC0415 - keeps --help quick

    begun = time.monotonic()
    chosen = _problem(problem, file, changes or [], budget)
    mark = unchanged.fingerprint(chosen)
    before = None if again else unchanged.last_night(chosen, mark)
    if before is not None and _champion_is(chosen.name, before):
        document = unchanged.answer(chosen, before, time.monotonic() - begun)
    else:
        document = _night(chosen, mark)
    _show(as_json, document, _render_night)


def _problem(name: str, file: Path | None, changes: list[str], budget: Literal["demo", "nightly"]) -> Any:
    from tasks import problem as problems  # noqa: PLC0415

    if bool(name) == bool(file):
        raise ConfigurationError(f"name a problem ({_known()}) or give --file problem.yaml, one of the two")
    path = file or PROBLEMS / f"{name}.yaml"
    if file is None and (not path.is_file() or path.resolve().parent != PROBLEMS):
        raise ConfigurationError(f"no problem '{name}' in {PROBLEMS}; there are: {_known()}")
    return problems.load(path, budget, dict(_assignment(change) for change in changes))


def _known() -> str:
    return ", ".join(sorted(path.stem for path in PROBLEMS.glob("*.yaml")))


def _assignment(change: str) -> tuple[str, Any]:
    field, separator, value = change.partition("=")
    if not separator or not field:
        raise ConfigurationError(f"--set takes field=value, got '{change}'")
    try:
        return field.strip(), yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"--set {field}: value '{value}' is not readable as YAML") from error


def _champion_is(name: str, document: dict[str, Any]) -> bool:
    from tasks.registry import mlflow_store  # noqa: PLC0415

    champion = mlflow_store.champion(name)
    return (champion.version if champion else "") == document["decision"]["champion_version"]


def _night(problem: Any, mark: str) -> dict[str, Any]:
    from flows import progress, unchanged  # noqa: PLC0415

    with progress.shown(err):
        with progress.StageClock().stage("start"):
            from flows.nightly import nightly  # noqa: PLC0415 - imports Prefect
        document: dict[str, Any] = nightly(problem)
    unchanged.record(problem, mark, document, partial=bool(document["partial"]))
    return document


def _render_night(document: dict[str, Any]) -> None:
    from tasks.report import terminal  # noqa: PLC0415

    for part in terminal.night(document):
        Console().print(part)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check Python, JRE, TA-Lib, H2O, Keras, ports, disk and the MLflow store; say how to mend what is wrong."""
    import dataclasses  # noqa: PLC0415

    from tasks import environment  # noqa: PLC0415

    checks = [dataclasses.asdict(check) for check in environment.examine()]
    _show(as_json, {"ok": all(check["ok"] for check in checks), "checks": checks}, _render_doctor)
    if not all(check["ok"] for check in checks):
        raise typer.Exit(2)


def _render_doctor(document: dict[str, Any]) -> None:
    out = Console()
    for check in document["checks"]:
        mark = "[green]ok[/]  " if check["ok"] else "[red]bad[/] "
        out.print(f"{mark}{check['name']:14}", end="")
        out.print(check["found"], markup=False, highlight=False, soft_wrap=True)
        if check["cure"]:
            out.print(f"    → {check['cure']}", markup=False, highlight=False, soft_wrap=True)


def _show(as_json: bool, document: dict[str, Any], render: Callable[[dict[str, Any]], None]) -> None:
    if as_json:
        sys.stdout.write(json.dumps(document, indent=1, allow_nan=False) + "\n")
    else:
        render(document)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep libraries' chatter off the terminal; warnings of this project stay."""
    logging.getLogger("nocturne").setLevel(logging.WARNING)
    yield
