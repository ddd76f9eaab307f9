"""How ``mojos/`` was made: three tiny models trained in H2O, exported, with H2O's own predictions of their rows.

``python -m tests.registry.train_mojos tests/registry/mojos``. ``explained/`` in it is made by ``train_explained``.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h2o
import numpy as np
from h2o.estimators import H2OGeneralizedLinearEstimator, H2OGradientBoostingEstimator

from tasks.search.h2o_server import H2OServer

COLUMNS = ("har_1", "har_5", "har_22", "return_1")
SPARSE = (*COLUMNS, "ema_20", "rsi_14", "adx_14", "macd", "sma_50", "obv_10", "natr_14", "weekday")


def on_h2o(train: Callable[[Path], None], folder: Path) -> None:
    """Train into the folder, with a server of its own."""
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        server = H2OServer(Path(scratch), threads=1, memory_mb=1024)
        try:
            h2o.connect(url=server.url, auth=(server.user, server.password), verbose=False)
            h2o.no_progress()
            train(folder)
        finally:
            server.close()


def made(rng: np.random.Generator) -> tuple[np.ndarray, Any, list[str]]:
    """150 rows in the order of COLUMNS, the same with a value and a class as H2O's frame, and its features' names.

    The frame's order is neither alphabetical nor that of COLUMNS: who trusts positions is found out.
    """
    X = rng.normal(-4.0, 1.0, (150, len(COLUMNS)))
    y = X[:, 0] * 0.5 + np.sin(X[:, 1]) + rng.normal(0, 0.1, 150)
    order = [2, 0, 3, 1]
    frame = h2o.H2OFrame(
        np.column_stack([X[:, order], y, y > y.mean()]).tolist(),
        column_names=[*(COLUMNS[i] for i in order), "y", "up"],
        column_types=["real"] * 5 + ["int"],
    )
    frame["up"] = frame["up"].asfactor()
    return X, frame, [COLUMNS[i] for i in order]


def train(folder: Path) -> None:
    rng = np.random.default_rng(3)
    X, frame, names = made(rng)
    value = H2OGradientBoostingEstimator(ntrees=8, max_depth=3, seed=1, min_rows=5)
    value.train(x=names, y="y", training_frame=frame)
    probability = H2OGeneralizedLinearEstimator(family="binomial", seed=1)
    probability.train(x=names, y="up", training_frame=frame)
    _sparse(folder, rng)
    said = {}
    for label, model in (("value", value), ("probability", probability)):
        path = model.download_mojo(path=str(folder))
        Path(path).rename(folder / f"{label}.zip")
        table = model.predict(frame).as_data_frame(use_multi_thread=False)
        said[label] = table.iloc[:, -1].to_numpy(float)
    rows = [
        [*map(float, row), *map(float, both)] for row, both in zip(X, zip(*said.values(), strict=True), strict=True)
    ]
    document = {"columns": COLUMNS, "said": list(said), "rows": rows}
    (folder / "said.json").write_text(json.dumps(document), encoding="utf-8")


def _sparse(folder: Path, rng: np.random.Generator) -> None:
    """Twelve columns of which the trees split on few: stumps that look for what two of them say."""
    X = rng.normal(0.0, 1.0, (300, len(SPARSE)))
    y = np.sign(X[:, 4]) + 0.5 * np.sign(X[:, 9])
    frame = h2o.H2OFrame(np.column_stack([X, y]).tolist(), column_names=[*SPARSE, "y"])
    model = H2OGradientBoostingEstimator(ntrees=6, max_depth=2, seed=1, min_rows=40)
    model.train(x=list(SPARSE), y="y", training_frame=frame)
    Path(model.download_mojo(path=str(folder))).rename(folder / "sparse.zip")


if __name__ == "__main__":
    on_h2o(train, Path(sys.argv[1]).resolve())
