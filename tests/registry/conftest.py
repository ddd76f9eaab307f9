"""Bars, a night and candidates for the registry's tests; an MLflow store whose tables were made once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from tasks.contracts import (
    Candidate,
    EngineName,
    EngineResult,
    FeatureMatrix,
    FeatureSpec,
    Ref,
    Rows,
    Snapshot,
    Target,
    Window,
)
from tasks.evaluation import Decision, Leaderboard, Score
from tasks.features.matrix import compute
from tasks.live import Standing
from tasks.problem import Problem
from tasks.registry import mlflow_place, mlflow_store, places, promotions
from tasks.registry.fits import Fits
from tasks.registry.ledger import Ledger
from tasks.registry.records import ChampionInfo, Entry, LoggedNight, Night, Registered
from tasks.registry.serving.model_folder import write_model
from tasks.registry.serving.scorers import load_scorer
from tasks.registry.verification import Subject
from tasks.search.h2o_server import h2o_jar
from tasks.storage import write_parquet
from tests.registry.servers import mlflow_server, remote_store

__all__ = ["mlflow_server", "remote_store"]  # fixtures of this whole folder
if TYPE_CHECKING:
    from tests.registry.postgres import Server

COLUMNS = ("har_1", "har_5", "har_22", "return_1")
STORED = (*COLUMNS, "return_22", "ewma_94", "rsi_14", "weekday")
"""Columns of a night's matrix: more than its models use."""
SESSIONS = 320
NAME = "test-volatility"


@dataclass(frozen=True)
class Mojos:
    """Two MOJOs (regression, binomial) with their jar, the rows they were trained on and H2O's own predictions."""

    folder: Path
    columns: tuple[str, ...]
    X: npt.NDArray[np.float64]
    value: npt.NDArray[np.float64]
    probability: npt.NDArray[np.float64]


def make_bars(symbols: tuple[str, ...] = ("SPX",), sessions: int = SESSIONS, seed: int = 7) -> pd.DataFrame:
    """Canonical daily bars of random walks with ranges."""
    rng = np.random.default_rng(seed)
    days = pd.bdate_range("2015-01-02", periods=sessions)
    frames = []
    for symbol in symbols:
        close = 1000 * np.exp(np.cumsum(rng.normal(0, 0.01, sessions)))
        opens = close * np.exp(rng.normal(0, 0.004, sessions))
        spread = np.exp(np.abs(rng.normal(0, 0.006, (2, sessions))))
        bars = {
            "symbol": np.full(sessions, symbol, dtype=object),
            "time": days.tz_localize("UTC") + pd.Timedelta(hours=21),
            "session": days,
            "open": opens,
            "high": np.maximum(opens, close) * spread[0],
            "low": np.minimum(opens, close) / spread[1],
            "close": close,
            "volume": rng.integers(10**6, 10**9, sessions).astype(float),
        }
        frames.append(pd.DataFrame(bars))
    return pd.concat(frames, ignore_index=True)


def raw(bars: pd.DataFrame) -> pd.DataFrame:
    """What a consumer of a one-symbol model has."""
    return bars.drop(columns=["symbol", "session"])


def features_of(bars: pd.DataFrame, columns: tuple[str, ...]) -> npt.NDArray[np.float64]:
    """The feature matrix of one symbol's bars, straight from the features room."""
    arrays: dict[str, Any] = {name: bars[name].to_numpy(float) for name in ("open", "high", "low", "close", "volume")}
    return compute({**arrays, "session": bars["session"].to_numpy().astype("datetime64[D]")}, columns, 0.01)


def linear_model(folder: Path, columns: tuple[str, ...] = COLUMNS, **changes: Any) -> Path:
    """A serving folder of kind linear with arbitrary, uneven parameters."""
    folder.mkdir(parents=True, exist_ok=True)
    count = len(columns)
    document = {
        "kind": "linear",
        "output": "value",
        "columns": list(columns),
        "intercept": -0.3,
        "coefficients": [0.5 / (i + 1) for i in range(count)],
        "center": [-5.0 + i for i in range(count)],
        "scale": [0.7 + 0.1 * i for i in range(count)],
        "clip": 8.0,
        "link": "identity",
    }
    write_model(folder, document | changes)
    return folder


def candidate(folder: Path, bars: pd.DataFrame, name: str, engine: EngineName, model: Path) -> Candidate:
    """A candidate whose stored predictions are what its serving folder says on the bars of each symbol."""
    scorer = load_scorer(model)
    parts = []
    for _, part in bars.groupby("symbol", sort=False):
        X = features_of(part, scorer.columns)
        known = np.isfinite(X).all(axis=1)
        predictions = np.full(len(part), np.nan)
        predictions[known] = scorer.predict(X[known])
        parts.append(predictions)
    ref = write_parquet(folder / f"{name}-predictions.parquet", pd.DataFrame({"prediction": np.concatenate(parts)}))
    return Candidate(
        name=name,
        engine=engine,
        recipe={"kind": name, "alpha": 0.1},
        model=str(model),
        predictions=ref,
        train_seconds=0.5,
        predict_us_per_row=0.2,
    )


