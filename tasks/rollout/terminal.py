"""A rollout in a terminal of 80 columns, from its JSON document. Text from outside is cleaned, never read as markup."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tasks.rollout.words import clean, sentence

BLOCKS = "▁▂▃▄▅▆▇█"
STYLES = {"promoted": "green", "rolled back": "red", "kept": "cyan", "superseded": "yellow", "stopped": "yellow"}
CURVE = 60


def rollout(document: dict[str, Any]) -> Iterator[RenderableType]:
    """Headline, why, time left, facts, the curve of E, warnings: each to be printed on its own."""
    ending = document["ending"]
    style = STYLES[ending["outcome"]] if ending else "bold"
    yield Text(f"{clean(document['name'], 40)}: {document['headline']}", style=style)
    for text in (document["why"], document["time"]):
        if text:
            yield Padding(Text(sentence(text), style="dim" if text == document["time"] else ""), (0, 0, 0, 2))
    yield _facts(document)
    if document["history"]:
        yield curve(document)
    for warning in document["warnings"]:
        yield Text(f"! {clean(warning)}", style="yellow")


def curve(document: dict[str, Any]) -> Text:
    """ln E over the dates, from 1 (lowest block) to what promotes (highest), at most 60 columns."""
    logs = [row["log_e"] for row in document["history"]]
    columns = min(CURVE, len(logs))
    picked = [logs[(i + 1) * len(logs) // columns - 1] for i in range(columns)]
    top = math.log(document["needed"])
    blocks = "".join(BLOCKS[min(max(int(value / top * len(BLOCKS)), 0), len(BLOCKS) - 1)] for value in picked)
    return Text(f"  ln E  {blocks}  █ = {document['needed']:.4g}")


def _facts(document: dict[str, Any]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column()
    for name, value in document["facts"]:
        table.add_row(Text(f"  {name}", style="dim"), Text(clean(value)))
    return table
