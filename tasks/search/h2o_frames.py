"""Rows to an H2O cluster and predictions back, without a file that the server would have to read or write.

H2O's parsers keep a number's decimal digits, not its bits: what arrives can differ in the last bit. Through CSV that
is one value in twenty, through Parquet one in two. Predictions come back as hexadecimal floats, exactly.
"""

from __future__ import annotations

from itertools import count, pairwise
from pathlib import Path
from typing import Any

import h2o
import numpy as np
import numpy.typing as npt
import pyarrow
from pyarrow import csv

from tasks.errors import EngineError
from tasks.search.engine import TrainingData

LABEL, WEIGHT = "label", "weight"
_NUMBERS = count()


class Sample:
    """Rows in the cluster, in time order, with the two parts that an ensemble needs.

    ``later`` are the rows of the last share of the dates, ``earlier`` those before it, less the bars whose labels
    reach into it. ``every`` are all. ``later_rows`` are the later part's indices into the training data. ``weights``
    names the column of what each row counts, None where all count the same. With a ``prefix``, all that is made of the
    rows is named by it: on a cluster that is not ours alone, that says whose it is.
    """

    def __init__(
        self,
        data: TrainingData,
        rows: npt.NDArray[np.int64],
        columns: tuple[str, ...],
        later_share: float,
        scratch: Path,
        *,
        prefix: str = "",
    ) -> None:
        self._prefix = prefix
        rows = rows[np.argsort(data.times[rows], kind="stable")]
        self.columns = columns
        self.classify = data.target.kind == "classification"
        self.weights = WEIGHT if data.weighted else None
        self.every = _upload(data, rows, columns, scratch, self.name("rows"))
        end, begin = parts(data.times[rows], later_share, data.target.horizon)
        self.earlier, self.later = self._slice(0, end), self._slice(begin, len(rows))
        self.later_rows = rows[begin:]

    def free(self) -> None:
        """Take the rows out of the cluster's memory."""
        frames = [self.every, *([self.earlier, self.later] if self._prefix else [])]
        self.every = self.earlier = self.later = None
        for frame in frames:
            h2o.remove(frame)

    def cut(self, lengths: list[int]) -> list[Any]:
        """All rows, cut into frames of these lengths."""
        ends = np.cumsum([0, *lengths]).tolist()
        return [self._slice(a, b) for a, b in pairwise(ends)]

    def name(self, kind: str) -> str | None:
        """A new name for something made of these rows; None where H2O may choose."""
        if not self._prefix:
            return None
        return f"{self._prefix}{kind}_{next(_NUMBERS)}"

    def _slice(self, begin: int, end: int) -> Any:
        part, name = self.every[begin:end, :], self.name("part")
        return part if name is None else h2o.assign(part, name)


def parts(times: npt.NDArray[np.datetime64], later_share: float, horizon: int) -> tuple[int, int]:
    """Where the earlier part ends and the later begins, as row numbers, for ascending times (n,).

    A label counts ``horizon`` bars from its own; the last of them must lie before the later part's first bar.
    Raises EngineError if that leaves nothing earlier.
    """
    dates, date = np.unique(times, return_inverse=True)
    first = len(dates) - max(1, round(later_share * len(dates)))
    end, begin = np.searchsorted(date, [first - horizon, first])
    if not 0 < end <= begin:
        raise EngineError(f"{len(dates)} dates are too few to blend an ensemble at horizon {horizon}")
    return int(end), int(begin)


def _upload(
    data: TrainingData, rows: npt.NDArray[np.int64], columns: tuple[str, ...], scratch: Path, name: str | None
) -> Any:
    """An H2O frame of these rows: features as doubles, the label (a two-level factor for classification), weights."""
    classify = data.target.kind == "classification"
    X, y, weights = data.take(rows, columns), data.y[rows], data.weights(rows)
    table = {name: X[:, i] for i, name in enumerate(columns)} | {LABEL: y.astype(np.int64) if classify else y}
    types = ["double"] * len(columns) + ["enum" if classify else "double"]
    if weights is not None:
        table[WEIGHT] = weights
        types.append("double")
    path = scratch / "upload.csv"
    csv.write_csv(pyarrow.table(table), path)  # five times as fast as pandas, and as exact
    uploaded = h2o.upload_file(str(path), destination_frame=name, col_types=types, header=1)
    path.unlink()
    return uploaded


def predictions(model: Any, frame: Any) -> npt.NDArray[np.float64]:
    """The cluster's own predictions, float64 (rows,): the value, or the probability of class "1"."""
    predicted = model.predict(frame)
    text = h2o.api("GET /3/DownloadDataset", data={"frame_id": predicted.frame_id, "hex_string": True})
    header, *lines = text.strip().split("\n")
    names = [name.strip('"') for name in header.split(",")]
    index = names.index("p1") if "p1" in names else 0
    return np.array([_number(line.split(",")[index]) for line in lines])


def _number(text: str) -> float:
    return float.fromhex(text) if "0x" in text else float(text)


def free_models() -> None:
    """Take every model out of the cluster's memory; frames stay."""
    for model in h2o.api("GET /3/Models")["models"]:
        h2o.remove(model["model_id"]["name"])
