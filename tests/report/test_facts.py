"""Facts survive JSON, and the document says what a machine needs."""

from __future__ import annotations

import dataclasses
import json

import pytest

from tasks.contracts import Candidate, Ref, TargetName
from tasks.documents import from_json, to_json
from tasks.evaluation import Evidence
from tasks.report.document import document
from tasks.report.facts import Facts, alerts, best_baseline, chosen, forecasts, ranked
from tests.report import nights


@pytest.mark.parametrize("target", ["volatility", "return", "direction"])
def test_facts_survive_json(target: TargetName) -> None:
    facts = nights.night(target).facts
    assert from_json(Facts, json.loads(json.dumps(to_json(facts)))) == facts


def test_the_document_has_the_promised_fields() -> None:
    made = document(nights.night("volatility").facts)
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    promised = {
        "run_id", "problem", "snapshot", "windows", "leaderboard", "leaderboard_sha256", "decision", "model_uri",
        "tracking_uri", "report", "seconds", "engine_seconds",
    }  # fmt: skip
    assert promised <= set(made)
    assert {"sha256", "rows", "symbols", "first", "last"} <= set(made["snapshot"])
    assert {"outcome", "candidate", "version", "reasons"} <= set(made["decision"])
    entry = made["leaderboard"][0]
    assert {
        "rank",
        "candidate",
        "engine",
        "metric",
        "direction",
        "score",
        "skill",
        "train_seconds",
        "predict_us_per_row",
    } <= set(entry)
    assert made["partial"] is False


def test_a_fit_that_was_not_scored_on_the_gate_is_not_drawn_there() -> None:
    board = nights.night("volatility").facts.leaderboard
    nowhere = Ref(path="gated.parquet", sha256="", rows=0)
    gated = {
        score.candidate: Candidate(
            name=score.candidate, engine=score.engine, recipe={}, model="", predictions=nowhere, train_seconds=1.0,
            predict_us_per_row=1.0,
        )
        for score in board.scores
    }  # fmt: skip
    everyone = forecasts(board, gated, set(gated))
    assert [each.gate for each in everyone] == [nowhere, nowhere]
    leader, baseline = everyone
    unread = {each.candidate: each.gate for each in forecasts(board, gated, {baseline.candidate: 0.1})}
    assert unread == {leader.candidate: None, baseline.candidate: nowhere}


def test_what_is_not_a_number_becomes_null() -> None:
    facts = nights.night("return").facts
    scores = (dataclasses.replace(facts.leaderboard.scores[0], skill=float("nan"), metrics={"ic": float("inf")}),)
    facts = dataclasses.replace(facts, leaderboard=dataclasses.replace(facts.leaderboard, scores=scores))
    entry = json.loads(json.dumps(document(facts), allow_nan=False))["leaderboard"][0]
    assert entry["skill"] is None
    assert entry["metrics"] == {"ic": None}


@pytest.mark.parametrize("flaw", ["error", "no candidate", "missing", "partial", "alarm", "unscored"])
def test_missing_results_make_a_night_partial(flaw: str) -> None:
    facts = nights.night("volatility").facts
    assert isinstance(facts.evidence, Evidence)
    evidence, good = facts.evidence, facts.engines
    changes: dict[str, dict[str, object]] = {
        "error": {"engines": (*good[:3], nights.engine("autokeras", 0, error="out of memory"))},
        "no candidate": {"engines": (*good[:3], nights.engine("autokeras", 0))},
        "missing": {"engines": good[:3]},
        "partial": {"evidence": dataclasses.replace(evidence, partial=("h2o failed",))},
        "alarm": {"evidence": dataclasses.replace(evidence, alarms=("R2 of 0.4 on daily returns",))},
        "unscored": {"evidence": dataclasses.replace(evidence, champion_unscored="fitted inside the gate")},
    }
    changed = dataclasses.replace(facts, **changes[flaw])  # type: ignore[arg-type]
    assert [alert.level for alert in alerts(changed)] == ["bad"]
    assert document(changed)["partial"] is True


def test_a_few_symbols_in_quarantine_are_told_and_make_no_night_partial() -> None:
    """How many are too many is the gate's to say: it is in the evidence then."""
    facts = nights.night("volatility").facts
    apart = dataclasses.replace(facts, snapshot=dataclasses.replace(facts.snapshot, quarantined=("BAD",)))
    assert [(alert.level, alert.title) for alert in alerts(apart)] == [("warn", "Symbols in quarantine")]
    assert document(apart)["partial"] is False


def test_the_worst_comes_first() -> None:
    facts = nights.night("volatility", warnings=("w",)).facts
    changed = dataclasses.replace(facts, engines=facts.engines[:3])
    assert [alert.level for alert in alerts(changed)] == ["bad", "warn"]


def test_the_leader_and_its_baseline_follow_the_evidence() -> None:
    facts = nights.night("volatility").facts
    scores = facts.leaderboard.scores
    assert facts.evidence is not None
    other = dataclasses.replace(facts.evidence, challenger=scores[1].candidate, best_baseline=scores[4].candidate)
    changed = dataclasses.replace(facts, evidence=other)
    assert chosen(changed) == scores[1]
    assert best_baseline(changed) == scores[4]
    shuffled = dataclasses.replace(
        facts, evidence=None, leaderboard=dataclasses.replace(facts.leaderboard, scores=scores[::-1])
    )
    assert ranked(shuffled) == scores
    assert chosen(shuffled) == scores[0]
    assert best_baseline(shuffled) == scores[2]


@pytest.mark.parametrize("flaw", ["a refit without an answer", "evidence that is partial"])
def test_a_night_that_lacks_anything_is_not_whole(flaw: str) -> None:
    """Such a night is never the answer to the next one, whoever needs to know of it."""
    facts = nights.night("volatility").facts
    assert facts.evidence is not None
    partial = dataclasses.replace(facts.evidence, partial=("the canary could not be fitted",))
    changes = {"whole": False} if flaw.startswith("a refit") else {"evidence": partial}
    assert document(facts)["whole"] is True
    assert document(dataclasses.replace(facts, **changes))["whole"] is False
