"""The process that trains a backbone: ``python -m tasks.search.transfer.pretrainer request.json out``.

It is asked with a description (``Pretraining``), the snapshot, the feature matrix of the channels, the version to go
on from, if any, and the digest of the file that weights are taken from; it leaves the backbone's folder below ``out``.
What ends, bounds and reports an engine's process does the same for this one (``child``, ``process``).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from tasks.contracts import Backbone, FeatureMatrix, Snapshot
from tasks.documents import from_json
from tasks.errors import IntegrityError, StorageError
from tasks.memory import peak_mb
from tasks.pretraining import Pretraining
from tasks.search.auto_keras import device, use_jax
from tasks.search.child import serve_document
from tasks.search.engine import Progress
from tasks.search.transfer import backbone
from tasks.search.transfer.channels import CHANNELS, Bars, from_matrix
from tasks.storage import code_digest, lock_digest, read_matrix, read_parquet, sha256_bytes

if TYPE_CHECKING:
    from tasks.search.transfer.backbone import Loaded
    from tasks.search.transfer.pretraining import Begin, Budget, Pretrained

FOLDER = "backbone"
CODE = (
    "tasks/search/transfer",
    "tasks/registry/serving/candles.py",
    "tasks/search/auto_keras.py",
    "tasks/search/child.py",
    "tasks/search/engine.py",
    "tasks/search/lifeline.py",
    "tasks/search/process.py",
    "tasks/statistics",
    "tasks/backbones.py",
    "tasks/contracts.py",
    "tasks/documents.py",
    "tasks/errors.py",
    "tasks/form.py",
    "tasks/memory.py",
    "tasks/pretraining.py",
    "tasks/problem.py",
    "tasks/storage.py",
)


def train(asked: dict[str, Any], out: Path, progress: Progress) -> dict[str, Any]:
    """Answer a request; returns where the folder lies below ``out``. Raises as ``pretraining.pretrain``, and
    IntegrityError where the file of weights is not the one that was asked for or does not match the network.
    """
    plan = Pretraining.model_validate(asked["pretraining"])
    snapshot: Snapshot = from_json(Snapshot, asked["snapshot"])
    features: FeatureMatrix = from_json(FeatureMatrix, asked["features"])
    parent: Backbone | None = from_json(Backbone, asked["parent"]) if asked["parent"] else None
    use_jax(plan.threads)
    from tasks.search.transfer import pretraining  # noqa: PLC0415 - JAX and keras, after their settings

    bars, times = _bars(features)
    progress(0, plan.steps, None, f"training on {len(times):,} bars on {device()}")
    told = _about(plan, snapshot, features)
    if parent is not None:
        made, added = _updated(plan, backbone.read(parent), bars, times, progress)
    else:
        made, added = _anew(plan, asked.get("weights", ""), bars, times, progress)
    told |= {**added, "pretraining": {**told["pretraining"], **added["pretraining"]}, "peak_mb": round(peak_mb())}
    whole = pretraining.manifest(made, **told)
    backbone.write(out / FOLDER, whole, spec=made.spec, **pretraining.arrays(made))
    return {"folder": FOLDER}


def _anew(
    plan: Pretraining, sha256: str, bars: Bars, times: Any, progress: Progress
) -> tuple[Pretrained, dict[str, Any]]:
    """A backbone out of the bars alone, or out of weights from a file; what its manifest says of that."""
    from tasks.search.transfer import objectives, pretraining  # noqa: PLC0415
    from tasks.search.transfer.networks import Spec  # noqa: PLC0415

    spec = Spec(
        architecture=plan.architecture,
        length=plan.length,
        width=plan.width,
        depth=plan.depth,
        embedding=plan.embedding,
        dropout=plan.dropout,
        body=plan.looks,
    )
    budget = _budget(plan, objectives.at_once(spec, plan.tasks))
    made = pretraining.pretrain(
        bars,
        times,
        spec,
        plan.tasks,
        budget,
        plan.seed,
        progress,
        horizons=plan.horizons,
        held_out=plan.held_out,
        watched=plan.watched,
        begin=_weights_of(Path(plan.weights_from), sha256) if plan.weights_from else None,
    )
    began = {"file": Path(plan.weights_from).name, "sha256": sha256} if plan.weights_from else None
    return made, {"weights_from": began, "pretraining": {"batch": budget.batch}}


def _updated(
    plan: Pretraining, parent: Loaded, bars: Bars, times: Any, progress: Progress
) -> tuple[Pretrained, dict[str, Any]]:
    """A backbone that goes on from another; what its manifest says of that, with the values that held."""
    from tasks.search.transfer import continual, objectives  # noqa: PLC0415

    known = parent.backbone
    budget = _budget(plan, objectives.at_once(parent.spec, parent.manifest["tasks"]))
    made = continual.update(parent, bars, times, budget, plan.seed, progress)
    held = continual.shorter(budget)
    return made, {
        "parent": f"{known.name}:{known.version}",
        "parent_sha256": known.sha256,
        "weights_from": parent.manifest.get("weights_from"),
        "pretraining": {
            "batch": held.batch,
            "steps": held.steps,
            "rate": held.rate,
            "held_out": continual.HELD_SHARE,
            "watched": continual.WATCHED_SHARE,
        },
    }


def _budget(plan: Pretraining, most: int) -> Budget:
    """The plan's, with no more windows a step than one pass may take."""
    from tasks.search.transfer.pretraining import Budget  # noqa: PLC0415

    return Budget(
        steps=plan.steps,
        seconds=float(plan.seconds),
        batch=min(plan.batch, most),
        rate=plan.rate,
        replay=plan.replay,
        elastic=plan.elastic,
    )


def _weights_of(path: Path, sha256: str) -> Begin:
    """What puts the weights of a file into a new encoder: of its bytes as they were asked for, read once."""
    from tasks.search.transfer import images  # noqa: PLC0415

    try:
        content = path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
    if sha256_bytes(content) != sha256:
        raise IntegrityError(f"{path}: was altered since the run began: start it again")
    return partial(images.load_application, path=path, content=content)


def _bars(features: FeatureMatrix) -> tuple[Bars, Any]:
    """The channels of every bar, and their closes."""
    keys: pd.DataFrame = read_parquet(features.ref, ["symbol", "time"])
    values = read_matrix(features.ref, features.spec.columns)
    symbols = keys["symbol"].astype(str).to_numpy(object)
    return from_matrix(values, features.spec.columns, symbols), keys["time"].to_numpy("datetime64[ns]")


def _about(plan: Pretraining, snapshot: Snapshot, features: FeatureMatrix) -> dict[str, Any]:
    """What the manifest says besides the training's own facts."""
    return {
        "name": plan.name,
        "bar": snapshot.bar,
        "channels": list(CHANNELS),
        "other_bars": backbone.SCALE_FREE if plan.other_bars == "scaled" else "",
        "until": plan.until,
        "source": {
            "source": plan.source,
            "symbols": list(snapshot.symbols),
            "snapshot": snapshot.sha256,
            "first": snapshot.first,
            "last": snapshot.last,
            "rows": features.ref.rows,
        },
        "parent": "",
        "parent_sha256": "",
        "seed": plan.seed,
        "pretraining": plan.model_dump(mode="json"),
        "code": code_digest(*CODE),
        "lock": lock_digest(),
    }


def close() -> None:
    """Nothing to end: keras and JAX live in this process."""


if __name__ == "__main__":
    serve_document(train, close)
