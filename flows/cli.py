"""The ``nocturne`` command: thin over the same functions that the flows call.

Standard output holds the result (with ``--json`` one JSON document and nothing else); progress, warnings and errors go
to standard error. Exit codes: 0 done, 2 bad usage or configuration, 3 bad data, 4 no engine gave a result.
"""

from __future__ import annotations

import difflib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
import yaml
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from flows import settings
from tasks.errors import ConfigurationError, NocturneError
from tasks.storage import PROJECT

app = typer.Typer(
    name="nocturne",
    help="Nightly AutoML for market data: honest leaderboards, gated promotion, models anyone can pull.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
err = Console(stderr=True)
PROBLEMS = PROJECT / "deployments" / "problems"

Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output, nothing else there.")]
Tz = Annotated[str, typer.Option(help="Time zone of stamps that carry none, for example America/New_York.")]
Calendar = Annotated[str, typer.Option(help="Exchange calendar: XNYS, 24/7, …")]
Bar = Annotated[str, typer.Option(help="Size of a bar: 1d, 1h, 30min, 15min, 5min, 1min.")]
Scale = Annotated[float, typer.Option(help="Prices in the file are divided by this.")]
Label = Annotated[str, typer.Option(help="Whether a bar is stamped with its 'end' or its 'start'.")]
Source = Annotated[str, typer.Argument(help="builtin:sp500, builtin:nasdaq, or a CSV or Parquet file, folder or glob.")]


def main() -> None:
    """Entry point: errors that this project names become one sentence and their exit code."""
    try:
        settings.apply()
        app()
    except NocturneError as error:
        err.print(f"[bold red]error[/] {type(error).__name__}: ", end="")
        err.print(str(error), markup=False, highlight=False, soft_wrap=True)
        if "--json" in sys.argv:
            failure = {"type": type(error).__name__, "message": str(error), "exit_code": error.exit_code}
            sys.stdout.write(json.dumps({"error": failure}, indent=1) + "\n")
        sys.exit(error.exit_code)


@app.command()
def run(
    problem: Annotated[str, typer.Argument(help="Name of a problem in deployments/problems.")] = "",
    file: Annotated[Path | None, typer.Option(help="A problem file instead of a name.")] = None,
    changes: Annotated[list[str] | None, typer.Option("--set", help="field=value; may be repeated.")] = None,
    budget: Annotated[Literal["demo", "nightly"], typer.Option(help="How hard to search.")] = "demo",
    again: Annotated[bool, typer.Option("--again", help="Run the flow even if nothing changed.")] = False,
    as_json: Json = False,
) -> None:
    """Run a night: ingest, features, search, leaderboard, gate, registry, report."""
    from flows import unchanged

    begun = time.monotonic()
    chosen = _problem(problem, file, changes or [], budget)
    mark = unchanged.fingerprint(chosen)
    before = None if again else unchanged.last_night(chosen, mark)
    if before is not None and _champion_is(chosen.name, before):
        document = unchanged.answer(chosen, before, time.monotonic() - begun)
    else:
        document = _night(chosen, mark)
    _show(as_json, document, _render_night)


def _problem(name: str, file: Path | None, changes: list[str], budget: Literal["demo", "nightly"]) -> Any:
    from tasks import problem as problems

    if bool(name) == bool(file):
        raise ConfigurationError(f"name a problem ({_known()}) or give --file problem.yaml, one of the two")
    path = file or PROBLEMS / f"{name}.yaml"
    if file is None and (not path.is_file() or path.resolve().parent != PROBLEMS):
        raise ConfigurationError(f"no problem '{name}' in {PROBLEMS}; there are: {_known()}")
    overrides = dict(_assignment(change) for change in changes)
    for field in overrides:
        if field not in problems.Problem.model_fields:
            near = difflib.get_close_matches(field, problems.Problem.model_fields, n=1)
            raise ConfigurationError(
                f"--set {field}: a problem has no such field"
                + (f"; did you mean '{near[0]}'?" if near else f"; it has {', '.join(problems.Problem.model_fields)}")
            )
    return problems.load(path, budget, overrides)


def _known() -> str:
    return ", ".join(sorted(path.stem for path in PROBLEMS.glob("*.yaml")))


def _assignment(change: str) -> tuple[str, Any]:
    field, separator, value = change.partition("=")
    if not separator or not field:
        raise ConfigurationError(f"--set takes field=value, got '{change}'")
    try:
        return field.strip(), yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"--set {field}: value '{value}' is not readable as YAML") from error


def _champion_is(name: str, document: dict[str, Any]) -> bool:
    from tasks.registry import mlflow_store

    champion = mlflow_store.champion(mlflow_store.open_store(), name)
    return bool((champion.version if champion else "") == document["decision"]["champion_version"])


def _night(problem: Any, mark: str) -> dict[str, Any]:
    from flows import interrupt, progress, unchanged
    from tasks.report.document import document as as_document

    clock = progress.StageClock()
    with progress.shown(err), interrupt.ends_at_once(err):
        with clock.stage("start"):
            from prefect import tags

            from flows.nightly import nightly  # imports Prefect
        with tags(problem.name, problem.target, "manual"):
            document = as_document(nightly(problem))
    document["seconds"] = _whole(clock, document["seconds"])
    failed = any(engine["error"] for engine in document["engines"])
    unchanged.record(problem, mark, document, partial=failed or not document["reproducible"])
    return document


def _whole(clock: Any, stages: dict[str, float]) -> dict[str, float]:
    """Wall seconds by stage, with what no stage counts (Prefect's server, its start and end) under its own name."""
    start = clock.seconds["start"]
    rest = clock.elapsed() - start - sum(stages.values())
    return {name: round(value, 2) for name, value in {"start": start, "prefect": rest, **stages}.items()}


