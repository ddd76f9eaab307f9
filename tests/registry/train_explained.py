"""How ``mojos/explained/`` was made: tiny ensembles of trees, with H2O's own contributions and predictions of rows.

Run as a script with a folder: ``python tests/registry/train_explained.py tests/registry/mojos/explained``.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import h2o
import numpy as np
from h2o.estimators import H2OGradientBoostingEstimator, H2ORandomForestEstimator

from tasks.search.h2o_server import H2OServer

COLUMNS = ("har_1", "har_5", "har_22", "return_1")
ROWS = 20


def main(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        server = H2OServer(Path(scratch), threads=1, memory_mb=1024)
        try:
            h2o.connect(url=server.url, auth=(server.user, server.password), verbose=False)
            h2o.no_progress()
            train(folder)
        finally:
            server.close()


def models() -> dict[str, Any]:
    trees = {"ntrees": 6, "max_depth": 3, "seed": 1, "min_rows": 5}
    return {"gbm": H2OGradientBoostingEstimator(**trees), "drf": H2ORandomForestEstimator(**trees)}


def train(folder: Path) -> None:
    rng = np.random.default_rng(5)
    X = rng.normal(-4.0, 1.0, (150, len(COLUMNS)))
    y = X[:, 0] * 0.5 + np.sin(X[:, 1]) + rng.normal(0, 0.1, 150)
    # Not the alphabetical order, nor that of COLUMNS: an explanation that trusts positions is found out.
    order = [2, 0, 3, 1]
    frame = h2o.H2OFrame(
        np.column_stack([X[:, order], y, y > y.mean()]).tolist(),
        column_names=[*(COLUMNS[i] for i in order), "y", "up"],
        column_types=["real"] * 5 + ["int"],
    )
    frame["up"] = frame["up"].asfactor()
    names = [COLUMNS[i] for i in order]
    said: dict[str, Any] = {"columns": COLUMNS, "rows": X[:ROWS].tolist(), "models": {}}
    for target, label in (("y", "value"), ("up", "probability")):
        for name, model in models().items():
            model.train(x=names, y=target, training_frame=frame)
            Path(model.download_mojo(path=str(folder))).rename(folder / f"{name}-{label}.zip")
            shares = model.predict_contributions(frame[:ROWS, :]).as_data_frame(use_multi_thread=False)
            told = model.predict(frame[:ROWS, :]).as_data_frame(use_multi_thread=False)
            said["models"][f"{name}-{label}"] = {
                "contributions": shares[list(COLUMNS)].to_numpy(float).tolist(),
                "base": shares["BiasTerm"].to_numpy(float).tolist(),
                "predictions": told.iloc[:, -1].to_numpy(float).tolist(),
            }
    (folder / "said.json").write_text(json.dumps(said), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
