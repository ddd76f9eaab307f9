"""``nocturne monitor``: has the champion drifted?"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console

from flows.chosen import named
from flows.options import Changes, File, Json, Name, show


def monitor(
    problem: Name = "",
    file: File = None,
    changes: Changes = None,
    window: Annotated[int, typer.Option(help="Sessions that are compared with training.", min=21, max=504)] = 63,
    as_json: Json = False,
) -> None:
    """Compare live bars, predictions and losses with what the champion was trained on; promotes nothing."""
    from flows import interrupt, progress
    from tasks.documents import to_json

    chosen = named(problem, file, changes, "nightly")
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
