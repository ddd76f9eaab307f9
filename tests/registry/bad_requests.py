"""Requests that a promoted model must refuse, one of each kind, and the models that they are sent to."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.registry.bundle import entry_facts, write_bundle
from tasks.registry.serving.predictor import Predictor
from tests.registry.conftest import make_bars, make_entry, raw
from tests.registry.walked import walked_night

PRICES = ["open", "high", "low", "close"]
SYMBOLS = tuple(f"S{i:02d}" for i in range(25))
Change = Callable[[pd.DataFrame], Any]


@dataclass(frozen=True)
class Request:
    """A request for ``model`` (``one`` symbol or a ``panel``): its bars changed, and the words that refuse it."""

    title: str
    change: Change
    message: str
    model: str = "one"
    asked: dict[str, Any] = field(default_factory=dict)


def at(row: int, **values: object) -> Change:
    """The bars with other values in one row."""

    def change(bars: pd.DataFrame) -> pd.DataFrame:
        for name, value in values.items():
            bars[name] = bars[name].astype(object)
            bars.loc[bars.index[row], name] = value  # type: ignore[call-overload]
        return bars

    return change


def scaled(factor: float, rows: slice = slice(None)) -> Change:
    """The bars with some rows' prices in another unit."""

    def change(bars: pd.DataFrame) -> pd.DataFrame:
        bars.loc[bars.index[rows], PRICES] *= factor
        return bars

    return change


def hourly(bars: pd.DataFrame) -> pd.DataFrame:
    """The same bars an hour apart."""
    return bars.assign(time=pd.date_range("2016-01-04 15:00", periods=len(bars), freq="h", tz="UTC"))


REQUESTS = (
    Request("too few bars", lambda bars: bars.iloc[-5:], "needs at least 22 bars of SPX, got 5: give more history"),
    Request("no bars", lambda bars: bars.iloc[:0], "bars are empty"),
    Request("no frame", lambda bars: bars.to_dict("records"), "must be a pandas DataFrame, got list"),
    Request("a column missing", lambda bars: bars.drop(columns="low"), r"lack the columns \['low'\]; the model takes"),
    Request("columns renamed", lambda bars: bars.rename(columns=str.title), r"lack the columns \['time', 'open'"),
    Request(
        "columns in another order, without names",
        lambda bars: bars.set_axis(range(bars.shape[1]), axis=1),
        r"lack the columns \['time', 'open'",
    ),
    Request("high and low exchanged", lambda bars: bars.rename(columns={"high": "low", "low": "high"}), "'high' below"),
    Request("NaN in the tail", at(-3, close=np.nan), r"SPX: 'close' missing or infinite: 1 bars, at 2016-03-2"),
    Request("infinity in the tail", at(-3, high=np.inf), "'high' missing or infinite: 1 bars"),
    Request("text among the numbers", at(-3, close="12,5"), "'close' must hold numbers"),
    Request("a price of zero", at(-3, low=0.0), "'low' zero or negative: 1 bars"),
    Request("negative volume", at(-3, volume=-1.0), "'volume' negative: 1 bars"),
    Request("a time twice", lambda bars: pd.concat([bars, bars.iloc[-1:]]), "times given twice: 1 bars, at 2016-03-2"),
    Request("unsorted times", lambda bars: bars.iloc[::-1], "out of time order: sort them by time"),
    Request(
        "two files joined in the wrong order",
        lambda bars: pd.concat([bars.iloc[160:], bars.iloc[:160]]),
        "SPX: bars out of time order: sort them by time; 1 bars are not later than .* the first is bar 161",
    ),
    Request("times that are numbers", lambda bars: bars.assign(time=range(len(bars))), "'time' holds numbers"),
    Request("no time", at(-3, time=pd.NaT), "bars have no time"),
    Request("weekly bars", lambda bars: bars.iloc[::5], "takes bars of 1d, these are usually 7 days"),
    Request("hourly bars", hourly, "takes daily bars; sessions with more than one bar"),
    Request("a symbol never seen", lambda bars: bars.assign(symbol="SPY"), "not trained on SPY; it knows SPX"),
    Request("no symbol", lambda bars: bars.assign(symbol=None), "'symbol' must hold text"),
    Request("prices in cents", scaled(100.0), "SPX: prices are on another scale than in training: .* 100 times"),
    Request("prices in hundreds", scaled(0.01), "prices are on another scale than in training: .* 1/100 of"),
    Request("prices in ten-thousandths", scaled(1e4), "prices are on another scale .* 1e.04 times"),
    Request(
        "some bars in cents", scaled(100.0, slice(-9, -4)), "SPX: prices change their scale: the close of .* times the"
    ),
    Request("a hole of three weeks", lambda bars: bars.drop(bars.index[-17:-3]), r"about 1\d bars are missing between"),
    Request(
        "every third session missing",
        lambda bars: bars.drop(bars.index[::3]),
        "bars are missing between",
        asked={"rows": "all"},
    ),
    Request("other rows", lambda bars: bars, "rows must be 'last' or 'all', got 'first'", asked={"rows": "first"}),
    Request("an interval in per cent", lambda bars: bars, "must be a coverage between 0 and 1", asked={"interval": 90}),
    Request("too wide an interval", lambda bars: bars, "needs more residuals than the 160", asked={"interval": 0.999}),
    Request(
        "no symbols", lambda bars: bars.drop(columns="symbol"), "knows 25 symbols .*: give a column 'symbol'", "panel"
    ),
    Request(
        "a part of the cross-section",
        lambda bars: bars[bars["symbol"].isin(SYMBOLS[:20])],
        r"5 of the model's 25 symbols are missing on 2016-03-24: S20, .* needs at least 90% of those",
        "panel",
    ),
    Request(
        "a cross-section whose histories are short",
        lambda bars: bars.groupby("symbol").tail(5),
        r"25 of them have bars, but fewer than the 22 that features need",
        "panel",
    ),
    Request(
        "one symbol on another scale",
        lambda bars: bars.assign(**{p: bars[p].where(bars["symbol"] != "S07", bars[p] * 100) for p in PRICES}),
        "S07: prices are on another scale",
        "panel",
    ),
)


