"""Returns less the date's mean: by hand, and known no later than they say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.contracts import Target
from tasks.errors import ConfigurationError
from tasks.labels.targets import Labels, make_labels


def aim(horizon: int, *, neutral: bool = True) -> Target:
    return Target(name="return", horizon=horizon, kind="regression", loss="mse", neutral=neutral)


def panel(symbols: int, sessions: int, seed: int = 1, missing: float = 0.0) -> pd.DataFrame:
    """Random closes, of which a share of the rows is missing."""
    rng = np.random.default_rng(seed)
    session = np.tile(pd.bdate_range("2020-01-02", periods=sessions).to_numpy(), symbols)
    n = len(session)
    frame = pd.DataFrame(
        {
            "symbol": np.repeat([f"S{number:03d}" for number in range(symbols)], sessions).astype(object),
            "time": pd.DatetimeIndex(session).tz_localize("UTC") + pd.Timedelta(hours=21),
            "session": session,
        }
    )
    for name in ("open", "high", "low", "close"):
        frame[name] = 50.0 * np.exp(rng.normal(0, 0.1, n))
    return frame[rng.random(n) >= missing].reset_index(drop=True)


def make(frame: pd.DataFrame, target: Target, **more: object) -> Labels:
    return make_labels(frame, target, "range", 0.01, True, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("horizon", [1, 5])
def test_the_mean_of_each_date_is_taken_off(horizon: int) -> None:
    frame = panel(25, 30)
    plain, neutral = make(frame, aim(horizon, neutral=False)), make(frame, aim(horizon))
    expected = plain.label - pd.Series(plain.label).groupby(frame["time"]).transform("mean")
    np.testing.assert_allclose(neutral.label, expected, atol=1e-15)
    assert neutral.label_end.equals(plain.label_end)
    np.testing.assert_array_equal(neutral.weight, plain.weight)


def test_dates_with_fewer_than_twenty_names_have_no_label() -> None:
    frame = panel(22, 12)
    thin = frame["session"].unique()[3]
    frame = frame[~((frame["session"] == thin) & (frame["symbol"] < "S003"))].reset_index(drop=True)
    labels = make(frame, aim(1))
    on_thin = (frame["session"] == thin).to_numpy()
    assert np.isnan(labels.label[on_thin]).all()
    assert set(labels.label_end[on_thin].isna()) == {True}
    assert np.isnan(labels.weight[on_thin]).all()
    # Three names skip the thin date: of the date before, only 19 labels are known when half of them are.
    before = (frame["session"] == frame["session"].unique()[2]).to_numpy()
    assert np.isnan(labels.label[before]).all()
    last = (frame["session"] == frame["session"].max()).to_numpy()
    assert np.isfinite(labels.label[~on_thin & ~before & ~last]).all()


def test_a_name_that_stops_trading_for_a_month_delays_only_itself() -> None:
    frame = panel(30, 60)
    days = frame["session"].unique()
    halted = (frame["symbol"] == "S007") & (frame["session"] > days[10]) & (frame["session"] < days[40])
    frame = frame[~halted].reset_index(drop=True)
    labels, plain = make(frame, aim(1)), make(frame, aim(1, neutral=False))
    on = (frame["session"] == days[10]).to_numpy()
    late = on & (frame["symbol"] == "S007").to_numpy()
    assert set(labels.label_end[on & ~late]) == {frame["time"][frame["session"] == days[11]].iloc[0]}
    assert labels.label_end[late][0] == frame["time"][frame["session"] == days[40]].iloc[0]
    mean = plain.label[on & ~late].mean()
    np.testing.assert_allclose(labels.label[on], plain.label[on] - mean, atol=1e-15)


def test_names_outside_the_universe_count_in_no_mean_and_have_no_label() -> None:
    frame = panel(40, 10)
    member = (frame["symbol"] < "S025").to_numpy()
    labels = make(frame, aim(1), member=member)
    alone = make(frame[member].reset_index(drop=True), aim(1))
    np.testing.assert_allclose(labels.label[member], alone.label, atol=1e-15)
    assert np.isnan(labels.label[~member]).all()
    assert set(labels.label_end[~member].isna()) == {True}


def test_a_date_with_fewer_than_twenty_members_has_no_label_however_many_names_it_has() -> None:
    frame = panel(30, 10)
    days = frame["session"].unique()
    member = ((frame["symbol"] < "S019") | (frame["session"] > days[4])).to_numpy()
    labels = make(frame, aim(1), member=member)
    few = (frame["session"] <= days[4]).to_numpy()
    assert np.isnan(labels.label[few]).all()
    assert np.isfinite(labels.label[~few & (frame["session"] < days[-1]).to_numpy()]).all()


def test_who_joins_later_moves_no_mean_before() -> None:
    frame = panel(30, 12)
    joins = frame["session"].unique()[6]
    late = (frame["symbol"] >= "S025").to_numpy()
    member = ~late | (frame["session"] >= joins).to_numpy()
    risen = frame.copy()
    risen.loc[late, "close"] *= np.exp(0.05 * frame.groupby("symbol").cumcount()[late])
    before = (frame["session"] < joins).to_numpy()
    calm, moved = (make(each, aim(2), member=member).label for each in (frame, risen))
    np.testing.assert_array_equal(calm[before], moved[before])
    everybody = [make(each, aim(2)).label[before & ~late] for each in (frame, risen)]
    assert (everybody[0] != everybody[1]).all()  # what is planted


def test_too_small_a_panel_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"at least 20 symbols off each date, the bars have 19"):
        make(panel(19, 10), aim(1))


@settings(deadline=None, max_examples=25)
@given(st.integers(20, 30), st.integers(4, 15), st.integers(1, 4), st.integers(0, 10_000), st.data())
def test_a_label_knows_no_bar_of_any_symbol_after_its_end(
    symbols: int, sessions: int, horizon: int, seed: int, data: st.DataObject
) -> None:
    """Gaps included: cutting all bars after a date keeps every label that had ended by then, and adds none."""
    frame = panel(symbols, sessions, seed, missing=0.1)
    if frame["symbol"].nunique() < 20:
        return
    whole = make(frame, aim(horizon))
    cut = data.draw(st.sampled_from(sorted(frame["time"].unique())))
    kept = (frame["time"] <= cut).to_numpy()
    if frame.loc[kept, "symbol"].nunique() < 20:
        return
    part = make(frame[kept].reset_index(drop=True), aim(horizon))
    ended = (whole.label_end <= cut)[kept]
    np.testing.assert_allclose(part.label, np.where(ended, whole.label[kept], np.nan), atol=1e-14)
    assert part.label_end[ended].equals(whole.label_end[kept][ended])