def _render_night(document: dict[str, Any]) -> None:
    from tasks.report import terminal

    for part in terminal.night(document):
        Console().print(part, soft_wrap=not isinstance(part, Table | Panel))


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check Python, JRE, TA-Lib, H2O, Keras, ports, disk and the MLflow store; say how to mend what is wrong."""
    import dataclasses

    from tasks import environment

    checks = [dataclasses.asdict(check) for check in environment.examine()]
    _show(as_json, {"ok": all(check["ok"] for check in checks), "checks": checks}, _render_doctor)
    if not all(check["ok"] for check in checks):
        raise typer.Exit(2)


def _render_doctor(document: dict[str, Any]) -> None:
    out = Console()
    for check in document["checks"]:
        mark = "[green]ok[/]  " if check["ok"] else "[red]bad[/] "
        out.print(f"{mark}{check['name']:14}", end="")
        out.print(check["found"], markup=False, highlight=False, soft_wrap=True)
        if check["cure"]:
            out.print(f"    → {check['cure']}", markup=False, highlight=False, soft_wrap=True)


@app.command()
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
    _show(as_json, {"source": source, **document}, _render_check)
    if not document["accepted"]:
        raise typer.Exit(3)


def _render_check(document: dict[str, Any]) -> None:
    out = Console(highlight=False)
    symbols = document["symbols"]
    plural = "" if symbols == 1 else "s"
    out.print(f"{document['source']}: {document['rows']:,} rows, {symbols:,} symbol{plural}, ", end="", markup=False)
    style = "green" if document["accepted"] else "red"
    out.print(f"[{style}]{document['accepted']:,} accepted[/]")
    by_rule: dict[str, list[dict[str, Any]]] = {}
    for finding in document["findings"]:
        by_rule.setdefault(finding["rule"], []).append(finding)
    for rule, found in by_rule.items():
        out.print(f"[bold]{rule}[/] ({found[0]['severity'].replace('_', ' ')}): {len(found):,}")
        for finding in found[:5]:
            place = " ".join(part for part in (finding["symbol"], finding["time"], _row(finding["row"])) if part)
            out.print(f"  {place + ': ' if place else ''}{finding['detail']}", markup=False, soft_wrap=True)
        if len(found) > 5:
            out.print(f"  … and {len(found) - 5:,} more (--json lists them all)")
    if document["quarantined"]:
        out.print(f"quarantined: {', '.join(document['quarantined'])}", markup=False)


def _row(row: int | None) -> str:
    return "" if row is None else f"row {row}"


@app.command()
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
    from tasks.bars.facts import has_volume, true_opens
    from tasks.bars.ingest import read_accepted
    from tasks.features.table import feature_table
    from tasks.storage import write_parquet

    described = from_options(source, tz=tz, calendar=calendar, bar=bar, price_scale=price_scale, label=label)
    bars = read_accepted(described).frame
    table = feature_table(bars, has_volume=has_volume(bars), true_opens=true_opens(bars), tick=tick, bar=bar)
    ref = write_parquet(out.absolute(), table.frame)
    document = {
        "path": ref.path,
        "sha256": ref.sha256,
        "rows": ref.rows,
        "columns": list(table.columns),
        "lookback": table.lookback,
        "left_out": table.left_out,
    }
    _show(as_json, document, _render_features)


def _render_features(document: dict[str, Any]) -> None:
    out = Console(highlight=False)
    columns, left_out = document["columns"], document["left_out"]
    out.print(f"{document['path']}: {document['rows']:,} rows, {len(columns)} columns", markup=False, soft_wrap=True)
    out.print(f"longest lookback {document['lookback']} bars: earlier rows of a column are NaN")
    for name, reason in list(left_out.items())[:5]:
        out.print(f"left out {name}: {reason}", markup=False)
    if len(left_out) > 5:
        out.print(f"… and {len(left_out) - 5} more left out (--json lists them all)")


@app.command()
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
    _show(as_json, {"tracking_uri": store.tracking_uri, "models": versions}, _render_models)


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


@app.command()
def predict(
    model: Annotated[str, typer.Argument(help="A registered model's name (its champion), or a models:/ URI.")],
    bars: Annotated[str, typer.Option(help="Raw bars: a CSV or Parquet file, or a built-in source.")],
    rows: Annotated[Literal["last", "all"], typer.Option(help="Predict for the last bar, or for every bar.")] = "last",
    tz: Tz = "",
    calendar: Calendar = "XNYS",
    bar: Bar = "1d",
    price_scale: Scale = 1.0,
    label: Label = "end",
    as_json: Json = False,
) -> None:
    """Predict with a registered model from raw bars."""
    from tasks.bars.describe import from_options
    from tasks.bars.ingest import read_accepted
    from tasks.registry import mlflow_store

    described = from_options(bars, tz=tz, calendar=calendar, bar=bar, price_scale=price_scale, label=label)
    uri = model if ":/" in model else f"models:/{model}@champion"
    predictions = mlflow_store.predict(mlflow_store.open_store(), uri, read_accepted(described).frame, rows)
    _show(as_json, {"model": uri, "predictions": predictions}, _render_predictions)


def _render_predictions(document: dict[str, Any]) -> None:
    table = Table(title=document["model"], box=None, title_justify="left")
    columns = list(document["predictions"][0]) if document["predictions"] else []
    for column in columns:
        table.add_column(column)
    for row in document["predictions"]:
        table.add_row(*(str(row[column]) for column in columns))
    Console().print(table)


def _show(as_json: bool, document: dict[str, Any], render: Callable[[dict[str, Any]], None]) -> None:
    if as_json:
        sys.stdout.write(json.dumps(document, indent=1, allow_nan=False) + "\n")
    else:
        render(document)


if __name__ == "__main__":
    main()
