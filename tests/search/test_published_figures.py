"""The baselines on real bars: S&P 500, 1999 to 2018, one day ahead, expanding walk-forward from the middle on.

The figures are what these definitions gave when they were first measured beside an independent least-squares fit; the
order (last value, GARCH, HAR, LHAR) is the literature's: Corsi (2009), Corsi and Renò (2012).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from arch.data import sp500

from tasks.contracts import Target
from tasks.search.baselines import RECIPES, fit_linear
from tasks.search.engine import TrainingData
from tasks.search.garch import SCALE, fit_garch

FIRST = 126
STEP = 63
Floats = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def data() -> TrainingData:
    bars = sp500.load()
    high, low, close = (bars[name].to_numpy(float) for name in ("High", "Low", "Close"))
    log_range = np.maximum(np.log(high / low), np.log1p(0.01 / low))
    variance = pd.Series(log_range**2 / (4 * np.log(2)))
    columns = {f"har_{d}": 0.5 * np.log(variance.rolling(d).mean()) for d in (1, 5, 22)}
    for d in (1, 5, 22):
        columns[f"return_{d}"] = pd.Series(np.log(close)).diff(d)
        columns[f"negative_return_{d}"] = np.minimum(columns[f"return_{d}"], 0.0)
    squares = (columns["return_1"].fillna(0.0) ** 2).ewm(alpha=0.06).mean()
    columns["ewma_94"] = 0.5 * np.log(np.maximum(squares, 1e-10))
    rows = len(bars)
    used = np.arange(rows) >= FIRST
    return TrainingData(
        X=np.column_stack(list(columns.values())),
        y=np.append(columns["har_1"].to_numpy()[1:], np.nan),
        columns=tuple(columns),
        symbols=np.full(rows, "SPX", dtype=object),
        times=bars.index.to_numpy("datetime64[ns]"),
        window=np.full(rows, "", dtype=object),
        sessions=bars.index.to_numpy("datetime64[ns]"),
        weight=np.ones(rows),
        fits={"fit_all": used},
        target=Target(name="volatility", horizon=1, kind="regression", loss="mse"),
    )


@pytest.mark.parametrize(
    ("name", "published"), [("last_value", 0.35), ("ewma", 0.380), ("har", 0.481), ("lhar", 0.523)]
)
def test_walk_forward_r2(data: TrainingData, name: str, published: float) -> None:
    rows = data.job_rows("fit_all")
    middle, forecasts = len(rows) // 2, np.full(len(data.y), np.nan)
    for start in range(middle, len(rows), STEP):
        model = fit_linear(RECIPES["volatility"][name], data, rows[: start - 1])
        ahead = rows[start : start + STEP]
        forecasts[ahead] = model.predict(data.take(ahead, model.columns))
    assert _r2(data, rows[middle:], forecasts) == pytest.approx(published, abs=0.01)


def test_garch_is_on_another_level_until_it_is_recalibrated(data: TrainingData) -> None:
    rows = data.job_rows("fit_all")
    middle = len(rows) // 2
    returns = data.take(np.arange(len(data.y)), ("return_1",))[1:, 0]
    raw, recalibrated = np.full((2, len(data.y)), np.nan)
    for start in range(middle, len(rows), 252):
        model = fit_garch(returns, data.y[1:], rows[: start - 1] - 1, leverage=True, horizon=1)
        ahead = rows[start : start + 252]
        raw[ahead] = (model.raw(returns) - np.log(SCALE))[ahead - 1]
        recalibrated[ahead] = model.predict(returns)[ahead - 1]
    assert _r2(data, rows[middle:], raw) == pytest.approx(-0.09, abs=0.02)
    assert _r2(data, rows[middle:], recalibrated) == pytest.approx(0.43, abs=0.02)


def _r2(data: TrainingData, rows: npt.NDArray[np.int64], forecasts: Floats) -> float:
    y = data.y[rows]
    return float(1 - np.mean((y - forecasts[rows]) ** 2) / np.var(y))
