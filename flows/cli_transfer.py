"""``nocturne pretrain`` and ``nocturne backbones``: encoders that a problem's transfer may start from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from flows.chosen import assigned
from flows.options import Changes, Json, show
from tasks.errors import ConfigurationError
from tasks.storage import PROJECT

if TYPE_CHECKING:
    from tasks.pretraining import Pretraining

NOTHING_KNOWN = "nothing is known yet: no label of a new bar was there when it was made"
PRETRAININGS = PROJECT / "deployments" / "pretraining"
WIDTH = 80


def pretrain(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE", help="A name in deployments/pretraining, or a file.")],
    changes: Changes = None,
    as_json: Json = False,
) -> None:
    """Pre-train a backbone: bars in, a verified version in the registry, with evidence of bars it was not fitted to."""
    from flows import interrupt, progress

    chosen = described(name, changes)
    err = Console(stderr=True)
    with progress.shown(err), interrupt.ends_at_once(err):
        from flows.pretrain import run  # imports Prefect

        document = run(chosen)
    show(as_json, document, _render)


def backbones(
    name: Annotated[str, typer.Argument(help="A backbone; empty means all.")] = "", as_json: Json = False
) -> None:
    """List pre-trained backbones: what each version saw, until when, and its evidence on later bars."""
    from tasks.documents import to_json
    from tasks.registry import mlflow_place, mlflow_store
    from tasks.registry.backbones import versions

    found = [to_json(each) for each in versions(mlflow_store.open_store(), name)]
    if name and not found:
        raise ConfigurationError(f"no backbone '{name}' in {mlflow_place.shown_uri()}; nocturne backbones lists all")
    show(as_json, {"tracking_uri": mlflow_place.shown_uri(), "backbones": found}, _render_list)


def described(name: str, changes: list[str] | None) -> Pretraining:
    """The description ``name`` of ``deployments/pretraining``, or a file's, with the changes (field=value) made.

    Raises ConfigurationError where there is none, and for a change that is not understood or that it refuses.
    """
    from tasks import pretraining

    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        path = PRETRAININGS / f"{name}.yaml"
        if not path.is_file() or path.resolve().parent != PRETRAININGS:
            known = ", ".join(sorted(each.stem for each in PRETRAININGS.glob("*.yaml")))
            raise ConfigurationError(f"no pre-training '{name}' in {PRETRAININGS}; there are: {known}; or name a file")
    overrides = assigned(changes, tuple(pretraining.Pretraining.model_fields), "a pre-training")
    return pretraining.load(path, overrides)


def _render(document: dict[str, Any]) -> None:
    out = Console(highlight=False)
    if document["unchanged"]:
        out.print(document["unchanged"], markup=False, soft_wrap=True)
        return
    listed = document["backbone"]
    made = listed["backbone"]
    out.print(f"[bold]{made['name']}[/] version {made['version']}: bars of {made['bar']} up to {made['end']}")
    out.print(f"  {made['architecture']}, {made['length']} bars a window; trained on {listed['device']}", markup=False)
    out.print(f"  {made['folder']}", markup=False, soft_wrap=True)
    out.print(f"  for problems whose validation window begins after {made['end'][:10]}", markup=False)
    if not listed["evidence"]:
        out.print(f"  {NOTHING_KNOWN}", markup=False)
        return
    table = Table(title="Held-out bars")
    for column in ("task", "ahead", "loss", "naive", "skill", "95 %", "windows"):
        table.add_column(column, justify="left" if column == "task" else "right", no_wrap=True)
    for each in listed["evidence"]:
        table.add_row(
            each["task"], str(each["horizon"] or "-"), f"{each['loss']:.4f}", f"{each['naive']:.4f}",
            f"{each['skill']:.3f}", _spread(each), f"{each['rows']:,}",
        )  # fmt: skip
    out.print(table)


def _render_list(document: dict[str, Any]) -> None:
    out = Console(highlight=False, width=min(Console().width, WIDTH))
    if not document["backbones"]:
        out.print(f"no backbones in {document['tracking_uri']} yet: nocturne pretrain nasdaq", markup=False)
        return
    table = Table()
    for column in ("name", "version", "bar", "end", "tasks", "evidence"):
        table.add_column(column, overflow="fold")
    for listed in document["backbones"]:
        made = listed["backbone"]
        table.add_row(
            made["name"], made["version"], made["bar"], made["end"][:10], "\n".join(made["tasks"]), _evidence(listed)
        )
    out.print(table)
    out.print("end: the last bar it saw; it may serve problems whose validation window begins later", markup=False)


def _evidence(listed: dict[str, Any]) -> str:
    """The skill of each task, its horizons in a line, and of which bars; what is not known is said."""
    if not listed["evidence"]:
        return NOTHING_KNOWN.split(":", maxsplit=1)[0]
    skills: dict[str, list[str]] = {}
    for each in listed["evidence"]:
        skills.setdefault(each["task"], []).append(f"{each['skill']:+.2f}")
    lines = [f"{task} {' '.join(found)}" for task, found in skills.items()]
    spans = {f"{each['first'][:7]} to {each['last'][:7]}" for each in listed["evidence"]}
    return "\n".join([*lines, *sorted(spans)])


def _spread(each: dict[str, Any]) -> str:
    return "-" if each["low"] is None else f"{each['low']:.2f} to {each['high']:.2f}"
