"""``nocturne fleet``: the nights of several problems side by side, on a Dask cluster."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from flows.options import Budget, Changes, Json, show
from tasks.errors import ConfigurationError

Names = Annotated[list[str] | None, typer.Argument(help="Names of problems in deployments/problems; none: all.")]


def fleet(
    problems: Names = None,
    changes: Changes = None,
    budget: Budget = "demo",
    by_symbol: Annotated[
        bool, typer.Option("--by-symbol", help="A problem, and a model, of its own for each symbol that is named.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run the nights of several problems side by side: on this machine's processes, or the cluster of NOCTURNE_DASK."""
    from flows import interrupt, progress

    err = Console(stderr=True)
    with progress.shown(err), interrupt.ends_at_once(err):
        rows = _rows(problems, budget, changes, by_symbol)
    show(as_json, {"nights": rows}, _render)
    if any(row["error"] for row in rows):
        raise typer.Exit(1)


def _rows(problems: list[str] | None, budget: Any, changes: list[str] | None, by_symbol: bool) -> list[dict[str, Any]]:
    try:
        import prefect_dask  # noqa: F401
    except ModuleNotFoundError as error:
        raise ConfigurationError("nights side by side need Dask: install the extra 'cluster'") from error
    from flows.fleet import run_fleet

    return run_fleet(problems, budget, changes, by_symbol)


def _render(document: dict[str, Any]) -> None:
    table = Table(title="Nights side by side")
    columns = ("problem", "outcome", "leader", "skill", "champion", "worker", "seconds")
    for column in columns:
        table.add_column(column)
    for row in document["nights"]:
        table.add_row(*(f"{row[c]:.4f}" if c == "skill" else str(row[c]) or "-" for c in columns))
    out = Console()
    out.print(table)
    for row in document["nights"]:
        if row["error"]:
            out.print(f"{row['problem']}: {row['error']}", markup=False, highlight=False, soft_wrap=True)
