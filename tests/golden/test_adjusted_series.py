"""Adjusted series against two vendors' own: Quandl's WIKI table, and LEAN's factor files."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks import storage
from tasks.bars.actions import CorporateAction
from tasks.bars.adjusted import adjusted, factors
from tasks.bars.describe import SourceDescription
from tasks.bars.ingest import ingest_source
from tasks.bars.refusal import BarsRefusedError
from tests.backtest.markets import raw

WIKI = "zipline/tests_resources/quandl_samples/QUANDL_ARCHIVE.zip"
NOW = pd.Timestamp("2021-12-31T22:00:00Z")
BARS = ["date", "open", "high", "low", "close", "volume"]
NAMES = ["date", "price", "split", "last"]
pytestmark = pytest.mark.needs_data


def test_the_wiki_sample_is_adjusted_as_its_vendor_does(market_data: Path) -> None:
    """Splits and dividends, four shares in 2014 (AAPL with its 7:1): to rounding, in prices and in volume."""
    with zipfile.ZipFile(market_data / WIKI) as archive:
        table = pd.read_csv(archive.open(archive.namelist()[0]), parse_dates=["date"])
    bars = table.rename(columns={"ticker": "symbol"}).sort_values(["symbol", "date"], ignore_index=True)
    bars["session"] = bars["date"].astype("datetime64[ns]")
    bars["time"] = bars["session"].dt.tz_localize("UTC") + pd.Timedelta(hours=21)
    actions = [
        CorporateAction(symbol=symbol, session=day.date(), kind=kind, value=value)  # type: ignore[arg-type]
        for column, kind, nil in (("ex-dividend", "dividend", 0.0), ("split_ratio", "split", 1.0))
        for symbol, day, value in zip(bars["symbol"], bars["session"], bars[column], strict=True)
        if value != nil
    ]
    assert len(actions) == 9
    ours = adjusted(bars, actions, how="splits_and_dividends")
    for name in ("open", "high", "low", "close", "volume"):
        # Theirs goes on beyond the sample's end, by a constant for each symbol.
        beyond = pd.Series(np.log(ours[name] / bars[f"adj_{name}"])).groupby(bars["symbol"])
        assert float((beyond.max() - beyond.min()).max()) < 1e-12


@pytest.mark.parametrize(("symbol", "splits"), [("aapl", 4), ("spy", 0), ("ibm", 1)])
def test_factor_files_of_lean(symbol: str, splits: int, market_data: Path) -> None:
    """Split factors to 1e-6. Dividend factors to 0.5 % over 23 years: LEAN takes a dividend off the close before it,
    CRSP reinvests it at the close after, and the two differ by the dividend times that day's move."""
    folder = market_data / "lean_us_equity"
    market = raw(folder, symbol)
    assert market.events is not None
    sessions = pd.DatetimeIndex(market.sessions)
    bars = pd.DataFrame({"symbol": symbol, "session": sessions, "close": market.close[:, 0]})
    paid, ratio = market.events.dividends[:, 0], market.events.splits[:, 0]
    actions = [
        CorporateAction(symbol=symbol, session=sessions[int(at)].date(), kind=kind, value=float(values[at]))  # type: ignore[arg-type]
        for values, kind, nil in ((ratio, "split", 1.0), (paid, "dividend", 0.0))
        for at in np.flatnonzero(values != nil)
    ]
    assert sum(action.kind == "split" for action in actions) == splits
    shares, cash = factors(bars, actions)
    table = pd.read_csv(
        folder / "factor_files" / f"{symbol}.csv", header=None, names=["date", "price", "split", "last"]
    )
    dates = pd.to_datetime(table["date"], format="%Y%m%d").to_numpy()
    # A row holds through its date: the first one on or after a session is that session's.
    row = np.searchsorted(dates, sessions.to_numpy())
    inside = row < len(table)
    theirs = table.iloc[row[inside]].reset_index(drop=True)
    end = theirs.iloc[-1]
    np.testing.assert_allclose(1 / shares[inside], theirs["split"] / end["split"], rtol=2e-3 if splits > 1 else 1e-6)
    np.testing.assert_allclose(cash[inside], theirs["price"] / end["price"], rtol=5e-3)


def test_apple_as_quoted_over_23_years_is_accepted_with_its_splits_and_refused_without(
    market_data: Path, tmp_path: Path
) -> None:
    market = raw(market_data / "lean_us_equity", "aapl")
    assert market.events is not None
    days = pd.DatetimeIndex(market.sessions).strftime("%Y-%m-%d")
    with zipfile.ZipFile(market_data / "lean_us_equity" / "daily" / "aapl.zip") as archive:
        bars = pd.read_csv(archive.open(archive.namelist()[0]), header=None, names=BARS)
    bars["date"] = days
    bars[["open", "high", "low", "close"]] /= 10_000
    # Three lows of this file are bad prints (10.59 where the close is 184), which the checks refuse by themselves.
    wrong = bars["date"].isin(["2009-09-21", "2010-08-31", "2011-01-03"])
    bars.loc[wrong, "low"] = bars.loc[wrong, ["open", "close"]].min(axis=1)
    bars.to_csv(tmp_path / "AAPL.csv", index=False)
    ratio, paid = market.events.splits[:, 0], market.events.dividends[:, 0]
    rows = [f"AAPL,{days[int(at)]},split,{ratio[at]}" for at in np.flatnonzero(ratio != 1.0)]
    rows += [f"AAPL,{days[int(at)]},dividend,{paid[at]}" for at in np.flatnonzero(paid != 0.0)]
    (tmp_path / "actions.csv").write_text("\n".join(["symbol,session,kind,value", *rows]))
    source, known = str(tmp_path / "AAPL.csv"), str(tmp_path / "actions.csv")
    with pytest.raises(BarsRefusedError, match="split"):
        ingest_source(SourceDescription(source=source), NOW)
    snapshot = ingest_source(SourceDescription(source=source, actions=known), NOW)
    adjusted_close = storage.read_parquet(snapshot.bars)["close"]
    assert len(adjusted_close) == len(bars)
    assert adjusted_close.pct_change().abs().max() < 0.52  # 2000-09-29, the warning on its quarter
    assert snapshot.events is not None
    assert len(storage.read_parquet(snapshot.events)) == int((paid != 0).sum())
