"""``nocturne up``, ``down`` and ``status``: Prefect, MLflow and the worker in the background of this machine."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from flows.options import Json, show

Port = Annotated[int, typer.Option(min=0, max=65535, help="Its port; 0: the last, the usual, or any free one.")]
NOT_OK = 1
PLANNED = "Scheduled"
"""The state of all that is to come, and so no news."""

_STYLE = {"running": "green", "dead": "bold red", "silent": "bold red"}


def up(
    prefect_port: Port = 0,
    mlflow_port: Port = 0,
    beside: Annotated[bool, typer.Option("--beside", help="Even if another state folder's services run.")] = False,
    mend: Annotated[bool, typer.Option("--mend", help="Only what died; nothing after a 'nocturne down'.")] = False,
    as_json: Json = False,
) -> None:
    """Start Prefect, MLflow, all deployments and a worker in the background; what runs already is left alone."""
    from flows import progress
    from flows.services import looking, starting

    if mend and not starting.meant_to_run():
        show(as_json, {**looking.status(), "started": [], "registered": False}, _render_left_alone)
        return
    with progress.shown(Console(stderr=True)):
        done = starting.up(prefect_port, mlflow_port, beside)
    document = {**looking.status(), "started": list(done.fresh), "registered": done.registered}
    show(as_json, document, _render_up)


def down(
    now: Annotated[bool, typer.Option("--now", help="End runs that go on, instead of waiting for them.")] = False,
    as_json: Json = False,
) -> None:
    """Stop worker and servers; a run that goes on is let finish first."""
    from flows import progress
    from flows.services import stopping

    with progress.shown(Console(stderr=True)):
        done = stopping.down(now)
    show(as_json, {"stopped": list(done.ended), "interrupted": list(done.interrupted)}, _render_down)


def status(as_json: Json = False) -> None:
    """What runs, what died, how nights ended, what comes next; exit code 1 if something is dead or paused."""
    from flows.services import looking

    document = looking.status()
    show(as_json, document, _render_status)
    _make_page()
    if not document["ok"]:
        raise typer.Exit(NOT_OK)


def _make_page() -> None:
    """The page of all problems, as of now. It is made last: Prefect, which it asks what comes next, takes seconds."""
    from flows import problems

    problems.publish_safely()


def _render_left_alone(_document: dict[str, Any]) -> None:
    _say(Console(), "stopped by 'nocturne down', or never started: nothing was started; 'nocturne up' does")


def _render_up(document: dict[str, Any]) -> None:
    out = Console()
    started = document["started"]
    _say(out, f"started: {', '.join(started)}" if started else "everything runs already; nothing was started")
    if document["registered"]:
        _say(out, "deployments and automations were registered")
    _services(out, document["services"])
    _say(out, "User of both: nocturne. Passwords, readable for you alone:")
    _say(out, f"  {document['secrets']}/prefect   (user:password, as the login page asks)")
    _say(out, f"  {document['secrets']}/mlflow    (password)")
    _say(out, "Stop: nocturne down. Look: nocturne status.")


def _render_down(document: dict[str, Any]) -> None:
    out = Console()
    _say(out, f"stopped: {', '.join(document['stopped'])}" if document["stopped"] else "nothing was running")
    for run in document["interrupted"]:
        _say(out, f"interrupted: {run}; finished stages are kept, no champion was changed")


def _render_status(document: dict[str, Any]) -> None:
    out = Console()
    _services(out, document["services"])
    for each in document["services"]:
        if each["state"] in ("dead", "silent"):
            _say(out, f"{each['name']} is {each['state']}: 'nocturne up' mends it; its log is {each['log']}")
    if document["paused"]:
        _say(out, "the work pool is paused and gives out no runs: 'nocturne up' after a 'nocturne down' that was cut")
        _say(out, "  off; else resume the pool nocturne in Prefect's UI")
    for other in document["others"]:
        _say(out, f"services of another state folder run too: {other}")
    _nights(out, document["nights"])
    _runs(out, "Running now", document["running"])
    _runs(out, "Last runs", document["last"])
    _runs(out, "Next", document["next"])


def _services(out: Console, services: list[dict[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("service", "state", "address", "pid", "since", "memory"):
        table.add_column(title, no_wrap=True, justify="right" if title in ("pid", "memory") else "left")
    for each in services:
        runs = each["state"] == "running"
        table.add_row(
            each["name"],
            f"[{_STYLE.get(each['state'], 'dim')}]{each['state']}[/]",
            each["url"] or "–",
            str(each["pid"] or "–"),
            _moment(each["since"]),
            f"{each['memory_bytes'] / 2**20:.0f} MiB" if runs else "–",
        )
    out.print(table)


def _nights(out: Console, nights: list[dict[str, Any]]) -> None:
    if nights:
        _say(out, "\nLast nights")
    for night in nights:
        version = f", champion {night['champion_version']}" if night["champion_version"] else ""
        _say(out, f"  {_moment(night['started'])}  {night['problem']}: {night['outcome']}{version}")


def _runs(out: Console, title: str, runs: list[dict[str, Any]]) -> None:
    if runs:
        _say(out, f"\n{title}")
    for run in runs:
        told = "" if run["state"] == PLANNED else f": {run['state']}"
        _say(out, f"  {_moment(run['at'])}  {run['deployment'] or run['run']}{told}")


def _moment(stamp: str) -> str:
    """In this machine's time zone, short, and which that is."""
    return datetime.fromisoformat(stamp).astimezone().strftime("%m-%d %H:%M %Z") if stamp else "–"


def _say(out: Console, text: str) -> None:
    out.print(text, markup=False, highlight=False, soft_wrap=True)
