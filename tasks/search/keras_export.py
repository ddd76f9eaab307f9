"""A trained keras network as a serving folder: an ONNX graph, the scaling of its fold, and proof that they agree.

onnxruntime and keras differ by rounding alone: at most ``TOLERANCE`` on the network's own scale (standard deviations
of the target, or probability), for every block of the search space. ``MaxPooling2D``, which the space does not have,
exports and is then refused by onnxruntime.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tasks.errors import EngineError
from tasks.registry.serving.model_folder import write_model
from tasks.registry.serving.scorers import load_scorer
from tasks.search.fold_scaling import Floats, FoldScaling

TOLERANCE = 1e-5
GRAPH = "model.onnx"


def write_graph(network: Any, inputs: Any, path: Path) -> None:
    """Write the forward pass as ONNX, for any number of rows; ``inputs`` is one row, as the network takes it."""
    import_jax_plugins()
    network(inputs)  # only a network that was called can be exported
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        network.export(str(path), format="onnx", verbose=False)
    except Exception as error:  # the exporter's boundary: it raises of every kind for what it cannot express
        raise EngineError(f"{path.parent.name}: cannot be exported to ONNX: {error}") from error


def write_folder(network: Any, scaling: FoldScaling, columns: Sequence[str], output: str, folder: Path) -> None:
    """Write ``model.onnx`` and ``model.json``; ``output`` is "value" or "probability"."""
    write_graph(network, [np.zeros((1, len(columns)), np.float32)], folder / GRAPH)
    write_model(
        folder,
        {
            "kind": "onnx",
            "output": output,
            "columns": list(columns),
            "history": 0,
            "center": scaling.center.tolist(),
            "scale": scaling.scale.tolist(),
            "clip": scaling.clip,
            "target_center": scaling.target_center,
            "target_scale": scaling.target_scale,
            "files": {"onnx": GRAPH},
        },
    )


def require_same(folder: Path, X: Floats, native: Floats, tolerance: float) -> None:
    """Raise EngineError unless what serves the folder gives ``native`` (n,) for ``X`` (n, features), to a tolerance."""
    try:
        served = load_scorer(folder).predict(X)
    except Exception as error:  # onnxruntime's boundary: it has exceptions of its own, also for a single operation
        raise EngineError(f"{folder.name}: the exported network cannot be served: {error}") from error
    worst = float(np.max(np.abs(served - native), initial=0.0))
    if not worst <= tolerance:
        raise EngineError(
            f"{folder.name}: the exported network differs from keras by {worst:.3g} (allowed {tolerance:.3g}): refused"
        )


def import_jax_plugins() -> None:
    """Have jax2onnx know JAX's own operations and no more.

    Left alone it imports, on the first export of a process, its plugins for other frameworks and all its examples,
    which build networks: 12 s of processor time. Where a release is laid out otherwise, it is left alone.
    """
    system: Any = importlib.import_module("jax2onnx.plugins.plugin_system")
    ours: Any = importlib.import_module("jax2onnx.plugins.jax")
    if hasattr(system, "_already_imported_plugins") and not system._already_imported_plugins:
        root = Path(ours.__path__[0])
        for source in sorted(root.rglob("*.py")):
            importlib.import_module(".".join([ours.__name__, *source.relative_to(root).with_suffix("").parts]))
        system._already_imported_plugins = True
