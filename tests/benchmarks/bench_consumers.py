"""What it takes a stranger to get a first prediction: packages, megabytes, seconds from nothing, memory.

For each kind of winner (linear or another baseline, MOJO, ONNX), with MLflow's slim client alone and with the project's
``nocturne-client``: a new virtual environment, the model pulled over HTTP from a real server on the loopback, raw bars
in, a prediction out, which must be the one that this project's own process gives. And the client without MLflow, from
a folder that ``pull --to`` made.

- install: creating the environment and installing from uv's cache of packages (``--cold``: from an empty cache, over
  the network); import, load, predict: of a new process, whose files the disk's cache holds: load is the pull over HTTP
  included, predict the first one; total: from nothing to the prediction, the process's own start included;
- again: a second process loads it once more (from the client's disk cache; over HTTP for MLflow);
- memory: what the process holds after its predictions, its own share (PSS) and resident (RSS).

``python -m tests.benchmarks.bench_consumers [--cold] [linear] [mojo] [onnx]`` prints the table.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.registry import mlflow_store
from tasks.registry.bundle import entry_facts, write_bundle
from tasks.registry.client.pulling import pull
from tasks.registry.serving.predictor import Predictor
from tasks.storage import write_parquet
from tests.registry import strangers
from tests.registry.conftest import make_bars, make_entry, make_night, raw
from tests.registry.servers import mlflow_command, register, serving
from tests.registry.serving.test_scorers import onnx_model

KINDS = ("linear", "mojo", "onnx")
MLFLOW, CLIENT, BARE = "mlflow-skinny", "nocturne-client", "nocturne-client, a folder"
WITH = (MLFLOW, CLIENT, BARE)
MOJOS = Path(__file__).resolve().parents[1] / "registry" / "mojos"
HEAD = (
    "winner", "with", "packages", "MB", "install s", "import s", "load s", "predict ms", "total s", "load again s",
    "PSS MB", "RSS MB",
)  # fmt: skip


@dataclass(frozen=True)
class Registry:
    """A server with a champion of each kind, also in a folder; the client's wheel; what each champion says."""

    uri: str
    wheel: Path | None
    expected: dict[str, float]
    folders: dict[str, Path]
    bars: pd.DataFrame


def main() -> None:
    """Measure every pair and print the table."""
    cold = "--cold" in sys.argv[1:]
    kinds = [kind for kind in KINDS if kind in sys.argv[1:]] or KINDS
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with registry(folder) as found:
            rows = [row(found, folder, kind, client, cold) for kind in kinds for client in WITH]
    where = "an empty cache, over the network" if cold else "uv's cache of packages"
    print(f"packages from {where}; {strangers.pinned('pandas')[0]}, Python {sys.version.split()[0]}\n")
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
    for cells in rows:
        print(f"| {' | '.join(cells)} |")


def row(found: Registry, folder: Path, kind: str, client: str, cold: bool) -> tuple[str, ...]:
    """One line of the table; says why where the client has no wheel."""
    if client != MLFLOW and found.wheel is None:
        return (kind, client, "its wheel cannot be built", *[""] * (len(HEAD) - 3))
    place = Path(tempfile.mkdtemp(dir=folder))
    base = [name for name in strangers.BASE if client != BARE or name != MLFLOW]
    wheels = [] if client == MLFLOW else [str(found.wheel)]
    begun = time.perf_counter()
    python = strangers.environment(
        place / "env", strangers.pinned(*base, *strangers.SCORERS[kind]), place / "packages" if cold else None, wheels
    )
    installed = time.perf_counter() - begun
    first = asked(found, python, place, kind, client)
    total = installed + first["said"][kind]["since"]
    again = asked(found, python, place, kind, client)["said"][kind]["load"]
    count, megabytes = strangers.size(python)
    said = first["said"][kind]
    shutil.rmtree(place)
    figures = (installed, first["import"], said["load"])
    memory = (f"{first['pss_mb']:.0f}", f"{first['rss_mb']:.0f}")
    return (
        kind, client, str(count), f"{megabytes:.0f}", *(f"{seconds:.1f}" for seconds in figures),
        f"{1000 * said['predict']:.1f}", f"{total:.1f}", f"{again:.1f}", *memory,
    )  # fmt: skip


