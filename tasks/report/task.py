"""The report as Prefect tasks: read what is drawn, verified; render; write the page; leave artifacts in the UI."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from prefect import task
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from tasks.contracts import Ref
from tasks.errors import ConfigurationError
from tasks.masking import at_the_edge
from tasks.report import markdown
from tasks.report.facts import Facts, Forecast, tear_sheet
from tasks.report.night import Night, Predictions
from tasks.report.page import render
from tasks.report.series import Floats
from tasks.storage import home, read_parquet, read_text, write_text


@task(name="report", cache_policy=NO_CACHE)
@at_the_edge
def publish(facts: Facts) -> Facts:
    """Write the page and leave the night's artifacts in Prefect; the facts come back with the page's path."""
    path = page_path(facts)
    told = dataclasses.replace(facts, report=str(path))
    if facts.tear_sheet is not None:
        write_text(Path(tear_sheet(told)), read_text(facts.tear_sheet))
    write_text(path, render(night_of(told)))
    leave_artifacts(told)
    return told


@task(name="report unchanged", cache_policy=NO_CACHE)
@at_the_edge
def publish_unchanged(answer: dict[str, Any]) -> None:
    """The artifacts of a night that was answered from the record: the decision says since which run nothing changed.

    answer: the night's document. The leaderboard's artifact stays as it is.
    """
    name, since = str(answer["problem"]), str(answer["unchanged_since"])
    said = "\n".join(f"- {markdown.escaped(reason, 600)}" for reason in answer["decision"]["reasons"])
    head = f"## {markdown.escaped(answer['decision']['headline'], 300)}"
    text = f"{head}\n\nUnchanged since run {markdown.escaped(since)}.\n\n{said}"
    create_markdown_artifact(key=f"{name}-decision", markdown=text, description=f"Unchanged since run {since}")
    link = Path(answer["report"]).as_uri()
    create_link_artifact(
        key=f"{name}-report", link=link, link_text="Report", description=f"The report of run {since}, still true"
    )


def page_path(facts: Facts) -> Path:
    """``reports/<problem>/<run>.html`` below the state folder. Raises ConfigurationError if a name is not one."""
    names = (str(facts.problem.get("name", "")), facts.run_id)
    for name in names:
        if not name or name in (".", "..") or Path(name).name != name or "\0" in name:
            raise ConfigurationError(f"report: {name!r} cannot name a folder or file: use letters, digits and hyphens")
    return home() / "reports" / names[0] / f"{names[1]}.html"


def night_of(facts: Facts) -> Night:
    """The night with its bars, labels and predictions read. Raises IntegrityError if a file was altered."""
    labels = read_parquet(facts.rows.ref, ["symbol", "time", "session", "label", "window"])
    names = [item.candidate for item in facts.forecasts]
    walked = _walked(facts.leaderboard.predictions, labels, names)
    return Night(
        facts=facts,
        bars=read_parquet(facts.snapshot.bars, ["symbol", "time", "close"]),
        labels=labels,
        predictions=tuple(_read(item, walked.get(item.candidate)) for item in facts.forecasts),
        equities={
            test.candidate: read_parquet(test.equity) for test in facts.leaderboard.backtests if test.equity is not None
        },
    )


def _walked(joined: Ref | None, labels: pd.DataFrame, names: list[str]) -> dict[str, Floats]:
    """Walk-forward predictions by candidate, put back in the labels' row order; NaN outside the folds."""
    if joined is None:
        return {}
    frame = read_parquet(joined, ["symbol", "time", *names])
    keys = ["symbol", "time"]
    place = pd.MultiIndex.from_frame(labels[keys]).get_indexer(pd.MultiIndex.from_frame(frame[keys]))
    found = {}
    for name in names:
        found[name] = np.full(len(labels), np.nan)
        found[name][place] = frame[name].to_numpy(np.float64)
    return found


def _read(item: Forecast, folds: Floats | None) -> Predictions:
    return Predictions(candidate=item.candidate, role=item.role, folds=folds, gate=_column(item.gate))


def _column(ref: Ref | None) -> Floats | None:
    return None if ref is None else read_parquet(ref, ["prediction"])["prediction"].to_numpy(np.float64)


def leave_artifacts(facts: Facts) -> None:
    """Leaderboard, decision and links, under keys that stay the same from night to night."""
    name = str(facts.problem["name"])
    rows: list[dict[str, object]] = [dict(row) for row in markdown.leaderboard_rows(facts)]
    create_table_artifact(
        key=f"{name}-leaderboard", table=rows, description="Walk-forward folds: used to choose. All out of sample."
    )
    create_markdown_artifact(
        key=f"{name}-decision", markdown=markdown.decision(facts), description="What the gate decided"
    )
    create_link_artifact(
        key=f"{name}-report", link=Path(facts.report).as_uri(), link_text="Report", description=facts.report
    )
    if facts.run_url:
        create_link_artifact(key=f"{name}-mlflow", link=facts.run_url, link_text="MLflow run")
