"""Made-up bars of a transfer's source and target, and a backbone that was never trained: all that strategies need."""

# ruff: noqa: PLC0415 - keras is imported late, after its backend was chosen, and by those tests alone that need it
from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.contracts import (
    Backbone,
    EngineBudget,
    EngineRequest,
    FeatureMatrix,
    FeatureSpec,
    Ref,
    Rows,
    Target,
    TargetName,
    Window,
)
from tasks.search.engine import TrainingData

COLUMNS = ("return_1", "har_1", "medprice", "bop", "relative_volume_20", "noise")
WINDOWS = {"train": (60, 560), "validation": (565, 700), "blending": (705, 800), "selection": (805, 950)}
BARS, SYMBOLS = 1000, ("A",)
BUDGET = EngineBudget(models=2, seconds=120, epochs=3, threads=2, memory_mb=1024)
BEFORE = "2009-12-31T21:00:00+00:00"


def market(seed: int, bars: int = BARS) -> npt.NDArray[np.float64]:
    """The columns of one symbol, float64 (bars, 6): a persistent volatility, and returns that it scales."""
    random = np.random.default_rng(seed)
    level = np.zeros(bars)
    for t in range(1, bars):
        level[t] = 0.97 * level[t - 1] + 0.12 * random.standard_normal()
    returns = 0.01 * np.exp(level) * random.standard_normal(bars)
    log_range = level - 4.6 + 0.3 * random.standard_normal(bars)
    body = np.clip(60 * returns, -1, 1)
    volume, noise = random.standard_normal((2, bars))
    return np.column_stack([returns, log_range, returns * random.standard_normal(bars) / 3, body, volume, noise])


def target_of(name: TargetName) -> Target:
    classify = name in ("direction", "triple_barrier")
    kind, loss = ("classification", "log_loss") if classify else ("regression", "mse")
    return Target(name=name, horizon=1, kind=kind, loss=loss)  # type: ignore[arg-type]


def made_up(name: TargetName = "volatility", symbols: tuple[str, ...] = SYMBOLS) -> TrainingData:
    """All rows with all labels, as the harness holds them before it hides any."""
    parts = [market(seed) for seed in range(1, len(symbols) + 1)]
    ahead = [np.append(part[1:, 1 if name == "volatility" else 0], np.nan) for part in parts]
    y = np.concatenate(ahead)
    if name in ("direction", "triple_barrier"):
        y = np.where(np.isnan(y), np.nan, y > 0)
    window = np.full(BARS, "", dtype=object)
    for which, (start, stop) in WINDOWS.items():
        window[start:stop] = which
    days = (np.datetime64("2010-01-04T21:00") + np.arange(BARS) * np.timedelta64(1, "D")).astype("datetime64[ns]")
    number = np.tile(np.arange(BARS), len(symbols))
    return TrainingData(
        X=np.concatenate(parts),
        y=y,
        columns=COLUMNS,
        symbols=np.repeat(np.array(symbols, dtype=object), BARS),
        times=np.tile(days, len(symbols)),
        window=np.tile(window, len(symbols)),
        sessions=np.tile(days, len(symbols)),
        weight=np.where(number % 2, 1.0, 0.25),
        fits={"fit_fold_1": (number >= 60) & (number < 900), "fit_all": (number >= 60) & (number < BARS - 1)},
        target=target_of(name),
        weighted=name == "triple_barrier",
    )


def hidden(data: TrainingData, *windows: str) -> TrainingData:
    """As the harness hands it over: labels of these windows alone."""
    return dataclasses.replace(data, y=np.where(np.isin(data.window.astype(str), windows), data.y, np.nan))


def backbone(
    folder: Path,
    *,
    architecture: str = "tcn",
    end: str = BEFORE,
    seed: int = 5,
    name: str = "tiny",
    heads: dict[str, npt.NDArray[Any]] | None = None,
) -> Backbone:
    """A small encoder as pre-training leaves one: weights of a seed, a sample of another market.

    heads: of its tasks, one horizon; by default one of volatility that says nothing.
    """
    from tasks.search.auto_keras import use_jax

    use_jax(2)
    from tasks.search.transfer import backbone as folders
    from tasks.search.transfer import networks, source
    from tasks.search.transfer.channels import CHANNELS, MASKED, Bars

    spec = networks.Spec(architecture=architecture, length=24, width=8, depth=2, embedding=8)  # type: ignore[arg-type]
    weights = networks.weights(networks.encoder(spec, seed))
    values = np.column_stack([market(90, 600)[:, :5], np.ones((600, len(MASKED)))]).astype(np.float32)
    bars = Bars(values=values, starts=np.array([0]))
    volatility, direction = source.labels(bars, (1,))
    sample: dict[str, npt.NDArray[Any]] = {
        "values": values,
        "starts": bars.starts,
        "times": np.arange(600) * 86_400 * 10**9,
        "horizons": np.array([1]),
        "volatility": volatility.astype(np.float32),
        "direction": direction.astype(np.float32),
        "part": np.repeat([source.TRAIN, source.HELD, source.PURGED], [400, 199, 1]).astype(np.int8),
    }
    document = {"name": name, "channels": list(CHANNELS), "bar": "1d", "end": end, "tasks": ["volatility"]}
    return folders.write(
        folder,
        {**document, "other_bars": "scale_free_by_window"},
        spec=spec,
        weights=weights,
        heads=heads or {"volatility/kernel": np.zeros((8, 1)), "volatility/bias": np.zeros(1)},
        source=sample,
        fisher={name: np.ones_like(value) for name, value in weights.items()},
    )


def request_of(
    data: TrainingData,
    backbones: tuple[Backbone, ...],
    mode: str = "search",
    cross_section: str = "none",
    recalled: tuple[Backbone, ...] = (),
) -> EngineRequest:
    """What an engine's process is asked; the files are not there, the engine reads none."""
    nothing = Ref(path="", sha256="", rows=len(data.y))
    first = "2011-07-24T21:00:00+00:00"
    windows = (
        Window(name="train", first="2010-03-05T21:00:00+00:00", last="2011-07-18T21:00:00+00:00", rows=500, dates=500),
        Window(name="validation", first=first, last="2011-12-04T21:00:00+00:00", rows=135, dates=135),
    )
    spec = FeatureSpec(columns=data.columns, tick=0.01, cross_section=cross_section)  # type: ignore[arg-type]
    return EngineRequest(
        engine="transfer",
        mode=mode,  # type: ignore[arg-type]
        features=FeatureMatrix(ref=nothing, spec=spec, lookback=22),
        rows=Rows(ref=nothing, target=data.target, windows=windows, purged=0, embargo=0, term_start=""),
        budget=BUDGET,
        seed=3,
        backbones=backbones,
        recalled=recalled,
    )
