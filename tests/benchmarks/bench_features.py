"""Features of the 505-symbol panel against a pandas ``groupby.apply`` of the same TA-Lib calls by ``talib.abstract``.

Both make the same calls: same functions, parameters and input series (recorded from the catalogue itself). Ours also
scales them, adds what TA-Lib lacks, and blanks the lookback; theirs gets its derived inputs for nothing. Each runs in a
process of its own, so that time and memory are its own.

``python -m tests.benchmarks.bench_features`` prints a row of the benchmark table.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from talib import abstract

from tasks.contracts import FeatureSpec
from tasks.features import catalogue, matrix, parallel
from tasks.features.series import Indicator, Input, Series
from tasks.memory import peak_mb

TICK = 0.01
Call = tuple[str, tuple[Input, ...], tuple[tuple[str, float], ...]]


class Recorder(Series):
    """A series that notes which TA-Lib calls are made."""

    def __init__(self, bars: Mapping[str, Any], tick: float) -> None:
        super().__init__(bars, tick)
        self.calls: list[Call] = []

    def call(self, asked: Indicator) -> list[Any]:
        self.calls.append((asked.function, asked.inputs, tuple(asked.parameters.items())))
        return super().call(asked)


def bars() -> pd.DataFrame:
    """The panel as canonical bars, rows with missing values left out."""
    folder = Path(os.environ.get("NOCTURNE_TEST_DATA") or Path(__file__).parents[2].parent / "shared" / "data")
    frame = pd.read_parquet(folder / "sp500_5yr" / "all_stocks_5yr.parquet").dropna()
    frame = frame.rename(columns={"date": "session"}).astype({"volume": float})
    return frame.sort_values(["symbol", "session"]).reset_index(drop=True)


def recorded(columns: tuple[str, ...]) -> list[Call]:
    """The distinct TA-Lib calls that the columns are made from."""
    frame = bars()
    one = matrix.arrays(frame[frame["symbol"] == frame["symbol"].iloc[0]])
    series = Recorder(one, TICK)
    for name in columns:
        catalogue.feature(name).compute(series)
    return series.calls


def with_inputs(frame: pd.DataFrame, calls: list[Call]) -> pd.DataFrame:
    """The bars with every derived input series as a column."""
    derived = {source for _, inputs, _ in calls for source in inputs if not isinstance(source, str)}
    parts = []
    for first, last in pairwise(matrix.symbol_edges(frame["symbol"].to_numpy())):
        series = Series(matrix.arrays(frame.iloc[first:last]), TICK)
        parts.append(pd.DataFrame({named(source): series[source] for source in derived}))
    return pd.concat([frame, pd.concat(parts, ignore_index=True)], axis=1)


def named(source: Input) -> str:
    """The column that holds an input series."""
    return source if isinstance(source, str) else f"{source.__name__}_{id(source)}"


def prepared(call: Call) -> Callable[[pd.DataFrame], Any]:
    """The call through ``talib.abstract``, with its inputs named as that interface wants them."""
    name, inputs, parameters = call
    function: Any = getattr(abstract, name)
    left, keywords = [named(source) for source in inputs], {}
    for key, default in function.info["input_names"].items():
        count = len(default) if isinstance(default, list) else 1
        taken, left = left[:count], left[count:]
        keywords[key] = taken if isinstance(default, list) else taken[0]
    return lambda group: getattr(abstract, name)(group, **keywords, **dict(parameters))


def theirs(frame: pd.DataFrame, calls: list[Call]) -> pd.DataFrame:
    """All calls on each symbol's frame, side by side."""
    ready = [prepared(call) for call in calls]
    grouped: Any = frame.groupby("symbol", sort=False, group_keys=False)
    side_by_side: pd.DataFrame = grouped.apply(
        lambda group: pd.concat([call(group) for call in ready], axis=1), include_groups=False
    )
    return side_by_side


def columns_of(scope: str) -> tuple[str, ...]:
    """The columns made of TA-Lib calls, which have a counterpart on the other side, or the whole catalogue."""
    return tuple(name for name, entry in catalogue.CATALOGUE.items() if entry.functions or scope == "catalogue")


def measure(side: str, scope: str) -> dict[str, float]:
    """Seconds, processor seconds and peak memory of one side, in this process and its children."""
    columns = columns_of(scope)
    frame, calls = bars(), recorded(columns)
    if side == "theirs":
        frame = with_inputs(frame, calls)
    before, started = _processor(), time.perf_counter()
    if side == "theirs":
        shape = theirs(frame, calls).shape
    else:
        shape = parallel.panel(frame, FeatureSpec(columns=columns, tick=TICK), workers=2).shape
    seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        "processor": _processor() - before,
        "rows": shape[0],
        "columns": shape[1],
        "calls": len(calls),
        "gib": peak_mb() / 1024,
    }


def _processor() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def _best(side: str, scope: str) -> dict[str, float]:
    """The faster of two runs, each in a process of its own: the first may meet memory that was never touched."""
    command = [sys.executable, "-m", __spec__.name, side, scope]
    texts = [subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(2)]
    runs: list[dict[str, float]] = [json.loads(text.splitlines()[-1]) for text in texts]
    return min(runs, key=lambda run: run["seconds"])


def main() -> None:
    """Measure both sides, and print the table."""
    other = _best("theirs", "calls")
    print("| features, 505 symbols | rows | columns | TA-Lib calls | s | processor s | times faster | peak GiB |")
    print("|---|---|---|---|---|---|---|---|")
    _print("groupby.apply, talib.abstract", other, other)
    _print("columns of the same calls", _best("ours", "calls"), other)
    _print("the whole catalogue", _best("ours", "catalogue"), other)


def _print(name: str, measured: dict[str, float], other: dict[str, float]) -> None:
    print(
        f"| {name} | {measured['rows']:,} | {measured['columns']} | {measured['calls']} | {measured['seconds']:.1f} "
        f"| {measured['processor']:.1f} | {other['seconds'] / measured['seconds']:.1f} | {measured['gib']:.1f} |"
    )


if __name__ == "__main__":
    np.seterr(all="ignore")
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1], sys.argv[2])))
    else:
        main()
