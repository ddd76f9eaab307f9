"""What a bundle knows of its training: ``statistics.json``, and ``intervals.json`` where there are residuals.

The statistics are over the rows that this very fit learned from; the closes and the pace of the bars are of all bars up
to the end of the last label that it saw.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.contracts import Candidate
from tasks.documents import to_json
from tasks.registry.records import Night
from tasks.registry.residuals import intervals
from tasks.registry.serving.intervals import INTERVALS
from tasks.registry.serving.model_folder import read_document
from tasks.registry.serving.statistics import LEVELS, STATISTICS, ColumnStatistics, TrainingStatistics
from tasks.storage import read_matrix, read_parquet, read_predictions, write_json

_KEYS = ("time", "label_end", "window")
_SEARCH = ("train", "validation", "blending")
_AT_ONCE = 16
"""Feature columns read together: a panel's whole matrix does not fit beside everything else."""
_YEAR_SECONDS = 365.25 * 86_400.0
_HISTORY_FOR_A_RATE = 60

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def write_reference(folder: Path, night: Night, candidate: Candidate, facts: dict[str, Any]) -> None:
    """Write the statistics, and the intervals where the leaderboard has residuals of the candidate, into a bundle.

    ``facts`` as for ``write_bundle``; what ``facts["evidence"]["intervals"]`` holds (``coverage.gate_coverage`` as
    JSON) goes into the intervals as measured. Raises IntegrityError for a damaged file, StorageError if nothing can be
    written.
    """
    write_json(folder / STATISTICS, to_json(training_statistics(night, candidate)))
    found = intervals(night, candidate, facts.get("evidence", {}).get("intervals"))
    if found is not None:
        write_json(folder / INTERVALS, to_json(found))


def training_statistics(night: Night, candidate: Candidate) -> TrainingStatistics:
    """Distributions over the rows that the fit learned from. Raises IntegrityError for a damaged file."""
    rows = read_parquet(night.rows.ref, [*_KEYS, *([candidate.rows] if candidate.rows else [])])
    learned = _learned(rows, candidate)
    until = rows["label_end"][learned].max()
    return TrainingStatistics(
        rows=int(learned.sum()),
        first=rows["time"][learned].min().isoformat(),
        last=rows["time"][learned].max().isoformat(),
        columns=_column_statistics(night, tuple(read_document(Path(candidate.model))["columns"]), learned),
        prediction=_statistics("prediction", read_predictions(candidate.predictions)[learned]),
        last_bar=until.isoformat(),
        **_of_bars(read_parquet(night.snapshot.bars, ["symbol", "time", "close"]), until),
    )


def _learned(rows: pd.DataFrame, candidate: Candidate) -> Mask:
    """Rows whose labels the fit saw, (n,): what its column of the windows marks, or a search's own windows."""
    if candidate.rows:
        return rows[candidate.rows].to_numpy(bool)
    return np.asarray(rows["window"].isin(_SEARCH) & rows["label_end"].notna(), dtype=bool)


def _column_statistics(night: Night, columns: tuple[str, ...], learned: Mask) -> tuple[ColumnStatistics, ...]:
    found: list[ColumnStatistics] = []
    for start in range(0, len(columns), _AT_ONCE):
        names = columns[start : start + _AT_ONCE]
        matrix = read_matrix(night.features.ref, names)
        found += [_statistics(name, matrix[learned, place]) for place, name in enumerate(names)]
    return tuple(found)


def _statistics(name: str, values: Floats) -> ColumnStatistics:
    """NaN is left out: a panel's rows of names that are no members have none; of nothing, every figure is NaN."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return ColumnStatistics(name=name, mean=float("nan"), std=float("nan"), quantiles=())
    quantiles = tuple(_short(value) for value in np.quantile(finite, LEVELS))
    return ColumnStatistics(name=name, mean=_short(finite.mean()), std=_short(finite.std()), quantiles=quantiles)


def _of_bars(bars: pd.DataFrame, until: pd.Timestamp) -> dict[str, Any]:
    """The fields of ``TrainingStatistics`` that come from the bars through ``until``."""
    closes: dict[str, tuple[float, ...]] = {}
    ends: dict[str, str] = {}
    paces = []
    for symbol, part in bars[(bars["time"] <= until).to_numpy()].groupby("symbol", sort=True):
        close, seconds = (
            part["close"].to_numpy(np.float64),
            part["time"].to_numpy("datetime64[ns]").astype(np.int64) / 1e9,
        )
        closes[str(symbol)] = tuple(_short(value) for value in (close.min(), close.max(), close[-1]))
        if part["time"].iloc[-1] < until:
            ends[str(symbol)] = part["time"].iloc[-1].isoformat()
        if len(part) >= _HISTORY_FOR_A_RATE:
            paces.append((len(part) - 1) / (seconds[-1] - seconds[0]))
    return {
        "closes": closes,
        "until": ends,
        "bars_a_year": _short(np.median(paces) * _YEAR_SECONDS) if paces else 0.0,
    }


def _short(value: Any) -> float:
    """Nine digits: enough for every use, and half the file."""
    return float(f"{float(value):.9g}")
