"""How often intervals held: on the gate window when a version is registered, and in service since its recipe came in.

The gate window is looked at once the gate has decided, with the gated fit, and decides nothing. In service every
session is judged by the intervals and predictions of a version that had not seen it (``service``); the registered
model's tag ``nocturne.coverage`` says it.
"""

from __future__ import annotations

import dataclasses
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.contracts import Candidate, FeatureMatrix, Rows, Snapshot
from tasks.documents import to_json
from tasks.registry import mlflow_store
from tasks.registry.mlflow_store import Store
from tasks.registry.records import ChampionInfo, Entry, Night
from tasks.registry.residuals import STAMP, errors, has_errors, scales, walked_scores
from tasks.registry.service import InService, Served
from tasks.registry.serving.bundle import MANIFEST, read_manifest
from tasks.registry.serving.intervals import GAMMA, Intervals, read_intervals, scaling_for
from tasks.registry.watched import clear_model_tag, set_model_tag
from tasks.statistics.conformal import Coverage, adapt, covered, radius
from tasks.storage import read_parquet, read_predictions

ASKED = 0.9
COVERAGE = "nocturne.coverage"
_ROWS = ["symbol", "time", "label", "label_end"]
log = logging.getLogger("nocturne.registry")

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalCoverage:
    """How the interval held on a stretch of dates: as it ships, and with ACI told each outcome when it was known.

    ``width``: mean width of the fixed interval, in the target's unit; ``adapted_width`` that of the adapted one over
    rows on which it was finite, ``unbounded`` the share of dates on which it was not.
    """

    coverage: float
    fixed: Coverage
    adapted: Coverage
    width: float
    adapted_width: float
    unbounded: float
    gamma: float


def gate_coverage(night: Night, gated: Candidate) -> IntervalCoverage | None:
    """On the gate window by the gated fit; None where it has no walk-forward errors, or no gate rows.

    Only for a fit that the gate has decided on. Raises IntegrityError for a damaged file.
    """
    if not has_errors(night, gated.name):
        return None
    rows = read_parquet(night.rows.ref, [*_ROWS, "window"]).assign(prediction=read_predictions(gated.predictions))
    gate = _usable(rows[rows["window"] == "gate"])
    if gate.empty:
        return None
    scale = scales(scaling_for(night.rows.target), night.snapshot, night.features.spec.tick, gate)
    calibration, _ = walked_scores(night, gated.name)
    return _held(calibration, gate, scale, night.rows.target.horizon - 1)


def with_coverage(entry: Entry, night: Night) -> Entry:
    """The entry with how its intervals held on the gate window, if the gate has measured it at all."""
    found = gate_coverage(night, entry.gated) if entry.gate_metrics else None
    return entry if found is None else dataclasses.replace(entry, coverage=to_json(found))


def coverage_tags(entry: Entry) -> dict[str, str]:
    """The version's tag ``coverage``: in words, what the intervals promised and what they held on the gate window."""
    return {"coverage": _words(entry.coverage, "gate")} if entry.coverage else {}


def coverage_since(
    store: Store,
    champion: ChampionInfo,
    spoke: InService,
    *,
    snapshot: Snapshot,
    features: FeatureMatrix,
    rows: Rows,
) -> str:
    """What the intervals of the champion's recipe held since it came in, in words, kept as the model's tag.

    Each session is judged as ``spoke`` says who answers for it; ACI starts from the first one's intervals. Where those
    have none, or no label has ended since, nothing is said, and what the tag said of a version before is taken away.
    Raises RegistryError if a bundle cannot be had or MLflow refuses, IntegrityError for a damaged file.
    """
    first = spoke.champion[0]
    table = read_parquet(rows.ref, _ROWS).assign(prediction=read_predictions(spoke.predictions["champion"]))
    later = _usable(table[(table["time"] > pd.Timestamp(first.training_end)).to_numpy()])
    found = _intervals_of(store, first.model_uri) if len(later) else None
    if found is None:
        clear_model_tag(store, champion.name, COVERAGE)
        return ""
    reach = _reach(store, spoke.champion, found, later["time"])
    scale = scales(found.scaling, snapshot, features.spec.tick, later)
    held = _held(np.array(found.scores), later, scale, rows.target.horizon - 1, reach)
    came = "" if first.version == champion.version else f", its recipe since version {first.version}"
    said = f"version {champion.version}{came}: {_words(to_json(held), 'live')}"
    set_model_tag(store, champion.name, COVERAGE, said)
    log.info("%s %s", champion.name, said)
    return said


def _reach(store: Store, answering: tuple[Served, ...], first: Intervals, times: pd.Series) -> Floats:
    """By row the radius as the version shipped it that answers for the row, float64 (rows,)."""
    reach = np.full(len(times), first.radius(ASKED))
    for served in answering[1:]:
        found = _intervals_of(store, served.model_uri)
        if found is not None:
            reach[(times > pd.Timestamp(served.training_end)).to_numpy()] = found.radius(ASKED)
    return reach


def _intervals_of(store: Store, uri: str) -> Intervals | None:
    with tempfile.TemporaryDirectory(prefix="nocturne-intervals-") as scratch:
        folder = mlflow_store.fetch(store, uri, Path(scratch))
        for manifest in sorted(folder.rglob(MANIFEST)):
            read_manifest(manifest.parent)  # verifies every file
            return read_intervals(manifest.parent)
    return None


def _usable(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with label and prediction, in time order."""
    whole = rows[rows["label"].notna() & rows["prediction"].notna()]
    return whole.sort_values(["time", "symbol"], kind="stable", ignore_index=True)


def _held(
    calibration: Floats, rows: pd.DataFrame, scale: Floats, overlap: int, shipped: Floats | None = None
) -> IntervalCoverage:
    """shipped: by row the radius as it ships, where that is not the calibration's on all of them."""
    scores = errors(rows) / scale
    number, times = pd.factorize(rows["time"], sort=True)
    date = number.astype(np.int64)
    fixed = np.full(len(rows), radius(calibration, ASKED)) if shipped is None else shipped
    moved = adapt(calibration, scores, date, _known(rows, times), coverage=ASKED, gamma=GAMMA)
    reach = moved.radius[date]
    finite = np.isfinite(reach)
    return IntervalCoverage(
        coverage=ASKED,
        fixed=covered(scores <= fixed, date, overlap=overlap),
        adapted=covered(scores <= reach, date, overlap=overlap),
        width=float(2.0 * np.mean(fixed * scale)),
        adapted_width=float(2.0 * np.mean((reach * scale)[finite])) if finite.any() else float("nan"),
        unbounded=float(np.mean(~np.isfinite(moved.radius))),
        gamma=GAMMA,
    )


def _known(rows: pd.DataFrame, times: pd.Index) -> npt.NDArray[np.int64]:
    """How many leading dates have all their labels ended when each date is predicted, (T,)."""
    ends = rows.groupby("time", sort=True)["label_end"].max().cummax()
    return np.asarray(np.searchsorted(ends.to_numpy(STAMP), times.to_numpy(STAMP), side="right"), dtype=np.int64)


def _words(found: dict[str, Any], which: str) -> str:
    asked, fixed, adapted = (found[name] for name in ("coverage", "fixed", "adapted"))
    between = "" if fixed["low"] is None else f", 95 % interval {fixed['low']:.3f} to {fixed['high']:.3f}"
    return (
        f"asked {asked:.3f}; held {fixed['share']:.3f} on {fixed['dates']} {which} dates as it ships{between}; "
        f"{adapted['share']:.3f} if told each outcome"
    )
