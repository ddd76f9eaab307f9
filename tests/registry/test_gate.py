"""The gate's table of cases: what each kind of evidence leads to, and in which words."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.evaluation import Evidence, GateComparison, Licence
from tasks.leaderboard.metrics import METRICS, Scored, qlike, ranking_metric
from tasks.registry.gate import Policy, compare, decide, level_of, losses_by_date, qlike_by_date, read_level

POLICY = Policy(alpha=0.1)
"""Its first read has a level of 0.05."""


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
        effective=500.0,
        required_effective=30.0,
        read=1,
        level=0.05,
        term="2018-12-12",
    )
    return dataclasses.replace(base, **changes)


def with_champion(p: float = 0.01, **changes: Any) -> Evidence:
    comparisons = (against("har", 0.001), against("lhar", 0.01), against("ridge-7", p, "champion"))
    values = {"champion": "ridge-7", "champion_recipe_sha256": "r", "comparisons": comparisons, **changes}
    return evidence(**values)


def licensed(upper: float = 0.004, **changes: Any) -> Evidence:
    """The challenger loses to the champion, whose recipe was refitted with a licence."""
    licence = Licence(
        recipe_sha256="r", term="2018-12-12", granted=upper < 0.01, increase=0.001, upper=upper, limit=0.01,
        origins=8, dates=440,
    )  # fmt: skip
    return with_champion(0.3, **{"refreshable": "champion", "licence": licence, **changes})


def unread(why: str = "this recipe was read 3 gate dates ago", **changes: Any) -> Evidence:
    return with_champion(read=0, level=0.0, not_read=why, comparisons=(), **changes)


def text(found: Evidence, policy: Policy = POLICY) -> str:
    return " ".join(decide(found, policy).reasons)


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
        (evidence(effective=29.9), "baseline", "lhar"),
        (with_champion(effective=float("nan")), "kept", ""),
        (with_champion(obstacles=("survivors only",)), "kept", ""),
        (with_champion(read=3), "kept", ""),
        (with_champion(0.001, read=3), "kept", ""),
        (
            with_champion(0.001, read=2, comparisons=(against("ridge-7", 0.001, "champion"), against("lhar", 0.001))),
            "promoted",
            "gbm",
        ),
        (unread(), "kept", ""),
        (evidence(read=0, level=0.0, comparisons=()), "baseline", "lhar"),
        (licensed(), "refreshed", "champion"),
        (licensed(upper=0.01), "kept", ""),
        (licensed(upper=float("nan")), "kept", ""),
        (licensed(licence=None), "kept", ""),
        (licensed(refreshable=""), "kept", ""),
        (licensed(not_refreshed="nothing new"), "kept", ""),
        (licensed(partial=("h2o: killed",)), "kept", ""),
        (licensed(obstacles=("restated",)), "kept", ""),
        (licensed(effective=10.0), "kept", ""),
        (licensed(dates=503), "kept", ""),
        (licensed(champion_recipe_sha256="other"), "kept", ""),
        (licensed(alarms=("too good",)), "quarantined", ""),
        (licensed(comparisons=with_champion().comparisons), "promoted", "gbm"),
        (licensed(read=0, not_read="read 3 dates ago", comparisons=()), "refreshed", "champion"),
        (licensed(challenger_recipe_sha256="r", read=0, comparisons=()), "refreshed", "champion"),
        (licensed(champion="", champion_recipe_sha256="", read=0, comparisons=()), "baseline", "lhar"),
    ],
)
def test_each_case_has_its_outcome(found: Evidence, outcome: str, promote: str) -> None:
    decision = decide(found, POLICY)
    assert (decision.outcome, decision.promote) == (outcome, promote)
    assert decision.reasons


def test_a_baseline_that_challenges_need_not_beat_itself_but_all_others() -> None:
    own: dict[str, Any] = {"challenger": "lhar", "challenger_engine": "baseline"}
    beats = (against("ridge-7", 0.01, "champion"), against("har", 0.01))
    assert decide(with_champion(comparisons=beats, **own), POLICY).outcome == "promoted"
    loses = (against("ridge-7", 0.01, "champion"), against("har", 0.4))
    assert decide(with_champion(comparisons=loses, **own), POLICY).outcome == "kept"


def test_a_partial_run_promotes_only_by_policy_and_says_so() -> None:
    found = with_champion(partial=("h2o: killed",))
    lenient = dataclasses.replace(POLICY, allow_partial=True)
    assert decide(found, lenient).outcome == "promoted"
    assert "partial run, as the policy allows: h2o: killed" in text(found, lenient)
    assert "The run is partial" in text(found)


def test_reasons_hold_the_figures_of_every_test() -> None:
    reasons = decide(with_champion(0.2), POLICY).reasons
    assert reasons[0] == "The champion ridge-7 is kept; the challenger gbm does not replace it."
    assert reasons[1] == (
        "This is read 1 of the gate in the term from 2018-12-12; each rival must be beaten at 0.05, without further "
        "correction."
    )
    # The standard error is 0.01 / 2; the critical value on 510 dates at lag 5 is a little above the normal's 1.645.
    assert reasons[2] == (
        "gbm is not shown to be better than the champion ridge-7: loss 0.1 against 0.11, Diebold-Mariano t 2.00, "
        "one-sided p 0.2 (needed: below 0.05, an advantage of 0.00833 where it was 0.01) on 510 dates (lag 5)."
    )
    assert [reason.split(":")[0] for reason in reasons[3:5]] == [
        "gbm is better than the baseline lhar",
        "gbm is better than the baseline har",
    ]
    assert reasons[5] == (
        "At this level and on these dates, an advantage over ridge-7 of 0.0125 (11.4% of its loss) is found with a "
        "probability of 80%."
    )
    assert reasons[6].startswith("The champion is not refreshed: ")


def test_the_level_is_the_reads_and_the_levels_sum_to_alpha() -> None:
    levels = [read_level(read, 0.05) for read in range(1, 2001)]
    assert levels[:3] == pytest.approx([0.025, 0.05 / 6, 0.05 / 12])
    assert sum(levels) < 0.05
    assert sum(levels) == pytest.approx(0.05, rel=1e-3)
    assert level_of(evidence(read=3, level=0.05), Policy()) == pytest.approx(0.05 / 12), "never above the policy's"
    assert level_of(evidence(read=1, level=0.001), Policy()) == 0.001, "never above the ledger's"
    assert level_of(evidence(read=0, level=0.05), Policy()) == 0.0


@pytest.mark.parametrize(
    ("worse", "outcome"), [(1.0, "promoted"), (0.05, "promoted"), (0.049, "kept"), (float("nan"), "kept")]
)
def test_a_qlike_that_is_significantly_worse_or_unknown_stops_a_replacement(worse: float, outcome: str) -> None:
    tests = tuple(
        dataclasses.replace(item, qlike_worse_p=worse if item.rival == "har" else 1.0)
        for item in with_champion().comparisons
    )
    found = with_champion(comparisons=tests)
    assert decide(found, POLICY).outcome == outcome
    assert ("QLIKE" in text(found)) is (outcome == "kept")


def test_reported_tests_never_decide() -> None:
    def reported(p: float) -> Evidence:
        tests = with_champion().comparisons
        return with_champion(comparisons=tuple(dataclasses.replace(t, clark_west_p=p, hln_p=p) for t in tests))

    assert decide(reported(0.9), POLICY) == decide(reported(0.0), POLICY) == decide(with_champion(), POLICY)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (
            evidence(),
            "on 510 gate dates it is better than every rival at 0.05, the level of read 1",
        ),
        (with_champion(), "promoted in place of ridge-7"),
        (evidence(dates=12), "The gate has 12 dates; 504 are required."),
        (with_champion(champion_recipe_sha256="g"), "the champion's own recipe"),
        (with_champion(champion_unscored="no predictions"), "could not be scored on the gate rows: no predictions."),
        (evidence(challenger="lhar", challenger_engine="baseline"), "The leader, lhar, is itself a baseline"),
        (evidence(effective=12.34), "worth 12.3 that share no bar; 30 are required"),
        (unread(), "The gate was not read for gbm: this recipe was read 3 gate dates ago; no read was spent."),
        (unread(obstacles=("Survivors only.",)), "Survivors only. The gate was not read for gbm; no read was spent."),
        (licensed(), "The champion ridge-7 is refreshed: its own recipe, refitted through last night, ships"),
        (
            licensed(),
            "8 refits inside the gate, scored on 440 dates after their origins, changed the frozen fit's loss "
            "by +0.10%, upper 95 % bound +0.40% (needed: below 1.00%)",
        ),
        (licensed(upper=0.012), "is refused: 8 refits"),
        (licensed(not_refreshed="nothing new"), "The champion is not refreshed: nothing new."),
        (with_champion(waivers=("survivorship, all 505 symbols reach the last session",)), "Waived: survivorship"),
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
    assert decide(evidence(comparisons=broken), POLICY).outcome == "baseline"


def test_a_comparison_on_too_few_dates_never_promotes() -> None:
    short = (against("har", 0.001), against("lhar", 0.001, dates=100))
    assert decide(evidence(comparisons=short), POLICY).outcome == "baseline"


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
    assert decide(evidence(comparisons=(tie, against("lhar", 0.001))), POLICY).outcome == "baseline"


def test_evidence_on_other_dates_or_with_holes_is_refused() -> None:
    losses = losses_by_date(sessions(10), np.arange(10.0), np.zeros(10), "mse")
    with pytest.raises(ValueError, match=r"different dates \(10 and 9\)"):
        compare(losses, losses.iloc[1:], name="har", role="baseline", overlap=0)
    holes = losses.where(losses > 4)
    with pytest.raises(ValueError, match=r"challenger on 0 dates, har on 3"):
        compare(losses, holes, name="har", role="baseline", overlap=0)


def test_qlike_is_the_leaderboards() -> None:
    rng = np.random.default_rng(4)
    label, prediction = rng.normal(-5, 0.5, (2, 50))
    found = qlike_by_date(sessions(50), label, prediction, 1.3)
    rows = Scored(label=label, prediction=prediction, date=np.arange(50), smearing=1.3)
    assert found.mean() == pytest.approx(qlike(rows), rel=1e-12)
