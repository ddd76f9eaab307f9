"""The Prefect task of the features stage: load the bars, compute the matrix, save it, return a reference."""

from __future__ import annotations

import dataclasses
import logging
import os
from pathlib import Path

import numpy as np
import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.contracts import FeatureMatrix, FeatureSpec, Snapshot, Spell, resolved
from tasks.documents import from_json, to_json
from tasks.errors import ConfigurationError, DataError
from tasks.features import catalogue, parallel
from tasks.features.cross_section import LEAST_NAMES, section_keys
from tasks.features.dates import bar_dates
from tasks.features.series import Array
from tasks.features.truncation import check_truncation
from tasks.masking import at_the_edge
from tasks.membership import is_member, known_by, read_membership
from tasks.problem import Problem
from tasks.storage import StageStore, read_json, read_matrix, read_parquet, write_json, write_parquet

CODE = (
    "tasks/features",
    "tasks/contracts.py",
    "tasks/documents.py",
    "tasks/errors.py",
    "tasks/membership.py",
    "tasks/storage.py",
)
KEYS = ("symbol", "time", "session")
RESULT = "feature_matrix.json"
MATRIX = "matrix.parquet"
CUTS, FEW_CUTS, MANY_ROWS = 12, 2, 100_000
LAST_DATES = 5
"""A name that has no bar on the very last date may be halted for a day; after a week it is gone."""
log = logging.getLogger("nocturne.features")


@task(name="features", cache_policy=NO_CACHE)
@at_the_edge
def build_features(problem: Problem, snapshot: Snapshot, only: tuple[str, ...] = ()) -> FeatureMatrix:
    """The feature matrix of a snapshot, computed once for the same bars, columns, tick and code.

    only: those of its columns that are wanted; empty means all.
    """
    spec = specification(problem, snapshot)
    if only:
        spec = dataclasses.replace(spec, columns=tuple(name for name in spec.columns if name in only))
    store = StageStore()
    inputs = {"snapshot": snapshot.sha256, "spec": to_json(spec), "max_lookback": problem.max_lookback}
    key = store.key("features", inputs, CODE)
    folder = store.get("features", key)
    if folder is None:
        with store.put("features", key) as staging:
            _write(staging, problem, snapshot, spec)
        folder = store.folder("features", key)
    else:
        log.info("features: %d columns reused", len(spec.columns))
    return load(folder)


@task(name="check-features", cache_policy=NO_CACHE)
@at_the_edge
def check_features(problem: Problem, snapshot: Snapshot, features: FeatureMatrix) -> tuple[str, ...]:
    """What in the stored matrix depends on later bars than its row's; empty if nothing. Dates drawn by the seed.

    Some seconds: fewer dates are tried where there are many rows.
    """
    bars = read_parquet(snapshot.bars)
    matrix = pd.DataFrame(read_matrix(features.ref, features.spec.columns), columns=features.spec.columns, copy=False)
    seed = int(snapshot.sha256[:8], 16) ^ problem.seed  # other dates every night, the same for the same bars
    found = check_truncation(bars, features.spec, matrix, FEW_CUTS if len(bars) > MANY_ROWS else CUTS, seed)
    log.log(logging.WARNING if found else logging.INFO, "truncation test of the matrix: %d findings", len(found))
    return found


def specification(problem: Problem, snapshot: Snapshot) -> FeatureSpec:
    """The columns that have a meaning for the snapshot's source and the problem's bounds, and how they are scaled.

    With a membership file the spec has its spells for the snapshot's symbols: who is compared is part of the stage's
    key, of the truncation test and of the model. Raises ConfigurationError where a cross-section is asked of fewer than
    20 symbols, and what ``read_membership`` raises.
    """
    columns = catalogue.select(snapshot.has_volume, snapshot.true_opens, problem.max_lookback)
    spec = FeatureSpec(columns=columns, tick=problem.tick, bar=problem.bar)
    if problem.cross_section == "none":
        return spec
    if len(snapshot.symbols) < LEAST_NAMES:
        raise ConfigurationError(
            f"cross_section '{problem.cross_section}' compares at least {LEAST_NAMES} symbols on each date, the bars "
            f"have {len(snapshot.symbols)}: give more symbols, or set cross_section to 'none'"
        )
    spells = _spells(problem, snapshot) if problem.membership else ()
    return dataclasses.replace(spec, cross_section=problem.cross_section, universe=snapshot.symbols, spells=spells)


