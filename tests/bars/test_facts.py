"""True opens and volume, on the indices whose history is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.bars.facts import has_volume, opens_warning, repeated_opens, true_opens
from tests.bars.files import check


def test_the_sp500_has_no_true_opens_before_2006() -> None:
    frame = check("builtin:sp500").frame
    shares = repeated_opens(frame)
    assert all(0.94 < shares[year] < 1.0 for year in range(1999, 2006))
    assert not set(shares) & {2008, *range(2014, 2019)}
    assert not true_opens(frame)
    assert "1999 97%" in opens_warning(frame)
    # One bad year condemns the whole; without it the rest is sound.
    late = frame[frame["session"] >= "2014-01-01"].reset_index(drop=True)
    assert true_opens(late)
    assert opens_warning(late) == ""


def test_the_nasdaq_has_true_opens_and_volume() -> None:
    frame = check("builtin:nasdaq").frame
    assert true_opens(frame)
    assert has_volume(frame)


@pytest.mark.needs_data
def test_five_years_of_the_sp500s_members_have_true_opens(market_data: Path) -> None:
    stocks = pd.read_parquet(market_data / "sp500_5yr" / "all_stocks_5yr.parquet")
    frame = stocks.rename(columns={"date": "session"}).dropna().sort_values(["symbol", "session"])
    assert true_opens(frame)
    assert has_volume(frame)
    assert opens_warning(frame) == ""


def test_what_comes_after_the_first_three_fifths_of_the_sessions_changes_no_column() -> None:
    frame = check("builtin:nasdaq").frame
    later = np.arange(len(frame)) >= int(0.6 * len(frame))
    frame.loc[later, "volume"] = 0.0
    frame.loc[later, "open"] = frame["close"].shift(1)[later]
    assert true_opens(frame)
    assert has_volume(frame)
    assert "kept, since the first 60%" in opens_warning(frame)
    # The same in the sessions that decide.
    last = np.flatnonzero(~later)[-60:]
    frame.loc[last, "volume"] = 0.0
    frame.loc[last, "open"] = frame["close"].shift(1)[last]
    assert not true_opens(frame)
    assert not has_volume(frame)


@pytest.mark.parametrize(("share", "expected"), [(0.0, True), (0.04, True), (0.06, False), (1.0, False)])
def test_a_year_with_hardly_traded_bars_has_no_volume(share: float, expected: bool) -> None:
    frame = check("builtin:nasdaq").frame
    year = np.flatnonzero(frame["session"].dt.year == 2010)
    frame.loc[year[: round(share * len(year))], "volume"] = 0.0
    assert has_volume(frame) == expected


def test_one_constant_is_no_volume() -> None:
    assert not has_volume(check("builtin:nasdaq").frame.assign(volume=1.0))
