"""Worlds in which nothing is to be found, and how they are made from real bars.

signs        the S&P 500's days as log bars about the previous close, each turned upside down by a fair coin (high and
             low swapped, ranges kept): no forecast of the return's sign or size is worth anything, volatility as it was
panel        real stocks and their real features; each date's forward returns dealt out anew among its names, less the
             date's mean: no order of the names is worth anything
volatility   LHAR fitted to the S&P 500, then simulated with days drawn from its own residuals, each with the shape of
             the bar that came with it: nothing can forecast better than the baseline that made the world

Bars become features and labels by the code that makes them every night.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from arch.data import sp500

from tasks.contracts import FeatureSpec, Target
from tasks.features import calendar_features, catalogue, matrix
from tasks.labels.targets import make_labels
from tasks.search.baselines import HAR, SIGNED

FloatArray = npt.NDArray[np.float64]
Kind = Literal["signs", "panel", "volatility"]
KINDS: tuple[Kind, ...] = ("signs", "panel", "volatility")

RETURN = Target(name="return", horizon=1, kind="regression", loss="mse")
NEUTRAL = Target(name="return", horizon=1, kind="regression", loss="mse", neutral=True)
VOLATILITY = Target(name="volatility", horizon=1, kind="regression", loss="mse")

TICK = 0.01
PRICES = ("open", "high", "low", "close")
YEARS = 12
LOOKBACK = max(120, catalogue.feature("ewma_94").lookback)
SETTLING = 250
MOST_REDRAWS = 50
"""Days simulated before the first that is kept."""

NAMES = 30
PANEL_COLUMNS = 40
TERM_END = {"sp500": "2018-12-10", "panel": "2017-12-08"}
"""The last session of a term of 252: sixty nights that end here read the gate of one term."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """One problem's data by date: names are rows of a date, dates in time order.

    ``features``: float64 (dates, names, columns), NaN in no row; ``label``: (dates, names), that of the last date NaN.
    """

    kind: Kind
    target: Target
    sessions: pd.DatetimeIndex
    symbols: tuple[str, ...]
    columns: tuple[str, ...]
    features: FloatArray
    label: FloatArray


def make(kind: Kind, seed: int) -> World:
    """The world of this kind with this seed."""
    rng = np.random.default_rng([KINDS.index(kind), seed])
    if kind == "panel":
        return _panel(rng)
    bars = _turned(rng) if kind == "signs" else _simulated(rng)
    return of_one_symbol(kind, bars, RETURN if kind == "signs" else VOLATILITY)


def of_one_symbol(kind: Kind, bars: pd.DataFrame, target: Target, drop: tuple[str, ...] = ()) -> World:
    """Features and labels of one symbol's canonical bars by the nightly code; rows inside the lookback are left out."""
    wanted = [name for name in catalogue.select(True, True, LOOKBACK) if name not in drop]
    values = matrix.panel(bars, FeatureSpec(columns=tuple(wanted), tick=TICK))
    known = np.isfinite(values).all(axis=1)
    moving = np.ptp(values[known], axis=0) > 0
    label = make_labels(bars, target, "range", TICK, True).label
    return World(
        kind=kind,
        target=target,
        sessions=pd.DatetimeIndex(bars["session"].to_numpy()[known]),
        symbols=("A",),
        columns=tuple(name for name, kept in zip(wanted, moving, strict=True) if kept),
        features=values[known][:, None, moving],
        label=label[known][:, None],
    )


@lru_cache(maxsize=1)
def real_days() -> tuple[pd.DatetimeIndex, FloatArray, FloatArray]:
    """The S&P 500's last years: sessions, log open, high, low, close about the previous close (n, 4), volume (n,)."""
    frame = sp500.load().rename(columns=str.lower)
    frame = frame[frame.index <= pd.Timestamp(TERM_END["sp500"])].iloc[-(252 * YEARS + LOOKBACK + 1) :]
    logs = np.log(frame[list(PRICES)].to_numpy(np.float64))
    about = logs[1:] - logs[:-1, 3:]
    return pd.DatetimeIndex(frame.index[1:]), about, frame["volume"].to_numpy(np.float64)[1:]


