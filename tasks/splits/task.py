"""Labels and windows of a snapshot as one stored stage.

The rooms of labels and splits know each other only through the contracts; this wrapper may import both, since labelling
without windowing (or the other way round) is of no use to any later stage.
"""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.contracts import FeatureMatrix, Rows, Snapshot, Spell, resolved
from tasks.documents import from_json, to_json
from tasks.errors import DataError
from tasks.labels.targets import Labels, make_labels
from tasks.masking import at_the_edge
from tasks.membership import belongs, is_member, present, read_membership
from tasks.problem import Problem
from tasks.splits.lost import lost_rows, whole_sections, with_section
from tasks.splits.sessions import calendar_sessions
from tasks.splits.windows import WindowPlan, assign_windows
from tasks.storage import StageStore, read_columns, read_json, read_parquet, write_json, write_parquet

CODE = (
    "tasks/labels",
    "tasks/splits",
    "tasks/statistics/uniqueness.py",
    "tasks/contracts.py",
    "tasks/documents.py",
    "tasks/errors.py",
    "tasks/membership.py",
    "tasks/problem.py",
    "tasks/storage.py",
)
BARS = ["symbol", "time", "session", "open", "high", "low", "close"]
FIELDS = (
    *("target", "horizon", "variance", "profit", "stop", "neutral", "tick", "calendar"),
    *("folds", "embargo", "gate_sessions", "term"),
)
"""What of the problem the rows depend on: another seed or budget finds the same rows again."""

log = logging.getLogger("nocturne.splits")


@task(name="rows", cache_policy=NO_CACHE)
@at_the_edge
def make_rows(problem: Problem, snapshot: Snapshot, features: FeatureMatrix) -> Rows:
    """Label the snapshot's bars and give each its window; from the store where nothing that matters changed."""
    return build_rows(problem, snapshot, features, StageStore())


def build_rows(problem: Problem, snapshot: Snapshot, features: FeatureMatrix, store: StageStore) -> Rows:
    """As ``make_rows``, with the store given.

    A row is usable if every feature column is finite, and labelled if its symbol belonged to the universe on its date.
    Beyond the lookback every row of a member should be usable (where features compare names within a date, on every
    date with enough members): those that are not are counted in a warning. Raises what ``read_membership``,
    ``make_labels`` and ``assign_windows`` raise, and DataError if the feature matrix is not aligned with the bars, or
    more than 1 % of the rows beyond the lookback are not usable.
    """
    spells = read_membership(Path(problem.membership)) if problem.membership else ()
    key = store.key("rows", _inputs(problem, snapshot, features, spells), CODE)
    folder = store.get("rows", key)
    if folder is None:
        with store.put("rows", key) as staging:
            _compute(problem, snapshot, features, spells, staging)
        folder = store.folder("rows", key)
    else:
        log.info("rows: labels and windows reused")
    rows: Rows = resolved(from_json(Rows, read_json(folder / "rows.json")), str(folder))
    return rows


def _inputs(
    problem: Problem, snapshot: Snapshot, features: FeatureMatrix, spells: tuple[Spell, ...]
) -> dict[str, object]:
    values = problem.model_dump(mode="json", include=set(FIELDS))
    return {
        **values,
        "bars": snapshot.bars.sha256,
        "true_opens": snapshot.true_opens,
        "features": features.ref.sha256,
        "columns": list(features.spec.columns),
        "cross_section": features.spec.cross_section,
        "membership": to_json(spells),
        "compared": to_json(features.spec.spells),
    }


