"""The leaderboard: who is first, by what margin, how sure; and a digest that forgets only the clock."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm  # type: ignore[import-untyped]
from arch.bootstrap import StationaryBootstrap
from scipy import stats

from tasks.contracts import EngineName, Ref
from tasks.documents import from_json, to_json
from tasks.errors import EngineError
from tasks.evaluation import Backtest, Leaderboard
from tasks.leaderboard.ranking import digest
from tasks.leaderboard.shortlist import Shortlist
from tasks.registry.gate import losses_by_date
from tasks.statistics.diebold_mariano import p_value
from tasks.statistics.losses import row_losses
from tests.leaderboard.walks import (
    BARRIER,
    DIRECTION,
    RETURN,
    VOLATILITY,
    FloatArray,
    around,
    board,
    rows_of,
    walked,
)


def losses(rows: pd.DataFrame, prediction: FloatArray) -> FloatArray:
    place = (rows["window"] == "fold").to_numpy()
    return np.asarray(((rows["label"] - prediction)[place] ** 2).to_numpy())


def test_the_lowest_loss_on_the_joined_rows_is_first_and_skill_is_against_the_best_baseline(rows: pd.DataFrame) -> None:
    predictions = {"last": around(rows, 0.5), "har": around(rows, 0.3, 4), "gbm": around(rows, 0.2, 5)}
    engines: dict[str, EngineName] = {"last": "baseline", "har": "baseline", "gbm": "h2o"}
    found = board(rows, [walked(rows, name, f, engines[name]) for name, f in predictions.items()])
    assert [score.candidate for score in found.scores] == ["gbm", "har", "last"]
    assert [score.rank for score in found.scores] == [1, 2, 3]
    mean = {name: losses(rows, f).mean() for name, f in predictions.items()}
    for score in found.scores:
        assert score.score == pytest.approx(mean[score.candidate], rel=1e-12)
        assert score.skill == pytest.approx(1 - mean[score.candidate] / mean["har"], rel=1e-12)
        assert (score.metric, score.direction) == ("mse", "minimize")
        assert set(score.metrics) == {"mse", "rmse", "mae", "r2", "qlike", "effective_sample"}
        assert score.metrics["mse"] == pytest.approx(score.score, rel=1e-12)
        assert score.metrics["effective_sample"] == found.rows
        assert score.skill_interval[0] <= score.skill <= score.skill_interval[1]
    assert (found.rows, found.dates) == (380, 380)


def test_only_fold_rows_score(rows: pd.DataFrame) -> None:
    honest = around(rows, 0.3)
    elsewhere = (rows["window"] != "fold").to_numpy()
    wild = np.where(elsewhere, 99.0, honest)
    boards = [board(rows, [walked(rows, "har", f, search=honest)]) for f in (honest, wild)]
    assert boards[0] == boards[1]


def test_fold_scores_are_the_loss_in_each_fold(rows: pd.DataFrame) -> None:
    prediction = around(rows, 0.3)
    score = board(rows, [walked(rows, "har", prediction)]).scores[0]
    expected = [((rows["label"] - prediction)[rows["scored_by"] == f"fit_fold_{k}"] ** 2).mean() for k in range(1, 6)]
    np.testing.assert_allclose(score.fold_scores, expected, rtol=1e-12)


@pytest.mark.parametrize("symbols", [1, 3])
def test_a_panel_is_ranked_by_the_gates_own_loss(symbols: int) -> None:
    """Dates weigh the same, however many names they hold: some names are missing on some fold rows."""
    rows = rows_of(symbols=symbols)
    fold = np.flatnonzero(rows["window"] == "fold")
    gone = np.random.default_rng(1).choice(fold, 200 if symbols > 1 else 0, replace=False)
    rows.loc[gone, ["window", "scored_by"]] = ""
    prediction = around(rows, 0.3)
    found = board(rows, [walked(rows, "har", prediction)])
    kept = (rows["window"] == "fold").to_numpy()
    by_date = losses_by_date(rows["session"].to_numpy()[kept], rows["label"].to_numpy()[kept], prediction[kept], "mse")
    assert found.scores[0].score == pytest.approx(by_date.mean(), rel=1e-12)
    assert found.dates == len(by_date)
    np.testing.assert_allclose(
        row_losses("mse", rows["label"].to_numpy()[kept], prediction[kept]).sum(), losses(rows, prediction).sum()
    )


def test_a_name_three_times_over_is_the_name() -> None:
    rows = rows_of()
    three = pd.concat([rows.assign(symbol=name) for name in "abc"], ignore_index=True)
    small, large = around(rows, 0.3), around(rows, 0.35, 9)
    alone, panel = (
        board(each, [walked(each, "har", np.tile(small, k)), walked(each, "last", np.tile(large, k))])
        for each, k in ((rows, 1), (three, 3))
    )
    assert (panel.rows, panel.dates) == (3 * alone.rows, alone.dates)
    for a, p in zip(alone.scores, panel.scores, strict=True):
        assert p.score == pytest.approx(a.score, rel=1e-12)
        assert p.p_values == pytest.approx(a.p_values, rel=1e-9)
        assert p.skill_interval == pytest.approx(a.skill_interval, rel=1e-9)
        assert p.metrics["effective_sample"] == pytest.approx(a.metrics["effective_sample"])
    assert alone.statistics is not None
    assert panel.statistics is not None
    for name, biased in alone.statistics.mincer_zarnowitz.items():
        assert panel.statistics.mincer_zarnowitz[name] == pytest.approx(biased, rel=1e-6)
    assert panel.statistics.spa_p == pytest.approx(alone.statistics.spa_p)


def test_ties_go_to_the_simpler_engine_and_then_to_the_name(rows: pd.DataFrame) -> None:
    same = around(rows, 0.3)
    names: list[tuple[str, EngineName]] = [
        ("b", "autokeras"), ("c", "h2o"), ("a", "h2o"), ("z", "linear"), ("y", "baseline"),
    ]  # fmt: skip
    # A loss that is lower in its last digits is rounding and not a rank.
    closer = same + (rows["label"].fillna(-4.8).to_numpy() - same) * 1e-14
    found = board(rows, [walked(rows, name, closer if name == "b" else same, engine) for name, engine in names])
    assert [score.candidate for score in found.scores] == ["y", "z", "a", "c", "b"]
    assert found.scores[-1].score < found.scores[0].score


def test_p_values_agree_with_the_t_test_where_losses_are_independent(rows: pd.DataFrame) -> None:
    """With no overlap and a long sample, Diebold-Mariano is close to a paired t test."""
    mine, theirs = around(rows, 0.30, 4), around(rows, 0.33, 5)
    found = board(rows, [walked(rows, "har", theirs), walked(rows, "gbm", mine, "h2o")])
    t = stats.ttest_rel(losses(rows, theirs), losses(rows, mine), alternative="greater")
    by_name = {score.candidate: score for score in found.scores}
    assert by_name["gbm"].p_values["har"] == pytest.approx(t.pvalue, abs=0.03)
    assert by_name["har"].p_values == {}


@pytest.mark.parametrize(("horizon", "symbols"), [(1, 1), (10, 1), (10, 4)])
def test_p_values_are_the_gates_test_on_statsmodels_newey_west_t(horizon: int, symbols: int) -> None:
    """Losses averaged by date, the lag of the gate, Bartlett's weights; then the fixed-b law."""
    rows = rows_of(horizon=horizon, symbols=symbols)
    # Overlapping labels make errors that last: a moving average of the noise.
    noise = [around(rows, s, seed) - rows["label"].fillna(-4.8).to_numpy() for s, seed in ((0.30, 4), (0.33, 5))]
    mine, theirs = (
        rows["label"].fillna(-4.8).to_numpy() + pd.Series(e).rolling(horizon, 1).mean().to_numpy() for e in noise
    )
    target = dataclasses.replace(VOLATILITY, horizon=horizon)
    found = board(rows, [walked(rows, "har", theirs), walked(rows, "gbm", mine, "h2o")], target)
    fold = rows["window"] == "fold"
    by_date = ((rows["label"] - theirs) ** 2 - (rows["label"] - mine) ** 2)[fold].groupby(rows["session"][fold]).mean()
    n = len(by_date)
    lag = max(4 * (horizon - 1), int(4 * (n / 100) ** (2 / 9)))
    hac = {"maxlags": lag, "use_correction": False}
    fit = sm.OLS(by_date.to_numpy(), np.ones(n)).fit(cov_type="HAC", cov_kwds=hac)
    by_name = {score.candidate: score for score in found.scores}
    assert by_name["gbm"].p_values["har"] == pytest.approx(p_value(float(fit.tvalues[0]), n, lag), rel=1e-9)
    # With some 350 dates the fixed-b law is not far from the normal one.
    assert by_name["gbm"].p_values["har"] == pytest.approx(stats.norm.sf(fit.tvalues[0]), abs=0.04)


