"""The least that each window must hold, and the refusal before anything costly."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.errors import ConfigurationError
from tasks.problem import Problem
from tasks.splits.sizes import least_bars, least_dates, precheck


def problem(**values: Any) -> Problem:
    return Problem(name="test", source="builtin:sp500", **values)


@pytest.mark.parametrize(
    ("name", "horizon", "bars"),
    [("train", 1, 60), ("train", 22, 220), ("validation", 1, 20), ("selection", 22, 110)],
)
def test_longer_horizons_need_longer_windows(name: Any, horizon: int, bars: int) -> None:
    assert least_bars(name, horizon) == bars


def test_the_gate_needs_what_the_problem_asks() -> None:
    assert least_dates("gate", 504) == 504
    assert least_dates("selection", 504) == 20


def test_precheck_passes_twenty_years_and_refuses_two() -> None:
    precheck(5031, 756, problem())
    with pytest.raises(ConfigurationError, match=r"504 sessions are too few .*lookback 756, search windows .*gate 504"):
        precheck(504, 756, problem())


def test_precheck_is_sharp_at_its_own_bound() -> None:
    with pytest.raises(ConfigurationError, match="at least ") as caught:
        precheck(1, 756, problem())
    needed = int(str(caught.value).split("at least ")[1].split()[0])
    precheck(needed, 756, problem())
    with pytest.raises(ConfigurationError):
        precheck(needed - 1, 756, problem())


@pytest.mark.parametrize("change", [{"horizon": 66}, {"embargo": 100}, {"gate_sessions": 2000}])
def test_precheck_asks_for_more_history_where_more_is_asked(change: dict[str, int]) -> None:
    precheck(1600, 756, problem())
    with pytest.raises(ConfigurationError):
        precheck(1600, 756, problem(**change))


def test_precheck_counts_intraday_lookback_in_bars() -> None:
    precheck(800, 756, problem(bar="5min"))
    with pytest.raises(ConfigurationError):
        precheck(800, 756, problem())


@pytest.mark.parametrize("change", [{"folds": 10}, {"folds": 6, "embargo": 20}])
def test_precheck_asks_for_more_history_for_more_folds(change: dict[str, int]) -> None:
    precheck(1600, 756, problem())
    with pytest.raises(ConfigurationError, match=rf"search windows and {change['folds']} folds .*lower .*folds"):
        precheck(1600, 756, problem(**change))


def test_five_years_of_a_panel_are_enough_with_shorter_features() -> None:
    precheck(1259, 252, problem(target="return", horizon=5))
    with pytest.raises(ConfigurationError, match="max_lookback"):
        precheck(1259, 756, problem(target="return", horizon=5))


def test_a_barrier_may_be_touched_early_so_precheck_asks_for_no_whole_horizon_before_each_window() -> None:
    def needed(**values: Any) -> int:
        with pytest.raises(ConfigurationError, match="at least ") as caught:
            precheck(1, 252, problem(**values))
        return int(str(caught.value).split("at least ")[1].split()[0])

    assert needed(target="triple_barrier", horizon=20) < needed(target="return", horizon=20)