def snapshot_of(bars: pd.DataFrame, folder: Path) -> Snapshot:
    """The bars, stored."""
    return Snapshot(
        sha256="5" * 64,
        bars=write_parquet(folder / "bars.parquet", bars),
        symbols=tuple(dict.fromkeys(bars["symbol"])),
        first=bars["time"].iloc[0].isoformat(),
        last=bars["time"].iloc[-1].isoformat(),
        bar="1d",
        calendar="XNYS",
        true_opens=True,
        has_volume=True,
    )


def score(name: str, rank: int, loss: float) -> Score:
    """A leaderboard line with one metric that does not exist."""
    metrics = {"mse": loss, "r2": 0.5, "qlike": float("nan")}
    return Score(
        rank=rank,
        candidate=name,
        engine="linear",
        metric="mse",
        direction="minimize",
        score=loss,
        skill=0.1,
        metrics=metrics,
    )


def rows_of(bars: pd.DataFrame) -> pd.DataFrame:
    """Labels that are the next bar's range, and windows: the last 60 rows are the gate, what lies before is trained on.

    A symbol's first bars lie in the lookback and belong to no window.
    """
    by_symbol = bars.groupby("symbol", sort=False)
    ahead = (0.5 * np.log(np.log(bars["high"] / bars["low"]) ** 2 / (4 * np.log(2)))).groupby(bars["symbol"]).shift(-1)
    windows = np.where(by_symbol.cumcount() < 22, "", "train").astype(object)
    windows[-60:] = "gate"
    known = ahead.notna().to_numpy()
    return bars[["symbol", "time", "session"]].assign(
        label=ahead,
        label_end=by_symbol["time"].shift(-1),
        weight=1.0,
        window=windows,
        scored_by=np.where(windows == "gate", "fit_gate", ""),
        fit_gate=(windows == "train") & known,
        fit_all=(windows != "") & known,
    )


def features_file(folder: Path, bars: pd.DataFrame) -> Ref:
    """The feature matrix of the bars, stored."""
    parts = [
        part[["symbol", "time", "session"]].assign(**dict(zip(STORED, features_of(part, STORED).T, strict=True)))
        for _, part in bars.groupby("symbol", sort=False)
    ]
    return write_parquet(folder / "features.parquet", pd.concat(parts, ignore_index=True))


def make_night(folder: Path, bars: pd.DataFrame) -> Night:
    """A night with five linear candidates, of which one could not be scored; the last 60 rows are the gate."""
    snapshot = snapshot_of(bars, folder)
    ref = write_parquet(folder / "rows.parquet", rows_of(bars))
    window = Window(name="train", first=snapshot.first, last="2015-06-30T21:00:00+00:00", rows=100, dates=100)
    names = [f"ridge-{index}" for index in range(5)]
    candidates = tuple(
        candidate(folder, bars, name, "linear", linear_model(folder / name, intercept=-0.1 * index))
        for index, name in enumerate(names)
    )
    board = Leaderboard(
        scores=tuple(score(name, rank, 0.2 + rank / 100) for rank, name in enumerate(names[:4], start=1)),
        rows=100,
        dates=100,
        sha256="b" * 64,
        refused={names[4]: "no prediction on 3 rows"},
    )
    return Night(
        problem=Problem(name=NAME, source="builtin:sp500", owner="desk"),
        snapshot=snapshot,
        features=FeatureMatrix(
            ref=features_file(folder, bars), spec=FeatureSpec(columns=COLUMNS, tick=0.01), lookback=23
        ),
        rows=Rows(
            ref=ref,
            target=Target(name="volatility", horizon=1, kind="regression", loss="mse"),
            windows=(window,),
            purged=0,
            embargo=5,
            term_start=snapshot.first,
        ),
        results=(EngineResult(engine="linear", candidates=candidates, work_seconds=1.5),),
        leaderboard=board,
        code_version="0.1.0+test",
    )


