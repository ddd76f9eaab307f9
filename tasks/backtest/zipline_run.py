"""Zipline in a process of its own: prepare a folder, start, bound, read back; and compare with the evaluator.

The parent imports nothing of Zipline. Bars become a bundle in a temporary ``ZIPLINE_ROOT`` that is gone afterwards.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.backtest.child import run_child
from tasks.backtest.costs import BASIS_POINT, Costs
from tasks.backtest.market import FloatArray, Market
from tasks.backtest.zipline_mode import Outcome, Place, orders

SECONDS = 240.0
LARGEST_VOLUME = 2**32 - 1
"""Zipline's daily store holds 32-bit counts and zeroes what does not fit; here volume sets no limit to a fill."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How far two outcomes are apart: the largest relative difference of equity, and trades that one has and the other
    has not (session, symbol and shares alike, price to 1e-9)."""

    equity: float
    trades: int
    unmatched: int


def run_zipline(
    market: Market, weights: FloatArray, costs: Costs, pay: Mapping[Place, int] | None = None, seconds: float = SECONDS
) -> tuple[Outcome, float]:
    """The outcome of the same weights under Zipline, and the seconds that its simulation took.

    ``market`` lies on the sessions of XNYS (``zipline_mode.on_sessions``). Raises EngineError with Zipline's last words
    if it fails or takes longer than ``seconds``.
    """
    with tempfile.TemporaryDirectory(prefix="nocturne-zipline-") as name:
        folder = Path(name)
        _describe(folder, costs)
        _write(folder, market, weights, pay or {})
        run_child("tasks.backtest.zipline_child", folder, seconds, {"ZIPLINE_ROOT": str(folder / "root")})
        equity = pd.read_parquet(folder / "equity.parquet")["value"].to_numpy(float)
        trades = pd.read_parquet(folder / "trades.parquet")
        took = float(json.loads((folder / "done.json").read_text(encoding="utf-8"))["seconds"])
    bar = pd.Index(market.sessions).get_indexer(pd.Index(trades["session"]))
    frame = pd.DataFrame({"bar": bar, **{column: trades[column] for column in ("symbol", "amount", "price")}})
    return Outcome(equity=equity, trades=frame), took


def compare(one: Outcome, other: Outcome) -> Comparison:
    """Compare the evaluator's outcome with Zipline's on the same bars."""
    distance = np.max(np.abs(one.equity / other.equity - 1.0)) if len(one.equity) == len(other.equity) else np.inf
    keys = ["bar", "symbol", "amount"]
    left, right = (out.trades.sort_values(keys).reset_index(drop=True) for out in (one, other))
    joined = left.merge(right, on=keys, how="outer", suffixes=("", "_other"))
    apart = ~(np.abs(joined["price"] / joined["price_other"] - 1.0) <= 1e-9)
    return Comparison(equity=float(distance), trades=len(right), unmatched=int(apart.sum()))


def _describe(folder: Path, costs: Costs) -> None:
    job = {
        "capital": costs.capital,
        "commission": costs.commission * BASIS_POINT,
        "half_spread": costs.spread / 2.0 * BASIS_POINT,
    }
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")


def _write(folder: Path, market: Market, weights: FloatArray, pay: Mapping[Place, int]) -> None:
    sessions = pd.DatetimeIndex(market.sessions)
    targets = pd.DataFrame(orders(market, weights), columns=list(market.symbols))
    targets.insert(0, "session", sessions)
    targets.to_parquet(folder / "weights.parquet", index=False)
    _bars(market, sessions).to_parquet(folder / "bars.parquet", index=False)
    _events(market, sessions, pay).to_parquet(folder / "events.parquet", index=False)


def _bars(market: Market, sessions: pd.DatetimeIndex) -> pd.DataFrame:
    """Every session from a symbol's first bar to its last, zeros where it has none: Zipline's sign for no trade."""
    parts = []
    for column, symbol in enumerate(market.symbols):
        there = np.flatnonzero(market.trades[:, column])
        if not len(there):
            continue
        span = slice(there[0], there[-1] + 1)
        opens, closes = np.nan_to_num(market.open[span, column]), np.nan_to_num(market.close[span, column])
        volume = np.where(market.trades[span, column], np.clip(market.volume[span, column], 1.0, LARGEST_VOLUME), 0.0)
        part = {"session": sessions[span], "symbol": symbol, "open": opens, "close": closes, "volume": volume}
        parts.append(pd.DataFrame({**part, "high": np.maximum(opens, closes), "low": np.minimum(opens, closes)}))
    return pd.concat(parts, ignore_index=True)


def _events(market: Market, sessions: pd.DatetimeIndex, pay: Mapping[Place, int]) -> pd.DataFrame:
    names = ["symbol", "session", "dividend", "split", "pay"]
    if market.events is None:
        empty = {"symbol": "object", "dividend": "float64", "split": "float64"}
        return pd.DataFrame({name: pd.Series(dtype=empty.get(name, "datetime64[ns]")) for name in names})
    far = sessions[-1] + pd.Timedelta(days=3650)
    rows = []
    dividends, splits = market.events.dividends, market.events.splits
    for bar, column in np.argwhere((dividends != 0) | (splits != 1)).tolist():
        due = pay.get((bar, column), bar)
        paid = sessions[due] if due < len(sessions) else far
        rows.append((market.symbols[column], sessions[bar], dividends[bar, column], splits[bar, column], paid))
    return pd.DataFrame(rows, columns=names)
