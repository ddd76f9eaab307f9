"""``nocturne logs`` and ``nocturne problems``: what runs say, and how all problems stand."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.options import Json, show
from tasks.errors import ConfigurationError
from tasks.storage import home

LEVELS = {"WARNING": "yellow", "ERROR": "bold red", "CRITICAL": "bold red"}
SECONDS = 0.5
STYLES = {"bad": "bold red", "warn": "yellow", "good": "green", "soft": ""}


def logs(
    problem: Annotated[str, typer.Argument(help="Name of the problem.")],
    run: Annotated[str, typer.Option(help="Id of a run, or how it begins; empty: the last one.")] = "",
    stage: Annotated[str, typer.Option(help="Only this stage or engine.")] = "",
    follow: Annotated[bool, typer.Option("--follow", help="Go on until interrupted.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The lines as they are: one JSON object each.")] = False,
) -> None:
    """Show what a run said, its engines' lines included."""
    path = _file(problem, run)
    out = Console(highlight=False)
    for text in _lines(path, follow):
        record = _record(text)
        if stage and stage not in (record["stage"], record["engine"]):
            continue
        if as_json:
            typer.echo(text)
        else:
            out.print(_shown(record), soft_wrap=True)


def problems(as_json: Json = False) -> None:
    """Show how all problems stand, and make their page anew."""
    from flows import problems as page  # imports Prefect
    from tasks.documents import to_json

    rows = page.publish()
    show(as_json, {"page": str(page.page()), "problems": [_finite(to_json(row)) for row in rows]}, _render)


def _file(problem: str, run: str) -> Path:
    folder = home() / "runs" / problem / "logs"
    if Path(problem).name != problem or not folder.is_dir():
        known = ", ".join(sorted(path.parent.name for path in (home() / "runs").glob("*/logs")))
        raise ConfigurationError(f"no logs of '{problem}' below {home() / 'runs'}; there are: {known or 'none'}")
    files = sorted(folder.glob("*.jsonl"), key=lambda path: path.stat().st_mtime)
    found = [path for path in files if path.stem.startswith(run)]
    if not found:
        last = ", ".join(path.stem for path in reversed(files[-5:]))
        raise ConfigurationError(f"no run of {problem} begins with '{run}'; the last ones: {last or 'none'}")
    return found[-1]


def _lines(path: Path, follow: bool) -> Iterator[str]:
    pending = ""
    with path.open(encoding="utf-8", errors="replace") as stream:
        while True:
            *whole, pending = (pending + stream.read()).split("\n")
            yield from whole
            if not follow:
                return
            time.sleep(SECONDS)


def _record(text: str) -> dict[str, Any]:
    """A line's fields as text; one that was cut by a crash is shown as it is."""
    empty = dict.fromkeys(("time", "level", "logger", "stage", "engine", "message", "error"), "")
    try:
        found = json.loads(text)
    except ValueError:
        found = {"message": text}
    return {**empty, **{key: str(value) for key, value in found.items()}} if isinstance(found, dict) else empty


def _shown(record: dict[str, Any]) -> Text:
    from tasks.report.words import clean

    where = record["engine"] or record["stage"] or "-"
    line = Text(f"{record['time'][11:19]} ", style="dim")
    line.append(f"{clean(where, 14):14} ", style="cyan")
    line.append(clean(record["message"], 4000), style=LEVELS.get(record["level"], ""))
    for row in record["error"].splitlines():
        line.append(f"\n    {clean(row, 400)}", style="dim")
    return line


def _finite(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if value is not None}


def _render(document: dict[str, Any]) -> None:
    from tasks.documents import from_json
    from tasks.report.problems import DRIFTS, TONES, ProblemRow, ago, ahead
    from tasks.report.words import clean

    now = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for head in ("problem", "last night", "when", "champion", "since", "drift", "next"):
        table.add_column(head, header_style="dim", overflow="fold")
    for entry in document["problems"]:
        row = from_json(ProblemRow, entry)
        tone, drift = TONES.get(row.outcome, "soft"), DRIFTS.get(row.drift, ("soft", row.drift or "-"))
        table.add_row(
            clean(row.name, 60), Text(clean(row.outcome or "none yet", 20), style=STYLES[tone]), ago(row.at, now),
            clean(row.champion_version or "none", 20), ago(row.champion_since, now),
            Text(clean(drift[1], 20), style=STYLES[drift[0]]), ahead(row.next_run, now),
        )  # fmt: skip
        if row.trouble:
            table.add_row("", Text(clean(row.trouble, 200), style="red"))
    out = Console(highlight=False)
    out.print(table)
    out.print(f"page: {document['page']}", soft_wrap=True, markup=False)
