"""Commands about the registry: models and their versions, and what the ledger holds."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.options import Json, show


def models(
    name: Annotated[str, typer.Argument(help="A registered model; empty means all.")] = "",
    as_json: Json = False,
) -> None:
    """List registered models: versions, aliases, when and why each was promoted or not."""
    from tasks.documents import to_json
    from tasks.registry import mlflow_store

    store = mlflow_store.open_store()
    chosen = (name,) if name else mlflow_store.names(store)
    versions = [to_json(version) for each in chosen for version in mlflow_store.history(store, each)]
    show(as_json, {"tracking_uri": store.tracking_uri, "models": versions}, _render_models)


def _render_models(document: dict[str, Any]) -> None:
    out = Console(highlight=False)
    if not document["models"]:
        out.print(f"no models in {document['tracking_uri']} yet: nocturne run sp500-volatility", markup=False)
    for version in document["models"]:
        aliases = "".join(f" @{alias}" for alias in version["aliases"])
        out.print(f"[bold]{version['name']}[/] version {version['version']}[green]{aliases}[/]")
        when = f"promoted {version['promoted']}" if version["promoted"] else "never promoted"
        out.print(f"  {version['candidate']} ({version['engine']}), {version['outcome']}, {when}", markup=False)
        out.print(f"  fitted on bars up to {version['training_end']}; run {version['run_id']}", markup=False)
        for reason in version["reasons"][:2]:
            out.print(f"  - {reason}", markup=False)
        if len(version["reasons"]) > 2:
            out.print(f"  … and {len(version['reasons']) - 2} more (--json lists them all)")


def ledger(
    problem: Annotated[str, typer.Argument(help="A problem's name; empty means all.")] = "",
    begin_anew: Annotated[
        str | None,
        typer.Option(help="Why the count of reads begins anew, where the ledger was lost for good; it is kept."),
    ] = None,
    as_json: Json = False,
) -> None:
    """List what was tried: nights, candidates, every read of the gate with its level and outcome, licences."""
    from tasks.registry.ledger import Ledger

    with Ledger.open() as opened:
        if begin_anew is not None:
            from tasks.registry import continuity, mlflow_store

            continuity.begin_anew(opened, continuity.told(mlflow_store.open_store(), problem), begin_anew)
        document = {"problem": problem, **opened.told(problem)}
    show(as_json, document, _render_ledger)


def _render_ledger(document: dict[str, Any]) -> None:
    out = Console(highlight=False)
    out.print(
        f"{document['nights']:,} nights, {document['trials']:,} candidates scored, {len(document['reads']):,} reads of "
        "the gate; every row verified"
    )
    for anew in document["begun_anew"]:
        text = f"begun anew on {anew['at'][:10]}: {anew['why']}; given up: {', '.join(anew['lost'])}"
        out.print(text, style="yellow", markup=False)
    if not document["reads"]:
        return
    table = Table(box=None, pad_edge=False)
    for name in ("read", "problem", "term", "k", "level", "recipe", "outcome"):
        table.add_column(name, no_wrap=name != "outcome")
    for read in document["reads"]:
        cells = (
            read["at"][:16].replace("T", " "), read["problem"], read["term"], str(read["k"]), f"{read['level']:.4g}",
            read["recipe"][:8], read["outcome"],
        )  # fmt: skip
        table.add_row(*(Text(cell) for cell in cells))
    out.print(table)