def bars_of(sessions: pd.DatetimeIndex, about: FloatArray, volume: FloatArray, start: float = 1000.0) -> pd.DataFrame:
    """Canonical bars of one symbol from log bars about the previous close."""
    close = np.cumsum(about[:, 3])
    logs = np.log(start) + about + (close - about[:, 3])[:, None]
    prices = pd.DataFrame(np.exp(logs), columns=list(PRICES))
    stamps = {"symbol": "A", "time": sessions.tz_localize("UTC") + pd.Timedelta(hours=21), "session": sessions}
    return pd.DataFrame(stamps).assign(**{name: prices[name].to_numpy() for name in PRICES}, volume=volume)


def turned(about: FloatArray, up: npt.NDArray[np.bool_]) -> FloatArray:
    """Log bars (n, 4) with those that are not ``up`` turned upside down: the high is the low's mirror image."""
    return np.where(up[:, None], about, -about[:, [0, 2, 1, 3]])


def _turned(rng: np.random.Generator) -> pd.DataFrame:
    sessions, about, volume = real_days()
    return bars_of(sessions, turned(about, rng.random(len(about)) < 0.5), volume)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lhar:
    """LHAR as fitted: coefficients on HAR and SIGNED, and for each day its residual, bar shape and volume.

    ``daily``: the real days' volatilities.
    """

    intercept: float
    weights: FloatArray
    residual: FloatArray
    shape: FloatArray
    volume: FloatArray
    daily: FloatArray


@lru_cache(maxsize=1)
def fitted_lhar() -> Lhar:
    """LHAR by least squares on the real days; shapes are log bars over the day's volatility."""
    sessions, about, volume = real_days()
    bars = bars_of(sessions, about, volume)
    x = matrix.panel(bars, FeatureSpec(columns=(*HAR, *SIGNED), tick=TICK))
    y = make_labels(bars, VOLATILITY, "range", TICK, True).label
    rows = np.flatnonzero(np.isfinite(x).all(axis=1) & np.isfinite(y))
    design = np.column_stack([np.ones(len(rows)), x[rows]])
    estimate = np.asarray(np.linalg.lstsq(design, y[rows], rcond=None)[0], dtype=np.float64)
    sigma = parkinson(about)
    return Lhar(
        intercept=float(estimate[0]),
        weights=estimate[1:],
        residual=y[rows] - design @ estimate,
        shape=about[rows + 1] / sigma[rows + 1, None],
        volume=volume[rows + 1],
        daily=sigma,
    )


def parkinson(about: FloatArray) -> FloatArray:
    """Each day's volatility from its log bar (n, 4): range / sqrt(4 ln 2)."""
    return np.asarray((about[:, 1] - about[:, 2]) / np.sqrt(4.0 * np.log(2.0)))


def _simulated(rng: np.random.Generator) -> pd.DataFrame:
    model, (sessions, about, _) = fitted_lhar(), real_days()
    n = len(sessions) + SETTLING
    drawn = rng.integers(0, len(model.residual), n)
    variance, returns = np.empty(n), np.empty(n)
    variance[:22], returns[:22] = model.daily[:22] ** 2, about[:22, 3]
    path = np.zeros((n, 4))
    for day in range(22, n):
        means = [variance[day - length : day].mean() for length in (1, 5, 22)]
        signed = np.array([returns[day - length : day].sum() for length in (1, 5, 22)])
        x = np.concatenate([0.5 * np.log(means), signed, np.minimum(signed, 0.0)])
        drawn[day], sigma = _drawn_again(model, model.intercept + float(model.weights @ x), int(drawn[day]), rng)
        path[day] = model.shape[drawn[day]] * sigma
        variance[day], returns[day] = sigma**2, path[day, 3]
    return bars_of(sessions, path[SETTLING:], model.volume[drawn[SETTLING:]])


def _drawn_again(model: Lhar, expected: float, drawn: int, rng: np.random.Generator) -> tuple[int, float]:
    """A residual's number and the day's volatility, none wilder than the wildest real day.

    LHAR is linear in returns on a log scale and explodes where they are large. A day in 500 is drawn again.
    """
    wildest = float(model.daily.max())
    for _ in range(MOST_REDRAWS):
        sigma = float(np.exp(expected + model.residual[drawn]))
        if sigma <= wildest:
            return drawn, sigma
        drawn = int(rng.integers(0, len(model.residual)))
    return drawn, wildest


