"""A rollout read from its folder: where it stands, its page, its document. Needs neither Prefect nor a registry."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.contracts import Snapshot
from tasks.live import LOGGED
from tasks.rollout import evidence, page, words
from tasks.rollout.assess import Assessment, assess
from tasks.rollout.plan import Plan
from tasks.rollout.store import RolloutStore, folder_of, latest
from tasks.storage import home, write_text

log = logging.getLogger("nocturne.rollout")


def where(plan: Plan, snapshot: Snapshot | None = None, logs: str = "") -> Assessment:
    """Every date's e-value and step, from all the evidence there is.

    Where clients' logs (columns of ``tasks.live.LOGGED``) lie below ``logs``, their predictions are compared with the
    house's own: what differs is a warning. Raises IntegrityError if a part of the evidence was altered.
    """
    store = store_of(plan)
    forecasts, outcomes = store.read("forecasts"), store.read("outcomes")
    warnings = _differing(plan, forecasts, snapshot, Path(logs)) if logs and snapshot is not None else ()
    for warning in warnings:
        log.warning("%s: %s", plan.name, warning)
    warnings = (*plan.notes, *_silent(outcomes), *warnings)
    return assess(plan, forecasts, outcomes, warnings=warnings, ending=store.ending)


def write_page(found: Assessment) -> str:
    """Write the page to ``rollouts/<name>/<id>.html`` below the state folder; returns its path."""
    path = home() / "rollouts" / folder_of(found.plan.name).name / f"{found.plan.id}.html"
    write_text(path, page.render(found))
    return str(path)


def store_of(plan: Plan) -> RolloutStore:
    """Where this plan's rollout lies."""
    return RolloutStore(folder_of(plan.name) / f"rollout-{plan.id}")


def told(name: str) -> dict[str, Any]:
    """The document of the rollout that began last, and its page written anew."""
    found = latest(name)
    if found is None:
        return {"name": name, "headline": "no rollout and no shadow has ever begun"}
    stands = where(found.plan)
    return {**words.document(stands), "page": write_page(stands)}


def last_closed(calendar: str, rows: pd.DataFrame) -> str:
    """The last session (ISO date) that is over when the last bar of the rows has closed, or the day before all.

    rows: columns ``time, session``. Of a session that is under way, bars are there and more are to come.
    """
    import exchange_calendars  # noqa: PLC0415 - 0.2 s, and only where forecasts are noted

    last = rows["session"].max()
    week = exchange_calendars.get_calendar(calendar, start=last - pd.Timedelta(days=7), end=last + pd.Timedelta(days=1))
    if week.session_close(last) > rows["time"].max():
        earlier = rows.loc[rows["session"] < last, "session"]
        last = earlier.max() if len(earlier) else last - pd.Timedelta(days=1)
    return f"{last:%Y-%m-%d}"


def _silent(outcomes: pd.DataFrame) -> tuple[str, ...]:
    rows, dates = evidence.silence(outcomes)
    said = f"the challenger said nothing of {rows:,} rows that the champion predicted"
    return (f"{said}: each of their {dates:,} dates counts as lost by the whole clip bound",) if rows else ()


def _differing(plan: Plan, forecasts: pd.DataFrame, snapshot: Snapshot, folder: Path) -> tuple[str, ...]:
    parts = [pd.read_parquet(path)[list(LOGGED)] for path in sorted(folder.rglob("part-*.parquet"))]
    if not parts or not len(forecasts):
        return ()
    logged = pd.concat(parts, ignore_index=True)
    mine = logged[logged["name"] == plan.name]
    zone = _zone(snapshot.calendar) if snapshot.bar == "1d" else ""
    return evidence.disagreements(mine, forecasts, (plan.champion, plan.challenger), zone)


def _zone(calendar: str) -> str:
    import exchange_calendars  # noqa: PLC0415 - 0.2 s, and only where clients have logged

    return str(exchange_calendars.get_calendar(calendar).tz)
