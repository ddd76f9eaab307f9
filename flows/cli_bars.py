"""Commands about bars: what the checks find, the feature matrix, predictions from raw bars."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from flows.options import Bar, Calendar, Json, Label, Scale, Source, Tz, show


def check(
    source: Source,
    tz: Tz = "",
    calendar: Calendar = "XNYS",
    bar: Bar = "1d",
    price_scale: Scale = 1.0,
    label: Label = "end",
    as_json: Json = False,
) -> None:
    """Say what the data checks find in a source: rule, symbol, time, value. Exit code 3 if it would be refused."""
    from tasks.bars.describe import from_options
    from tasks.bars.inspection import inspect

    described = from_options(source, tz=tz, calendar=calendar, bar=bar, price_scale=price_scale, label=label)
    document = inspect(described)
    show(as_json, {"source": source, **document}, _render_check)
    if not document["accepted"]:
        raise typer.Exit(3)


def _render_check(document: dict[str, Any]) -> None:
    from tasks.bars.inspection import lines

    out = Console(highlight=False)
    symbols, accepted = document["symbols"], document["accepted"]
    out.print(
        f"{document['source']}: {document['rows']:,} rows, {symbols:,} symbol{'' if symbols == 1 else 's'}, ", end=""
    )
    out.print(f"[{'green' if accepted else 'red'}]{accepted:,} accepted[/]")
    for line in lines(document, out.width):
        out.print(line, markup=False, soft_wrap=True)


def features(
    source: Source,
    out: Annotated[Path, typer.Option(help="Parquet file to write.")],
    tz: Tz = "",
    calendar: Calendar = "XNYS",
    bar: Bar = "1d",
    price_scale: Scale = 1.0,
    label: Label = "end",
    tick: Annotated[float, typer.Option(help="Smallest price step; the floor of a bar's range.")] = 0.01,
    as_json: Json = False,
) -> None:
    """Write the feature matrix of a source: one row a bar, one column a feature, NaN inside a column's lookback."""
    from tasks.bars.describe import from_options
    from tasks.bars.facts import has_volume, never_closes, true_opens
    from tasks.bars.ingest import read_accepted
    from tasks.features.table import feature_table
    from tasks.storage import write_parquet

    described = from_options(source, tz=tz, calendar=calendar, bar=bar, price_scale=price_scale, label=label)
    bars = read_accepted(described).frame
    table = feature_table(
        bars, has_volume=has_volume(bars), true_opens=true_opens(bars, never_closes(calendar)), tick=tick, bar=bar
    )
    ref = write_parquet(out.absolute(), table.frame)
    document = {
        "path": ref.path,
        "sha256": ref.sha256,
        "rows": ref.rows,
        "columns": list(table.columns),
        "lookback": table.lookback,
        "left_out": table.left_out,
    }
    show(as_json, document, _render_features)


def _render_features(document: dict[str, Any]) -> None:
    out = Console(highlight=False)
    columns, left_out = document["columns"], document["left_out"]
    out.print(f"{document['path']}: {document['rows']:,} rows, {len(columns)} columns", markup=False, soft_wrap=True)
    out.print(f"longest lookback {document['lookback']} bars: earlier rows of a column are NaN")
    for name, reason in list(left_out.items())[:5]:
        out.print(f"left out {name}: {reason}", markup=False)
    if len(left_out) > 5:
        out.print(f"… and {len(left_out) - 5} more left out (--json lists them all)")


def predict(
    model: Annotated[str, typer.Argument(help="A registered model's name (its champion), or a models:/ URI.")],
    bars: Annotated[str, typer.Option(help="Raw bars: a CSV or Parquet file, or a built-in source.")],
    rows: Annotated[Literal["last", "all"], typer.Option(help="Predict for the last bar, or for every bar.")] = "last",
    tz: Tz = "",
    calendar: Calendar = "XNYS",
    bar: Bar = "1d",
    price_scale: Scale = 1.0,
    label: Label = "end",
    explain: Annotated[bool, typer.Option("--explain", help="What each feature adds to the last prediction.")] = False,
    top: Annotated[int, typer.Option(min=1, help="With --explain: how many features.")] = 10,
    as_json: Json = False,
) -> None:
    """Predict with a registered model from raw bars."""
    from tasks.bars.describe import from_options
    from tasks.bars.ingest import read_accepted
    from tasks.registry import asking, mlflow_store

    described = from_options(bars, tz=tz, calendar=calendar, bar=bar, price_scale=price_scale, label=label)
    uri = model if ":/" in model else f"models:/{model}@champion"
    if explain:
        from flows import cli_explained
        from tasks.registry import explaining

        if rows != "last":
            raise typer.BadParameter("--explain takes the last bar's prediction apart: leave --rows out")
        frame = read_accepted(described).frame
        document = explaining.explain(uri, frame, top, mlflow_store.open_store().tracking_uri)
        show(as_json, document, cli_explained.render)
        return
    predictions = asking.predict(mlflow_store.open_store(), uri, read_accepted(described).frame, rows)
    show(as_json, {"model": uri, "predictions": predictions}, _render_predictions)


def _render_predictions(document: dict[str, Any]) -> None:
    table = Table(title=document["model"], box=None, title_justify="left")
    columns = list(document["predictions"][0]) if document["predictions"] else []
    for column in columns:
        table.add_column(column)
    for row in document["predictions"]:
        table.add_row(*(str(row[column]) for column in columns))
    Console().print(table)