def test_every_baseline_and_the_champion_are_rivals_and_nobody_ones_own(rows: pd.DataFrame) -> None:
    spreads: list[tuple[str, EngineName, float]] = [
        ("har", "baseline", 0.4), ("last", "baseline", 0.5), ("ridge", "linear", 0.3), ("champion", "h2o", 0.2),
    ]  # fmt: skip
    found = board(rows, [walked(rows, name, around(rows, s, i), e) for i, (name, e, s) in enumerate(spreads)])
    rivals = {score.candidate: set(score.p_values) for score in found.scores}
    assert rivals == {
        "har": {"last", "champion"}, "last": {"har", "champion"},
        "ridge": {"har", "last", "champion"}, "champion": {"har", "last"},
    }  # fmt: skip


def test_a_champion_that_the_search_came_upon_is_a_rival_under_its_name(rows: pd.DataFrame) -> None:
    candidates = [walked(rows, "har", around(rows, 0.4)), walked(rows, "gbm", around(rows, 0.3, 1), "h2o")]
    chosen = Shortlist(names=("har", "gbm"), champion="gbm")
    by_name = {score.candidate: score for score in board(rows, candidates, shortlist=chosen).scores}
    assert set(by_name["har"].p_values) == {"gbm"}
    assert set(by_name["gbm"].p_values) == {"har"}


