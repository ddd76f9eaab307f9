"""The ``nocturne`` command: thin over the same functions that the flows call.

Standard output holds the result (with ``--json`` one JSON document and nothing else); progress, warnings and errors go
to standard error. Exit codes: 0 done, 2 bad usage or configuration, 3 bad data, 4 no engine gave a result, 5 another
run is at work.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Annotated, Any, cast

import typer
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from flows import (
    cli_backfill,
    cli_bars,
    cli_card,
    cli_client,
    cli_fleet,
    cli_keys,
    cli_monitor,
    cli_registry,
    cli_rollout,
    cli_services,
    cli_transfer,
    cli_watching,
    settings,
)
from flows.chosen import named
from flows.options import Budget, Changes, File, Json, Name, show
from flows.restart import STAGES, Stage
from tasks.errors import ConfigurationError, NocturneError

app = typer.Typer(
    name="nocturne",
    help="Nightly AutoML for market data: honest leaderboards, gated promotion, models anyone can pull.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
err = Console(stderr=True)


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
    problem: Name = "",
    file: File = None,
    changes: Changes = None,
    budget: Budget = "demo",
    again: Annotated[bool, typer.Option("--again", help="Run the flow even if nothing changed.")] = False,
    restart_from: Annotated[
        str,
        typer.Option("--restart-from", metavar="STAGE", help=f"Compute anew from this stage on: {', '.join(STAGES)}."),
    ] = "",
    as_json: Json = False,
) -> None:
    """Run a night: ingest, features, search, leaderboard, gate, registry, report."""
    from flows import unchanged
    from tasks.registry.leases import refuse_if_held

    begun = time.monotonic()
    if restart_from not in ("", *STAGES):
        raise ConfigurationError(
            f"--restart-from {restart_from}: there is no such stage; there are {', '.join(STAGES)}"
        )
    chosen = named(problem, file, changes, budget)
    refuse_if_held(chosen.name)
    before = None if again or restart_from else unchanged.last_night(chosen, unchanged.fingerprint(chosen))
    if before is not None and _champion_is(chosen.name, before):
        document = unchanged.answer(chosen, before, time.monotonic() - begun)
    else:
        document = _night(chosen, cast("Stage", restart_from))
    show(as_json, document, _render_night)


@app.command(rich_help_panel="Nights")
def canary(
    problem: Name = "",
    file: File = None,
    changes: Changes = None,
    budget: Budget = "demo",
    seed: Annotated[int, typer.Option(help="Another seed makes another market; 0: this week's.")] = 0,
    as_json: Json = False,
) -> None:
    """Run a problem's night on a market of noise: nothing may be promoted, and no alarm may fire."""
    from flows import interrupt, progress
    from tasks.report.document import document as as_document

    chosen = named(problem, file, changes, budget)
    with progress.shown(err), interrupt.ends_at_once(err):
        from flows.canary import canary as run_canary

        document = as_document(run_canary(chosen, seed))
    show(as_json, document, _render_night)


def _champion_is(name: str, document: dict[str, Any]) -> bool:
    from tasks.registry import mlflow_store

    champion = mlflow_store.champion(mlflow_store.open_store(), name)
    return bool((champion.version if champion else "") == document["decision"]["champion_version"])


def _night(problem: Any, restart_from: Stage) -> dict[str, Any]:
    from flows import interrupt, progress
    from tasks.report.document import document as as_document

    clock = progress.StageClock()
    with progress.shown(err), interrupt.ends_at_once(err):
        with clock.stage("start"):
            from prefect import tags

            from flows.nightly import run as run_night  # imports Prefect
        with tags(problem.name, problem.target, "manual"):
            document = as_document(run_night(problem, restart_from))
    document["seconds"] = _whole(clock, document["seconds"])
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
    "Nights": (cli_fleet.fleet, cli_backfill.backfill),
    "Services": (cli_services.up, cli_services.down, cli_services.status),
    "Bars": (cli_bars.check, cli_bars.features),
    "Transfer": (cli_transfer.pretrain, cli_transfer.backbones),
    "Models": (
        cli_registry.models, cli_card.card, cli_bars.predict, cli_client.pull, cli_client.serve, cli_keys.verify,
        cli_registry.rollback,
    ),
    "Watching": (
        cli_watching.problems, cli_watching.logs, cli_monitor.monitor, cli_rollout.shadow, cli_rollout.rollout,
        cli_registry.ledger,
    ),
}  # fmt: skip
"""The other commands, by what they are about; help shows them in this order."""

for panel, commands in PANELS.items():
    for command in commands:
        app.command(rich_help_panel=panel)(command)
app.add_typer(cli_keys.keys, name="keys", rich_help_panel="Models")

if __name__ == "__main__":
    main()
