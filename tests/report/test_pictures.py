"""Pictures: text keeps its digits, ticks are round and few, and Matplotlib's settings stay the process's."""

from __future__ import annotations

import re

import matplotlib as mpl
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.report.pictures import STEPS, date_ticks
from tasks.report.svg import COLOURS, colour, picture


def test_labels_keep_their_digits_and_lines_lose_theirs() -> None:
    def paint(figure: mpl.figure.Figure, narrow: bool) -> None:
        axes = figure.add_subplot()
        axes.plot([0.123456, 1.0], [0.0, 2.0 / 3.0], color=colour("leader"))
        axes.set_title("0.0625 and #fig")

    made = picture("try", paint, 200, 150)
    for drawn in (made.wide, made.narrow):
        assert ">0.0625 and #fig<" in drawn
        assert "var(--leader)" in drawn
        assert not re.search(r' d="[^"]*\.\d\d', drawn)
        assert "<?xml" not in drawn
        assert "<metadata" not in drawn
    assert made.wide != made.narrow


def test_settings_of_the_process_are_left_alone() -> None:
    before = dict(mpl.rcParams)
    picture("try", lambda figure, narrow: None, 100, 100)
    assert dict(mpl.rcParams) == before


def test_every_colour_has_its_own_sentinel() -> None:
    assert len({colour(name) for name in COLOURS}) == len(COLOURS)
    with pytest.raises(ValueError, match="tuple"):
        colour("mauve")


@given(st.integers(60, 60 * 24 * 365 * 60), st.integers(0, 60 * 24 * 365 * 20), st.sampled_from([4, 9]))
def test_date_ticks_lie_inside_and_are_few(minutes: int, offset: int, most: int) -> None:
    first = pd.Timestamp("1990-01-01") + pd.Timedelta(minutes=offset)
    last = first + pd.Timedelta(minutes=minutes)
    style, ticks = date_ticks(first, last, most)
    assert style in {known for _, known in STEPS}
    assert len(ticks) <= most
    assert ((ticks >= first) & (ticks <= last)).all()
    if minutes >= 60 * 24 * 400:
        assert len(ticks) >= 2
