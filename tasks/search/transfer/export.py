"""A transfer's network as a serving folder of kind ``sequence``, and proof that it serves what keras predicts.

The tolerance is ``keras_export.TOLERANCE`` (1e-5) on the network's own scale: of a log of volatility, of a return in
units of the window's typical volatility, or of a probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.registry.serving.model_folder import write_model
from tasks.search.keras_export import GRAPH, TOLERANCE, write_graph
from tasks.search.transfer.channels import CHANNELS, MASKED, STEP, Bars, Rows, levels
from tasks.search.transfer.networks import HeadKind, Spec, inputs_of, scale_of

Floats = npt.NDArray[np.float64]
BATCH = 1024


def write_folder(model: Any, spec: Spec, columns: Sequence[str], output: str, folder: Path) -> None:
    """Write ``model.onnx`` and ``model.json``. model: ``networks.head``'s; output: "value" or "probability".

    columns: those of the feature matrix; the channels among them become the model's, in the channels' order. Raises
    EngineError for what cannot be exported.
    """
    write_encoder(model, spec, folder / GRAPH)
    write_model(
        folder,
        {
            "kind": "sequence",
            "output": output,
            "columns": [name for name in CHANNELS if name in columns],
            "history": spec.length - 1,
            **described(spec),
            "target_center": 0.0,
            "target_scale": 1.0,
            "files": {"onnx": GRAPH},
        },
    )


def described(spec: Spec) -> dict[str, Any]:
    """What ``model.json`` says of the windows that a graph takes."""
    image = spec.architecture == "image"
    return {"length": spec.length, "channels": list(CHANNELS), "masked": list(MASKED), "image": image}


def write_encoder(model: Any, spec: Spec, path: Path) -> None:
    """The graph of a model on windows, for any number of them; several outputs stay in their order."""
    write_graph(model, np.zeros((1, spec.length, STEP), dtype=np.float32), path)
    _in_one_file(path)


def _in_one_file(path: Path) -> None:
    """The exporter puts a large network's weights beside the graph; a serving folder has one file, with one digest."""
    beside = path.with_name(f"{path.name}.data")
    if beside.exists():
        import onnx  # noqa: PLC0415 - small networks never need it

        onnx.save_model(onnx.load(path), path, save_as_external_data=False)
        beside.unlink()


def native(model: Any, spec: Spec, bars: Bars, ends: Rows) -> Floats:
    """What keras itself predicts for the windows that end at ``ends`` (m,), in the label's own unit, float64 (m,)."""
    parts = []
    for first in range(0, len(ends), BATCH):
        found = model(inputs_of(spec, bars, ends[first : first + BATCH]), training=False)
        parts.append(np.asarray(found, dtype=np.float64).reshape(-1))
    return np.concatenate(parts) if parts else np.empty(0)


def tolerance(bars: Bars, ends: Rows, length: int, kind: HeadKind) -> float:
    """How far the served may lie from ``native``, in the label's own unit, at the median window's volatility."""
    _, unit = scale_of(levels(bars, ends, length), kind)
    return TOLERANCE * float(np.median(unit)) if len(ends) else TOLERANCE
