"""Metrics against scikit-learn, SciPy and figures worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics as sk

from tasks.contracts import TargetName
from tasks.leaderboard import metrics
from tasks.leaderboard.joined import Joined
from tasks.leaderboard.losses import FloatArray
from tasks.leaderboard.metrics import METRICS, Panel, Scored, ranking_metric
from tasks.leaderboard.smearing import gate_smearing


def scored(label: FloatArray, prediction: FloatArray, smearing: float = math.nan) -> Scored:
    return Scored(label=label, prediction=prediction, date=np.arange(len(label)), smearing=smearing)


@pytest.fixture
def regression() -> Scored:
    rng = np.random.default_rng(5)
    label = rng.normal(-4.8, 0.4, 400)
    return scored(label, 0.6 * label - 1.9 + rng.normal(0, 0.3, 400), 1.1)


@pytest.fixture
def classification() -> Scored:
    rng = np.random.default_rng(6)
    p = np.round(rng.uniform(0.2, 0.8, 500), 2)  # rounding makes ties
    return scored((rng.random(500) < p).astype(float), p)


def test_regression_metrics_agree_with_scikit_learn(regression: Scored) -> None:
    y, f = regression.label, regression.prediction
    assert metrics.mse(regression) == pytest.approx(sk.mean_squared_error(y, f), rel=1e-12)
    assert metrics.rmse(regression) == pytest.approx(sk.root_mean_squared_error(y, f), rel=1e-12)
    assert metrics.mae(regression) == pytest.approx(sk.mean_absolute_error(y, f), rel=1e-12)
    assert metrics.r2(regression) == pytest.approx(sk.r2_score(y, f), rel=1e-12)


def test_r2_against_zero_is_not_r2_around_the_mean() -> None:
    rows = scored(np.array([1.0, 2.0, 3.0]), np.array([1.0, 1.0, 1.0]))
    assert metrics.r2_zero(rows) == pytest.approx(1.0 - 5.0 / 14.0)
    assert metrics.r2(rows) == pytest.approx(1.0 - 5.0 / 2.0)
    assert metrics.r2_zero(scored(rows.label, np.zeros(3))) == 0.0


def test_classification_metrics_agree_with_scikit_learn(classification: Scored) -> None:
    y, p = classification.label, classification.prediction
    assert metrics.log_loss(classification) == pytest.approx(sk.log_loss(y, p), rel=1e-12)
    assert metrics.mse(classification) == pytest.approx(sk.brier_score_loss(y, p), rel=1e-12)
    assert metrics.auc(classification) == pytest.approx(sk.roc_auc_score(y, p), rel=1e-12)
    assert metrics.accuracy(classification) == pytest.approx(sk.accuracy_score(y, p > 0.5), rel=1e-12)


def test_one_sure_mistake_costs_a_finite_amount() -> None:
    rows = scored(np.array([1.0, 0.0]), np.array([0.0, 0.5]))
    assert metrics.log_loss(rows) == pytest.approx((-math.log(1e-6) - math.log(0.5)) / 2, rel=1e-9)


def test_qlike_is_zero_only_for_the_variance_itself() -> None:
    y = np.log(np.array([0.01, 0.02, 0.03]))
    assert metrics.qlike(scored(y, y, 1.0)) == 0.0
    # A variance forecast of twice the truth: v/w = 1/2, 1/2 - ln(1/2) - 1.
    assert metrics.qlike(scored(y, y, 2.0)) == pytest.approx(0.5 + math.log(2) - 1)
    assert math.isnan(metrics.qlike(scored(y, y)))


def test_smearing_makes_the_variance_forecast_unbiased_and_lowers_qlike() -> None:
    rng = np.random.default_rng(8)
    f = rng.normal(-4.8, 0.3, 20_000)
    y = f + rng.normal(0, 0.4, 20_000)
    seen = Joined(
        frame=pd.DataFrame({"label": y[:10_000]}), weight=np.ones(10_000), predictions={"m": f[:10_000]}, refused={}
    )
    factor = gate_smearing(seen, "m")
    # For Gaussian residuals Duan's factor tends to exp(2 σ²).
    assert factor == pytest.approx(math.exp(2 * 0.4**2), rel=0.03)
    held_out = scored(y[10_000:], f[10_000:], factor)
    assert np.mean(np.exp(2 * held_out.label)) == pytest.approx(
        factor * np.mean(np.exp(2 * held_out.prediction)), rel=0.05
    )
    naive = scored(held_out.label, held_out.prediction, 1.0)
    assert metrics.qlike(held_out) < metrics.qlike(naive)


def test_correlation_in_time_agrees_with_scipy_ties_included(regression: Scored) -> None:
    y, f = regression.label, np.round(regression.prediction, 1)
    expected = stats.spearmanr(y, f).statistic
    assert metrics.time_correlation(scored(y, f)) == pytest.approx(expected, rel=1e-12)
    assert math.isnan(metrics.time_correlation(scored(y, np.zeros(len(y)))))


@pytest.fixture
def panel() -> Scored:
    """Four dates of 30, 30, 30 and 19 names in mixed order."""
    rng = np.random.default_rng(9)
    date = np.repeat([0, 1, 2, 3], [30, 30, 30, 19])
    symbol = np.concatenate([np.arange(30)] * 3 + [np.arange(19)])
    order = rng.permutation(len(date))
    label = rng.normal(size=len(date))
    prediction = 0.3 * label + rng.normal(size=len(date))
    codes = Panel(symbol=symbol[order], bar=date[order])
    return Scored(label=label[order], prediction=np.round(prediction[order], 1), date=date[order], panel=codes)


def by_date(rows: Scored, of: Any, dates: int = 3) -> list[float]:
    assert rows.panel is not None
    return [float(of(rows.prediction[rows.panel.bar == d], rows.label[rows.panel.bar == d])) for d in range(dates)]


def test_information_coefficients_are_means_over_dates_with_enough_names(panel: Scored) -> None:
    pearson = by_date(panel, lambda f, y: stats.pearsonr(f, y).statistic)
    spearman = by_date(panel, lambda f, y: stats.spearmanr(f, y).statistic)
    assert metrics.pearson_ic(panel) == pytest.approx(np.mean(pearson), rel=1e-12)
    assert metrics.rank_ic(panel) == pytest.approx(np.mean(spearman), rel=1e-12)
    assert metrics.rank_icir(panel) == pytest.approx(np.mean(spearman) / np.std(spearman, ddof=1), rel=1e-12)


def test_the_decile_spread_is_the_top_tenths_mean_less_the_bottoms(panel: Scored) -> None:
    distinct = Scored(
        label=panel.label,
        prediction=panel.prediction + 1e-6 * np.arange(len(panel.label)),
        date=panel.date,
        panel=panel.panel,
    )

    def spread(f: FloatArray, y: FloatArray) -> float:
        ordered = y[np.argsort(f)]
        return float(ordered[-3:].mean() - ordered[:3].mean())

    assert metrics.decile_spread(distinct) == pytest.approx(np.mean(by_date(distinct, spread)), rel=1e-12)


def test_turnover_is_one_less_the_rank_correlation_with_the_next_date(panel: Scored) -> None:
    assert panel.panel is not None
    tables = []
    for d in range(3):
        at = panel.panel.bar == d
        tables.append(panel.prediction[at][np.argsort(panel.panel.symbol[at])])
    expected = [1 - stats.spearmanr(tables[d], tables[d + 1]).statistic for d in range(2)]
    assert metrics.turnover(panel) == pytest.approx(np.mean(expected), rel=1e-12)


@pytest.mark.parametrize("target", ["return", "direction", "triple_barrier"])
def test_one_symbol_has_no_cross_section_and_a_panel_no_correlation_in_time(target: TargetName, panel: Scored) -> None:
    across = {"ic", "rank_ic", "icir", "decile_spread", "turnover"}
    alone = Scored(label=panel.label, prediction=panel.prediction, date=panel.date)
    for metric in METRICS[target]:
        if metric.name in across:
            assert math.isnan(metric.compute(alone))
            assert math.isfinite(metric.compute(panel))
    assert math.isfinite(metrics.time_correlation(alone))
    assert math.isnan(metrics.time_correlation(panel))


def test_bars_of_one_day_are_no_cross_section() -> None:
    """78 five-minute bars of one symbol share a date; they are not 78 names."""
    rng = np.random.default_rng(1)
    rows = Scored(label=rng.normal(size=780), prediction=rng.normal(size=780), date=np.repeat(np.arange(10), 78))
    assert math.isnan(metrics.rank_ic(rows))


def test_every_date_weighs_the_same_whatever_its_names() -> None:
    rows = Scored(
        label=np.array([0.0, 0.0, 0.0, 1.0]), prediction=np.array([3.0, 0.0, 0.0, 0.5]), date=np.array([0, 0, 0, 1])
    )
    assert metrics.mse(rows) == pytest.approx((3.0 + 0.25) / 2)
    assert metrics.mae(rows) == pytest.approx((1.0 + 0.5) / 2)
    assert metrics.hit_rate(rows) == pytest.approx((2 / 3 + 1) / 2)
    assert metrics.base_rate(rows) == pytest.approx(0.5)
    assert metrics.r2(rows) == pytest.approx(1 - 1.625 / 0.25)


def test_metrics_of_a_panel_agree_with_weighted_scikit_learn(panel: Scored) -> None:
    weight = 1.0 / np.bincount(panel.date)[panel.date]
    y, f = panel.label, panel.prediction
    assert metrics.mse(panel) == pytest.approx(sk.mean_squared_error(y, f, sample_weight=weight), rel=1e-12)
    assert metrics.r2(panel) == pytest.approx(sk.r2_score(y, f, sample_weight=weight), rel=1e-12)
    up, p = (y > 0).astype(float), 1 / (1 + np.exp(-f))
    likely = Scored(label=up, prediction=p, date=panel.date)
    assert metrics.log_loss(likely) == pytest.approx(sk.log_loss(up, p, sample_weight=weight), rel=1e-12)
    assert metrics.accuracy(likely) == pytest.approx(sk.accuracy_score(up, p > 0.5, sample_weight=weight), rel=1e-12)


def test_hit_rate_calls_zero_not_up() -> None:
    rows = scored(np.array([0.01, -0.01, 0.0, 0.02]), np.array([0.1, 0.0, 0.0, -0.1]))
    assert metrics.hit_rate(rows) == 0.75
    assert metrics.base_rate(rows) == 0.5


@pytest.mark.parametrize(("ups", "rate"), [(7, 0.7), (2, 0.8)])
def test_the_base_rate_is_the_commoner_side(ups: int, rate: float) -> None:
    label = np.array([1.0] * ups + [0.0] * (10 - ups))
    assert metrics.base_rate(scored(label, np.full(10, 0.5))) == rate


def test_auc_of_one_class_is_undefined_and_of_a_constant_one_half() -> None:
    assert math.isnan(metrics.auc(scored(np.ones(5), np.linspace(0, 1, 5))))
    assert metrics.auc(scored(np.array([1.0, 0.0, 1.0]), np.full(3, 0.6))) == 0.5


def test_calibration_error_by_hand() -> None:
    # A constant has one bin: |0.6 - 0.5|.
    label = np.array([1.0] * 6 + [0.0] * 4)
    assert metrics.calibration_error(scored(label, np.full(10, 0.5))) == pytest.approx(0.1)
    # Twenty distinct probabilities make ten bins of two: |mean label - mean probability| each, averaged.
    p = np.arange(1, 21) / 21
    y = (np.arange(20) % 3 == 0).astype(float)
    gaps = [abs(y[i : i + 2].mean() - p[i : i + 2].mean()) for i in range(0, 20, 2)]
    assert metrics.calibration_error(scored(y, p)) == pytest.approx(float(np.mean(gaps)))


def test_calibrated_probabilities_have_a_small_error_and_shifted_ones_their_shift() -> None:
    rng = np.random.default_rng(10)
    p = rng.uniform(0.2, 0.7, 50_000)
    y = (rng.random(50_000) < p).astype(float)
    assert metrics.calibration_error(scored(y, p)) < 0.01
    assert metrics.calibration_error(scored(y, p + 0.2)) == pytest.approx(0.2, abs=0.01)


def test_every_metric_says_how_to_read_it_and_the_first_is_a_loss() -> None:
    for target, found in METRICS.items():
        assert len({metric.name for metric in found}) == len(found)
        assert all(metric.unit and metric.source for metric in found)
        assert ranking_metric(target).direction == "minimize"
    assert [ranking_metric(target).name for target in METRICS] == ["mse", "mse", "log_loss", "log_loss"]


@pytest.mark.parametrize("target", ["volatility", "return"])
def test_a_better_forecast_is_better_in_the_declared_direction(target: str) -> None:
    rng = np.random.default_rng(11)
    label = rng.normal(0, 1, 2000)
    good, bad = (scored(label, label * w + rng.normal(0, s, 2000), 1.0) for w, s in ((0.9, 0.1), (0.3, 0.9)))
    for metric in METRICS[target]:  # type: ignore[index]
        if math.isfinite(metric.compute(good)) and metric.name != "base_rate":
            gain = metric.compute(good) - metric.compute(bad)
            assert gain > 0 if metric.direction == "maximize" else gain < 0, metric.name
