"""Commands about the registry: models and their versions, who was champion when, rollback, what the ledger holds."""

from __future__ import annotations

import textwrap
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.options import Json, show
from tasks.errors import ConfigurationError

WIDTH = 80
REASONS = 2
"""So many of a move's reasons are shown; a decision names every rival."""


def models(
    name: Annotated[str, typer.Argument(help="A registered model; empty means all.")] = "",
    moves: Annotated[bool, typer.Option("--history", help="Who was champion when, why, and by whom.")] = False,
    as_json: Json = False,
) -> None:
    """List registered models: versions, aliases, when and why each was promoted or not; or every move of an alias."""
    from tasks.documents import to_json
    from tasks.registry import mlflow_place, mlflow_store, projection

    store = mlflow_store.open_store()
    chosen = (name,) if name else mlflow_store.names(store)
    mended = [words for each in chosen for words in projection.mend(store, each)]
    versions = [to_json(version) for each in chosen for version in mlflow_store.history(store, each)]
    document: dict[str, Any] = {"tracking_uri": mlflow_place.shown_uri(), "models": versions, "mended": mended}
    if moves:
        document["history"] = _moves(chosen)
    _warn(mended)
    show(as_json, document, _render_history if moves else _render_models)


def _moves(names: tuple[str, ...]) -> dict[str, Any]:
    from tasks.documents import to_json
    from tasks.registry.ledger import Ledger
    from tasks.registry.standings import history

    with Ledger.open() as opened:
        return {each: [to_json(move) for move in history(opened, each)] for each in names}


def _warn(words: list[str]) -> None:
    for text in words:
        Console(stderr=True, highlight=False).print(f"mended: {text}", style="yellow", markup=False, soft_wrap=True)


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
        for reason in version["reasons"][:REASONS]:
            out.print(f"  - {reason}", markup=False)
        if len(version["reasons"]) > REASONS:
            out.print(f"  … and {len(version['reasons']) - REASONS} more (--json lists them all)")


def _render_history(document: dict[str, Any]) -> None:
    out = Console(highlight=False)
    if not document["history"]:
        out.print(f"no models in {document['tracking_uri']} yet: nocturne run sp500-volatility", markup=False)
    for name, moves in document["history"].items():
        known = {version["version"]: version["candidate"] for version in document["models"] if version["name"] == name}
        out.print(Text(name, style="bold"))
        if not moves:
            out.print("  no move is known: none was made since the ledger keeps them")
        earlier = [*(move["standing"] for move in moves[1:]), {}]
        for move, before in zip(moves, earlier, strict=True):
            out.print(_move(move, before, known))


def _move(move: dict[str, Any], before: dict[str, Any], candidates: dict[str, str]) -> Text:
    """Epoch, moment, kind and author in a line; what changed; then why, and on which evidence."""
    now = move["standing"]
    line = Text(f"{now['epoch']:>4}  {move['at'][:16].replace('T', ' ')}  ")
    line.append(f"{move['action']:<12}", style="green" if now["champion"] != before.get("champion", "") else "dim")
    line.append(f" by {move['by']}")
    for alias in ("champion", "challenger", "fallback"):
        there, version = before.get(alias, ""), now[alias]
        if there != version:
            called = f" ({candidates[version]})" if candidates.get(version) else ""
            line.append(f"\n      {alias} {there or 'none'} → {version or 'none'}{called}", style="bold")
    if now["share"] != before.get("share", 0.0):
        line.append(f"\n      the challenger's share {before.get('share', 0.0):.0%} → {now['share']:.0%}", style="bold")
    for reason in move["why"][:REASONS]:
        line.append("\n" + textwrap.fill(reason, WIDTH, initial_indent="      - ", subsequent_indent="        "))
    if len(move["why"]) > REASONS:
        line.append(f"\n      … and {len(move['why']) - REASONS} more (--json lists them all)")
    if move["evidence"]:
        line.append(f"\n      evidence {move['evidence']}"[:WIDTH], style="dim")
    return line


def rollback(
    name: Annotated[str, typer.Argument(help="A registered model.")],
    to: Annotated[
        str, typer.Option(help="A version; empty means the champion before; 'none' takes the name out of service.")
    ] = "",
    why: Annotated[str, typer.Option(help="A reason; the history keeps it.")] = "",
    as_json: Json = False,
) -> None:
    """Make an earlier version champion again: at once, without loading a model; the history keeps it."""
    from tasks.documents import to_json
    from tasks.registry import mlflow_store
    from tasks.registry.ledger import Ledger
    from tasks.registry.rollback import rollback as roll_back

    begun = time.perf_counter()
    store = mlflow_store.open_store()
    loading = round(time.perf_counter() - begun, 3)
    with Ledger.open() as opened:
        done = to_json(roll_back(store, opened, name, to, why))
    show(as_json, {**done, "loading_mlflow_seconds": loading}, _render_rollback)


def _render_rollback(done: dict[str, Any]) -> None:
    out = Console(highlight=False)
    from_, to_ = (f"version {done[side]}" if done[side] else "no version" for side in ("before", "after"))
    out.print(f"{done['name']}: {to_} is champion in place of {from_} (epoch {done['epoch']})", markup=False)
    if done["candidate"]:
        out.print(f"  {done['candidate']}, fitted on bars up to {done['training_end']}", markup=False)
    out.print(f"  why: {done['why']} ({done['by']})", markup=False)
    out.print(
        f"  ledger and aliases in {done['seconds']:.2f} s, after {done['loading_mlflow_seconds']:.1f} s of loading "
        "MLflow"
    )


def ledger(
    problem: Annotated[str, typer.Argument(help="A problem's name; empty means all.")] = "",
    begin_anew: Annotated[
        str | None,
        typer.Option(help="Why the count of reads begins anew, where the ledger was lost for good; it is kept."),
    ] = None,
    copy_from: Annotated[
        Path | None,
        typer.Option(help="A ledger file to take over, row by row, into a ledger that is empty (NOCTURNE_LEDGER_URL)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """List what was tried: nights, candidates, every read of the gate with its level and outcome, licences."""
    from tasks.registry.ledger import Ledger

    with Ledger.open() as opened:
        if copy_from is not None:
            _copy(opened, copy_from)
        if begin_anew is not None:
            from tasks.registry import continuity, mlflow_store

            continuity.begin_anew(opened, continuity.told(mlflow_store.open_store(), problem), begin_anew)
        document = {"problem": problem, **opened.told(problem)}
    show(as_json, document, _render_ledger)


def _copy(into: Any, path: Path) -> None:
    from tasks.registry.ledger import Ledger

    if not path.is_file():
        raise ConfigurationError(f"--copy-from {path}: no such file")
    with Ledger.open(path) as old:
        into.chain.copy_from(old.chain)


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
