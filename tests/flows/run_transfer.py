"""A pre-training and a night in one process, on two made-up markets with a secret that no baseline knows.

``python -m tests.flows.run_transfer folder out.json``: the range of a bar is wide where the two bars before it went the
same way and narrow where they did not, plainly so on the first market and faintly on the second. A linear model of past
ranges and returns cannot tell, nor can a network that knows the second market alone; one that saw the first can.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import exchange_calendars
import numpy as np
import pandas as pd

from flows import settings

settings.apply()

from flows.nightly import run as nightly  # noqa: E402 - Prefect reads its settings when it is imported
from flows.pretrain import run as pretrain  # noqa: E402
from tasks.pretraining import Pretraining  # noqa: E402
from tasks.problem import build  # noqa: E402
from tasks.report.document import document  # noqa: E402

LAST = "2018-12-31"


def market(seed: int, first: str, last: str, secret: float, noise: float) -> pd.DataFrame:
    """Daily bars with true opens: time, open, high, low, close, volume."""
    sessions = exchange_calendars.get_calendar("XNYS", start="1990-01-01").sessions_in_range(first, last)
    random, n = np.random.default_rng(seed), len(sessions)
    way = random.choice([-1.0, 1.0], n)
    same = np.roll(way, 1) * np.roll(way, 2)
    log_range = -4.2 + secret * same + noise * random.standard_normal(n)
    spread = np.exp(log_range)
    body = way * random.uniform(0.4, 0.8, n) * spread
    close = 100 * np.exp(np.cumsum(body) - np.arange(n) * body.mean())
    opened = close * np.exp(-body)
    rest = spread - np.abs(body)
    high = np.maximum(opened, close) * np.exp(rest * 0.5)
    low = np.minimum(opened, close) * np.exp(-rest * 0.5)
    frame = pd.DataFrame({"time": sessions, "open": opened, "high": high, "low": low, "close": close})
    frame["volume"] = random.integers(1_000_000, 2_000_000, n)
    return frame.round({"open": 3, "high": 3, "low": 3, "close": 3})


def told(folder: Path) -> dict[str, object]:
    """What the pre-training and the night said."""
    market(1, "1996-01-02", "2006-06-30", 0.45, 0.2).to_csv(folder / "first.csv", index=False)
    market(2, "2003-01-02", LAST, 0.13, 0.3).to_csv(folder / "second.csv", index=False)
    made = pretrain(
        Pretraining(
            name="first", source=str(folder / "first.csv"), tick=0.001, tasks=("volatility",), horizons=(1,),
            steps=400, seconds=120, length=24, width=16, depth=2, embedding=8,
        )
    )  # fmt: skip
    values = {
        "name": "second", "source": str(folder / "second.csv"), "tick": 0.001, "target": "volatility",
        "engines": ["transfer"], "transfer_trials": 2, "autokeras_epochs": 3, "leaders": 2,
        "backbone": "first",
    }  # fmt: skip
    return {"pretrained": made, "night": document(nightly(build(values, "demo", {}, "test")))}


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(told(Path(sys.argv[1])), default=str))
