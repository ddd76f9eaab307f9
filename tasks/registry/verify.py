"""Loads models in a process that has nothing of this project, predicts from raw bars, writes what they said.

Run as a file: ``python -I verify.py request.json``. It is what a stranger's process would be: the project's packages
and the engines cannot be imported, no pickle may be loaded, the working directory is elsewhere. Several models are
done one after the other; one that fails does not take the others along.

The request: ``{"tracking_uri", "models": [{"uri", "bars", "sha256", "out"}]}``; the answer is printed as one JSON line:
``{"models": [{"uri", "rows", "error", "seconds"}]}``. Bars are Parquet; predictions are written as Parquet with the
columns that the model returned. Standard library, pandas and MLflow only.
"""

from __future__ import annotations

import hashlib
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
        raise PermissionError(f"a promoted model must not contain a pickle: {arguments[1:]}")


def main(request_file: str) -> None:
    """Answer one request; see the module's docstring."""
    request = json.loads(Path(request_file).read_bytes())
    sys.meta_path.insert(0, Absent())
    import mlflow  # noqa: PLC0415

    mlflow.set_tracking_uri(request["tracking_uri"])
    sys.addaudithook(forbid_pickle)
    answers = [_answer(item) for item in request["models"]]
    print(MARK + json.dumps({"models": answers}))  # noqa: T201 - the answer to the parent process


def _answer(item: dict[str, str]) -> dict[str, Any]:
    begun = time.perf_counter()
    rows, error = 0, ""
    try:
        rows = _predict(item)
    except Exception as failure:  # noqa: BLE001 - a foreign model may raise anything; the parent decides what it means
        error = f"{type(failure).__name__}: {failure}"
    return {"uri": item["uri"], "rows": rows, "error": error, "seconds": time.perf_counter() - begun}


def _predict(item: dict[str, str]) -> int:
    import mlflow  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415

    if hashlib.sha256(Path(item["bars"]).read_bytes()).hexdigest() != item["sha256"]:
        raise ValueError(f"{item['bars']}: not the bars that were asked for")
    bars = pd.read_parquet(item["bars"])
    model = mlflow.pyfunc.load_model(item["uri"])
    predictions = model.predict(bars[[name for name in RAW if name in bars.columns]], params={"rows": "all"})
    predictions.to_parquet(item["out"], index=False)
    return len(predictions)


if __name__ == "__main__":
    main(sys.argv[1])
