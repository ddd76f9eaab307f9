"""``nocturne backfill``: the nights of past sessions, in a registry of their own."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from flows.chosen import named
from flows.options import Budget, Changes, File, Json, Name, show


def backfill(
    first: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First session.")],
    last: Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="Last session.")],
    problem: Name = "",
    file: File = None,
    changes: Changes = None,
    budget: Budget = "demo",
    as_json: Json = False,
) -> None:
    """Run the nights of past sessions, each as of its close; with hindsight, so never in the real registry."""
    from flows import interrupt, progress

    chosen = named(problem, file, changes, budget)
    err = Console(stderr=True)
    with progress.shown(err), interrupt.ends_at_once(err):
        from flows.backfill import backfill as run_backfill  # imports Prefect

        document = run_backfill(chosen, first.date(), last.date())
    show(as_json, document, _render)


def _render(document: dict[str, Any]) -> None:
    table = Table(title=f"{document['problem']}: with hindsight, in a registry of its own")
    for column in ("session", "outcome", "leader", "skill", "champion"):
        table.add_column(column)
    for night in document["nights"]:
        table.add_row(
            night["session"], night["outcome"], night["leader"], f"{night['skill']:.4f}", night["champion"] or "-"
        )
    out = Console()
    out.print(table)
    out.print(f"State: {document['state']}", markup=False, highlight=False, soft_wrap=True)