def load(folder: Path) -> FeatureMatrix:
    """The stage's result from its published folder, its references pointing there."""
    found: FeatureMatrix = resolved(from_json(FeatureMatrix, read_json(folder / RESULT)), str(folder))
    return found


def _spells(problem: Problem, snapshot: Snapshot) -> tuple[Spell, ...]:
    """The spells of the snapshot's symbols, in whatever file they stand."""
    known = set(snapshot.symbols)
    spells = tuple(spell for spell in read_membership(Path(problem.membership)) if spell.symbol in known)
    symbols = {spell.symbol for spell in spells}
    if len(symbols) < LEAST_NAMES:
        raise ConfigurationError(
            f"{problem.membership}: has spells of {len(symbols)} of the bars' {len(known)} symbols; cross_section "
            f"'{problem.cross_section}' compares at least {LEAST_NAMES} members on a date: are symbols written alike?"
        )
    return spells


def _write(folder: Path, problem: Problem, snapshot: Snapshot, spec: FeatureSpec) -> None:
    bars = read_parquet(snapshot.bars)
    if spec.spells:
        spec = _as_known(bars, spec, problem.membership)
    values = parallel.panel(bars, spec, workers=os.cpu_count() or 1)
    frame = pd.DataFrame(values, columns=list(spec.columns), copy=False)
    for place, name in enumerate(KEYS):
        frame.insert(place, name, bars[name])
    ref = write_parquet(folder / MATRIX, frame)
    result = FeatureMatrix(
        ref=dataclasses.replace(ref, path=MATRIX),
        spec=dataclasses.replace(spec, universe=_still_there(bars, values, spec)),
        lookback=catalogue.lookback(spec.columns),
        left_out=catalogue.left_out(snapshot.has_volume, snapshot.true_opens, problem.max_lookback),
    )
    write_json(folder / RESULT, to_json(result))
    log.info("features: %d rows, %d columns", len(frame), len(spec.columns))


def _as_known(bars: pd.DataFrame, spec: FeatureSpec, origin: str) -> FeatureSpec:
    """The spec with its spells as known at the last bar, and with who is a member then as its universe.

    Raises DataError where fewer than 20 are: a file that ends before the bars do would leave nobody to predict.
    """
    days = bar_dates(bars, spec.bar)
    is_member(bars["symbol"].to_numpy(object), days, spec.spells)
    spells = known_by(days.max(), spec.universe, spec.spells)
    universe = tuple(sorted(spell.symbol for spell in spells if not spell.last))
    if len(universe) < LEAST_NAMES:
        raise DataError(
            f"{origin}: {len(universe)} symbols of the bars still are members after {days.max()}, the last day of "
            f"bars; at least {LEAST_NAMES} are compared: bring the file up to date (an empty 'to': still a member)"
        )
    return dataclasses.replace(spec, spells=spells, universe=universe)


def _still_there(bars: pd.DataFrame, values: Array, spec: FeatureSpec) -> tuple[str, ...]:
    """Of a panel's universe, the symbols that have every feature on one of the last dates.

    A model can be asked of these; those that vanished meanwhile, or came too lately, it would wait for in vain.
    """
    if not spec.universe:
        return ()
    keys = section_keys(bars, spec.bar)
    late = np.flatnonzero(keys >= np.unique(keys)[-LAST_DATES:][0])
    there = bars["symbol"].to_numpy()[late[np.isfinite(values[late]).all(axis=1)]]
    return tuple(sorted(set(there) & set(spec.universe)))
