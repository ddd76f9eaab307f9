"""The ``nocturne`` command: thin over the same functions that the flows call.

Standard output holds the result (with ``--json`` one JSON document and nothing else); progress, warnings and errors go
to standard error. Exit codes: 0 done, 2 bad usage or configuration, 3 bad data, 4 no engine gave a result.
"""

from __future__ import annotations

import difflib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
import yaml
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from flows import cli_bars, cli_card, cli_client, cli_keys, cli_monitor, cli_registry, cli_rollout, settings
from flows.options import Json, show
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


def main() -> None:
    """Entry point: errors that this project names become one sentence and their exit code."""
    try:
        settings.apply()
        app()
    except NocturneError as error:
        err.print(f"[bold red]error[/] {type(error).__name__}: ", end="")
        err.print(str(error), markup=False, highlight=False, soft_wrap=True)
        if "--json" in sys.argv:
            failure = {"type": type(error).__name__, "message": str(error), "exit_code": error.exit_code}
            sys.stdout.write(json.dumps({"error": failure}, indent=1) + "\n")
        sys.exit(error.exit_code)


@app.command(rich_help_panel="Nights")
def run(
    problem: Annotated[str, typer.Argument(help="Name of a problem in deployments/problems.")] = "",
    file: Annotated[Path | None, typer.Option(help="A problem file instead of a name.")] = None,
    changes: Annotated[list[str] | None, typer.Option("--set", help="field=value; may be repeated.")] = None,
    budget: Annotated[Literal["demo", "nightly"], typer.Option(help="How hard to search.")] = "demo",
    again: Annotated[bool, typer.Option("--again", help="Run the flow even if nothing changed.")] = False,
    as_json: Json = False,
) -> None:
    """Run a night: ingest, features, search, leaderboard, gate, registry, report."""
    from flows import unchanged

    begun = time.monotonic()
    chosen = _problem(problem, file, changes or [], budget)
    mark = unchanged.fingerprint(chosen)
    before = None if again else unchanged.last_night(chosen, mark)
    if before is not None and _champion_is(chosen.name, before):
        document = unchanged.answer(chosen, before, time.monotonic() - begun)
    else:
        document = _night(chosen, mark)
    show(as_json, document, _render_night)


@app.command(rich_help_panel="Nights")
def canary(
    problem: Annotated[str, typer.Argument(help="Name of a problem in deployments/problems.")] = "",
    file: Annotated[Path | None, typer.Option(help="A problem file instead of a name.")] = None,
    changes: Annotated[list[str] | None, typer.Option("--set", help="field=value; may be repeated.")] = None,
    budget: Annotated[Literal["demo", "nightly"], typer.Option(help="How hard to search.")] = "demo",
    seed: Annotated[int, typer.Option(help="Another seed makes another market; 0: this week's.")] = 0,
    as_json: Json = False,
) -> None:
    """Run a problem's night on a market of noise: nothing may be promoted, and no alarm may fire."""
    from flows import interrupt, progress
    from tasks.report.document import document as as_document

    chosen = _problem(problem, file, changes or [], budget)
    with progress.shown(err), interrupt.ends_at_once(err):
        from flows.canary import canary as run_canary

        document = as_document(run_canary(chosen, seed))
    show(as_json, document, _render_night)


def _problem(name: str, file: Path | None, changes: list[str], budget: Literal["demo", "nightly"]) -> Any:
    from tasks import problem as problems

    if bool(name) == bool(file):
        raise ConfigurationError(f"name a problem ({_known()}) or give --file problem.yaml, one of the two")
    path = file or PROBLEMS / f"{name}.yaml"
    if file is None and (not path.is_file() or path.resolve().parent != PROBLEMS):
        raise ConfigurationError(f"no problem '{name}' in {PROBLEMS}; there are: {_known()}")
    overrides = dict(_assignment(change) for change in changes)
    for field in overrides:
        if field not in problems.Problem.model_fields:
            near = difflib.get_close_matches(field, problems.Problem.model_fields, n=1)
            raise ConfigurationError(
                f"--set {field}: a problem has no such field"
                + (f"; did you mean '{near[0]}'?" if near else f"; it has {', '.join(problems.Problem.model_fields)}")
            )
    return problems.load(path, budget, overrides)


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
    from tasks.registry import mlflow_store

    champion = mlflow_store.champion(mlflow_store.open_store(), name)
    return bool((champion.version if champion else "") == document["decision"]["champion_version"])


def _night(problem: Any, mark: str) -> dict[str, Any]:
    from flows import interrupt, progress, unchanged
    from tasks.report.document import document as as_document

    clock = progress.StageClock()
    with progress.shown(err), interrupt.ends_at_once(err):
        with clock.stage("start"):
            from prefect import tags

            from flows.nightly import nightly  # imports Prefect
        with tags(problem.name, problem.target, "manual"):
            document = as_document(nightly(problem))
    document["seconds"] = _whole(clock, document["seconds"])
    unchanged.record(problem, mark, document, partial=not (document["whole"] and document["reproducible"]))
    return document


def _whole(clock: Any, stages: dict[str, float]) -> dict[str, float]:
    """Wall seconds by stage, with what no stage counts (Prefect's server, its start and end) under its own name."""
    start = clock.seconds["start"]
    rest = clock.elapsed() - start - sum(stages.values())
    return {name: round(value, 2) for name, value in {"start": start, "prefect": rest, **stages}.items()}


def _render_night(document: dict[str, Any]) -> None:
    from tasks.report import terminal

    for part in terminal.night(document):
        Console().print(part, soft_wrap=not isinstance(part, Table | Panel))


@app.command(rich_help_panel="Nights")
def doctor(as_json: Json = False) -> None:
    """Check Python, JRE, TA-Lib, H2O, Keras, ports, disk and the MLflow store; say how to mend what is wrong."""
    import dataclasses

    from tasks import environment

    checks = [dataclasses.asdict(check) for check in environment.examine()]
    show(as_json, {"ok": all(check["ok"] for check in checks), "checks": checks}, _render_doctor)
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


PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "Bars": (cli_bars.check, cli_bars.features),
    "Models": (
        cli_registry.models, cli_card.card, cli_bars.predict, cli_client.pull, cli_client.serve, cli_keys.verify,
        cli_registry.rollback,
    ),
    "Watching": (cli_monitor.monitor, cli_rollout.shadow, cli_rollout.rollout, cli_registry.ledger),
}  # fmt: skip
"""The other commands, by what they are about; help shows them in this order."""

for panel, commands in PANELS.items():
    for command in commands:
        app.command(rich_help_panel=panel)(command)
app.add_typer(cli_keys.keys, name="keys", rich_help_panel="Models")

if __name__ == "__main__":
    main()
