"""The tear sheet of a backtest: one page that opens without a network, drawn by QuantStats (quantstats-lumi).

Why QuantStats: it writes a page. pyfolio-reloaded draws into notebooks (through IPython) and would leave the page to be
built here. QuantStats's own page loads an icon from the web and lists figures in conventions of its own (calendar
years, other Sharpe ratios) that differ from the report's; so the template here is ours: its drawings and tables of
years and drawdowns, beside the very figures of the ``Backtest``.
"""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path

import pandas as pd

from tasks.backtest.child import run_child
from tasks.evaluation import Backtest
from tasks.templates import template

SECONDS = 120.0
TEMPLATE = Path(__file__).with_name("tear_sheet.html.j2")
ROWS = {"folds": "walk-forward folds (used to choose)", "gate": "gate window"}


def render(told: Backtest, equity: pd.DataFrame, problem: str, periods: int = 252, seconds: float = SECONDS) -> str:
    """The page as HTML. ``equity``: columns ``session, net, gross, hold``, growth of one.

    Raises EngineError if QuantStats fails or takes longer than ``seconds``.
    """
    with tempfile.TemporaryDirectory(prefix="nocturne-tear-sheet-") as name:
        folder = Path(name)
        title = f"{_clean(told.candidate)} on {_clean(problem)}"
        job = {"candidate": _clean(told.candidate), "title": title, "periods": periods}
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        (folder / "template.html").write_text(_template(told, equity, title), encoding="utf-8")
        equity.to_parquet(folder / "equity.parquet", index=False)
        run_child("tasks.backtest.tear_sheet_child", folder, seconds)
        return (folder / "page.html").read_text(encoding="utf-8")


def figures(told: Backtest) -> list[tuple[str, str, str]]:
    """Name, value and a word on each figure, in the order of the page."""
    return [
        ("Annual return over cash", _share(told.excess_return), "geometric, after costs; cash at the stated rate"),
        ("Annual return", _share(told.annual_return), "geometric, after costs"),
        ("Annual volatility", _share(told.annual_volatility), "of daily returns"),
        ("Sharpe ratio", _number(told.sharpe), "a year"),
        ("Deflated Sharpe", _share(told.deflated_sharpe), "probability that the true one is positive after all trials"),
        ("Maximum drawdown", _share(told.max_drawdown), "from a peak of equity"),
        ("Turnover", _number(told.turnover, " x"), "traded a year, in multiples of capital"),
        ("Costs", _share(told.costs), "of capital a year"),
        ("Break-even cost", _number(told.break_even_bps, " bp"), "a traded unit may cost before nothing is left"),
        ("Alpha", _share(told.alpha), f"a year beside buy-and-hold, Newey-West t {_number(told.alpha_t)}"),
        ("Beta", _number(told.beta), "to buy-and-hold"),
        ("Capacity", _money(told.capacity), "capital at which impact takes what is left"),
    ]


def _template(told: Backtest, equity: pd.DataFrame, title: str) -> str:
    ends = [pd.Timestamp(equity["session"].iloc[place]).date().isoformat() for place in (0, -1)]
    return template(TEMPLATE).render(
        told=told,
        title=title,
        ends=ends,
        rows=ROWS[told.rows],
        rule=told.rule.replace("_", " "),
        figures=figures(told),
    )


def _clean(text: str) -> str:
    """Without what QuantStats or HTML would take for its own."""
    return "".join(letter for letter in text if letter.isprintable() and letter not in "{}<>&\"'")


def _share(value: float) -> str:
    return "n/a" if math.isnan(value) else f"{value:.1%}"


def _number(value: float, unit: str = "") -> str:
    return "n/a" if math.isnan(value) else f"{value:,.2f}{unit}"


def _money(value: float) -> str:
    return "n/a" if math.isnan(value) else f"{value:,.3g}" if value < 1e6 else f"{value / 1e6:,.0f} million"
