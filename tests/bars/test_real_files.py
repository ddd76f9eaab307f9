"""Real files as their owners published them: what is right in them is read, and what is wrong is found."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from tasks.bars.refusal import BarsRefusedError
from tests.bars.files import check

pytestmark = pytest.mark.needs_data
ROOT = Path(__file__).resolve().parents[2]
NOW = pd.Timestamp("2026-10-01T00:00:00Z")


def _unzipped(archive: Path, target: Path) -> Path:
    """LEAN's archives hold one CSV without a header each."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive) as zipped:
        target.write_bytes(zipped.read(zipped.namelist()[0]))
    return target


PANEL = """
import json, resource, sys
from collections import Counter
import pandas as pd
from tasks.memory import peak_mb
from tests.bars.files import check
checked = check(sys.argv[1], now=pd.Timestamp(sys.argv[2]))
use = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({
    "seconds": use.ru_utime + use.ru_stime,
    "megabytes": peak_mb(),
    "quarantined": checked.quarantined,
    "quarantined_from": checked.quarantined_from,
    "set_aside": Counter(finding.rule for finding in checked.findings if finding.severity == "set_aside"),
    "rows": len(checked.frame),
    "symbols": checked.frame["symbol"].nunique(),
}))
"""


@pytest.mark.slow
def test_the_505_symbol_panel_is_read_and_checked_in_seconds(market_data: Path) -> None:
    source = market_data / "sp500_5yr" / "all_stocks_5yr.parquet"
    # In a process of its own, whose memory and processor time, imports included, are this reading's.
    done = subprocess.run(
        [sys.executable, "-c", PANEL, str(source), str(NOW)], capture_output=True, text=True, cwd=ROOT, check=True
    )
    found = json.loads(done.stdout)
    assert found["seconds"] < 10
    assert found["megabytes"] < 1024
    assert found["quarantined"] == ["BHF", "DHR", "DISCA", "DISCK", "FTV", "NI", "O", "UA", "WRK"]
    aside = found["set_aside"]
    assert (aside["missing-value"], aside["inconsistent-prices"]) == (11, 12)
    # Pure look-ahead: 1,047 bars carry the prices of a session up to half a year later.
    assert aside["later-bar"] == 1_047
    assert found["rows"] == 612_230
    # What came before a quarantine stays: Brighthouse and Fortive have nothing before theirs.
    assert found["quarantined_from"]["DISCA"] == "2014-08-07"
    assert found["symbols"] == 503


def test_tickers_that_changed_hands_are_found(market_data: Path, tmp_path: Path) -> None:
    for archive in (market_data / "lean_us_equity" / "daily").glob("*.zip"):
        _unzipped(archive, tmp_path / f"{archive.stem.upper()}.csv")
    checked = check(tmp_path, now=NOW, price_scale=1e4)
    # Each was another company's ticker before, or was away for years.
    gaps = [finding.symbol for finding in checked.findings if finding.rule == "long-gap"]
    assert gaps == ["AAA", "BNO", "FB", "QQQ", "USO"]
    before = checked.frame[checked.frame["symbol"] == "QQQ"]
    assert str(before["session"].max().date()) < checked.quarantined_from["QQQ"]
    spy = checked.frame[checked.frame["symbol"] == "SPY"]
    assert 60 < spy["low"].min() < spy["high"].max() < 500


def test_hour_bars_labelled_at_their_start(market_data: Path, tmp_path: Path) -> None:
    for name in ("ibm", "spy"):
        _unzipped(market_data / "lean_us_equity" / "hour" / f"{name}.zip", tmp_path / f"{name.upper()}.csv")
    declared = {"bar": "1h", "tz": "America/New_York", "price_scale": 1e4}
    checked = check(tmp_path, now=NOW, label="start", **declared)
    # SPY has 47 bars after early closes, above a thousandth of its rows; IBM's split of 1999-05-27 is not applied.
    assert checked.quarantined_from == {"IBM": "1999-05-27", "SPY": "1998-11-27"}
    first = checked.frame["time"].dt.tz_convert("America/New_York").iloc[:7].dt.strftime("%H:%M").tolist()
    assert first == ["10:00", "11:00", "12:00", "13:00", "14:00", "15:00", "16:00"]
    # The bar of 09:00, taken for an end, would lie before the open.
    with pytest.raises(BarsRefusedError, match="off-session"):
        check(tmp_path, now=NOW, label="end", **declared)


