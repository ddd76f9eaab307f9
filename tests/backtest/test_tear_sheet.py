"""The tear sheet: one page that fetches nothing, with the backtest's own figures."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from tasks.backtest.tear_sheet import figures, render
from tasks.evaluation import Backtest

EVIL = "<img src=x onerror=alert(1)>{{returns}}"
TOLD = Backtest(
    candidate="gbm" + EVIL, rule="volatility_target", rows="folds", dates=600, annual_return=0.0712,
    excess_return=0.0612, annual_volatility=0.11, sharpe=0.65, max_drawdown=0.123, turnover=41.5, costs=0.0062,
    break_even_bps=9.87, alpha=0.021, beta=0.34, alpha_t=1.2, illustrative="an index cannot be bought",
)  # fmt: skip


class Page(HTMLParser):
    """Tags with their attributes, and text outside of styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def page() -> str:
    rng = np.random.default_rng(0)
    sessions = pd.bdate_range("2014-01-02", periods=600)
    curves = {name: np.cumprod(1.0 + rng.normal(3e-4, 0.01, 600)) for name in ("net", "gross", "hold")}
    return render(TOLD, pd.DataFrame({"session": sessions, **curves}), "panel " + EVIL)


def test_it_fetches_and_runs_nothing(page: str) -> None:
    found = Page(page)
    assert not {tag for tag, _ in found.tags} & {"script", "iframe", "object", "embed", "img", "audio", "video", "form"}
    addresses = [
        value for _, attrs in found.tags for name, value in attrs.items() if name in ("src", "href", "xlink:href")
    ]
    assert all(value is not None and value.startswith(("#", "data:,")) for value in addresses), addresses[:5]
    assert not re.search(r"url\((?!#)|@import", page)
    policy = [attrs for tag, attrs in found.tags if tag == "meta" and attrs.get("http-equiv")]
    assert str(policy[0]["content"]).startswith("default-src 'none'")


def test_it_shows_the_backtests_own_figures(page: str) -> None:
    text = Page(page).text
    for name, value, word in figures(TOLD):
        assert name in text
        assert value in text
        assert word in text
    assert "Nobody could have had this result: an index cannot be bought." in text
    assert "2014-01-02 to 2016-04-20, 600 sessions of the walk-forward folds (used to choose)" in text
    assert page.count("<svg") == 9
    assert "{{" not in page


def test_undefined_figures_are_not_numbers() -> None:
    undefined = dataclasses.replace(TOLD, break_even_bps=float("nan"), capacity=float("nan"))
    told = {name: value for name, value, _ in figures(undefined)}
    assert told["Break-even cost"] == "n/a"
    assert told["Capacity"] == "n/a"
    rich = {name: value for name, value, _ in figures(dataclasses.replace(TOLD, capacity=3.1e8))}
    assert rich["Capacity"] == "310 million"


def test_the_child_cannot_reach_a_network() -> None:
    code = (
        "import socket\nfrom tasks.backtest.tear_sheet_child import offline\noffline()\nimport yfinance\n"
        "assert not hasattr(yfinance, 'download')\n"
        "try:\n    socket.create_connection(('127.0.0.1', 9), 1)\nexcept OSError as error:\n    print(error)\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "a tear sheet is drawn without a network"