def models(folder: Path) -> dict[str, Predictor]:
    """A model of one symbol, and one that compares 25 names within a date; both know their training."""
    bars = {"one": make_bars(), "panel": make_bars(SYMBOLS)}
    made = {}
    for name, given in bars.items():
        (folder / name).mkdir(parents=True)
        night = walked_night(folder / name, given)
        if name == "panel":
            spec = replace(night.features.spec, cross_section="rank", universe=SYMBOLS)
            night = replace(night, features=replace(night.features, spec=spec))
        entry = make_entry(night)
        write_bundle(folder / name / "bundle", night, entry.shipped, entry_facts(entry, "shipped"))
        made[name] = Predictor(folder / name / "bundle")
    return made


def send(request: Request, to: dict[str, Predictor]) -> pd.DataFrame:
    """Ask the model. Raises what it raises."""
    bars = raw(make_bars()) if request.model == "one" else make_bars(SYMBOLS).drop(columns="session")
    return to[request.model].predict(request.change(bars), **request.asked)


PACKAGES = {
    "a package of another version": ("numpy>=2.2,<3", "numpy>=99,<100", "numpy .* is installed, the model needs >=99"),
    "a package that is missing": ("numpy>=2.2,<3", "no-such-package", "no-such-package is not installed"),
}
"""Requirement as written, as changed, and the words that refuse the model when it is loaded."""


def load_changed(bundle: Path, before: str, after: str) -> Predictor:
    """Load a bundle that asks for another package. Raises what the loader raises."""
    manifest = bundle / "manifest.json"
    whole = manifest.read_bytes()
    document = json.loads(whole)
    document["requires"] = [after if need == before else need for need in document["requires"]]
    try:
        manifest.write_text(json.dumps(document))
        return Predictor(bundle)
    finally:
        manifest.write_bytes(whole)
