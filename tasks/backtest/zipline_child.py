"""A process that runs Zipline on a prepared folder: ``python -m tasks.backtest.zipline_child FOLDER``.

Zipline is heavy and keeps global state, so nothing else imports this module. Its bundle is made from the folder's bars
and events in the ``ZIPLINE_ROOT`` that the environment names; no data is fetched. Started by ``zipline_run.py``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from zipline import run_algorithm
from zipline.api import order_target_percent, set_commission, set_slippage, sid
from zipline.data import bundles
from zipline.finance.commission import PerDollar
from zipline.finance.metrics.metric import DailyLedgerField, Transactions
from zipline.finance.slippage import EquitySlippageModel

BUNDLE = "nocturne"
CALENDAR = "XNYS"
ZONE = "UTC"


class OpenFill(EquitySlippageModel):  # type: ignore[misc]
    """Fills an order in whole at the bar's open, half the spread worse. Volume sets no limit."""

    def __init__(self, half_spread: float) -> None:
        super().__init__()
        self.half_spread = half_spread

    def process_order(self, data: Any, order: Any) -> tuple[float, int]:
        """The price and the shares of the fill."""
        return data.current(order.asset, "open") * (1.0 + self.half_spread * order.direction), order.open_amount


def main(folder: Path) -> None:
    """Run the job in ``folder`` and leave ``equity.parquet`` and ``trades.parquet`` there."""
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    bars = pd.read_parquet(folder / "bars.parquet")
    weights = pd.read_parquet(folder / "weights.parquet").set_index("session")
    _register(bars, pd.read_parquet(folder / "events.parquet"))
    bundles.ingest(BUNDLE, os.environ, pd.Timestamp.now(tz=ZONE), show_progress=False)
    started = time.process_time()
    told = run_algorithm(
        start=weights.index[0],
        end=weights.index[-1],
        initialize=lambda context: _start(context, job, weights),
        handle_data=_trade,
        capital_base=job["capital"],
        bundle=BUNDLE,
        default_extension=False,
        benchmark_returns=pd.Series(0.0, index=weights.index),
        # What is compared; Zipline's full set of metrics takes as long again.
        metrics_set={Transactions(), DailyLedgerField("portfolio.portfolio_value")},
    )
    seconds = time.process_time() - started
    _save(folder, told, seconds)


def _register(bars: pd.DataFrame, events: pd.DataFrame) -> None:
    names = sorted(bars["symbol"].unique())
    number = {name: place for place, name in enumerate(names)}

    def ingest(environ: Any, assets: Any, minutes: Any, daily: Any, adjustments: Any, *rest: Any) -> None:  # noqa: ARG001
        frames = {number[str(name)]: part.set_index("session") for name, part in bars.groupby("symbol", sort=True)}
        sessions = pd.DatetimeIndex(bars["session"].unique()).sort_values()
        daily.write(((sid, part.drop(columns="symbol")) for sid, part in frames.items()), show_progress=False)
        assets.write(equities=_assets(names, [frames[number[name]] for name in names], sessions))
        adjustments.write(splits=_splits(events, number), dividends=_dividends(events, number))

    bundles.register(
        BUNDLE, ingest, calendar_name=CALENDAR, start_session=bars["session"].min(), end_session=bars["session"].max()
    )


def _assets(names: list[str], frames: list[pd.DataFrame], sessions: pd.DatetimeIndex) -> pd.DataFrame:
    ends = pd.DatetimeIndex([part.index.max() for part in frames])
    after = sessions[np.minimum(sessions.get_indexer(ends) + 1, len(sessions) - 1)]
    never = pd.Timestamp(sessions[-1] + pd.Timedelta(days=365))
    return pd.DataFrame(
        {
            "symbol": names,
            "start_date": [part.index.min() for part in frames],
            "end_date": ends,
            "auto_close_date": [day if end < sessions[-1] else never for end, day in zip(ends, after, strict=True)],
            "exchange": "NYSE",
        }
    )


def _splits(events: pd.DataFrame, number: dict[str, int]) -> pd.DataFrame:
    part = events[events["split"] != 1.0]
    return pd.DataFrame(
        {
            "sid": part["symbol"].map(number).astype("int64"),
            "ratio": 1.0 / part["split"],
            "effective_date": part["session"],
        }
    )


def _dividends(events: pd.DataFrame, number: dict[str, int]) -> pd.DataFrame:
    part = events[events["dividend"] != 0.0]
    days = dict.fromkeys(("ex_date", "declared_date", "record_date"), part["session"])
    return pd.DataFrame(
        {
            "sid": part["symbol"].map(number).astype("int64"),
            "amount": part["dividend"] * part["split"],
            **days,
            "pay_date": part["pay"],
        }
    )


def _start(context: Any, job: dict[str, Any], weights: pd.DataFrame) -> None:
    set_slippage(OpenFill(job["half_spread"]))
    set_commission(PerDollar(job["commission"]))
    # By number: a symbol is only known to Zipline from its first bar on, which may come later than the start.
    context.assets = [sid(number) for number in range(len(weights.columns))]
    if [asset.symbol for asset in context.assets] != list(weights.columns):
        raise ValueError("weights and assets are in different orders")
    context.rows = iter(weights.to_numpy())


def _trade(context: Any, data: Any) -> None:  # noqa: ARG001
    waiting = context.get_open_orders()
    for asset, target in zip(context.assets, next(context.rows), strict=True):
        if target == target and not waiting.get(asset):  # noqa: PLR0124 - NaN: the name has no bar
            order_target_percent(asset, target)


def _save(folder: Path, told: pd.DataFrame, seconds: float) -> None:
    sessions = pd.DatetimeIndex(told.index).tz_localize(None).normalize()
    equity = pd.DataFrame({"session": sessions, "value": told["portfolio_value"].to_numpy(float)})
    made = [
        (session, deal["sid"].symbol, int(deal["amount"]), float(deal["price"]))
        for session, deals in zip(sessions, told["transactions"], strict=True)
        for deal in deals
    ]
    trades = pd.DataFrame(made, columns=["session", "symbol", "amount", "price"])
    equity.to_parquet(folder / "equity.parquet", index=False)
    trades.to_parquet(folder / "trades.parquet", index=False)
    (folder / "done.json").write_text(json.dumps({"seconds": seconds}), encoding="utf-8")


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # other libraries' deprecations would drown an error's words
    signal.alarm(int(sys.argv[2]))
    main(Path(sys.argv[1]))