@dataclass(frozen=True, slots=True, kw_only=True)
class Stocks:
    """Real stocks without a gap: features as ranks within the date (dates, names, columns), log closes (dates, names).

    ``real`` says whether the stocks are; else they were drawn at random, with normal returns.
    """

    sessions: pd.DatetimeIndex
    symbols: tuple[str, ...]
    columns: tuple[str, ...]
    features: FloatArray
    log_close: FloatArray
    real: bool


@lru_cache(maxsize=1)
def stocks() -> Stocks:
    """The 468 stocks of sp500_5yr that have every session, or as many simulated ones where the data are not there."""
    folder = Path(os.environ.get("NOCTURNE_TEST_DATA") or Path(__file__).parents[2].parent / "shared" / "data")
    path = folder / "sp500_5yr" / "all_stocks_5yr.parquet"
    frame = _read_stocks(path) if path.exists() else _drawn_stocks()
    columns = _panel_columns()
    spec = FeatureSpec(columns=columns, tick=TICK, cross_section="rank")
    values = matrix.panel(frame, spec)
    symbols = tuple(frame["symbol"].unique())
    dates = len(frame) // len(symbols)
    cube = values.reshape(len(symbols), dates, len(columns)).transpose(1, 0, 2)
    known = np.isfinite(cube).all(axis=(1, 2))
    close = np.log(frame["close"].to_numpy(np.float64)).reshape(len(symbols), dates).T
    return Stocks(
        sessions=pd.DatetimeIndex(frame["session"].to_numpy()[:dates][known]),
        symbols=symbols,
        columns=columns,
        features=np.ascontiguousarray(cube[known]),
        log_close=close[known],
        real=path.exists(),
    )


def forward_returns(log_close: FloatArray) -> FloatArray:
    """The next bar's log return (dates, names), NaN on the last date."""
    return np.vstack([np.diff(log_close, axis=0), np.full((1, log_close.shape[1]), np.nan)])


def less_mean(values: FloatArray) -> FloatArray:
    """Values (dates, names) less each date's mean."""
    return np.asarray(values - values.mean(axis=1, keepdims=True))


def _panel(rng: np.random.Generator) -> World:
    known = stocks()
    chosen = np.sort(rng.choice(len(known.symbols), NAMES, replace=False))
    dealt = rng.permuted(forward_returns(known.log_close[:, chosen]), axis=1)
    return World(
        kind="panel",
        target=NEUTRAL,
        sessions=known.sessions,
        symbols=tuple(known.symbols[place] for place in chosen),
        columns=known.columns,
        features=known.features[:, chosen],
        label=less_mean(dealt),
    )


def _panel_columns() -> tuple[str, ...]:
    """The baselines' columns and others taken evenly from the catalogue; none is the same for all names of a date."""
    fixed = ("return_5", "return_22")
    dated = {entry.name for entry in calendar_features.FEATURES}
    names = [
        n for n in catalogue.select(True, True, 60) if n not in dated and n not in fixed and "cdl" not in n.lower()
    ]
    return (*fixed, *names[:: max(len(names) // (PANEL_COLUMNS - 2), 1)][: PANEL_COLUMNS - 2])


def _read_stocks(path: Path) -> pd.DataFrame:
    frame = pd.read_parquet(path).dropna().rename(columns={"date": "session"}).astype({"volume": np.float64})
    frame = frame[frame["session"] <= pd.Timestamp(TERM_END["panel"])]
    size = frame.groupby("symbol")["session"].transform("size")
    frame = frame[size == size.max()].sort_values(["symbol", "session"], ignore_index=True)
    stamped: pd.DataFrame = frame.assign(time=frame["session"].dt.tz_localize("UTC") + pd.Timedelta(hours=21))
    return stamped


def _drawn_stocks(names: int = 468) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    sessions, _, _ = real_days()
    sessions = sessions[sessions <= pd.Timestamp(TERM_END["panel"])][-1217:]
    parts = []
    for place in range(names):
        day = rng.normal(0, 0.016, len(sessions))
        edge = np.abs(rng.normal(0, 0.006, (len(sessions), 2)))
        high, low = np.maximum(day, 0) + edge[:, 0], np.minimum(day, 0) - edge[:, 1]
        about = np.column_stack([0.5 * day, high, low, day])
        volume = rng.lognormal(14, 0.4, len(sessions))
        parts.append(bars_of(sessions, about, volume, start=50.0).assign(symbol=f"S{place:03}"))
    return pd.concat(parts, ignore_index=True)
