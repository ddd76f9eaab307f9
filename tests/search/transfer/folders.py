"""A backbone's folder with made-up arrays: whole and verified, and trained by nobody."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tasks.contracts import Backbone
from tasks.search.transfer import backbone
from tasks.search.transfer.channels import CHANNELS


@dataclass(frozen=True)
class Sizes:
    """What ``networks.Spec`` says, without keras."""

    architecture: str = "tcn"
    length: int = 24
    width: int = 4
    depth: int = 1
    embedding: int = 3
    dropout: float = 0.0
    body: str = ""


def arrays() -> dict[str, dict[str, Any]]:
    """Small ones of each kind."""
    return {
        "weights": {"embedding/kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "stem/bias": np.ones(2)},
        "heads": {"volatility/kernel": np.zeros((3, 2), np.float32), "volatility/bias": np.zeros(2, np.float32)},
        "source": {"values": np.array([[np.nan, 1.0]], np.float32), "starts": np.zeros(1, np.int64)},
        "fisher": {"embedding/kernel": np.ones((2, 3), np.float32)},
    }


def made(folder: Path, **told: Any) -> Backbone:
    """A folder of daily bars up to 2009, or of what is told."""
    document = {
        "name": "tiny",
        "bar": "1d",
        "channels": list(CHANNELS),
        "other_bars": backbone.SCALE_FREE,
        "end": "2009-12-31T21:00:00+00:00",
        "tasks": ["volatility", "direction"],
        "evidence": [evidence()],
        "device": "cpu",
        "seconds": 1.5,
        **told,
    }
    return backbone.write(folder, document, spec=Sizes(), **arrays())  # type: ignore[arg-type]


def evidence(**told: Any) -> dict[str, Any]:
    """A row of it."""
    row = {
        "task": "volatility", "horizon": 5, "loss": 0.09, "naive": 0.1, "against": "HAR", "skill": 0.1, "low": 0.02,
        "high": 0.17, "rows": 300, "first": "2008-06-20T20:00:00+00:00", "last": "2009-11-27T18:00:00+00:00",
    }  # fmt: skip
    return {**row, **told}
