"""Synthetic problems for the engines: a persistent volatility with a leverage effect, in the stored form of a night."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from tasks.contracts import (
    EngineBudget,
    EngineRequest,
    EngineResult,
    FeatureMatrix,
    FeatureSpec,
    RefitJob,
    Rows,
    Target,
    TargetName,
    WarmRecipe,
)
from tasks.errors import EngineError
from tasks.search.process import OnProgress, run
from tasks.storage import write_parquet

WINDOWS = {"train": (60, 660), "validation": (665, 815), "blending": (820, 970), "selection": (975, 1125)}
BARS = 1300
Ask = Callable[..., EngineRequest]


def bars_of(seed: int, bars: int = BARS) -> dict[str, npt.NDArray[np.float64]]:
    """HAR-like columns and returns of one symbol, float64 (bars,)."""
    random = np.random.default_rng(seed)
    shocks, level = random.standard_normal((2, bars)), np.zeros(bars)
    for t in range(1, bars):
        level[t] = 0.95 * level[t - 1] + 0.15 * shocks[0, t] - 0.1 * shocks[1, t - 1]
    returns = 0.01 * np.exp(level) * shocks[1]
    log_range = level - 4.6 + 0.3 * random.standard_normal(bars)
    variance = pd.Series(np.exp(2 * log_range))
    columns = {f"har_{d}": 0.5 * np.log(variance.rolling(d).mean()).to_numpy() for d in (1, 5, 22)}
    for d in (1, 5, 22):
        columns[f"return_{d}"] = pd.Series(returns).rolling(d).sum().to_numpy()
        columns[f"negative_return_{d}"] = np.minimum(columns[f"return_{d}"], 0.0)
    columns["ewma_94"] = 0.5 * np.log(pd.Series(returns**2).ewm(alpha=0.06).mean() + 1e-12).to_numpy()
    return columns | {f"noise_{i}": random.standard_normal(bars) for i in range(4)}


def label_of(target: TargetName, columns: dict[str, npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    """The next bar's volatility, return or sign (also for the barriers); NaN at the last bar."""
    source = columns["har_1"] if target == "volatility" else columns["return_1"]
    ahead = np.append(source[1:], np.nan)
    return ahead if target in ("volatility", "return") else np.where(np.isnan(ahead), np.nan, ahead > 0)


def stored_problem(folder: Path, target: TargetName, symbols: int, seed: int) -> tuple[FeatureMatrix, Rows]:
    """Feature and label files below ``folder``; ``fit_gate`` marks exactly the rows that a search fits on."""
    parts = [bars_of(seed + i) for i in range(symbols)]
    times = pd.date_range("2010-01-01 21:00", periods=BARS, freq="B", tz="UTC")
    window = np.full(BARS, "", dtype=object)
    for name, (first, last) in WINDOWS.items():
        window[first:last] = name
    window[1130:1295] = "gate"
    number = np.arange(BARS)
    scored = np.where(window == "gate", "fit_gate", "").astype(object)
    keys = [{"symbol": f"S{i}", "time": times, "session": times.tz_localize(None).normalize()} for i in range(symbols)]
    features = pd.concat([pd.DataFrame({**k, **p}) for k, p in zip(keys, parts, strict=True)], ignore_index=True)
    labels = pd.concat(
        [
            pd.DataFrame(
                {
                    **k,
                    "label": label_of(target, p),
                    "label_end": times,
                    "weight": np.where(number % 2, 1.0, 0.25),
                    "window": window,
                    "scored_by": scored,
                    "fit_fold_1": (number >= 60) & (number < 900),
                    "fit_fold_2": (number >= 60) & (number < 1000),
                    "fit_gate": np.isin(window.astype(str), ("train", "validation", "blending")),
                    "fit_all": (number >= 60) & (number < BARS - 1),
                }
            )
            for k, p in zip(keys, parts, strict=True)
        ],
        ignore_index=True,
    )
    matrix = FeatureMatrix(
        ref=write_parquet(folder / "features.parquet", features),
        spec=FeatureSpec(columns=tuple(parts[0]), tick=0.01),
        lookback=60,
    )
    classify = target in ("direction", "triple_barrier")
    rows = Rows(
        ref=write_parquet(folder / "rows.parquet", labels),
        target=Target(
            name=target,
            horizon=1,
            kind="classification" if classify else "regression",
            loss="log_loss" if classify else "mse",
        ),
        windows=(),
        purged=0,
        embargo=5,
        term_start="",
        fits=("fit_fold_1", "fit_fold_2", "fit_gate", "fit_all"),
        weighted=target == "triple_barrier",
    )
    return matrix, rows


def asker(make_folder: Callable[[], Path]) -> Ask:
    """A request to an engine on synthetic data; the files are written once a target and number of symbols."""
    stored: dict[tuple[TargetName, int], tuple[FeatureMatrix, Rows]] = {}

    def request(
        engine: str,
        mode: str = "search",
        *,
        target: TargetName = "volatility",
        symbols: int = 1,
        models: int = 4,
        seconds: int = 120,
        memory_mb: int = 1024,
        seed: int = 1,
        jobs: tuple[RefitJob, ...] = (),
        explain: str = "",
        warm: tuple[WarmRecipe, ...] = (),
    ) -> EngineRequest:
        if (target, symbols) not in stored:
            stored[target, symbols] = stored_problem(make_folder(), target, symbols, seed=7)
        features, rows = stored[target, symbols]
        return EngineRequest(
            engine=engine,
            mode=mode,  # type: ignore[arg-type]
            features=features,
            rows=rows,
            budget=EngineBudget(models=models, seconds=seconds, threads=2, memory_mb=memory_mb),
            seed=seed,
            jobs=jobs,
            explain=explain,
            warm=warm,
        )

    return request


def execute(
    request: EngineRequest, out: Path, on_progress: OnProgress | None = None, grace: float | None = None
) -> EngineResult:
    """Like ``run``, but an engine's failure is ``EngineResult.error``: what a test does not expect is seen in words."""
    try:
        return run(request, out, on_progress, grace)
    except EngineError as error:
        return EngineResult(engine=request.engine, error=str(error), reproducible=False)


@pytest.fixture(scope="module")
def quick_java() -> Iterator[None]:
    """A JVM that lives for seconds compiles once and lightly: H2O's tests take less than half of the processor so."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1")
        yield


@pytest.fixture(scope="session")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """See ``asker``."""
    return asker(lambda: tmp_path_factory.mktemp("problem"))
