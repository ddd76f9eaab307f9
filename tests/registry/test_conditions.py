"""What a night's universe and the size of its bars rule out or let pass."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.contracts import EngineName, Target
from tasks.evaluation import TransferWorth
from tasks.registry.conditions import foresight, notes, partial
from tasks.registry.evidence import GatedFit
from tasks.registry.gate import read_level
from tasks.registry.judgement import judge
from tasks.registry.ledger import Ledger
from tasks.registry.power import DAILY_DATES, critical_value, daily_spread, foresee
from tasks.registry.records import Night
from tasks.statistics.diebold_mariano import diebold_mariano, newey_west_lag
from tasks.storage import write_parquet
from tests.registry.judged import World, fits_of, night_of

GOOD = {"net": 0.5, "zero": 0.0, "mean": 0.0}
RETURN = Target(name="return", horizon=1, kind="regression", loss="mse")
LEVEL = read_level(1, 0.05)


def universe(night: Night, kept: int, apart: int, both: int = 0) -> Night:
    """A panel of so many symbols, some in quarantine, of which ``both`` keep the bars before their date."""
    gone = tuple(f"Q{number}" for number in range(apart))
    symbols = (*(f"K{number}" for number in range(kept)), *gone[:both])
    return dataclasses.replace(
        night, snapshot=dataclasses.replace(night.snapshot, symbols=symbols, quarantined=gone, survivors_only=False)
    )


@pytest.mark.parametrize(
    ("kept", "apart", "both", "whole"),
    [
        (496, 9, 0, True),
        (496, 9, 9, True),
        (455, 50, 0, True),
        (454, 51, 0, False),
        (454, 51, 51, False),
        (90, 10, 0, True),
        (89, 11, 0, False),
        (1, 1, 0, False),
        (9, 1, 0, True),
        (8, 1, 0, False),
    ],
)
def test_quarantine_makes_a_night_partial_only_beyond_a_tenth(
    tmp_path: Path, kept: int, apart: int, both: int, whole: bool
) -> None:
    night = universe(night_of(World(tmp_path)), kept, apart, both)
    share = f"{apart} of {kept + apart} symbols are in quarantine ({apart / (kept + apart):.1%})"
    assert partial(night) == (() if whole else (f"{share}, and 90% must be left",))
    assert notes(night) == ((f"{share}.",) if whole else ())


def test_without_quarantine_there_is_nothing_to_say(tmp_path: Path) -> None:
    night = night_of(World(tmp_path))
    assert (partial(night), notes(night)) == ((), ())


def test_a_panel_with_a_few_in_quarantine_is_replaced_and_the_decision_says_how_many(tmp_path: Path) -> None:
    world = World(tmp_path)
    with Ledger.in_memory() as ledger:
        verdict = judge(universe(night_of(world), 496, 9), fits_of(world, GOOD), None, ledger)
    assert verdict.decision.outcome == "promoted"
    assert "9 of 505 symbols are in quarantine (1.8%)." in verdict.decision.reasons
    with Ledger.in_memory() as ledger:
        verdict = judge(universe(night_of(world), 454, 51), fits_of(world, GOOD), None, ledger)
    assert (verdict.decision.outcome, verdict.evidence.read) == ("baseline", 0)


def walked(dates: int, bars: int, together: float = 0.0, advantage: float = 0.0, seed: int = 1) -> pd.DataFrame:
    """Predictions whose loss differences have a spread of one and a mean of ``advantage``; ``together``: the share of
    their variance that a day's bars have in common."""
    rng = np.random.default_rng(seed)
    day = np.repeat(rng.normal(size=dates), bars)
    gain = advantage + np.sqrt(together) * day + np.sqrt(1 - together) * rng.normal(size=dates * bars)
    rivals = np.sqrt(20.0 + gain / 2)  # losses 20 + gain / 2 and 20 - gain / 2 about a label of nil
    return pd.DataFrame(
        {
            "symbol": "SPX",
            "session": np.repeat(pd.bdate_range("2010-01-01", periods=dates), bars),
            "label": 0.0,
            "challenger": np.sqrt(20.0 - gain / 2),
            "rival": rivals,
        }
    )


