"""The command about a model's card."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markdown import Markdown

from flows.options import Json, show


def card(
    name: Annotated[str, typer.Argument(help="A registered model's name.")],
    version: Annotated[str, typer.Option(help="A version instead of the champion.")] = "",
    as_json: Json = False,
) -> None:
    """Show a model's card: what it is for, on which evidence it rests, its limits, how to pull and roll it back."""
    from tasks.documents import to_json
    from tasks.registry import cards, mlflow_store

    found = cards.read(mlflow_store.open_store(), name, version)
    show(as_json, to_json(found), _render)


def _render(document: dict[str, Any]) -> None:
    out = Console()
    text = document["text"] or f"*{document['name']} version {document['version']} was registered without a card.*"
    if out.is_terminal:
        out.print(Markdown(text))
    else:
        out.print(text, markup=False, highlight=False, soft_wrap=True)
