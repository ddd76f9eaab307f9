"""A process that draws a tear sheet with QuantStats: ``python -m tasks.backtest.tear_sheet_child FOLDER SECONDS``.

QuantStats can download prices; here it cannot: its only way to, the yfinance package, is replaced by nothing before it
is imported, and so are connections. Started by ``tear_sheet.py``; nothing else imports this module.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import pandas as pd


def offline() -> None:
    """No prices are fetched in this process, whatever is asked of it."""
    sys.modules["yfinance"] = ModuleType("yfinance")
    socket.socket.connect = _refuse  # type: ignore[method-assign]


def draw(folder: Path) -> None:
    """Read ``equity.parquet``, ``job.json`` and ``template.html`` in the folder and leave ``page.html`` there."""
    os.environ["MPLBACKEND"] = "Agg"
    os.environ["MPLCONFIGDIR"] = str(folder)
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # it names every font that is not there
    from quantstats_lumi import reports  # noqa: PLC0415 - not before the process is offline

    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    equity = pd.read_parquet(folder / "equity.parquet").set_index("session")
    returns = equity.div(equity.shift(1).fillna(1.0)) - 1.0
    reports.html(
        returns["net"], returns["hold"], output=str(folder / "page.html"), template_path=str(folder / "template.html"),
        periods_per_year=job["periods"], benchmark_title="buy and hold", strategy_title=job["candidate"],
        title=job["title"], show_match_volatility=False,
    )  # fmt: skip


def _refuse(*_: Any) -> NoReturn:
    raise OSError("a tear sheet is drawn without a network")


if __name__ == "__main__":
    signal.alarm(int(sys.argv[2]))
    warnings.simplefilter("ignore")  # other libraries' deprecations would drown an error's words
    offline()
    draw(Path(sys.argv[1]))