def asked(found: Registry, python: Path, place: Path, kind: str, client: str) -> dict[str, Any]:
    """What a new process says; it must be the expected number. Raises AssertionError."""
    model = f"models:/bench-{kind}@champion" if client == MLFLOW else f"bench-{kind}"
    where = str(found.folders[kind]) if client == BARE else found.uri
    answer = strangers.ask(python, place, {kind: model}, found.bars, where, client=client != MLFLOW)
    said, expected = answer["said"][kind]["last"], found.expected[kind]
    assert abs(said - expected) <= 1e-6 * abs(expected), f"{kind}: {said} instead of {expected}"
    assert not answer["found"], f"the environment has {answer['found']}"
    return answer


@contextmanager
def registry(folder: Path) -> Iterator[Registry]:
    """A server on the loopback in which the three champions are registered."""
    os.environ |= {"NOCTURNE_HOME": str(folder / "home"), "NOCTURNE_CACHE": str(folder / "cache")}
    with serving(mlflow_command(folder), folder) as server:
        os.environ["NOCTURNE_TRACKING_URI"] = server.uri
        expected = champions(folder)
        folders = {
            kind: pull(f"bench-{kind}", tracking_uri=server.uri, to=folder / f"to-{kind}").folder for kind in KINDS
        }
        yield Registry(server.uri, wheel(folder), expected, folders, raw_bars())


def champions(folder: Path) -> dict[str, float]:
    """Register a model of each kind; what each says from the last bar, in this process."""
    store, night = mlflow_store.open_store(), make_night(folder, make_bars())
    entry = make_entry(night)
    models = {"linear": Path(entry.shipped.model), "mojo": mojo(folder), "onnx": onnx_model(folder / "onnx")[0]}
    expected = {}
    for kind, model in models.items():
        candidate, facts = replace(entry.shipped, name=kind, model=str(model)), entry_facts(entry, "shipped")
        write_bundle(folder / f"first-{kind}", night, candidate, facts)
        said = Predictor(folder / f"first-{kind}").predict(raw_bars(), rows="all")["prediction"].to_numpy()
        whole = np.concatenate([np.full(len(make_bars()) - len(said), np.nan), said])
        own = write_parquet(folder / f"said-{kind}.parquet", pd.DataFrame({"prediction": whole}))
        candidate = replace(candidate, predictions=own)  # else its health check would ask for another model's
        register(store, night, candidate, facts, f"bench-{kind}")
        write_bundle(folder / f"bundle-{kind}", night, candidate, facts)
        expected[kind] = float(Predictor(folder / f"bundle-{kind}").predict(raw_bars())["prediction"].iloc[0])
    return expected


def mojo(folder: Path) -> Path:
    """A serving folder around a committed MOJO, with the genmodel jar of the installed H2O."""
    from tasks.registry.serving.model_folder import write_model  # noqa: PLC0415
    from tasks.search.h2o_server import h2o_jar  # noqa: PLC0415

    made = folder / "mojo"
    made.mkdir()
    shutil.copyfile(MOJOS / "value.zip", made / "model.zip")
    with zipfile.ZipFile(h2o_jar()) as jar:
        (made / "h2o-genmodel.jar").write_bytes(jar.read("www/3/h2o-genmodel.jar"))
    files = {"mojo": "model.zip", "genmodel": "h2o-genmodel.jar"}
    write_model(made, {"kind": "mojo", "output": "value", "columns": ["har_1", "har_5", "har_22", "return_1"],
                       "files": files})  # fmt: skip
    return made


def wheel(folder: Path) -> Path | None:
    """The client's wheel; None where it cannot be built."""
    try:
        from deployments.client.wheel import build  # noqa: PLC0415
    except ImportError:
        return None
    return build(folder / "wheel")


def raw_bars() -> pd.DataFrame:
    """Raw bars as JSON has them."""
    return raw(make_bars()).assign(time=lambda frame: frame["time"].dt.strftime("%Y-%m-%d"))


if __name__ == "__main__":
    main()
