"""What the commands share: options that mean the same everywhere, and how a result is shown."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.chosen import Level

Name = Annotated[str, typer.Argument(help="Name of a problem in deployments/problems.")]
File = Annotated[Path | None, typer.Option(help="A problem file instead of a name.")]
Changes = Annotated[list[str] | None, typer.Option("--set", help="field=value; may be repeated.")]
Budget = Annotated[Level, typer.Option(help="How hard to search.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output, nothing else there.")]
Tz = Annotated[str, typer.Option(help="Time zone of stamps that carry none, for example America/New_York.")]
Calendar = Annotated[str, typer.Option(help="Exchange calendar: XNYS, 24/7, …")]
Bar = Annotated[str, typer.Option(help="Size of a bar: 1d, 1h, 30min, 15min, 5min, 1min.")]
Scale = Annotated[float, typer.Option(help="Prices in the file are divided by this.")]
Label = Annotated[str, typer.Option(help="Whether a bar is stamped with its 'end' or its 'start'.")]
Source = Annotated[str, typer.Argument(help="builtin:sp500, builtin:nasdaq, or a CSV or Parquet file, folder or glob.")]


def show(as_json: bool, document: dict[str, Any], render: Callable[[dict[str, Any]], None]) -> None:
    """Print the document as JSON, or as its renderer tells it."""
    if as_json:
        sys.stdout.write(json.dumps(document, indent=1, allow_nan=False) + "\n")
    else:
        render(document)
