"""A night's judgement as a whole: what is read, what is spent, what is refreshed, and what a kill leaves behind."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.contracts import Candidate, EngineResult, Ref
from tasks.documents import digest
from tasks.errors import EngineError, StorageError
from tasks.evaluation import TransferWorth
from tasks.live import Standing
from tasks.registry import gate as gates
from tasks.registry import renewal
from tasks.registry.card import version_tags
from tasks.registry.families import term_of
from tasks.registry.fits import Fits
from tasks.registry.judgement import ScoredChampion, Verdict, family_of, judge
from tasks.registry.ledger import Ledger
from tasks.registry.records import ChampionInfo, Night
from tasks.registry.rollouts import Rival, claim, conclude
from tasks.registry.standings import standing, swap
from tasks.storage import read_parquet
from tests.registry.judged import GATE, NAME, World, champion_of, fit, fits_of, night_of

GOOD = {"net": 0.5, "zero": 0.0, "mean": 0.0}
POOR = {"net": 0.0, "zero": 0.0, "mean": 0.0}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def ledger() -> Any:
    with Ledger.in_memory() as opened:
        yield opened


def reads(ledger: Ledger, night: Night) -> int:
    frame = read_parquet(night.rows.ref, ["symbol", "session", "label", "window"])
    return ledger.reads(family_of(night.problem, night.snapshot, frame))


def scored(info: ChampionInfo, world: World, skill: float = 0.3, name: str = "champion") -> ScoredChampion:
    """The champion's registered fit: the same forecast as tonight's refit of this name would give."""
    seed = sorted([*GOOD, "champion"]).index(name)
    return ScoredChampion(
        info=info, predictions=fit(world, name, "registered", world.forecast(skill, seed)).predictions
    )


def incumbent(world: World, ledger: Ledger, night: Night, fits: Fits, **info: Any) -> Verdict:
    return judge(night, fits, scored(champion_of(world, **info), world), ledger)


def test_the_first_night_promotes_what_beats_every_baseline(world: World, ledger: Ledger) -> None:
    night = night_of(world)
    verdict = judge(night, fits_of(world, GOOD), None, ledger)
    assert (verdict.decision.outcome, verdict.decision.promote) == ("promoted", "net")
    found = verdict.evidence
    assert (found.read, found.level, found.not_read) == (1, 0.025, "")
    assert (found.dates, found.required_dates, found.effective, found.required_effective) == (504, 504, 504.0, 30.0)
    assert found.term == term_of(pd.Timestamp("2018-12-31")).first
    assert set(found.gate_losses) == {"net", "zero", "mean"}
    assert all(item.clark_west_p < 0.01 and item.hln_p < 0.01 for item in found.comparisons)
    entry = verdict.entry
    assert (entry.gated.rows, entry.shipped.rows, entry.name) == ("fit_gate", "fit_all", "net")
    assert dict(entry.gate_metrics)["mse"] == pytest.approx(found.gate_losses["net"])
    assert entry.smearing == 1.01
    assert reads(ledger, night) == 1


def test_a_challenger_without_skill_leaves_the_best_baseline(world: World, ledger: Ledger) -> None:
    verdict = judge(night_of(world), fits_of(world, POOR), None, ledger)
    assert (verdict.decision.outcome, verdict.decision.promote) == ("baseline", "zero")
    assert verdict.evidence.read == 1
    assert verdict.entry.gated.name == "zero"


def fit_of(name: str) -> Candidate:
    nowhere = Ref(path="", sha256="", rows=0)
    return Candidate(
        name=name, engine="baseline", recipe={}, model="", predictions=nowhere, train_seconds=1.0,
        predict_us_per_row=1.0,
    )  # fmt: skip


def flawed(night: Night, flaw: str) -> Night:
    snapshot, board, rows = night.snapshot, night.leaderboard, night.rows
    failed = EngineResult(engine="h2o", error="killed\nby the kernel")
    gate = dataclasses.replace(rows.windows[0], effective=29.0)
    changes: dict[str, dict[str, Any]] = {
        "partial": {"results": (failed,)},
        "quarantined": {"snapshot": dataclasses.replace(snapshot, quarantined=("X",))},
        "alarm": {"leaderboard": dataclasses.replace(board, alarms=("R² of 40 %",))},
        "restated": {"snapshot": dataclasses.replace(snapshot, finding_counts={"restated": 3, "gap": 9})},
        "survivors": {"snapshot": dataclasses.replace(snapshot, survivors_only=True)},
        "effective": {"rows": dataclasses.replace(rows, windows=(gate,))},
        "dates": {"problem": night.problem.model_copy(update={"gate_sessions": 505})},
        "baseline fell out": {
            "results": (EngineResult(engine="baseline", candidates=(fit_of("garch"),)),),
            "leaderboard": dataclasses.replace(board, refused={"garch": "it was not fitted for fold 3 of 5"}),
        },
        "baseline leads": {"leaderboard": dataclasses.replace(board, scores=board.scores[1:])},
    }
    return dataclasses.replace(night, **changes[flaw])


@pytest.mark.parametrize(
    ("flaw", "words"),
    [
        ("partial", "The run is partial, .*engine h2o failed: killed"),
        ("quarantined", "1 of 2 symbols are in quarantine .50.0%., and 90% must be left"),
        ("alarm", "an alarm is raised"),
        ("restated", "The source has restated 3 bars"),
        ("survivors", "a universe of survivors"),
        ("effective", "worth 29.0 that share no bar; 30 are required"),
        ("dates", "The gate has 504 dates; 505 are required"),
        ("baseline fell out", "baseline garch is not ranked: it was not fitted for fold 3 of 5"),
        ("baseline leads", "is itself a baseline"),
    ],
)
def test_where_nothing_can_come_of_it_the_gate_is_not_read(world: World, ledger: Ledger, flaw: str, words: str) -> None:
    night = flawed(night_of(world), flaw)
    verdict = judge(night, fits_of(world, GOOD), None, ledger)
    found = verdict.evidence
    assert (found.read, found.level, found.comparisons) == (0, 0.0, ())
    assert pd.Series([found.not_read]).str.contains(words).all(), found.not_read
    assert reads(ledger, night) == 0
    assert "net" not in found.gate_losses
    assert {"zero", "mean"} <= set(found.gate_losses)
    assert verdict.decision.outcome == ("quarantined" if flaw == "alarm" else "baseline")
    if flaw == "alarm":
        assert verdict.entry.gate_metrics == (), "no figure of the challenger on the gate leaves this function"


def test_without_a_canary_the_gate_is_not_read(world: World, ledger: Ledger) -> None:
    fits = dataclasses.replace(fits_of(world, GOOD), canary=False)
    verdict = judge(night_of(world), fits, None, ledger)
    assert (verdict.evidence.read, verdict.decision.outcome) == (0, "baseline")
    assert "the canary could not be fitted" in verdict.evidence.not_read


def test_a_waiver_of_survivorship_is_recorded(world: World, ledger: Ledger) -> None:
    night = flawed(night_of(world, waive_survivorship=True), "survivors")
    verdict = judge(night, fits_of(world, GOOD), None, ledger)
    assert verdict.decision.outcome == "promoted"
    assert verdict.evidence.waivers == ("survivorship, all 1 symbols reach the last session",)
    assert any("Waived: survivorship" in reason for reason in verdict.decision.reasons)
    assert version_tags(night, verdict.entry, "models:/m-1")["survivorship_biased"] == "true"


def test_survivorship_does_not_matter_for_volatility(world: World, ledger: Ledger) -> None:
    night = flawed(night_of(world, target="volatility"), "survivors")
    verdict = judge(night, fits_of(world, GOOD), None, ledger)
    assert verdict.evidence.obstacles == ()
    assert verdict.evidence.read == 1
    assert all(0 <= item.qlike_worse_p <= 1 for item in verdict.evidence.comparisons)


def in_service(ledger: Ledger, night: Night, recipe_sha256: str, evidence: str) -> None:
    """Version 3 is champion; version 4, of this recipe, is tried against it."""
    first = swap(ledger, Standing(name=NAME), Standing(name=NAME, champion="3"), "baseline", (), "", "nightly")
    if recipe_sha256:
        challenger = Rival(
            version="4", candidate="net", model_uri="", gated_uri="", training_end="2018-12-31",
            gated_training_end="2016-01-04", recipe_sha256=recipe_sha256, predicts=night.problem.predicts,
            read_row=1, approved=True,
        )  # fmt: skip
        claim(ledger, night.problem, (night.snapshot, night.rows), challenger, evidence)
    change = dataclasses.replace(first, challenger="4", share=0.01 if recipe_sha256 else 0.0)
    swap(ledger, first, change, "challenged", (), evidence, "rollout")


def test_while_its_rollout_is_under_way_a_leader_is_not_read_and_the_champion_is_refreshed(
    world: World, ledger: Ledger, tmp_path: Path
) -> None:
    """Read 1 was won and pays for the rollout; 21 dates later no second read is spent, nor is the first won again."""
    skills, refits = {**GOOD, "champion": 0.3}, {"champion": 0.31}
    night = night_of(world, takeover="gradual")
    won = incumbent(world, ledger, night, fits_of(world, skills, refits=refits))
    assert (won.decision.outcome, won.evidence.read) == ("promoted", 1)
    leader = won.entry.gated.recipe
    in_service(ledger, night, digest(leader), "plan")
    for last in ("2018-12-31", "2019-01-15", "2019-02-15"):
        later = World(tmp_path, last=last)
        again = night_of(later, takeover="gradual")
        verdict = incumbent(later, ledger, again, fits_of(later, skills, refits=refits))
        assert (verdict.decision.outcome, verdict.evidence.read) == ("refreshed", 0)
        assert "its rollout is under way since" in verdict.evidence.not_read
        assert any("its rollout is under way since" in reason for reason in verdict.decision.reasons)
    assert reads(ledger, night) == 1
    conclude(ledger, name=NAME, recipe=digest(leader), read_row=1, promoted="", why=("worse",))
    now = standing(ledger, NAME)
    swap(ledger, now, dataclasses.replace(now, challenger="", share=0.0), "rolled back", (), "plan", "rollout")
    verdict = incumbent(later, ledger, again, fits_of(later, skills, refits=refits))
    assert (verdict.decision.outcome, verdict.evidence.read) == ("promoted", 2), "a new read, once that has ended"


def test_what_would_take_over_gradually_waits_for_a_comparison_under_way(world: World, ledger: Ledger) -> None:
    in_service(ledger, night_of(world), "", "a shadow")
    fits = fits_of(world, {**GOOD, "champion": 0.3}, refits={"champion": 0.31})
    verdict = incumbent(world, ledger, night_of(world, takeover="gradual"), fits)
    assert (verdict.decision.outcome, verdict.evidence.read) == ("refreshed", 0)
    assert "version 4 is being compared with the champion since" in verdict.evidence.not_read
    assert incumbent(world, ledger, night_of(world), fits).decision.outcome == "promoted", "at once: it needs no place"


def test_a_challenger_must_beat_the_champion_too(world: World, ledger: Ledger) -> None:
    better = incumbent(world, ledger, night_of(world), fits_of(world, GOOD))
    assert better.decision.outcome == "promoted"
    assert [c.rival for c in better.evidence.comparisons if c.role == "champion"] == ["gbm-7 (version 3)"]
    with Ledger.in_memory() as fresh:
        worse = incumbent(world, fresh, night_of(world), fits_of(world, {**GOOD, "net": 0.3}))
    assert worse.decision.outcome == "kept"
    assert all(item.p_value < 0.001 for item in worse.evidence.comparisons if item.role == "baseline")


def test_the_same_night_again_is_the_same_read_whatever_it_is_called(world: World, ledger: Ledger) -> None:
    fits = fits_of(world, POOR)
    seen = [judge(night_of(world, name=name), fits, None, ledger) for name in ("spx-return", "a-copy", "spx-return")]
    assert {verdict.evidence.read for verdict in seen} == {1}
    assert len({verdict.decision for verdict in seen}) == 1


def test_a_copied_file_is_the_same_bars(world: World, ledger: Ledger, tmp_path: Path) -> None:
    judge(night_of(world), fits_of(world, POOR), None, ledger)
    copy = World(tmp_path, symbol="COPY")
    named = {"net": {"recipe": {"algorithm": "another"}}}
    again = judge(night_of(copy, name="fresh", term=63, tick=0.011), fits_of(copy, POOR, changes=named), None, ledger)
    assert again.evidence.read == 2
    other = World(tmp_path, symbol="OTHER", seed=2)
    assert judge(night_of(other, name="elsewhere"), fits_of(other, POOR), None, ledger).evidence.read == 1


def test_a_problem_that_turns_to_other_bars_keeps_its_count(world: World, ledger: Ledger, tmp_path: Path) -> None:
    judge(night_of(world), fits_of(world, POOR), None, ledger)
    other = World(tmp_path, symbol="OTHER", seed=2)
    assert judge(night_of(other), fits_of(other, POOR), None, ledger).evidence.read == 2


def test_another_calendar_begins_no_new_term(world: World, ledger: Ledger) -> None:
    judge(night_of(world), fits_of(world, POOR), None, ledger)
    named = {"net": {"recipe": {"algorithm": "another"}}}
    again = judge(night_of(world, name="b", calendar="24/5"), fits_of(world, POOR, changes=named), None, ledger)
    assert again.evidence.read == 2


def test_a_baseline_that_the_search_could_not_fit_is_missed(world: World, ledger: Ledger) -> None:
    found = dataclasses.replace(night_of(world).results[0], missing=("momentum (no column return_22)",))
    night = dataclasses.replace(night_of(world), results=(found,))
    verdict = judge(night, fits_of(world, GOOD), None, ledger)
    assert verdict.evidence.partial == ("baseline momentum (no column return_22) is missing",)
    assert (verdict.decision.outcome, verdict.evidence.read) != ("promoted", 1)
    assert verdict.decision.promote != "net"


def test_the_next_night_is_not_read_for_the_same_recipe(world: World, ledger: Ledger, tmp_path: Path) -> None:
    judge(night_of(world), fits_of(world, POOR), None, ledger)
    later = World(tmp_path, last="2019-01-15")
    verdict = judge(night_of(later), fits_of(later, POOR), None, ledger)
    assert verdict.evidence.read == 0
    assert "this recipe was read on the gate through 2018-12-31, 10 gate dates ago" in verdict.evidence.not_read
    assert any("no read was spent" in reason for reason in verdict.decision.reasons)
    month = World(tmp_path, last="2019-02-01")
    assert judge(night_of(month), fits_of(month, POOR), None, ledger).evidence.read == 2


def test_a_kill_between_the_read_and_the_decision_costs_nothing(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night, fits = night_of(world), fits_of(world, GOOD)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, Ledger.open(tmp_path / "l.db") as ledger:
        patch.setattr(gates, "decide", killed)
        with pytest.raises(KeyboardInterrupt):
            judge(night, fits, None, ledger)
    with Ledger.open(tmp_path / "l.db") as ledger:
        assert reads(ledger, night) == 1, "the read was committed before the gate was scored"
        verdict = judge(night, fits, None, ledger)
        assert (verdict.decision.outcome, verdict.evidence.read) == ("promoted", 1)
        assert reads(ledger, night) == 1


def test_the_read_is_spent_before_the_challenger_is_scored(
    world: World, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ledger that cannot be written stops the night before anything is known of the challenger."""

    def full(*_: object) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(ledger, "spend", full)
    monkeypatch.setattr("tasks.registry.judgement.read_gate", lambda *_, **__: pytest.fail("the gate was read"))
    with pytest.raises(StorageError, match="the disk is full"):
        judge(night_of(world), fits_of(world, GOOD), None, ledger)


