"""The gate's table of cases: what each kind of evidence leads to, and in which words."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.contracts import Target
from tasks.evaluation import Evidence, GateComparison, Score
from tasks.leaderboard.metrics import METRICS, Scored, ranking_metric
from tasks.registry.gate import compare, decide, losses_by_date, plausibility_alarms

ALPHA = 0.05


def against(rival: str, p: float, role: Any = "baseline", difference: float = 0.01, dates: int = 510) -> GateComparison:
    return GateComparison(
        rival=rival,
        role=role,
        rival_loss=0.1 + difference,
        challenger_loss=0.1,
        difference=difference,
        statistic=2.0,
        p_value=p,
        dates=dates,
        lag=5,
    )


def evidence(**changes: Any) -> Evidence:
    """No champion; a challenger that beats both baselines."""
    base = Evidence(
        challenger="gbm",
        challenger_engine="h2o",
        challenger_recipe_sha256="g",
        best_baseline="lhar",
        comparisons=(against("har", 0.001), against("lhar", 0.01)),
        dates=510,
        required_dates=504,
    )
    return dataclasses.replace(base, **changes)


def with_champion(p: float = 0.01, **changes: Any) -> Evidence:
    comparisons = (against("har", 0.001), against("lhar", 0.01), against("ridge-7", p, "champion"))
    values = {"champion": "ridge-7", "champion_recipe_sha256": "r", "comparisons": comparisons, **changes}
    return evidence(**values)


def text(found: Evidence, alpha: float = ALPHA, allow_partial: bool = False) -> str:
    return " ".join(decide(found, alpha, allow_partial).reasons)


@pytest.mark.parametrize(
    ("found", "outcome", "promote"),
    [
        (evidence(), "promoted", "gbm"),
        (evidence(comparisons=(against("har", 0.001), against("lhar", 0.2))), "baseline", "lhar"),
        (evidence(comparisons=(against("har", 0.2), against("lhar", 0.01))), "baseline", "lhar"),
        (evidence(challenger="lhar", challenger_engine="baseline", comparisons=()), "baseline", "lhar"),
        (evidence(challenger="har", challenger_engine="baseline"), "baseline", "lhar"),
        (evidence(dates=503), "baseline", "lhar"),
        (evidence(partial=("h2o: killed",)), "baseline", "lhar"),
        (evidence(alarms=("R² of 40 %",)), "quarantined", ""),
        (evidence(best_baseline="", comparisons=()), "kept", ""),
        (evidence(comparisons=()), "baseline", "lhar"),
        (with_champion(), "promoted", "gbm"),
        (with_champion(0.06), "kept", ""),
        (with_champion(0.05), "kept", ""),
        (with_champion(champion_recipe_sha256="g"), "kept", ""),
        (with_champion(champion_unscored="fitted on rows inside the gate"), "kept", ""),
        (with_champion(dates=10), "kept", ""),
        (with_champion(partial=("3 symbols quarantined",)), "kept", ""),
        (with_champion(alarms=("too good",)), "quarantined", ""),
        (with_champion(comparisons=evidence().comparisons), "kept", ""),
        (with_champion(comparisons=(against("ridge-7", 0.01, "champion"),)), "kept", ""),
        (with_champion(challenger="lhar", challenger_engine="baseline"), "promoted", "lhar"),
        (with_champion(0.3, challenger="lhar", challenger_engine="baseline"), "kept", ""),
    ],
)
def test_each_case_has_its_outcome(found: Evidence, outcome: str, promote: str) -> None:
    decision = decide(found, ALPHA, allow_partial=False)
    assert (decision.outcome, decision.promote) == (outcome, promote)
    assert decision.reasons


def test_a_baseline_that_challenges_need_not_beat_itself_but_all_others() -> None:
    own: dict[str, Any] = {"challenger": "lhar", "challenger_engine": "baseline"}
    beats = (against("ridge-7", 0.01, "champion"), against("har", 0.01))
    assert decide(with_champion(comparisons=beats, **own), ALPHA, False).outcome == "promoted"
    loses = (against("ridge-7", 0.01, "champion"), against("har", 0.4))
    assert decide(with_champion(comparisons=loses, **own), ALPHA, False).outcome == "kept"


def test_a_partial_run_promotes_only_by_policy_and_says_so() -> None:
    found = with_champion(partial=("h2o: killed",))
    assert decide(found, ALPHA, allow_partial=True).outcome == "promoted"
    assert "partial run, as the policy allows: h2o: killed" in text(found, allow_partial=True)
    assert "The run is partial" in text(found)


def test_reasons_hold_the_figures_of_every_test() -> None:
    reasons = decide(with_champion(0.2), ALPHA, False).reasons
    assert reasons[0] == "The champion ridge-7 is kept; the challenger gbm does not replace it."
    assert reasons[1] == (
        "gbm is not shown to be better than the champion ridge-7: loss 0.1 against 0.11, "
        "Diebold-Mariano t 2.00, one-sided p 0.2000 (needed: below 0.05) on 510 dates (lag 5)."
    )
    assert [reason.split(":")[0] for reason in reasons[2:]] == [
        "gbm is better than the baseline lhar",
        "gbm is better than the baseline har",
    ]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (evidence(), "promoted; there was no champion before: on 510 gate dates it is better than every rival at 0.05"),
        (with_champion(), "promoted in place of ridge-7"),
        (evidence(dates=12), "The gate has 12 dates; 504 are required."),
        (with_champion(champion_recipe_sha256="g"), "the champion's own recipe"),
        (with_champion(champion_unscored="no predictions"), "could not be scored on the gate rows: no predictions."),
        (evidence(challenger="lhar", challenger_engine="baseline"), "lhar, is itself a baseline"),
        (evidence(comparisons=()), "no test against the best baseline (lhar)"),
        (evidence(best_baseline="", comparisons=()), "no baseline that could become one: nothing is promoted"),
        (with_champion(alarms=("R² of 40 %",)), "too good to be believed. The champion ridge-7 is kept. R² of 40 %"),
        (evidence(alarms=("R² of 40 %",)), "Nothing is promoted."),
    ],
)
def test_reasons_name_the_rule(found: Evidence, words: str) -> None:
    assert words in text(found)


def test_a_p_value_that_is_not_a_number_never_promotes() -> None:
    broken = (against("har", 0.001), against("lhar", float("nan")))
    assert decide(evidence(comparisons=broken), ALPHA, False).outcome == "baseline"


def test_a_comparison_on_too_few_dates_never_promotes() -> None:
    short = (against("har", 0.001), against("lhar", 0.001, dates=100))
    assert decide(evidence(comparisons=short), ALPHA, False).outcome == "baseline"


def sessions(n: int) -> Any:
    return pd.bdate_range("2020-01-01", periods=n).to_numpy()


@pytest.mark.parametrize("target", ["volatility", "return", "direction"])
def test_the_gates_loss_is_the_leaderboards(target: Any) -> None:
    rng = np.random.default_rng(1)
    label, prediction = (rng.random(50) > 0.5).astype(float), rng.uniform(-0.1, 1.1, 50)
    losses = losses_by_date(sessions(50), label, prediction, "log_loss" if target == "direction" else "mse")
    rows = Scored(label=label, prediction=prediction, date=np.arange(50))
    assert losses.mean() == pytest.approx(ranking_metric(target).compute(rows), rel=1e-12)
    assert METRICS[target][0].direction == "minimize"


def test_losses_are_averaged_by_date_before_they_are_tested() -> None:
    """A panel of one name fifty times over is no more evidence than the name alone."""
    rng = np.random.default_rng(2)
    label, mine, theirs = rng.normal(size=(3, 200))
    alone = [losses_by_date(sessions(200), label, f, "mse") for f in (mine, theirs)]
    wide = [
        losses_by_date(np.tile(sessions(200), 50), np.tile(label, 50), np.tile(f, 50), "mse") for f in (mine, theirs)
    ]
    a = compare(*alone, name="har", role="baseline", overlap=0)
    b = compare(*wide, name="har", role="baseline", overlap=0)
    assert b.dates == 200
    assert b.p_value == pytest.approx(a.p_value, rel=1e-9)


@pytest.mark.parametrize("loss", ["mse", "log_loss"])
@pytest.mark.parametrize("hole", [np.nan, np.inf])
def test_one_missing_name_makes_its_date_unscored_and_no_other(loss: Any, hole: float) -> None:
    prediction = np.full(6, 0.5)
    prediction[3] = hole
    losses = losses_by_date(np.repeat(sessions(2), 3)[[0, 3, 1, 4, 2, 5]], np.ones(6), prediction, loss)
    assert list(losses.index) == list(sessions(2))
    assert np.isfinite(losses.iloc[0])
    assert np.isnan(losses.iloc[1])


def test_compare_reports_losses_difference_and_direction() -> None:
    rng = np.random.default_rng(3)
    label = rng.normal(size=600)
    good = losses_by_date(sessions(600), label, label + rng.normal(0, 0.3, 600), "mse")
    bad = losses_by_date(sessions(600), label, label + rng.normal(0, 0.6, 600), "mse")
    better = compare(good, bad, name="har", role="baseline", overlap=0)
    worse = compare(bad, good, name="har", role="champion", overlap=0)
    assert better.challenger_loss == pytest.approx(0.09, abs=0.02)
    assert better.difference == pytest.approx(better.rival_loss - better.challenger_loss)
    assert better.p_value < 1e-6
    assert worse.p_value == pytest.approx(1 - better.p_value)
    assert worse.role == "champion"


def test_a_rival_with_the_same_predictions_is_a_tie_and_not_evidence() -> None:
    losses = losses_by_date(sessions(510), np.arange(510.0), np.zeros(510), "mse")
    tie = compare(losses, losses.copy(), name="har", role="baseline", overlap=0)
    assert (tie.difference, tie.p_value) == (0.0, 1.0)
    assert decide(evidence(comparisons=(tie, against("lhar", 0.001))), ALPHA, False).outcome == "baseline"


def test_evidence_on_other_dates_or_with_holes_is_refused() -> None:
    losses = losses_by_date(sessions(10), np.arange(10.0), np.zeros(10), "mse")
    with pytest.raises(ValueError, match=r"different dates \(10 and 9\)"):
        compare(losses, losses.iloc[1:], name="har", role="baseline", overlap=0)
    holes = losses.where(losses > 4)
    with pytest.raises(ValueError, match=r"challenger on 0 dates, har on 3"):
        compare(losses, holes, name="har", role="baseline", overlap=0)


def score(**metrics: float) -> Score:
    return Score(
        rank=1, candidate="gbm", engine="h2o", metric="mse", direction="minimize", score=1.0, skill=0.0, metrics=metrics
    )


def target(name: Any, horizon: int = 1) -> Target:
    return Target(name=name, horizon=horizon, kind="regression", loss="mse")


def test_scores_too_good_for_a_return_raise_an_alarm() -> None:
    assert plausibility_alarms(score(r2_zero=0.05, hit_rate=0.60, base_rate=0.55), target("return")) == ()
    both = plausibility_alarms(score(r2_zero=0.06, hit_rate=0.66, base_rate=0.55), target("return", 5))
    assert len(both) == 2
    assert "6.0% on the selection rows for 5 bars ahead" in both[0]
    assert "66.0% of sides called" in both[1]
    assert "55.0%" in both[1]


def test_direction_is_measured_against_its_base_rate() -> None:
    assert plausibility_alarms(score(hit_rate=0.61, base_rate=0.58), target("direction")) == ()
    assert len(plausibility_alarms(score(hit_rate=0.64, base_rate=0.58), target("direction"))) == 1


def test_volatility_and_long_horizons_raise_none() -> None:
    great = score(r2_zero=0.9, hit_rate=0.9, base_rate=0.5)
    assert plausibility_alarms(great, target("volatility")) == ()
    assert plausibility_alarms(great, target("return", 6)) == ()
