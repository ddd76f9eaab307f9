"""``nocturne monitor``: has the champion drifted?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from flows.options import Json, show


def monitor(
    problem: Annotated[str, typer.Argument(help="Name of a problem in deployments/problems.")] = "",
    file: Annotated[Path | None, typer.Option(help="A problem file instead of a name.")] = None,
    changes: Annotated[list[str] | None, typer.Option("--set", help="field=value; may be repeated.")] = None,
    window: Annotated[int, typer.Option(help="Sessions that are compared with training.", min=21, max=504)] = 63,
    as_json: Json = False,
) -> None:
    """Compare live bars, predictions and losses with what the champion was trained on; promotes nothing."""
    from flows import interrupt, progress
    from flows.cli import _problem
    from tasks.documents import to_json

    chosen = _problem(problem, file, changes or [], "nightly")
    err = Console(stderr=True)
    with progress.shown(err), interrupt.ends_at_once(err):
        from flows.monitor import monitor as run_monitor  # imports Prefect

        document = to_json(run_monitor(chosen, window))
    show(as_json, document, _render)


def _render(document: dict[str, Any]) -> None:
    from tasks.documents import from_json
    from tasks.drift.terminal import lines
    from tasks.drift.values import DriftReport

    out = Console()
    for line in lines(from_json(DriftReport, document)):
        out.print(line, markup=False, highlight=False, soft_wrap=True)
