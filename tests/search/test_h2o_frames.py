"""What needs no JVM: rows cut in two for an ensemble without overlap, and leaders cut off by the clock."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.errors import EngineError, EngineKilledError
from tasks.search.engine import Fitted

parts = pytest.importorskip("tasks.search.h2o_frames", reason="the engines extra is not installed").parts
until = pytest.importorskip("tasks.search.h2o_automl").until
DAYS = np.datetime64("2020-01-01", "ns") + np.arange(100) * np.timedelta64(1, "D")


@pytest.mark.parametrize("symbols", [1, 3])
@pytest.mark.parametrize("horizon", [1, 5, 22])
def test_the_last_earlier_label_ends_on_the_bar_before_the_later_part(symbols: int, horizon: int) -> None:
    times = np.repeat(DAYS, symbols)
    end, begin = parts(times, 0.2, horizon)
    assert times[begin] == DAYS[80]
    assert times[begin - 1] == DAYS[79]
    label_ends = times[:end] + horizon * np.timedelta64(1, "D")
    assert label_ends.max() == DAYS[79]
    assert end % symbols == begin % symbols == 0


def test_too_few_dates_for_the_horizon_are_refused() -> None:
    assert parts(DAYS, 0.2, 79) == (1, 80)
    with pytest.raises(EngineError, match="100 dates are too few to blend an ensemble at horizon 80"):
        parts(DAYS, 0.2, 80)


def test_leaders_that_the_clock_cut_off_leave_none_reproducible(tmp_path: Path) -> None:
    def fit_again(name: str, number: int) -> Fitted:
        nothing = np.empty(0)
        return Fitted(
            name=name,
            engine="h2o",
            recipe={},
            model=tmp_path / str(number),
            train_seconds=0.0,
            native=nothing,
            native_rows=nothing.astype(np.int64),
            tolerance=0.0,
        )

    notes: list[str] = []
    every = until(time.monotonic() + 60, ["a", "b"], fit_again, notes)
    assert [(item.name, item.model.name, item.reproducible) for item in every] == [("a", "0", True), ("b", "1", True)]
    assert notes == []
    late = until(time.monotonic() - 1, ["a", "b"], fit_again, notes)
    assert [(item.name, item.reproducible) for item in late] == [("a", False)]
    assert notes == ["b and what follows was not fitted again: the time budget is used up, not reproducible"]


def test_a_recipe_that_is_refused_leaves_the_others_their_place() -> None:
    """An ensemble whose weights are all zero has no recipe; a JVM that died is no refusal."""
    notes: list[str] = []

    def fit_again(name: str, number: int) -> Any:
        if name == "constant":
            raise EngineError("every model's weight in the ensemble is zero: it predicts a constant")
        if name == "killed":
            raise EngineKilledError("H2O's JVM was killed")
        return (name, number)

    kept: Any = until(time.monotonic() + 60, ["constant", "gbm"], fit_again, notes)
    assert kept == [("gbm", 1)]
    assert notes == [
        "constant could not be fitted again: every model's weight in the ensemble is zero: it predicts a constant"
    ]
    with pytest.raises(EngineKilledError):
        until(time.monotonic() + 60, ["gbm", "killed"], fit_again, notes)