def make_entry(night: Night, name: str = "ridge-0") -> Entry:
    """The named candidate as the gated fit, another set of parameters as the refitted one that ships."""
    gated = next(item for item in night.results[0].candidates if item.name == name)
    bars = pd.read_parquet(night.snapshot.bars.path)
    folder = Path(gated.model).parent
    model = linear_model(folder / f"{name}-shipped", intercept=-0.25)
    shipped = replace(candidate(folder, bars, f"{name}-shipped", "linear", model), name=name, recipe=gated.recipe)
    return Entry(
        shipped=replace(shipped, rows="fit_all"),
        gated=replace(gated, rows="fit_gate"),
        shipped_training_end=night.snapshot.last,
        gated_training_end="2015-12-31T21:00:00+00:00",
        decision=Decision(outcome="promoted", promote=name, reasons=("better than every baseline at 0.05",)),
        score=night.leaderboard.scores[0],
        gate_metrics=(("mse", 0.2), ("r2", 0.55)),
        distance=0.05,
    )


def made_champion(store: mlflow_store.Store, registered: Registered) -> Standing:
    """A registered version, moved into the champion's place as if it had been verified."""
    mlflow_store.set_version_tags(store, registered, {"verified": "believed"})
    with Ledger.open() as ledger:
        now = promotions.standing(ledger, registered.name)
        change = replace(now, champion=registered.version)
        return promotions.move(ledger, store, now, change, "promoted", ("a test's",), "", "test")


def takes_its_place(
    store: mlflow_store.Store, registered: Registered, entry: Entry, night: Night, judged: ChampionInfo | None = None
) -> Standing:
    """A night's end without any baseline that could be a fallback: the version is proved, and led by if so decided."""
    logged = LoggedNight(run_id="", experiment_id="", tracking_uri=store.tracking_uri, url="")
    subject = Subject(registered=registered, entry=entry)
    return places.take_places(store, night, logged, Fits(gated={}, all_rows={}), subject, judged)


@pytest.fixture
def bars() -> pd.DataFrame:
    """320 daily bars of one symbol."""
    return make_bars()


@pytest.fixture
def night(tmp_path: Path, bars: pd.DataFrame) -> Night:
    """A night on those bars."""
    return make_night(tmp_path, bars)


@pytest.fixture
def entry(night: Night) -> Entry:
    """Its winner."""
    return make_entry(night)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server; a test that asks for it is marked ``needs_postgres``."""
    from tests.registry.postgres import server  # noqa: PLC0415 - its driver is an extra

    with server() as running:
        yield running


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.needs_postgres)])
def ledger(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    """A new ledger in either kind of database; who opens one afterwards, in any process, opens this one."""
    if request.param == "postgres":
        monkeypatch.setenv("NOCTURNE_LEDGER_URL", request.getfixturevalue("postgres").new_database())
    with Ledger.open() as opened:
        yield opened


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its tables made."""
    home = tmp_path_factory.mktemp("template")
    script = "from tasks.registry.mlflow_store import open_store; open_store()"
    subprocess.run([sys.executable, "-c", script], check=True, env={**os.environ, "NOCTURNE_HOME": str(home)})
    return home / "mlflow" / "mlflow.db"


@pytest.fixture
def store(empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> mlflow_store.Store:
    """A fresh store below the test's own state folder."""
    for name in ("MLFLOW_TRACKING_URI", "NOCTURNE_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    database = Path(mlflow_place.tracking_uri().removeprefix("sqlite:///"))
    database.parent.mkdir(parents=True)
    shutil.copyfile(empty_store, database)
    return mlflow_store.open_store()


@pytest.fixture(scope="session")
def mojos(tmp_path_factory: pytest.TempPathFactory) -> Mojos:
    """The committed MOJOs with the genmodel jar that the installed H2O carries; see ``train_mojos``."""
    made = Path(__file__).with_name("mojos")
    folder = tmp_path_factory.mktemp("mojos")
    for name in ("value.zip", "probability.zip"):
        shutil.copyfile(made / name, folder / name)
    with zipfile.ZipFile(h2o_jar()) as jar:
        (folder / "h2o-genmodel.jar").write_bytes(jar.read("www/3/h2o-genmodel.jar"))
    said = json.loads((made / "said.json").read_text(encoding="utf-8"))
    rows = np.array(said["rows"])
    return Mojos(folder, tuple(said["columns"]), rows[:, :-2], rows[:, -2], rows[:, -1])


def mojo_model(folder: Path, mojos: Mojos, trained: str = "value", **changes: Any) -> Path:
    """A serving folder around one of the MOJOs."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(mojos.folder / f"{trained}.zip", folder / "model.zip")
    shutil.copyfile(mojos.folder / "h2o-genmodel.jar", folder / "h2o-genmodel.jar")
    files = {"mojo": "model.zip", "genmodel": "h2o-genmodel.jar"}
    document = {"kind": "mojo", "output": trained, "columns": list(mojos.columns), "files": files}
    write_model(folder, document | changes)
    return folder
