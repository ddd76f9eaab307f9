"""True opens and volume, on the indices whose history is known."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.bars.facts import has_volume, opens_warning, repeated_opens, true_opens
from tests.bars.files import check


def test_the_sp500_has_no_true_opens_before_2006() -> None:
    frame = check("builtin:sp500").frame
    shares = repeated_opens(frame)
    assert all(0.94 < shares[year] < 1.0 for year in range(1999, 2006))
    assert all(shares[year] < 0.02 for year in range(2014, 2019))
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


@pytest.mark.parametrize(("share", "expected"), [(0.0, True), (0.04, True), (0.06, False), (1.0, False)])
def test_a_year_with_hardly_traded_bars_has_no_volume(share: float, expected: bool) -> None:
    frame = check("builtin:nasdaq").frame
    year = np.flatnonzero(frame["session"].dt.year == 2010)
    frame.loc[year[: round(share * len(year))], "volume"] = 0.0
    assert has_volume(frame) == expected


def test_one_constant_is_no_volume() -> None:
    assert not has_volume(check("builtin:nasdaq").frame.assign(volume=1.0))
