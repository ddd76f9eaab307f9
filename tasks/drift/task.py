"""The monitor as Prefect tasks: read what is watched, judge, keep the report, leave the page and an event.

``measure_drift`` is handed everything by value or reference: this room knows no registry.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from prefect import task
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event

from tasks.contracts import FeatureMatrix, Ref, Rows, Snapshot
from tasks.documents import from_json, to_json
from tasks.drift import markdown, page
from tasks.drift.evidently_page import distributions
from tasks.drift.measure import Material, Subject, measure
from tasks.drift.values import PREDICTION, DriftReport, begins
from tasks.errors import ConfigurationError, IntegrityError, StorageError
from tasks.masking import at_the_edge
from tasks.storage import home, read_json, read_matrix, read_parquet, read_predictions, write_json, write_text

FloatArray = npt.NDArray[np.float64]

EXCEEDED = "nocturne.drift.exceeded"
REPORT, PAGE, SHOWN = "report.json", "index.html", "distributions.html"
AT_ONCE = 32
"""Feature columns read at a time: a panel of hundreds of names has gigabytes of them."""

MOST_SHOWN = 12
ROWS = ["time", "session", "label", "label_end"]
log = logging.getLogger("nocturne.drift")


@task(name="measure drift", cache_policy=NO_CACHE)
@at_the_edge
def measure_drift(
    subject: Subject,
    *,
    snapshot: Snapshot,
    features: FeatureMatrix,
    rows: Rows,
    columns: tuple[str, ...],
    predictions: Mapping[str, Ref],
    window: int,
) -> DriftReport:
    """Judge the champion on every session since its training end.

    columns: those that its model looks at. predictions: by ``champion``, ``gated`` (the champion's gated fit) and
    ``fallback`` where there is one of another version. Raises IntegrityError if a file was altered,
    ConfigurationError where training is shorter than two windows.
    """
    known = set(features.spec.columns)
    kept = tuple(name for name in columns if name in known)
    lost = tuple(name for name in columns if name not in known)
    said = {role: read_predictions(ref) for role, ref in predictions.items()}
    material = Material(
        rows=read_parquet(rows.ref, ROWS),
        columns=_columns(features, kept, said["champion"]),
        prediction=said["champion"],
        gated=said.get("gated"),
        fallback=said.get("fallback"),
        loss=rows.target.loss,
        horizon=rows.target.horizon,
    )
    notes = tuple(f"{name} is not watched: today's catalogue does not have it" for name in lost)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        return measure(subject, material, at=now, snapshot=snapshot.sha256, window=window, notes=notes)
    except ValueError as error:
        raise ConfigurationError(f"{subject.name}: cannot be watched by {window} sessions: {error}") from error


@task(name="publish drift", cache_policy=NO_CACHE)
@at_the_edge
def publish_drift(
    report: DriftReport, features: FeatureMatrix, rows: Rows, predictions: Mapping[str, Ref]
) -> DriftReport:
    """Write report and page below ``drift/<name>``, leave an artifact in Prefect; the report comes back with its files.

    The page of distributions is evidently's; where that is not installed, the notes say so and the rest is there.
    """
    folder = folder_of(report.name)
    shown = _shown(report, features, rows, predictions)
    body, why = distributions(*shown, report) if shown is not None else ("", "")
    files = {"page": str(folder / PAGE), "report": str(folder / REPORT)}
    if body:
        write_text(folder / SHOWN, body)
        files["distributions"] = str(folder / SHOWN)
    told = dataclasses.replace(report, files=files, notes=(*report.notes, *((why,) if why else ())))
    write_text(folder / PAGE, page.render(told))
    create_markdown_artifact(
        key=f"{report.name}-drift", markdown=markdown.artifact(told), description="Has the champion drifted?"
    )
    create_link_artifact(key=f"{report.name}-drift-page", link=(folder / PAGE).as_uri(), link_text="Drift page")
    return told


@task(name="ask for retraining", cache_policy=NO_CACHE)
@at_the_edge
def ask_for_retraining(report: DriftReport, problem: Mapping[str, object]) -> bool:
    """Keep the report; where an alarm begins or becomes worse, emit the event that starts a retraining run.

    Once an onset, however long the alarm lasts (``values.begins``). An automation (``deployments/prefect.yaml``)
    listens; nothing here promotes. Returns whether the event was emitted.
    """
    asked = begins(last_report(report.name), report)
    if asked:
        emit_event(
            event=EXCEEDED,
            resource={
                "prefect.resource.id": f"nocturne.model.{report.name}",
                "prefect.resource.name": report.name,
                "nocturne.version": report.version,
                "nocturne.state": report.state,
            },
            payload={"since": report.since, "said": list(report.said), "problem": dict(problem)},
        )
        log.warning("%s version %s: %s", report.name, report.version, report.said[0])
    write_json(folder_of(report.name) / REPORT, to_json(report))
    return asked


def last_report(name: str) -> DriftReport | None:
    """The report of the last run, or None if there is none that can be read."""
    path = folder_of(name) / REPORT
    if not path.is_file():
        return None
    try:
        found: DriftReport = from_json(DriftReport, read_json(path))
    except (IntegrityError, StorageError, TypeError, KeyError, ValueError) as error:
        log.warning("%s: the last drift report cannot be read and counts as none: %s", name, error)
        return None
    return found


def folder_of(name: str) -> Path:
    """``drift/<name>`` below the state folder. Raises ConfigurationError if the name cannot name a folder."""
    if not name or name in (".", "..") or Path(name).name != name or "\0" in name:
        raise ConfigurationError(f"drift: {name!r} cannot name a folder: use letters, digits and hyphens")
    return home() / "drift" / name


def _columns(features: FeatureMatrix, names: tuple[str, ...], said: FloatArray) -> Iterator[tuple[str, FloatArray]]:
    for start in range(0, len(names), AT_ONCE):
        some = names[start : start + AT_ONCE]
        matrix = read_matrix(features.ref, some)
        yield from ((name, matrix[:, place]) for place, name in enumerate(some))
    yield PREDICTION, said


def _shown(
    report: DriftReport, features: FeatureMatrix, rows: Rows, predictions: Mapping[str, Ref]
) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """Training reference and last window of the columns nearest to their limits, predictions always among them."""
    if not report.columns:
        return None
    nearest = [each.column for each in report.columns if each.column != PREDICTION][: MOST_SHOWN - 1]
    frame = pd.DataFrame(read_matrix(features.ref, nearest), columns=nearest)
    frame[PREDICTION] = read_predictions(predictions["champion"])
    keys = read_parquet(rows.ref, ["time", "session"])
    last = pd.DatetimeIndex(keys["session"].unique()).sort_values()[-report.window :]
    training = (keys["time"] <= pd.Timestamp(report.training_end)).to_numpy()
    inside = keys["session"].isin(last).to_numpy()
    return frame[training].dropna(), frame[inside].dropna()
