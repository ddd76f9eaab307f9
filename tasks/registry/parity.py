"""What a registered model says in a clean process, and whether it is what was evaluated.

The process is ``verify.py``: isolated, its environment scrubbed, its working directory and its home scratch folders,
bounded in time. It is given copies that were fetched afresh and compared with their seals (``sealed``), and neither
the store's address nor a password.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.contracts import Snapshot
from tasks.errors import NocturneError, RegistryError
from tasks.registry.sealed import checked_copies
from tasks.registry.verify import MARK
from tasks.storage import read_parquet

SCRIPT = Path(__file__).with_name("verify.py")
TIMEOUT_SECONDS = 600
TOLERANCE = {"baseline": 1e-12, "linear": 1e-12, "h2o": 1e-12, "autokeras": 1e-6, "transfer": 1e-6}
"""Relative, by engine: native models and MOJOs repeat themselves, ONNX computes in float32."""

FEATURES, TAILS = ".features.npy", ".tails.parquet"
_KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "JAVA_HOME", "SYSTEMROOT", "NOCTURNE_JVM_MB")

Floats = npt.NDArray[np.float64]


def _nothing() -> Floats:
    return np.empty(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One model's predictions, aligned with the snapshot's rows (NaN inside the lookback), or the error it met.

    features: what its own code makes of the bars, (rows, columns asked for); tails: predictions from a tail of the
    bars alone, aligned with the rows, NaN where none was asked for. Both empty unless a ``Closer`` asked.
    """

    uri: str
    predictions: Floats
    error: str
    seconds: float
    features: Floats = field(default_factory=_nothing)
    tails: Floats = field(default_factory=_nothing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Closer:
    """What one model is asked besides: its features, and what it predicts from a tail of the bars alone.

    times: ns UTC, in the order in which they are tried until ``seconds`` are over. symbols: empty for a model that
    compares the whole cross-section.
    """

    columns: tuple[str, ...]
    times: tuple[int, ...]
    symbols: tuple[str, ...]
    seconds: float


def ask(tracking_uri: str, uris: Sequence[str], snapshot: Snapshot, closer: Sequence[Closer | None] = ()) -> list[Said]:
    """Each model's predictions for every row of the snapshot, all in one clean process.

    ``closer``: what else, model by model. An error of one model is in its ``Said``. Raises RegistryError if the process
    itself died or took too long.
    """
    with tempfile.TemporaryDirectory(prefix="nocturne-verify-") as scratch:
        folders = checked_copies(tracking_uri, uris, Path(scratch) / "models")
        outs = [Path(scratch) / f"predictions-{index}.parquet" for index in range(len(uris))]
        bars = {"bars": snapshot.bars.path, "sha256": snapshot.bars.sha256}
        models = [
            {"uri": uri, "folder": str(folder), "out": str(out), **bars, **_closer(more, out)}
            for uri, folder, out, more in itertools.zip_longest(uris, folders, outs, closer)
            if isinstance(folder, Path)
        ]
        answers = iter(_run(Path(scratch), {"models": models}) if models else ())
        rows = read_parquet(snapshot.bars, columns=["symbol", "time"])
        return [
            _said(next(answers) if isinstance(folder, Path) else _refused(uri, folder), out, rows)
            for uri, folder, out in zip(uris, folders, outs, strict=True)
        ]


def require_parity(said: Said, expected: Floats, must_cover: npt.NDArray[np.bool_], tolerance: float) -> float:
    """The largest relative difference between what a model said and what was evaluated, over rows that both predict.

    Differences are relative to the prediction or to the predictions' root mean square, whichever is larger, since a
    return's forecast may be as good as zero. Raises RegistryError if the model failed, misses a row of ``must_cover``
    that was evaluated, predicts nothing, or differs by more than the tolerance.
    """
    if said.error:
        raise RegistryError(f"{said.uri}: does not load and predict in a clean process: {said.error}")
    known, told = np.isfinite(expected), np.isfinite(said.predictions)
    missing = int((known & must_cover & ~told).sum())
    both = known & told
    if missing or not both.any():
        raise RegistryError(f"{said.uri}: predicts {int(both.sum())} evaluated rows and misses {missing} that count")
    size = np.maximum(np.abs(expected[both]), np.sqrt(np.mean(expected[both] ** 2)))
    difference = np.abs(said.predictions[both] - expected[both])
    worst = float(np.max(difference / np.maximum(size, np.finfo(np.float64).tiny)))
    if worst > tolerance:
        raise RegistryError(
            f"{said.uri}: loaded afresh, its predictions differ from the evaluated ones by {worst:.3g} relative, "
            f"{tolerance:.3g} is allowed; it is not what was evaluated"
        )
    return worst


def _closer(asked: Closer | None, out: Path) -> dict[str, Any]:
    if asked is None:
        return {}
    files = {"features": str(out.with_suffix(FEATURES)), "tails": str(out.with_suffix(TAILS))}
    return {"closer": {**dataclasses.asdict(asked), **files}}


def _refused(uri: str, error: NocturneError) -> dict[str, Any]:
    return {"uri": uri, "error": str(error), "seconds": 0.0}


def _run(scratch: Path, request: dict[str, Any]) -> list[dict[str, Any]]:
    (scratch / "request.json").write_text(json.dumps(request), encoding="utf-8")
    (scratch / "home").mkdir()
    command = [sys.executable, "-I", "-B", str(SCRIPT), str(scratch / "request.json")]
    try:
        done = subprocess.run(
            command,
            cwd=scratch,
            env=_environment(scratch / "home"),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise RegistryError(f"loading the models afresh took more than {TIMEOUT_SECONDS} s") from error
    answer = next((line for line in reversed(done.stdout.splitlines()) if line.startswith(MARK)), None)
    if done.returncode != 0 or answer is None:
        last = (done.stderr or done.stdout).strip().splitlines()[-5:]
        raise RegistryError(f"the clean process ended with {done.returncode}: {' | '.join(last) or 'no word'}")
    models: list[dict[str, Any]] = json.loads(answer.removeprefix(MARK))["models"]
    return models


def _environment(folder: Path) -> dict[str, str]:
    """No home of a user's, no passwords and no addresses: a model needs none."""
    kept = {name: value for name, value in os.environ.items() if name in _KEPT}
    return kept | {"HOME": str(folder), "MLFLOW_DISABLE_TELEMETRY": "true"}


def _said(answer: dict[str, Any], out: Path, rows: pd.DataFrame) -> Said:
    if answer["error"]:
        nothing = np.full(len(rows), np.nan)
        return Said(uri=answer["uri"], predictions=nothing, error=answer["error"], seconds=answer["seconds"])
    features, tails = out.with_suffix(FEATURES), out.with_suffix(TAILS)
    return Said(
        uri=answer["uri"],
        predictions=_aligned(out, rows),
        error="",
        seconds=answer["seconds"],
        features=np.load(features, allow_pickle=False) if features.is_file() else _nothing(),
        tails=_aligned(tails, rows) if tails.is_file() else _nothing(),
    )


def _aligned(file: Path, rows: pd.DataFrame) -> Floats:
    merged = rows.merge(pd.read_parquet(file), how="left", on=["symbol", "time"], validate="one_to_one")
    return merged["prediction"].to_numpy(dtype=np.float64)
