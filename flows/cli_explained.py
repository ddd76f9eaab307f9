"""How an explained prediction looks in a terminal of 80 columns."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

SHOWN = 5
BAR = 16
_METHODS = {
    "exact": "exact: coefficient times distance from the training mean",
    "TreeSHAP": "TreeSHAP: the trees' own shares",
    "sampled": "sampled Shapley values against the training quantiles, ± one standard error",
}


def render(document: dict[str, Any]) -> None:
    """Print each symbol's prediction with its features, largest contribution first; at most five symbols."""
    out = Console(highlight=False)
    found = document["explained"]
    for item in found[:SHOWN]:
        _render(out, document, item)
    if len(found) > SHOWN:
        out.print(f"… and {len(found) - SHOWN} more symbols (--json has them all)")


def _render(out: Console, document: dict[str, Any], item: dict[str, Any]) -> None:
    of = f", {item['symbol']}" if item["symbol"] else ""
    out.print(f"[bold]{document['model']}[/] version {document['version']}{of}")
    out.print(f"from the bar of {item['time'].removesuffix(' 00:00:00')}")
    odds = item["link"] == "log-odds"
    unit = " (a probability; what follows are log-odds)" if odds else ""
    out.print(f"prediction [bold]{item['prediction']:.6g}[/]{unit}", end="\n\n")
    table = Table(box=None, pad_edge=False, show_edge=False)
    table.add_column("feature", no_wrap=True, max_width=32, overflow="ellipsis")
    table.add_column("value", justify="right")
    table.add_column("adds", justify="right")
    table.add_column("")
    table.add_row("where training rows lie (base)", "", f"{item['base']:.4f}", "", style="dim")
    largest = max((abs(line["contribution"]) for line in item["contributions"]), default=0.0)
    for line in item["contributions"]:
        table.add_row(line["feature"], _value(line["value"]), _adds(line), _bar(line["contribution"], largest))
    total = item["base"] + sum(line["contribution"] for line in item["contributions"])
    table.add_row("sum", "", f"{total:.4f}", "", style="bold")
    out.print(table)
    out.print(f"[dim]{_METHODS.get(item['method'], item['method'])}[/]", end="\n\n")


def _value(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _adds(line: dict[str, Any]) -> str:
    error = f" ± {line['error']:.4f}" if line["error"] else ""
    return f"{line['contribution']:+.4f}{error}"


def _bar(contribution: float, largest: float) -> Text:
    length = round(BAR * abs(contribution) / largest) if largest else 0
    return Text("█" * length, style="green" if contribution > 0 else "red")