@pytest.mark.parametrize(("bars", "together", "worth"), [(1, 0.0, 1.0), (7, 0.0, 7.0), (7, 1.0, 1.0)])
def test_a_date_is_worth_its_independent_bars(bars: int, together: float, worth: float) -> None:
    found = foresee(walked(1500, bars, together), RETURN, 100, LEVEL)
    assert found is not None
    t = critical_value(LEVEL, 100, newey_west_lag(100, 0)) + 0.8416
    assert found.spread == pytest.approx(t / np.sqrt(100 * worth), rel=0.12)
    assert found.share == pytest.approx(found.spread / 20.0, rel=0.05)


def test_504_independent_daily_bars_are_the_measure() -> None:
    found = foresee(walked(4000, 1), RETURN, DAILY_DATES, LEVEL)
    assert found is not None
    assert found.spread == pytest.approx(daily_spread(LEVEL), rel=0.08)
    assert daily_spread(LEVEL) == pytest.approx(2.83 / np.sqrt(504), rel=0.01)


def test_what_is_foreseen_is_found_in_four_trials_of_five() -> None:
    """The gate's own test, on fresh dates with an advantage of just that size."""
    found = foresee(walked(3000, 7, together=0.3), RETURN, 120, LEVEL)
    assert found is not None
    wins = 0
    for seed in range(400):
        frame = walked(120, 7, together=0.3, advantage=found.share * 20.0, seed=1000 + seed)
        gain = frame["rival"] ** 2 - frame["challenger"] ** 2
        wins += diebold_mariano(gain.groupby(frame["session"]).mean().to_numpy(), 0).p_value < LEVEL
    assert wins / 400 == pytest.approx(0.8, abs=0.06)


@pytest.mark.parametrize("flaw", ["none", "empty", "same"])
def test_where_the_folds_tell_nothing_nothing_is_foreseen(flaw: str) -> None:
    frame = walked(100, 7)
    told = {"none": None, "empty": frame.iloc[:0], "same": frame.assign(challenger=frame["rival"])}[flaw]
    assert foresee(told, RETURN, 100, LEVEL) is None


def hourly(folder: Path, together: float = 0.0, **problem: Any) -> Night:
    night = night_of(World(folder), bar="1h", **problem)
    frame = walked(800, 7, together).rename(columns={"challenger": "net", "rival": "zero"})
    predictions = write_parquet(folder / "walked.parquet", frame)
    return dataclasses.replace(night, leaderboard=dataclasses.replace(night.leaderboard, predictions=predictions))


def judged(night: Night, folder: Path) -> Any:
    with Ledger.in_memory() as ledger:
        return judge(night, fits_of(World(folder), GOOD), None, ledger)


def test_for_other_bars_the_decision_states_what_the_gate_can_find(tmp_path: Path) -> None:
    verdict = judged(hourly(tmp_path), tmp_path)
    assert (verdict.decision.outcome, verdict.evidence.read) == ("promoted", 1)
    (said,) = [text for text in verdict.decision.reasons if "Foreseen from the folds" in text]
    assert "on 504 gate dates and at 0.025, an advantage over zero of 0.2% of its loss is found" in said
    assert "with a probability of 80%" in said
    assert "504 independent daily bars would find 0.126" in said


def test_a_gate_of_other_bars_that_finds_too_little_is_not_read(tmp_path: Path) -> None:
    """60 dates whose bars rise and fall together are 60 bars."""
    night = hourly(tmp_path, together=0.9)
    challenger = GatedFit(name="net", engine="autokeras", recipe_sha256="r", predictions=np.zeros(1), smearing=1.0)
    said, against = foresight(night, challenger, "zero", 60)
    assert said == ()
    assert "Foreseen from the folds: on 60 gate dates" in against
    assert "and no more is allowed" in against
    assert foresight(night, dataclasses.replace(challenger, engine="baseline"), "zero", 60) == ((), "")