def test_a_leader_without_a_gated_fit_cannot_be_judged(world: World, ledger: Ledger) -> None:
    with pytest.raises(EngineError, match="net could not be fitted on the rows before the gate"):
        judge(night_of(world), fits_of(world, {"zero": 0.0, "mean": 0.0}), None, ledger)


def test_a_lost_baseline_makes_the_night_partial(world: World, ledger: Ledger) -> None:
    verdict = judge(night_of(world), fits_of(world, {"net": 0.5, "zero": 0.0}), None, ledger)
    assert verdict.evidence.partial == ("baseline mean could not be fitted again",)
    assert verdict.evidence.read == 0


WITH = {**POOR, "champion": 0.3}


def test_the_champion_is_refreshed_with_a_licence(world: World, ledger: Ledger) -> None:
    verdict = incumbent(world, ledger, night_of(world), fits_of(world, WITH, refits={"champion": 0.31}))
    assert (verdict.decision.outcome, verdict.decision.promote) == ("refreshed", "champion")
    licence = verdict.evidence.licence
    assert licence is not None
    assert (licence.granted, licence.origins, licence.dates) == (True, 7, GATE - 63)
    assert licence.upper < 0
    entry = verdict.entry
    assert (entry.shipped.rows, entry.gated.rows) == ("fit_all", "fit_gate")
    assert entry.name == "gbm-7", "a refreshed champion keeps its name"
    assert dict(entry.gate_metrics)["mse"] == pytest.approx(verdict.evidence.gate_losses["gbm-7 (version 3)"])
    assert entry.shipped_training_end > entry.gated_training_end


