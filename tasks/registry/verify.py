"""Loads models in a process that has nothing of this project, predicts from raw bars, writes what they said.

Run as a file: ``python -I verify.py request.json``. It is what a stranger's process would be: the project's packages
and the engines cannot be imported, no pickle may be loaded, the working directory is elsewhere. Several models are
done one after the other; one that fails does not take the others along.

The request: ``{"models": [{"uri", "folder", "bars", "sha256", "out"}]}``, ``folder`` being a checked copy of the model
and ``uri`` its name in what is said of it; the answer is printed as one JSON line: ``{"models": [{"uri", "rows",
"error", "seconds"}]}``. Bars are Parquet; predictions are written as Parquet with the
columns that the model returned. Standard library, NumPy, pandas and MLflow only.

A model may be asked more, with ``"closer": {"columns", "features", "times", "symbols", "tails", "seconds"}``: these
feature columns of all bars, computed by its own code, go to the file ``features`` (npy); predictions from the last
``bars_needed`` bars alone, up to each of the times (ns, UTC) for each of the symbols (empty: the whole cross-section),
to the file ``tails``, as many as the seconds allow and at least one.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import importlib.abc
import json
import sys
import time
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

FORBIDDEN = ("tasks", "flows", "h2o", "autokeras", "keras", "keras_tuner", "jax", "tensorflow", "torch", "prefect")
RAW = ("symbol", "time", "open", "high", "low", "close", "volume")
MARK = "nocturne-verify:"


class Absent(importlib.abc.MetaPathFinder):
    """Makes what a consumer need not have impossible to import."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - the import system's signature
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        """Raises ModuleNotFoundError for forbidden packages, knows nothing of any other."""
        if fullname.partition(".")[0] in FORBIDDEN:
            raise ModuleNotFoundError(f"{fullname} is not available to a promoted model", name=fullname)
        return None


def forbid_pickle(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: looking up a global while unpickling is how a pickle runs code."""
    if event == "pickle.find_class":
        raise PermissionError(f"a promoted model must not contain a pickle: {arguments}")


def main(request_file: str) -> None:
    """Answer one request; see the module's docstring."""
    request = json.loads(Path(request_file).read_bytes())
    sys.meta_path.insert(0, Absent())
    import mlflow  # noqa: F401, PLC0415 - before the hook: only models are forbidden pickles

    sys.addaudithook(forbid_pickle)
    answers = [_answer(item) for item in request["models"]]
    print(MARK + json.dumps({"models": answers}))  # noqa: T201 - the answer to the parent process


def _answer(item: dict[str, Any]) -> dict[str, Any]:
    begun = time.perf_counter()
    rows, error = 0, ""
    try:
        rows = _predict(item)
    except Exception as failure:  # noqa: BLE001 - a foreign model may raise anything; the parent decides what it means
        error = f"{type(failure).__name__}: {failure}"
    return {"uri": item["uri"], "rows": rows, "error": error, "seconds": time.perf_counter() - begun}


def _predict(item: dict[str, Any]) -> int:
    import mlflow  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415

    if hashlib.sha256(Path(item["bars"]).read_bytes()).hexdigest() != item["sha256"]:
        raise ValueError(f"{item['bars']}: not the bars that were asked for")
    bars = pd.read_parquet(item["bars"])
    model = mlflow.pyfunc.load_model(item["folder"])
    predictions = model.predict(bars[[name for name in RAW if name in bars.columns]], params={"rows": "all"})
    predictions.to_parquet(item["out"], index=False)
    if "closer" in item:
        predictor = model.unwrap_python_model().predictor
        _write_features(item["closer"], predictor, bars)
        _write_tails(item["closer"], predictor, bars, predictions)
    return len(predictions)


def _write_features(asked: dict[str, Any], predictor: Any, bars: Any) -> None:
    import numpy as np  # noqa: PLC0415

    package = type(predictor).__module__.removesuffix(".registry.serving.predictor")
    matrix = importlib.import_module(f"{package}.features.matrix")
    spec = dataclasses.replace(predictor.manifest.spec, columns=tuple(asked["columns"]))
    np.save(asked["features"], matrix.panel(bars, spec), allow_pickle=False)


def _write_tails(asked: dict[str, Any], predictor: Any, bars: Any, whole: Any) -> None:
    import pandas as pd  # noqa: PLC0415

    parts = [_symbol(part, whole, predictor.bars_needed, asked["symbols"]) for _, part in bars.groupby("symbol")]
    said, until = [], time.monotonic() + asked["seconds"]
    for when in asked["times"]:
        tails = [part.iloc[ends[when] - predictor.bars_needed : ends[when]] for part, ends in parts if when in ends]
        if tails:
            said.append(predictor.predict(pd.concat(tails, ignore_index=True)))
        if time.monotonic() > until:
            break
    (pd.concat(said) if said else whole.iloc[:0]).to_parquet(asked["tails"], index=False)


def _symbol(part: Any, whole: Any, needed: int, chosen: list[str]) -> tuple[Any, dict[int, int]]:
    """A symbol's raw bars, and for each time that can be predicted from its own tail the number of bars up to it."""
    import pandas as pd  # noqa: PLC0415

    name = part["symbol"].iloc[0]
    stamps = pd.DatetimeIndex(part["time"]).as_unit("ns").astype("int64").tolist()
    ends = {stamp: end for end, stamp in enumerate(stamps, start=1) if end >= needed}
    if chosen:
        known = set(pd.DatetimeIndex(whole["time"][whole["symbol"] == name]).as_unit("ns").astype("int64").tolist())
        ends = {stamp: end for stamp, end in ends.items() if stamp in known and name in chosen}
    return part[[column for column in RAW if column in part.columns]], ends


if __name__ == "__main__":
    main(sys.argv[1])
