"""One quick night on a copy of the S&P 500 that ends in 2016, then the monitor on what followed, as it was and drifted.

``python -m tests.flows.run_monitor folder out.json``: the copies lie in the folder. Out come the two reports, the
registered model's tags and aliases after each, the events that Prefect's server has been sent, and whether the second
report would send another on the days after (``again``): as it is, and of a refresh of the same recipe.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from arch.data import sp500

from flows import settings

settings.apply()

from prefect.client.orchestration import get_client  # noqa: E402 - Prefect reads its settings when it is imported
from prefect.events.worker import EventsWorker  # noqa: E402

from flows.monitor import monitor  # noqa: E402
from flows.nightly import run as nightly  # noqa: E402
from tasks.documents import to_json  # noqa: E402
from tasks.drift.task import EXCEEDED, ask_for_retraining  # noqa: E402
from tasks.problem import build  # noqa: E402
from tasks.registry.mlflow_store import open_store  # noqa: E402

NAME, END = "watched", "2016-12-30"
QUIET_SECONDS = 20.0


def copies(folder: Path) -> tuple[Path, Path]:
    """The real bars, and the same with every range after 2016 five times as wide, closes as they were."""
    frame = sp500.load()[["Open", "High", "Low", "Close", "Volume"]]
    real, drifted = folder / "real" / "spx.csv", folder / "drifted" / "spx.csv"  # a file's name is its symbol's
    for path in (real, drifted):
        path.parent.mkdir(parents=True)
    frame.to_csv(real)
    logs = np.log(frame[["Open", "High", "Low", "Close"]].to_numpy())
    later = np.flatnonzero(frame.index > pd.Timestamp(END))
    close = logs[:, 3].copy()
    for row in later:
        moves = logs[row] - logs[row - 1, 3]
        close[row] = close[row - 1] + moves[3]
        wide = close[row - 1] + np.array([0.0, 5.0 * max(moves[1], moves[3]), 5.0 * min(moves[2], moves[3]), moves[3]])
        frame.iloc[row, :4] = np.exp([wide[0], max(wide), min(wide), wide[3]])
    frame.to_csv(drifted)
    return real, drifted


def shown() -> dict[str, Any]:
    """Tags and aliases of the registered model."""
    model = open_store().client.get_registered_model(NAME)
    return {"tags": dict(model.tags), "aliases": {alias: str(version) for alias, version in model.aliases.items()}}


def events() -> list[dict[str, Any]]:
    """What has been emitted under the monitor's event name, once the server has stored it."""
    EventsWorker.instance().drain()
    until = time.monotonic() + QUIET_SECONDS
    with get_client(sync_client=True) as client:
        while True:
            answer = client._client.post("/events/filter", json={"filter": {"event": {"name": [EXCEEDED]}}})
            found: list[dict[str, Any]] = answer.json().get("events", [])
            if found or time.monotonic() > until:
                return found
            time.sleep(1.0)


def main(folder: Path, out: Path) -> None:
    """Everything in one process: one server, one set of imports."""
    real, drifted = copies(folder)
    values = {"name": NAME, "target": "volatility", "engines": ["baseline", "linear"], "max_lookback": 120}
    nightly(build({**values, "source": str(real), "as_of": END}, "demo", {}, "test"))
    found: dict[str, Any] = {"before": shown()}
    for name, source in (("real", real), ("drifted", drifted)):
        report = monitor(build({**values, "source": str(source)}, "demo", {}, "test"))
        found[name] = {"report": to_json(report), **shown()}
    refreshed = dataclasses.replace(report, version="3")
    found["again"] = [ask_for_retraining.fn(each, {}) for each in (report, refreshed)]
    found["events"] = events()
    out.write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