def test_where_it_cannot_be_foreseen_the_gate_of_other_bars_is_not_read(tmp_path: Path) -> None:
    verdict = judged(night_of(World(tmp_path), bar="1h"), tmp_path)
    assert (verdict.decision.outcome, verdict.evidence.read) == ("baseline", 0)
    assert "What the gate could find over zero cannot be foreseen from the folds" in verdict.evidence.not_read
    daily = judged(night_of(World(tmp_path)), tmp_path)
    assert (daily.evidence.underpowered, daily.evidence.read) == ("", 1)


HURTS = TransferWorth(
    candidate="net", control="transfer-scratch-tcn", strategy="features", backbone="liquid:3", frozen=1.0,
    difference=-0.004, interval=(-0.006, -0.002), hurts_p=0.0003, helps_p=0.9997, verdict="hurts", dates=300,
)  # fmt: skip


def transferred(folder: Path, worth: TransferWorth | None, engine: EngineName = "transfer", **recipe: Any) -> Any:
    """A night that the net, pre-trained, would win."""
    world = World(folder)
    night = night_of(world)
    lines = () if worth is None else (worth,)
    changes = {"net": {"engine": engine, "recipe": {"strategy": "features", "backbone": {"name": "liquid"}, **recipe}}}
    with Ledger.in_memory() as ledger:
        return judge(
            dataclasses.replace(night, leaderboard=dataclasses.replace(night.leaderboard, transfers=lines)),
            fits_of(world, GOOD, changes=changes),
            None,
            ledger,
        )


def test_a_transfer_that_hurts_is_not_promoted_and_spends_no_read(tmp_path: Path) -> None:
    verdict = transferred(tmp_path, HURTS)
    assert (verdict.decision.outcome, verdict.evidence.read) == ("baseline", 0)
    (said,) = [text for text in verdict.decision.reasons if text.startswith("The transfer hurts")]
    assert said == (
        "The transfer hurts: on 300 walk-forward dates net (features of liquid:3) loses 0.004 more than the same "
        "without pre-training, transfer-scratch-tcn, 95 % between 0.002 and 0.006, one-sided p 0.0003: it is not "
        "promoted."
    )


def test_a_transfer_without_a_control_is_not_promoted(tmp_path: Path) -> None:
    verdict = transferred(tmp_path, None)
    assert (verdict.decision.outcome, verdict.evidence.read) == ("baseline", 0)
    assert any("What the transfer of net was worth is not known" in text for text in verdict.decision.reasons)


@pytest.mark.parametrize(
    "worth", [dataclasses.replace(HURTS, verdict=each, hurts_p=0.5) for each in ("helps", "no difference")]
)
def test_a_transfer_that_does_not_hurt_can_be_promoted(tmp_path: Path, worth: TransferWorth) -> None:
    verdict = transferred(tmp_path, worth)
    assert (verdict.decision.outcome, verdict.evidence.worth) == ("promoted", worth)


def test_a_transfer_whose_control_the_clock_ended_is_not_promoted(tmp_path: Path) -> None:
    why = "the clock ended the training of its control, transfer-scratch-tcn"
    verdict = transferred(tmp_path, dataclasses.replace(HURTS, verdict="not known", hurts_p=0.9, note=why))
    assert (verdict.decision.outcome, verdict.evidence.read) == ("baseline", 0)
    assert f"What the transfer of net was worth is not known: {why}; it is not promoted." in verdict.decision.reasons


def test_a_control_needs_no_control_and_other_engines_need_none(tmp_path: Path) -> None:
    for strategy in ("scratch", "trees"):
        assert transferred(tmp_path, None, strategy=strategy, backbone={}).decision.outcome == "promoted"
    assert transferred(tmp_path, None, strategy="scratch").decision.outcome == "baseline", "it names a backbone"
    assert transferred(tmp_path, None, engine="autokeras").decision.outcome == "promoted"
