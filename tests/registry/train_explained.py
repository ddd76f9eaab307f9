"""How ``mojos/explained/`` was made: tiny ensembles of trees, with H2O's own contributions and predictions of rows.

``python -m tests.registry.train_explained tests/registry/mojos/explained``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from h2o.estimators import H2OGradientBoostingEstimator, H2ORandomForestEstimator

from tests.registry.train_mojos import COLUMNS, made, on_h2o

ROWS = 20


def models() -> dict[str, Any]:
    trees = {"ntrees": 6, "max_depth": 3, "seed": 1, "min_rows": 5}
    return {"gbm": H2OGradientBoostingEstimator(**trees), "drf": H2ORandomForestEstimator(**trees)}


def train(folder: Path) -> None:
    X, frame, names = made(np.random.default_rng(5))
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
    on_h2o(train, Path(sys.argv[1]).resolve())
