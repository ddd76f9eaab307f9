"""Commands about a model that takes over gradually, or is watched in the shadow."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from flows.chosen import named
from flows.options import Changes, File, Json, Name, show
from tasks.rollout.plan import LIMIT_DATES, LIMIT_RANGE, Mode

if TYPE_CHECKING:
    from tasks.problem import Problem

LEAST, MOST = LIMIT_RANGE
Version = Annotated[str, typer.Option(help="The version to try; else the challenger, or the newest that never led.")]
Limit = Annotated[
    int, typer.Option("--limit-dates", help="After so many dates the champion stays.", min=LEAST, max=MOST)
]
Score = Annotated[bool, typer.Option("--score", help="Score what is new and decide, as the evening's flow does.")]
Stop = Annotated[bool, typer.Option("--stop", help="End it: the champion stays.")]


def _command(title: str, mode: Mode, what: str) -> Callable[..., None]:
    def command(
        name: Name = "",
        version: Version = "",
        file: File = None,
        changes: Changes = None,
        limit_dates: Limit = LIMIT_DATES,
        score: Score = False,
        stop: Stop = False,
        as_json: Json = False,
    ) -> None:
        problem = named(name, file, changes, "nightly")
        _run(problem, mode, version, limit_dates, score=score, stop=stop, as_json=as_json)

    command.__name__, command.__doc__ = title, what
    return command


shadow = _command(
    "shadow", "shadow", "Let a version predict beside the champion, seen by nobody; or show how that stands."
)
rollout = _command(
    "rollout",
    "gradual",
    "Let a version take over gradually as evidence grows; or show how that stands, and how long it will take.",
)


def _run(problem: Problem, mode: Mode, version: str, limit: int, **asked: bool) -> None:
    from flows import interrupt, progress

    err = Console(stderr=True)
    with progress.shown(err), interrupt.ends_at_once(err):
        show(asked["as_json"], _document(problem, mode, version, limit, **asked), _render)


def _document(problem: Problem, mode: Mode, version: str, limit: int, *, score: bool, stop: bool, **_: bool) -> Any:
    from tasks.rollout import store

    going = store.current(problem.name)
    if going is not None and not (score or stop or version):
        from tasks.rollout.reading import told

        return told(problem.name)
    from flows import rollout as flow  # imports Prefect

    if stop:
        return flow.stop(problem.name, "ended by hand")
    return flow.rollout(problem) if score and going is not None else flow.begin(problem, version, mode, limit)


def _render(document: dict[str, Any]) -> None:
    from tasks.rollout import terminal

    out = Console(highlight=False)
    if "plan" not in document:
        out.print(f"{document['name']}: {document['headline']}", markup=False)
        return
    for part in terminal.rollout(document):
        out.print(part)
    if document.get("page"):
        sys.stdout.write(f"  {document['page']}\n")