def test_the_champion_is_no_baseline_even_if_its_engine_is(rows: pd.DataFrame) -> None:
    candidates = [walked(rows, "har", around(rows, 0.4)), walked(rows, "champion", around(rows, 0.2, 1), "baseline")]
    found = board(rows, candidates)
    assert [score.candidate for score in found.scores] == ["champion", "har"]
    assert found.scores[1].skill == 0.0
    assert found.scores[0].skill > 0.5
    with pytest.raises(EngineError, match="no baseline could be ranked"):
        board(rows, candidates[1:])


def test_the_skill_interval_agrees_with_an_independent_bootstrap(rows: pd.DataFrame) -> None:
    mine, theirs = around(rows, 0.25, 4), around(rows, 0.3, 5)
    found = board(rows, [walked(rows, "har", theirs), walked(rows, "gbm", mine, "h2o")])
    drawn = StationaryBootstrap(1.5, losses(rows, mine), losses(rows, theirs), seed=7)
    expected = drawn.conf_int(lambda a, b: 1 - a.mean() / b.mean(), 2000, method="percentile")[:, 0]
    np.testing.assert_allclose(found.scores[0].skill_interval, expected, atol=0.03)
    assert found.scores[1].skill_interval == (0.0, 0.0)


def test_the_refused_and_the_left_behind_are_named_with_what_is_known_of_them(rows: pd.DataFrame) -> None:
    chosen = Shortlist(
        names=("har", "gone", "torn"),
        losses={"har": 0.1, "gone": 0.2, "torn": 0.3, "late": 0.5, "later": 0.6},
        refused={"wild": "3 of 80 predictions on the selection rows are not finite"},
    )
    torn = walked(rows, "torn", np.full(len(rows), np.nan), "h2o")
    found = board(rows, [walked(rows, "har", around(rows, 0.3)), torn], shortlist=chosen)
    assert found.not_refitted == {"late": 0.5, "later": 0.6}
    assert found.refused == {
        "wild": "3 of 80 predictions on the selection rows are not finite",
        "gone": "it was not refitted on any fold",
        "torn": f"{found.rows} of {found.rows} predictions on the fold rows are not finite",
    }
    assert found.scores[0].selection_score == 0.1
    assert math.isnan(
        board(rows, [walked(rows, "champion", around(rows, 0.3)), walked(rows, "har", around(rows, 0.3))])
        .scores[0]
        .selection_score
    )


def test_without_a_ranked_baseline_there_is_no_leaderboard(rows: pd.DataFrame) -> None:
    bad = walked(rows, "har", np.full(len(rows), np.nan))
    with pytest.raises(EngineError, match=r"no baseline could be ranked \(har: 380 of 380"):
        board(rows, [bad, walked(rows, "gbm", around(rows, 0.2), "h2o")])


@pytest.mark.parametrize("target", [DIRECTION, BARRIER])
def test_probabilities_are_ranked_by_log_loss(rows: pd.DataFrame, target: object) -> None:
    up = rows.assign(label=(rows["label"] > -4.8).astype(float))
    known = np.clip(0.5 + 0.1 * (up["label"].to_numpy() - 0.5), 0, 1)
    target = DIRECTION if target is DIRECTION else BARRIER
    found = board(up, [walked(up, "base", np.full(len(up), 0.5)), walked(up, "gbm", known, "h2o")], target)
    assert [score.candidate for score in found.scores] == ["gbm", "base"]
    assert found.scores[1].score == pytest.approx(math.log(2))
    assert set(found.scores[1].metrics) == {
        "log_loss", "brier", "auc", "calibration_error", "hit_rate", "base_rate", "effective_sample",
    }  # fmt: skip
    assert found.smearing == {}


