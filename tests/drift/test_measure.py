"""What the monitor says: quiet without drift, names what drifted, and tells the two limits apart."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.documents import from_json, to_json
from tasks.drift.measure import RUN_LENGTH
from tasks.drift.values import DriftReport
from tests.drift.conftest import SERVICE, TRAINING, World


def detector(report: DriftReport, name: str) -> tuple[bool, str]:
    found = next(each for each in report.detectors if each.name == name)
    return found.exceeds, found.since


def test_without_drift_nothing_is_asked(world: World) -> None:
    report = world.report()
    assert report.state == "within"
    assert report.verdict == "within"
    assert not report.alarm
    assert not report.since
    assert report.sessions == SERVICE == len(report.curve)
    assert report.training_sessions == TRAINING
    assert report.run_length == RUN_LENGTH == 504
    assert {each.column for each in report.columns} == {"f0", "f1", "f2", "prediction"}
    assert all(each.ratio <= 1 for each in report.columns)


def test_a_feature_in_another_unit_is_named_within_a_quarter(world: World) -> None:
    world.features[TRAINING:, 1] *= 100.0
    report = world.report(TRAINING + 63)
    over = {each.column for each in report.columns if each.exceeds}
    assert "f1" in over
    assert not {"f0", "f2"} & over
    assert report.columns[0].column in ("f1", "prediction")
    assert detector(report, "distribution")[0]
    assert world.sessions[TRAINING].strftime("%Y-%m-%d") < report.since <= report.last
    assert any("f1" in line for line in report.said)


def test_a_broken_relationship_raises_the_loss_and_no_distribution(world: World) -> None:
    world.noise[TRAINING:] *= 2.0
    report = world.report()
    assert detector(report, "cusum")[0]
    assert not detector(report, "distribution")[0]
    assert report.losses is not None
    assert report.losses.mean > 2 * report.losses.reference_mean


def test_a_retraining_run_is_asked_for_while_the_fallback_is_no_better(world: World) -> None:
    """The world became harder for both: changing over would gain nothing."""
    world.noise[TRAINING:] *= 2.0
    report = world.report()
    assert report.state == "retrain"
    assert report.alarm
    assert report.verdict == "within"
    assert report.comparison is not None
    assert report.comparison.p_value > report.comparison.level


def test_past_its_limit_the_fallback_takes_over(world: World) -> None:
    world.forecast_bias[TRAINING:] = 2.0
    report = world.report()
    assert report.state == "exceeded"
    assert report.verdict == "exceeded"
    assert report.comparison is not None
    assert report.comparison.fallback_loss < report.comparison.champion_loss
    assert any("fallback does significantly better" in line for line in report.said)


def test_the_second_limit_is_the_stricter(world: World) -> None:
    """While the fallback errs as much a retraining run is asked for; it takes over once it does better."""
    world.forecast_bias[TRAINING:] = 1.2
    world.fallback_bias[TRAINING : TRAINING + 63] = 1.2 + np.random.default_rng(3).normal(scale=0.5, size=63)
    reports = [world.report(TRAINING + after) for after in (5, 42, 126)]
    states = [report.state for report in reports]
    assert states == ["within", "retrain", "exceeded"]
    asked, given_up = (report.comparison for report in reports[1:])
    assert detector(reports[1], "cusum")[0], "it is the loss that rose"
    assert asked is not None
    assert asked.p_value > asked.level == 0.001
    assert given_up is not None
    assert given_up.p_value < given_up.level


@pytest.mark.parametrize(("learned", "compared"), [(190, 61), (SERVICE - 22, 21), (SERVICE - 21, 0)])
def test_the_fallback_is_compared_only_where_it_had_not_learned(world: World, learned: int, compared: int) -> None:
    """It repeats the labels that it was fitted on: compared there, it would be better than any champion."""
    world.forecast_bias[TRAINING:] = 1.2
    world.fallback_bias[TRAINING:] = 1.2
    report = world.report(fallback_learned=learned)
    assert detector(report, "cusum")[0]
    assert report.state == "retrain"
    if not compared:
        assert report.comparison is None
        assert any("not compared with the fallback yet: fewer than 21 sessions" in note for note in report.notes)
        return
    assert report.comparison is not None
    assert report.comparison.sessions == compared
    assert report.comparison.fallback_loss == pytest.approx(report.comparison.champion_loss)


def test_without_a_fallback_it_can_only_ask(world: World) -> None:
    world.forecast_bias[TRAINING:] = 2.0
    report = world.report(fallback=False)
    assert report.state == "retrain"
    assert any("fall back" in note for note in report.notes)


def test_an_alarm_says_since_when_and_ends_by_itself(world: World) -> None:
    world.features[TRAINING + 21 : TRAINING + 63] += 40.0
    during, after = world.report(TRAINING + 63), world.report(TRAINING + SERVICE)
    assert detector(during, "distribution")[0]
    assert not detector(after, "distribution")[0]
    first = next(each.first for each in after.detectors if each.name == "distribution")
    assert first == detector(during, "distribution")[1]


def test_each_day_is_judged_alike_whenever_it_is_looked_at(world: World) -> None:
    """Nothing is carried over: yesterday's points are the first of today's."""
    early, late = world.report(TRAINING + 100), world.report(TRAINING + 200)
    for before, now in zip(early.curve[:99], late.curve[:99], strict=True):
        assert before.session == now.session
        assert before.ratio == pytest.approx(now.ratio, rel=1e-12)
        assert before.cusum == pytest.approx(now.cusum, rel=1e-12, nan_ok=True)


def test_a_loss_counts_from_the_end_of_its_label(world: World) -> None:
    report = world.report(TRAINING + 10)
    assert np.isnan(report.curve[0].loss), "the label of the first bar in service ends a session later"
    assert np.isfinite(report.curve[1].loss)
    assert report.losses is not None
    assert report.losses.sessions == 9


def test_on_the_day_of_the_fit_there_is_nothing_to_watch(world: World) -> None:
    report = world.report(TRAINING)
    assert report.state == "nothing live"
    assert not report.columns
    assert not report.curve
    assert "No bar has closed" in report.said[0]


def test_a_report_survives_json(world: World) -> None:
    report = world.report(TRAINING + 70)
    assert to_json(from_json(DriftReport, to_json(report))) == to_json(report)
