"""Labels against a plain loop over bars, their ends, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from tasks.contracts import Target
from tasks.errors import ConfigurationError, DataError
from tasks.labels.targets import Labels, make_labels

TICK = 0.01


def volatility(horizon: int = 1) -> Target:
    return Target(name="volatility", horizon=horizon, kind="regression", loss="mse")


def returns(horizon: int = 1) -> Target:
    return Target(name="return", horizon=horizon, kind="regression", loss="mse")


def direction(horizon: int = 1) -> Target:
    return Target(name="direction", horizon=horizon, kind="classification", loss="log_loss")


def bars(symbols: dict[str, int], seed: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    parts = []
    for symbol in sorted(symbols):
        n = symbols[symbol]
        close = 50.0 * np.exp(np.cumsum(rng.normal(0, 0.02, n)))
        open_ = close * np.exp(rng.normal(0, 0.005, n))
        session = pd.bdate_range("2020-01-02", periods=n)
        parts.append(
            pd.DataFrame(
                {
                    "symbol": symbol,
                    "time": session.tz_localize("UTC") + pd.Timedelta(hours=21),
                    "session": session,
                    "open": open_,
                    "high": np.maximum(open_, close) * 1.01,
                    "low": np.minimum(open_, close) * 0.99,
                    "close": close,
                    "volume": 1e6,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def loop_volatility(frame: pd.DataFrame, horizon: int, total: bool) -> list[float]:
    """The definition, bar by bar, in plain Python."""
    rows = frame.to_dict("records")
    out = []
    for i, row in enumerate(rows):
        ahead = rows[i + 1 : i + 1 + horizon]
        if len(ahead) < horizon or any(bar["symbol"] != row["symbol"] for bar in ahead):
            out.append(math.nan)
            continue
        variance = 0.0
        for j, bar in enumerate(ahead, start=i + 1):
            log_range = max(math.log(bar["high"] / bar["low"]), math.log(1 + TICK / bar["low"]))
            variance += log_range**2 / (4 * math.log(2))
            if total:
                variance += math.log(bar["open"] / rows[j - 1]["close"]) ** 2
        out.append(0.5 * math.log(variance / horizon))
    return out


def make(frame: pd.DataFrame, target: Target, variance: str = "range", true_opens: bool = True) -> Labels:
    return make_labels(frame, target, variance, TICK, true_opens)  # type: ignore[arg-type]


@pytest.mark.parametrize("horizon", [1, 5, 22])
@pytest.mark.parametrize("variance", ["range", "total"])
def test_volatility_is_the_definition_bar_by_bar(horizon: int, variance: str) -> None:
    frame = bars({"AAA": 60, "BBB": 40})
    labels = make(frame, volatility(horizon), variance)
    np.testing.assert_allclose(labels.label, loop_volatility(frame, horizon, variance == "total"), rtol=1e-13)


def test_total_variance_is_never_below_the_range_alone() -> None:
    frame = bars({"AAA": 60})
    part, whole = make(frame, volatility(), "range").label[:-1], make(frame, volatility(), "total").label[:-1]
    assert (whole > part).all()


@pytest.mark.parametrize("horizon", [1, 7])
def test_return_and_direction_look_h_closes_ahead(horizon: int) -> None:
    frame = bars({"AAA": 30})
    close = frame["close"].to_numpy()
    expected = np.log(close[horizon:]) - np.log(close[:-horizon])
    np.testing.assert_allclose(make(frame, returns(horizon)).label[:-horizon], expected, atol=1e-14)
    np.testing.assert_array_equal(make(frame, direction(horizon)).label[:-horizon], (expected > 0).astype(float))


def test_a_zero_return_is_not_up_and_not_dropped() -> None:
    frame = bars({"AAA": 4})
    frame["close"] = [10.0, 10.0, 10.5, 10.4]
    np.testing.assert_array_equal(make(frame, direction()).label, [0.0, 1.0, 0.0, np.nan])


def test_direction_takes_negative_prices_and_return_refuses_them() -> None:
    frame = bars({"CL": 4})
    frame["close"] = [18.0, -37.63, 10.0, 12.0]
    np.testing.assert_array_equal(make(frame, direction()).label, [0.0, 1.0, 1.0, np.nan])
    with pytest.raises(DataError, match=r"row 2 \(CL, 2020-01-03.*close -37\.63.*direction"):
        make(frame, returns())


@pytest.mark.parametrize("horizon", [1, 3])
def test_each_label_ends_with_its_last_bar_and_never_in_another_symbol(horizon: int) -> None:
    frame = bars({"AAA": 12, "BBB": 2, "CCC": 10})
    labels = make(frame, returns(horizon))
    for symbol, part in frame.groupby("symbol"):
        ends = pd.Series(labels.label_end, index=frame.index)[part.index]
        pd.testing.assert_series_equal(ends, part["time"].shift(-horizon), check_names=False)
        assert np.isnan(labels.label[part.index[-horizon:]]).all(), symbol
    np.testing.assert_array_equal(np.isnan(labels.label), labels.label_end.isna())


def test_a_symbol_shorter_than_the_horizon_has_no_labels() -> None:
    labels = make(bars({"AAA": 3}), returns(5))
    assert np.isnan(labels.label).all()
    assert bool(np.all(labels.label_end.isna()))


def test_ranges_below_a_tick_are_floored_and_counted() -> None:
    frame = bars({"AAA": 400})
    frame.loc[10:12, ["open", "high", "low", "close"]] = 50.0
    labels = make(frame, volatility())
    assert labels.floored_share == pytest.approx(3 / 400)
    floor = math.log(1 + TICK / 50.0)
    assert labels.label[9] == pytest.approx(0.5 * math.log(floor**2 / (4 * math.log(2))))
    assert labels.warnings == ()


def test_a_range_of_exactly_one_tick_does_not_count_as_floored() -> None:
    frame = bars({"AAA": 50})
    low = np.round(np.linspace(10.0, 1500.0, 50), 2)
    frame["low"], frame["high"] = low, np.round(low + TICK, 2)
    frame["open"] = frame["close"] = low
    assert make(frame, volatility()).floored_share == 0.0


def test_too_many_floored_ranges_are_refused_with_the_symbols() -> None:
    frame = bars({"AAA": 100, "FLAT": 100})
    frame.loc[frame["symbol"] == "FLAT", ["open", "high", "low", "close"]] = 50.0
    with pytest.raises(DataError, match=r"below one tick on 50\.00% .*FLAT: 100\.00%.*set tick"):
        make(frame, volatility())
    assert make(frame, returns()).floored_share == 0.0


def test_one_floored_symbol_of_many_is_a_warning() -> None:
    frame = bars({f"S{i:03d}": 20 for i in range(200)})
    frame.loc[frame["symbol"] == "S007", ["open", "high", "low", "close"]] = 50.0
    labels = make(frame, volatility())
    assert labels.floored_share == pytest.approx(1 / 200)
    assert len(labels.warnings) == 1
    assert "S007: 100.00%" in labels.warnings[0]


def test_overnight_variance_needs_true_opens() -> None:
    with pytest.raises(ConfigurationError, match=r"no true opens.*'range'"):
        make(bars({"AAA": 30}), volatility(), "total", true_opens=False)
    assert np.isfinite(make(bars({"AAA": 30}), volatility(), "range", true_opens=False).label[:-1]).all()


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_prices_without_a_logarithm_are_named(bad: float) -> None:
    frame = bars({"AAA": 10})
    frame.loc[4, "low"] = bad
    with pytest.raises(DataError, match=rf"1 prices .*row 5 \(AAA, 2020-01-08.*low {bad}"):
        make(frame, volatility())


@pytest.mark.parametrize("order", [[0, 2, 1, 3], [0, 1, 1, 2]])
def test_rows_out_of_order_or_twice_are_refused(order: list[int]) -> None:
    frame = bars({"AAA": 4}).iloc[order].reset_index(drop=True)
    with pytest.raises(DataError, match=r"row 3 \(AAA.*out of order"):
        make(frame, returns())


def test_symbols_out_of_order_are_refused() -> None:
    frame = bars({"AAA": 3, "BBB": 3}).iloc[[3, 4, 5, 0, 1, 2]].reset_index(drop=True)
    with pytest.raises(DataError, match=r"row 4 \(AAA"):
        make(frame, returns())


@pytest.mark.parametrize("target", [volatility(4), returns(4), direction(4)])
def test_labels_that_overlap_share_their_bars(target: Target) -> None:
    """In the middle every bar is in four labels; the first and last labels have some bars to themselves."""
    labels = make(bars({"AAA": 30, "BBB": 6}), target)
    weight = labels.weight[:26]
    np.testing.assert_allclose(weight[3:-3], 0.25)
    ramp = np.array([1 + 1 / 2 + 1 / 3 + 1 / 4, 1 / 2 + 1 / 3 + 1 / 2, 1 / 3 + 3 / 4]) / 4
    np.testing.assert_allclose(weight[[0, 1, 2]], ramp)
    np.testing.assert_allclose(weight[[-1, -2, -3]], ramp)
    np.testing.assert_allclose(labels.weight[30:32], (1 + 3 / 2) / 4)
    np.testing.assert_array_equal(np.isnan(labels.weight), np.isnan(labels.label))


def test_labels_of_one_bar_share_nothing() -> None:
    labels = make(bars({"AAA": 30}), returns())
    np.testing.assert_array_equal(labels.weight[:-1], 1.0)