def test_a_panel_of_returns_shows_information_across_names() -> None:
    rows = rows_of(700, symbols=25)
    rows["label"] = (rows["label"] + 4.8) / 40
    forecast = 0.05 * rows["label"].fillna(0).to_numpy() + np.random.default_rng(1).normal(0, 5e-4, len(rows))
    found = board(rows, [walked(rows, "zero", np.zeros(len(rows))), walked(rows, "gbm", forecast, "h2o")], RETURN)
    by_name = {score.candidate: score.metrics for score in found.scores}
    across = {"ic", "rank_ic", "icir", "decile_spread", "turnover"}
    assert across <= set(by_name["gbm"])
    assert not across & set(by_name["zero"])
    fold = rows[rows["window"] == "fold"].assign(forecast=forecast[rows["window"] == "fold"])
    ic = [stats.spearmanr(day["forecast"], day["label"]).statistic for _, day in fold.groupby("session")]
    assert by_name["gbm"]["rank_ic"] == pytest.approx(np.mean(ic), rel=1e-9)
    assert "correlation" not in by_name["gbm"]


def test_one_symbols_returns_show_a_correlation_in_time_and_none_across_names(rows: pd.DataFrame) -> None:
    returns = rows.assign(label=(rows["label"] + 4.8) / 40)
    forecast = returns["label"].fillna(0).to_numpy() + np.random.default_rng(1).normal(0, 0.01, len(rows))
    metrics = board(returns, [walked(returns, "har", forecast)], RETURN).scores[0].metrics
    assert set(metrics) == {"mse", "rmse", "r2_zero", "correlation", "hit_rate", "base_rate", "effective_sample"}
    fold = (rows["window"] == "fold").to_numpy()
    expected = stats.spearmanr(returns["label"].to_numpy()[fold], forecast[fold]).statistic
    assert metrics["correlation"] == pytest.approx(expected, rel=1e-12)


def test_undefined_metrics_are_left_out_and_the_board_survives_json(rows: pd.DataFrame) -> None:
    returns = rows.assign(label=rows["label"] + 4.8)
    found = board(returns, [walked(returns, "zero", np.zeros(len(rows)))], RETURN)
    assert "correlation" not in found.scores[0].metrics
    assert found.scores[0].metrics["r2_zero"] == 0.0
    text = json.dumps(to_json(found), allow_nan=False)
    assert json.dumps(to_json(from_json(Leaderboard, json.loads(text)))) == text
    assert found.statistics is not None
    assert math.isnan(from_json(Leaderboard, json.loads(text)).statistics.overfitting)


def test_the_digest_forgets_the_clock_and_what_comes_later(rows: pd.DataFrame) -> None:
    prediction = around(rows, 0.3)
    slow, quick = (board(rows, [walked(rows, "har", prediction, train_seconds=s)]) for s in (1.0, 9.0))
    assert slow.sha256 == quick.sha256 == digest(slow)
    assert slow.scores[0].train_seconds != quick.scores[0].train_seconds
    trade = Backtest(
        candidate="har", rule="sign", rows="folds", dates=1, annual_return=0, excess_return=0, annual_volatility=0,
        sharpe=0, max_drawdown=0, turnover=0, costs=0, break_even_bps=0, alpha=0, beta=0,
    )  # fmt: skip
    assert slow.statistics is not None
    later = dataclasses.replace(
        slow,
        predictions=Ref(path="/elsewhere", sha256="1", rows=380),
        backtests=(trade,),
        alarms=("too good",),
        statistics=dataclasses.replace(slow.statistics, trials=12),
    )
    assert digest(later) == slow.sha256


def test_the_digest_knows_everything_else(rows: pd.DataFrame) -> None:
    found = board(rows, [walked(rows, "har", around(rows, 0.3)), walked(rows, "last", around(rows, 0.4))])
    first = found.scores[0]
    changed = dataclasses.replace(first, score=first.score * (1 + 1e-9))
    rounding = dataclasses.replace(first, score=first.score * (1 + 1e-15))
    assert digest(dataclasses.replace(found, scores=(changed, *found.scores[1:]))) != found.sha256
    assert digest(dataclasses.replace(found, scores=(rounding, *found.scores[1:]))) == found.sha256
    assert digest(dataclasses.replace(found, refused={"x": "why"})) != found.sha256
    assert digest(dataclasses.replace(found, not_refitted={"x": 1.0})) != found.sha256
    assert found.statistics is not None
    other = dataclasses.replace(found.statistics, spa_p=0.5 * found.statistics.spa_p)
    assert digest(dataclasses.replace(found, statistics=other)) != found.sha256
