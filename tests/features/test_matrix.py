"""The matrix: which rows and columns it has, and that a panel is its symbols."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tasks.contracts import FeatureSpec
from tasks.errors import ConfigurationError
from tasks.features import catalogue, matrix
from tests.features.market import TICK, Bars, made_bars

COLUMNS = tuple(catalogue.CATALOGUE)


def frame_of(*symbols: tuple[str, Bars]) -> pd.DataFrame:
    parts = [pd.DataFrame({"symbol": name, **bars}) for name, bars in symbols]
    frame = pd.concat(parts, ignore_index=True)
    frame["time"] = pd.to_datetime(frame["session"]).dt.tz_localize("UTC") + pd.Timedelta(hours=21)
    return frame


def test_nan_stands_in_the_lookback_and_nowhere_else() -> None:
    values = matrix.compute(made_bars(1, 900), COLUMNS, TICK)
    for index, name in enumerate(COLUMNS):
        before = catalogue.feature(name).lookback - 1
        assert np.isnan(values[:before, index]).all(), name
        assert np.isfinite(values[before:, index]).all(), name


def test_columns_come_in_the_order_asked_and_do_not_depend_on_company() -> None:
    bars = made_bars(2, 800)
    full = matrix.compute(bars, COLUMNS, TICK)
    some = ("rsi_14", "har_5", "cdl_doji", "support_3", "ewma_94")
    np.testing.assert_array_equal(matrix.compute(bars, some, TICK), full[:, [COLUMNS.index(name) for name in some]])


def test_only_what_is_asked_is_read() -> None:
    bars = made_bars(2, 100)
    few = {name: bars[name] for name in ("high", "low", "session")}
    assert matrix.compute(few, ("har_5",), TICK).shape == (100, 1)
    with pytest.raises(KeyError, match="volume"):
        matrix.compute(few, ("relative_volume_5",), TICK)


@pytest.mark.parametrize("rows", [0, 1, 2, 30])
def test_histories_shorter_than_the_lookback_are_nan(rows: int) -> None:
    values = matrix.compute(made_bars(5, 40), COLUMNS, TICK)[:rows]
    short = matrix.compute({name: array[:rows] for name, array in made_bars(5, 40).items()}, COLUMNS, TICK)
    np.testing.assert_array_equal(short, values)
    assert np.isnan(short[:, COLUMNS.index("ema_50")]).all()


def test_a_panel_is_its_symbols_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """However symbols are computed together: one batch of all, several, or each alone."""
    symbols = [(name, made_bars(seed, rows)) for seed, (name, rows) in enumerate([("A", 900), ("B", 3), ("C", 1200)])]
    alone = np.concatenate([matrix.compute(bars, COLUMNS, TICK) for _, bars in symbols])
    for batch in (1, 1000, 100_000):
        monkeypatch.setattr(matrix, "BATCH_ROWS", batch)
        panel = matrix.panel(frame_of(*symbols), FeatureSpec(columns=COLUMNS, tick=TICK))
        np.testing.assert_array_equal(panel, alone)


def test_an_empty_panel_has_no_rows() -> None:
    empty = frame_of(("A", made_bars(1, 5))).head(0)
    assert matrix.panel(empty, FeatureSpec(columns=("har_1", "rsi_14"), tick=TICK)).shape == (0, 2)


def test_inputs_are_left_as_they_are() -> None:
    bars = made_bars(7, 900, calm=True)
    before = {name: values.copy() for name, values in bars.items()}
    matrix.compute(bars, COLUMNS, TICK)
    for name, values in bars.items():
        np.testing.assert_array_equal(values, before[name])


def test_unknown_columns_are_named() -> None:
    with pytest.raises(ConfigurationError, match="'sma_7'"):
        matrix.compute(made_bars(1, 10), ("har_1", "sma_7"), TICK)