TRANSFER = {"strategy": "full", "backbone": {"name": "liquid"}, "control": "c"}
LINE = TransferWorth(
    candidate="champion", control="champion-control", strategy="full", backbone="liquid:3", frozen=0.0,
    difference=0.001, interval=(-0.001, 0.003), hurts_p=0.7, helps_p=0.3, verdict="no difference", dates=300,
)  # fmt: skip


@pytest.mark.parametrize(
    ("line", "recipe", "why"),
    [
        (LINE, TRANSFER, ""),
        (dataclasses.replace(LINE, verdict="hurts", hurts_p=0.001), TRANSFER, "its transfer hurts by now: on 300"),
        (dataclasses.replace(LINE, hurts_p=0.001), TRANSFER, "its transfer hurts by now"),
        (dataclasses.replace(LINE, verdict="not known", note="cut"), TRANSFER, "is not known tonight: cut"),
        (None, TRANSFER, "is not known tonight: its control was not ranked beside it"),
        (None, {"strategy": "scratch", "backbone": {}}, ""),
    ],
)
def test_a_pre_trained_champion_is_refreshed_while_its_transfer_does_not_hurt(
    world: World, ledger: Ledger, line: TransferWorth | None, recipe: dict[str, Any], why: str
) -> None:
    night = night_of(world)
    lines = () if line is None else (line,)
    night = dataclasses.replace(night, leaderboard=dataclasses.replace(night.leaderboard, transfers=lines))
    changes = {"champion": {"engine": "transfer", "recipe": recipe}}
    info = {"engine": "transfer", "recipe": recipe, "recipe_sha256": digest(recipe)}
    fits = fits_of(world, WITH, refits={"champion": 0.31}, changes=changes)
    verdict = incumbent(world, ledger, night, fits, **info)
    assert verdict.decision.outcome == ("kept" if why else "refreshed")
    assert why in verdict.evidence.not_refreshed


