"""The vectorised evaluator against Zipline on the same target weights, and its time on a night's candidates.

One name, daily bars, weights that change every ten sessions and are restored every session. Measured on both sides is
CPU time of the simulation alone: bars, weights and Zipline's bundle are ready, processes started, modules imported;
the evaluator gets the best of many runs, Zipline one. Three things are timed:

- the economic evaluator: the same decisions at the same bars, in shares of capital, vectorised;
- the zipline mode: the same whole shares and cash, checked here to make Zipline's very trades;
- Zipline with only the equity and the trades recorded (its full set of metrics takes twice as long).

``python -m tests.benchmarks.bench_backtest`` prints the rows of the benchmark table; it fails below ``WANTED``.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.backtest.candidates import evaluate, setting
from tasks.backtest.costs import Costs
from tasks.backtest.evaluator import run
from tasks.backtest.market import market_of
from tasks.backtest.zipline_mode import on_sessions, simulate
from tasks.backtest.zipline_run import compare, run_zipline
from tasks.contracts import Ref, Snapshot
from tasks.problem import Problem
from tests.backtest.markets import built_in, exchange_sessions, ground, random_weights

WANTED = 500
COSTS = Costs(commission=0.5, spread=2.0)


def cpu(work: Callable[[], object], repeats: int) -> float:
    """The least CPU seconds of so many runs."""
    found = []
    for _ in range(repeats):
        started = time.process_time()
        work()
        found.append(time.process_time() - started)
    return min(found)


def against_zipline() -> float:
    """Print the ratios; the economic evaluator's is returned."""
    bars = built_in()
    one = bars[bars["symbol"] == "^GSPC"].reset_index(drop=True)
    market = on_sessions(market_of(one), exchange_sessions("1999-01-04", "2018-12-31"))
    weights = random_weights(market, hold=10)
    where = ground(market, COSTS)
    theirs, zipline = run_zipline(market, weights, COSTS)
    apart = compare(simulate(market, weights, COSTS), theirs)
    economic = cpu(lambda: run(where, weights).growth(), 50)
    same = cpu(lambda: simulate(market, weights, COSTS), 20)
    print(
        f"{len(market.times):,} sessions, {apart.trades:,} trades, {apart.unmatched} of them different, "
        f"equity within {apart.equity:.0e}"
    )
    print(f"Zipline               {zipline:9.4f} s")
    print(f"zipline mode          {same:9.4f} s  {zipline / same:8,.0f} times faster, the very same trades")
    print(f"economic evaluator    {economic:9.4f} s  {zipline / economic:8,.0f} times faster, the same decisions")
    return zipline / economic


def night(bars: pd.DataFrame, problem: Problem, candidates: int, since: str) -> float:
    """Wall seconds for all candidates of a night, from bars in memory to figures."""
    part = bars[bars["session"] >= since]
    rng = np.random.default_rng(0)
    predictions = {f"c{place}": rng.normal(size=len(part)) for place in range(candidates)}
    snapshot = Snapshot(
        sha256="", bars=Ref(path="", sha256="", rows=0), symbols=tuple(bars["symbol"].unique()), first="", last="",
        bar="1d", calendar="XNYS", true_opens=True, has_volume=True,
    )  # fmt: skip
    ends = bars.groupby("symbol")["time"].shift(-problem.horizon)
    labels = pd.DataFrame({"label": 1.0, "label_end": ends})
    started = time.perf_counter()
    where = setting(problem, snapshot, market_of(bars), labels, part["time"])
    evaluate(where, part[["symbol", "time"]], predictions, "folds", 20)
    return time.perf_counter() - started


def nights() -> None:
    """Print what a night's candidates take."""
    problem = Problem(name="bench", source="x.csv", target="return", horizon=5)
    bars = built_in()
    one = bars[bars["symbol"] == "^GSPC"].reset_index(drop=True)
    print(f"S&P 500, 20 candidates, 10 years:          {night(one, problem, 20, '2009-01-01'):.2f} s")
    folder = Path(os.environ.get("NOCTURNE_TEST_DATA") or Path(__file__).parents[2].parent / "shared" / "data")
    path = folder / "sp500_5yr" / "all_stocks_5yr.parquet"
    if not path.is_file():
        print("panel of 505 names: no market data here")
        return
    panel = pd.read_parquet(path).dropna().rename(columns={"date": "session"}).astype({"volume": float})
    panel["session"] = pd.to_datetime(panel["session"]).astype("datetime64[ns]")
    panel["time"] = panel["session"].dt.tz_localize("UTC") + pd.Timedelta(hours=21)
    panel = panel.sort_values(["symbol", "time"]).reset_index(drop=True)
    deciles = problem.model_copy(update={"positions": "decile"})
    print(f"505 names, deciles, 20 candidates, 2 years: {night(panel, deciles, 20, '2016-02-08'):.2f} s")


if __name__ == "__main__":
    ratio = against_zipline()
    nights()
    sys.exit(0 if ratio >= WANTED else 1)