def _compute(
    problem: Problem, snapshot: Snapshot, features: FeatureMatrix, spells: tuple[Spell, ...], staging: Path
) -> None:
    bars = read_parquet(snapshot.bars, BARS)
    names = bars["symbol"].to_numpy(object)
    member = is_member(names, _days(bars, snapshot.bar), spells) if spells else None
    usable, warnings = _usable(bars, features)
    labels = make_labels(bars, problem.objective, problem.variance, problem.tick, snapshot.true_opens, member=member)
    sessions = calendar_sessions(problem.calendar, bars["session"].max())
    plan = assign_windows(
        pd.DatetimeIndex(bars["time"]),
        pd.DatetimeIndex(bars["session"]),
        labels.label_end,
        usable & np.isfinite(labels.label),
        sessions,
        gate_sessions=problem.gate_sessions,
        term=problem.term,
        embargo=problem.embargo,
        horizon=problem.horizon,
        folds=problem.folds,
        symbols=names,
        weight=labels.weight,
    )
    ref = write_parquet(staging / "rows.parquet", _frame(bars, labels, plan))
    rows = Rows(
        ref=dataclasses.replace(ref, path="rows.parquet"),
        target=problem.objective,
        windows=plan.windows,
        purged=plan.purged,
        embargo=problem.embargo,
        term_start=plan.term_start,
        fits=tuple(plan.fits),
        folds=plan.folds,
        weighted=problem.target == "triple_barrier",
        floored_share=labels.floored_share,
        warnings=(*labels.warnings, *warnings),
    )
    write_json(staging / "rows.json", to_json(rows))
    log.info("%d rows, gate from %s, %d purged", ref.rows, plan.term_start, plan.purged)


def _frame(bars: pd.DataFrame, labels: Labels, plan: WindowPlan) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "symbol": bars["symbol"],
            "time": bars["time"],
            "session": bars["session"],
            "label": labels.label,
            "label_end": labels.label_end,
            "weight": labels.weight,
            "window": plan.window,
            "scored_by": plan.scored_by,
            **plan.fits,
        }
    )


def _days(bars: pd.DataFrame, bar: str) -> npt.NDArray[np.datetime64]:
    """The date of each bar (datetime64[D]) as the features date it: of shorter bars the UTC date of the close."""
    date = bars["session"] if bar == "1d" else bars["time"].dt.tz_localize(None) - pd.Timedelta(1, "ns")
    return date.to_numpy().astype("datetime64[D]")


def _usable(bars: pd.DataFrame, features: FeatureMatrix) -> tuple[npt.NDArray[np.bool_], tuple[str, ...]]:
    """Which rows have every feature, and what to tell of those beyond the lookback that should and have not.

    Where members alone are compared, nothing is expected of the others.
    """
    matrix = read_parquet(features.ref, ["symbol", "time"])
    _check_aligned(bars, matrix)
    beyond = matrix.groupby("symbol", sort=False).cumcount().to_numpy() >= features.lookback - 1
    told: tuple[str, ...] = ()
    date, days = bars["session" if features.spec.bar == "1d" else "time"], _days(bars, features.spec.bar)
    compared = belongs(bars["symbol"].to_numpy(object), days, features.spec.spells)
    beyond &= compared
    if features.spec.cross_section != "none":
        beyond, told = with_section(date.to_numpy("datetime64[ns]"), beyond)
    usable, columns = compared.copy(), {}
    for column, values in read_columns(features.ref, features.spec.columns):
        finite = np.isfinite(values)
        usable &= finite
        columns[column] = int((beyond & ~finite).sum())
    told = (*told, *lost_rows(matrix["symbol"], beyond, usable, columns))
    if not features.spec.universe:
        return usable, told
    there = usable & matrix["symbol"].isin(features.spec.universe).to_numpy(bool)
    expected = present(features.spec.universe, days, features.spec.spells)
    kept, thin = whole_sections(date.to_numpy("datetime64[ns]"), there, expected)
    return usable & kept, (*told, *thin)


def _check_aligned(bars: pd.DataFrame, matrix: pd.DataFrame) -> None:
    if len(bars) != len(matrix):
        raise DataError(f"the feature matrix has {len(matrix):,} rows, the snapshot {len(bars):,}: compute it again")
    differ = (bars["symbol"] != matrix["symbol"]).to_numpy() | (bars["time"] != matrix["time"]).to_numpy()
    if differ.any():
        row = int(np.flatnonzero(differ)[0])
        raise DataError(
            f"the feature matrix is not aligned with the snapshot: row {row + 1} is {matrix['symbol'].iloc[row]} "
            f"{matrix['time'].iloc[row]}, the bar is {bars['symbol'].iloc[row]} {bars['time'].iloc[row]}: compute it "
            "again"
        )