def test_a_licence_stands_for_the_term_and_is_not_asked_for_again(world: World, ledger: Ledger, tmp_path: Path) -> None:
    info = champion_of(world)
    assert is_due(info, night_of(world), ledger)
    incumbent(world, ledger, night_of(world), fits_of(world, WITH, refits={"champion": 0.31}))
    assert not is_due(info, night_of(world), ledger)
    later = World(tmp_path, last="2019-01-15")
    verdict = incumbent(later, ledger, night_of(later), fits_of(later, WITH))
    assert verdict.decision.outcome == "refreshed", "without any refit at an origin tonight"
    next_term = World(tmp_path, last="2019-12-20")
    assert is_due(info, night_of(next_term), ledger)


def is_due(info: ChampionInfo, night: Night, ledger: Ledger) -> bool:
    frame = read_parquet(night.rows.ref, ["symbol", "session", "label", "window"])
    family = family_of(night.problem, night.snapshot, frame)
    return renewal.due(info, (night.problem, night.snapshot, night.rows), family, ledger)


def test_refits_that_lose_refuse_the_licence_for_the_term(world: World, ledger: Ledger, tmp_path: Path) -> None:
    verdict = incumbent(world, ledger, night_of(world), fits_of(world, WITH, refits={"champion": 0.25}))
    assert verdict.decision.outcome == "kept"
    assert verdict.evidence.licence is not None
    assert not verdict.evidence.licence.granted
    assert any("is refused" in reason for reason in verdict.decision.reasons)
    later = World(tmp_path, last="2019-01-15")
    verdict = incumbent(later, ledger, night_of(later), fits_of(later, WITH, refits={"champion": 0.4}))
    assert verdict.decision.outcome == "kept", "the first answer of a term stands"


