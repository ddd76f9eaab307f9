"""The alarm: silent where nothing is known, loud where too much is, and never louder for less evidence."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, r2_score

from tasks.contracts import Target, TargetName
from tasks.leaderboard import alarm, figures

DATES = 1250
Floats = npt.NDArray[np.float64]


def target(name: TargetName = "return", horizon: int = 1) -> Target:
    classify = name in ("direction", "triple_barrier")
    return Target(
        name=name,
        horizon=horizon,
        kind="classification" if classify else "regression",
        loss="log_loss" if classify else "mse",
    )


def frame_of(label: Floats, symbols: int = 1, **predictions: Floats) -> pd.DataFrame:
    """Rows of symbols one after the other, each on all dates."""
    dates = len(label) // symbols
    session = np.tile(pd.bdate_range("2005-01-03", periods=dates).to_numpy(), symbols)
    names = np.repeat([f"S{i:02}" for i in range(symbols)], dates)
    return pd.DataFrame({"symbol": names, "session": session, "label": label, **predictions})


def forecast(label: Floats, correlation: float, seed: int = 0) -> Floats:
    """The best linear forecast of a label by something that correlates with it so much."""
    noise = np.random.default_rng(seed).standard_normal(len(label)) * label.std()
    return np.asarray(correlation**2 * label + correlation * np.sqrt(1 - correlation**2) * noise)


def returns(seed: int = 1, size: int = DATES) -> Floats:
    """Heavy-tailed, like daily ones."""
    return np.asarray(0.01 * np.random.default_rng(seed).standard_t(4, size))


def found(
    frame: pd.DataFrame, what: Target, names: list[str], baselines: list[str]
) -> dict[tuple[str, str], figures.Bound]:
    return {(each.candidate, each.figure): each for each in alarm.bounds(frame, names, baselines, what)}


def test_figures_equal_independent_ones() -> None:
    y = returns()
    f = forecast(y, 0.3)
    got = found(frame_of(y, m=f), target(), ["m"], [])
    assert got["m", "r2"].value == pytest.approx(1 - ((y - f) ** 2).sum() / (y**2).sum())
    assert got["m", "ic"].value == pytest.approx(pd.Series(y).corr(pd.Series(f), method="spearman"))
    up = (y > 0).mean()
    assert got["m", "hit_rate"].value == pytest.approx(((y > 0) == (f > 0)).mean() - max(up, 1 - up))
    p = np.clip(0.5 + 20 * f, 0.01, 0.99)
    sides = (y > 0).astype(float)
    got = found(frame_of(sides, m=p), target("direction"), ["m"], [])
    assert got["m", "r2"].value == pytest.approx(1 - brier_score_loss(sides, p) / (up * (1 - up)))


def test_volatility_is_measured_against_its_mean_and_the_best_baseline() -> None:
    y = -4.5 + 0.5 * np.random.default_rng(3).standard_normal(DATES)
    near, far = forecast(y + 4.5, 0.6) - 4.5, forecast(y + 4.5, 0.4) - 4.5
    got = found(frame_of(y, m=near, har=far, last=np.full(DATES, y.mean())), target("volatility"), ["m", "har", "last"],
                ["har", "last"])  # fmt: skip
    assert got["m", "r2"].value == pytest.approx(r2_score(y, near))
    assert got["m", "skill"].value == pytest.approx(1 - ((y - near) ** 2).sum() / ((y - far) ** 2).sum())
    assert ("har", "skill") not in got


def test_a_panel_s_correlation_is_the_mean_over_dates() -> None:
    y = returns(size=25 * 100)
    f = forecast(y, 0.2)
    frame = frame_of(y, symbols=25, m=f)
    want = np.mean([d["label"].corr(d["m"], method="spearman") for _, d in frame.groupby("session")])
    assert found(frame, target(), ["m"], [])["m", "ic"].value == pytest.approx(want)


@pytest.mark.parametrize("name", ["return", "direction"])
def test_it_fires_far_above_the_limit_and_stays_silent_on_luck(name: TargetName) -> None:
    y = returns()
    for correlation, fires in ((0.0, False), (0.05, False), (0.3, True)):
        f = forecast(y, correlation, seed=5)
        label, m = (y, f) if name == "return" else ((y > 0).astype(float), 0.5 + np.clip(f / y.std(), -0.49, 0.49))
        told = alarm.alarms(alarm.bounds(frame_of(label, m=m), ["m"], [], target(name)), target(name))
        assert bool(told) == fires, (correlation, told)


def test_words_name_candidate_figure_bound_and_limit() -> None:
    y = returns()
    (first, *_) = alarm.alarms(alarm.bounds(frame_of(y, leaky=y), ["leaky"], [], target()), target())
    assert first.startswith("leaky: R² over the base rate of 100.0% for return over 1 bar, at least 100.0%")
    assert "1,250 dates" in first
    assert "above 1.0%" in first


def test_a_leak_that_lifts_the_baselines_too_is_seen() -> None:
    y = -4.5 + 0.5 * np.random.default_rng(3).standard_normal(DATES)
    frame = frame_of(y, m=y + 0.01, last=y + 0.02)
    what = target("volatility")
    told = alarm.alarms(alarm.bounds(frame, ["m", "last"], ["last"], what), what)
    assert any(text.startswith("last: R²") for text in told)


def test_few_dates_raise_no_alarm() -> None:
    y = returns(size=19)
    got = alarm.bounds(frame_of(y, m=y), ["m"], [], target())
    assert all(np.isnan(each.lower) for each in got)
    assert alarm.alarms(got, target()) == ()


def test_more_names_on_the_same_dates_are_no_more_evidence() -> None:
    """A hundred copies of a symbol bound a figure as one does."""
    y = returns(size=250)
    f = forecast(y, 0.2)
    one = found(frame_of(y, m=f), target(), ["m"], [])["m", "r2"]
    many = found(frame_of(np.tile(y, 100), symbols=100, m=np.tile(f, 100)), target(), ["m"], [])["m", "r2"]
    assert (one.value, one.lower) == pytest.approx((many.value, many.lower))


def test_overlapping_labels_widen_the_bound() -> None:
    y = pd.Series(returns(size=2020)).rolling(20).sum().to_numpy()[20:]
    f = pd.Series(forecast(y, 0.4)).rolling(20, min_periods=1).mean().to_numpy()
    short = found(frame_of(y, m=f), target(horizon=1), ["m"], [])["m", "ic"]
    long = found(frame_of(y, m=f), target(horizon=20), ["m"], [])["m", "ic"]
    assert long.lower <= short.lower


@pytest.mark.parametrize(
    ("horizon", "r2", "ic"), [(1, 0.01, 0.10), (5, 0.01, 0.10), (20, 0.04, 0.20), (252, 0.25, 0.5)]
)
def test_limits_grow_as_a_persistent_predictor_s_figures_would(horizon: int, r2: float, ic: float) -> None:
    got = alarm.stated(target(horizon=horizon))
    assert (got["r2"], got["ic"]) == pytest.approx((r2, ic))


def test_limits_follow_the_null_only_after_a_year_and_only_so_far() -> None:
    high = [0.015] * 251
    assert alarm.limits(target(), {"r2": high})["r2"] == 0.01
    assert alarm.limits(target(), {"r2": [*high, 0.015]})["r2"] == 0.015
    assert alarm.limits(target(), {"r2": [0.5] * 300})["r2"] == 0.02
    assert alarm.limits(target("volatility"), {"r2": [1.0] * 300})["r2"] == pytest.approx(0.95)
    assert alarm.limits(target(), {"r2": [-0.1] * 300})["r2"] == 0.01
    assert alarm.limits(target(), {"sharpe": [4.0] * 300})["sharpe"] == 4.0


def test_one_wild_canary_in_two_years_does_not_move_the_limit() -> None:
    """The quantile 1 - 1/252 allows for one a year: with two years of them the highest does not count."""
    assert alarm.limits(target(), {"r2": [-0.01] * 504 + [0.019]})["r2"] == 0.01


def test_sharpe_is_annual_and_needs_evidence() -> None:
    random = np.random.default_rng(7)
    daily = random.standard_normal(1000)
    daily = 0.01 * (daily - daily.mean()) / daily.std()
    good = daily + 0.01 * 6.0 / np.sqrt(252)
    bound = alarm.traded_bound("m", good, 252)
    assert bound.value == pytest.approx(6.0, rel=1e-3)
    assert alarm.alarms([bound], target())
    assert not alarm.alarms([alarm.traded_bound("m", good[:40], 252)], target())
    assert not alarm.alarms([alarm.traded_bound("m", daily + 0.01 * 3.0 / np.sqrt(252), 252)], target())


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.0, 0.6))
def test_bounds_lie_below_figures_and_do_not_depend_on_the_order_of_names(seed: int, strength: float) -> None:
    y = returns(seed, 400)
    frame = frame_of(y, a=forecast(y, strength, seed), b=forecast(y, 0.1, seed + 1))
    one, other = (found(frame, target(), names, []) for names in (["a", "b"], ["b", "a"]))
    assert one == other
    assert all(each.lower <= each.value + 1e-9 for key, each in one.items() if key[1] != "hit_rate")