def test_crypto_by_the_hour_around_the_clock(market_data: Path, tmp_path: Path) -> None:
    archive = market_data / "lean_crypto" / "crypto" / "bitfinex" / "hour" / "btcusd_trade.zip"
    source = _unzipped(archive, tmp_path / "BTCUSD.csv")
    frame = check(source, now=NOW, bar="1h", calendar="24/7", tz="UTC", label="start").frame
    assert str(frame["time"].iloc[0]) == "2013-10-01 01:00:00+00:00"
    assert (frame["time"].dt.hour == 0).any()
    midnight = frame[frame["time"].dt.hour == 0].iloc[0]
    assert midnight["session"] == midnight["time"].tz_localize(None) - pd.Timedelta(days=1)


def test_currencies_in_a_brokers_clock_with_scaled_prices(market_data: Path) -> None:
    daily = check(f"{market_data}/ejtrader_fx/*/*USDd1.csv", now=NOW, calendar="24/5", price_scale=1e5).frame
    assert daily["symbol"].nunique() >= 3
    hourly = check(
        market_data / "ejtrader_fx" / "GBPUSD" / "GBPUSDh1.csv",
        now=NOW,
        **{"bar": "1h", "calendar": "24/5", "tz": "Europe/Athens", "label": "start", "price_scale": 1e5},
    ).frame
    assert len(hourly) == 57_600
    assert hourly["close"].between(1.0, 1.8).all()


def test_parquet_and_csv_of_one_broker(market_data: Path) -> None:
    options = {"bar": "1h", "calendar": "24/5", "tz": "Europe/Athens", "label": "start", "price_scale": 1e5}
    frame = check(market_data / "ejtrader_fx" / "AUDUSD" / "AUDUSDh1.parquet", now=NOW, **options).frame
    assert len(frame) == 57_600


def test_thirty_stocks_with_adjusted_closes(market_data: Path) -> None:
    checked = check(market_data / "stocknet" / "price_raw", now=NOW)
    assert checked.frame["symbol"].nunique() == 30
    # Two Chinese listings have an empty row on 2016-06-29: set aside, 1 of 1,258 rows each.
    assert checked.warnings[0] == "rows set aside: missing-value 2"
    assert checked.adjusted is not None
    assert (checked.adjusted["factor"].dropna() <= 1.000001).all()


@pytest.mark.parametrize(
    ("name", "rows"),
    [("default", 502), ("longish", 5285), ("msft", 8111), ("spx", 8111), ("compare", 502)],
)
def test_quote_files(market_data: Path, name: str, rows: int) -> None:
    assert len(check(market_data / "skender" / "quotes" / f"{name}.csv", now=NOW).frame) == rows


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("bad", "unreadable-time"),
        ("mismatch", "off-session"),
        ("zeros", "price-not-positive"),
        ("intraday", "naive-time"),
        # The index closed at 66.68 on 1961-04-17; the file says 68.68.
        ("longest", "spike"),
    ],
)
def test_quote_files_that_are_broken_on_purpose(market_data: Path, name: str, rule: str) -> None:
    with pytest.raises(BarsRefusedError, match=rule):
        check(market_data / "skender" / "quotes" / f"{name}.csv", now=NOW)


def test_the_packages_own_file_is_the_built_in_source(market_data: Path) -> None:
    published = check(market_data / "arch_data" / "sp500" / "sp500.csv.gz", now=NOW).frame
    built_in = check("builtin:sp500", now=NOW).frame
    pd.testing.assert_frame_equal(published.drop(columns="symbol"), built_in.drop(columns="symbol"))