@pytest.mark.parametrize(
    ("info", "problem", "words"),
    [
        ({"predicts": "direction over 1 x 1d on XNYS"}, {}, "it predicts direction over 1 x 1d on XNYS, not return"),
        ({"predicts": ""}, {}, "it predicts what its entry does not say"),
        ({"symbols": ("NDX",)}, {}, "it was trained on other symbols"),
        ({"training_end": "2019-01-01T21:00:00+00:00"}, {}, "it has learned from every bar already"),
        ({}, {"refit": "none"}, "the policy ships gated fits alone"),
        ({"recipe_sha256": "gone", "recipe": {}}, {}, "its entry does not hold its recipe"),
        ({"recipe_sha256": "gone"}, {}, "its recipe was not fitted through last night"),
    ],
)
def test_why_a_champion_is_not_refreshed_is_said(
    world: World, ledger: Ledger, info: dict[str, Any], problem: dict[str, Any], words: str
) -> None:
    night = night_of(world, **problem)
    verdict = incumbent(world, ledger, night, fits_of(world, WITH, refits={"champion": 0.31}), **info)
    assert verdict.decision.outcome == "kept"
    assert words in verdict.evidence.not_refreshed
    assert any(words in reason for reason in verdict.decision.reasons)


@pytest.mark.parametrize(
    ("missing", "words"), [("gated", "before the gate tonight"), ("all_rows", "through last night")]
)
def test_a_refresh_needs_both_fits(world: World, ledger: Ledger, missing: str, words: str) -> None:
    fits = fits_of(world, WITH, refits={"champion": 0.31})
    del getattr(fits, missing)["champion"]
    verdict = incumbent(world, ledger, night_of(world), fits)
    assert verdict.decision.outcome == "kept"
    assert verdict.evidence.not_refreshed == f"its recipe was not fitted {words}"


def test_without_refits_at_every_origin_there_is_no_licence(world: World, ledger: Ledger) -> None:
    whole = fits_of(world, WITH, refits={"champion": 0.31})
    del whole.origins["champion"]["fit_origin_4"]
    verdict = incumbent(world, ledger, night_of(world), whole)
    assert verdict.decision.outcome == "kept"
    assert "not fitted at the origins" in verdict.evidence.not_refreshed


@pytest.mark.parametrize("flaw", ["partial", "restated", "alarm", "survivors"])
def test_a_licence_does_not_mend_the_data(world: World, ledger: Ledger, flaw: str) -> None:
    night = flawed(night_of(world), flaw)
    verdict = incumbent(world, ledger, night, fits_of(world, WITH, refits={"champion": 0.31}))
    assert verdict.decision.promote == ""


def test_a_champion_that_leads_is_refreshed_and_no_read_is_spent(world: World, ledger: Ledger) -> None:
    night = night_of(world, order=("champion", "zero", "mean"))
    verdict = incumbent(world, ledger, night, fits_of(world, WITH, refits={"champion": 0.31}))
    assert verdict.decision.outcome == "refreshed"
    assert verdict.evidence.read == 0
    assert "champion's own recipe" in verdict.evidence.not_read
    assert dict(verdict.entry.gate_metrics), "its gated fit was scored as the champion"


def test_a_baseline_champion_is_refreshed_in_the_same_way(world: World, ledger: Ledger) -> None:
    info = champion_of(world, "mean", candidate="mean")
    champion = scored(info, world, skill=0.0, name="mean")
    fits = fits_of(world, {**POOR, "champion": 0.0}, refits={"mean": 0.01})
    verdict = judge(night_of(world), fits, champion, ledger)
    assert (verdict.decision.outcome, verdict.decision.promote) == ("refreshed", "mean")


def test_fits_on_shuffled_labels_are_no_candidates(world: World) -> None:
    honest = fit(world, "net", "fit_gate", np.zeros(3))
    canary = dataclasses.replace(honest, shuffle=7, predictions=honest.predictions, model="shuffled")
    found = Fits.of([EngineResult(engine="autokeras", candidates=(honest, canary), notes=("slow",))])
    assert found.gated == {"net": honest}
    assert found.failed == ("slow",)
    assert found.canary
    assert not Fits.of([EngineResult(engine="autokeras", candidates=(honest,))]).canary
