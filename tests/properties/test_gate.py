"""Laws of the gate's decision and of the test under it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.evaluation import Evidence, GateComparison
from tasks.registry.gate import compare, decide

REQUIRED = 504
NAMES = ["last", "ewma", "har", "lhar", "garch"]
PROBABILITY = st.one_of(st.floats(0.0, 0.06), st.floats(0.0, 1.0))


@st.composite
def comparisons(draw: st.DrawFn) -> tuple[GateComparison, ...]:
    def one(rival: str, role: str) -> GateComparison:
        difference = draw(st.floats(-0.01, 0.1))
        return GateComparison(
            rival=rival,
            role=role,  # type: ignore[arg-type]
            rival_loss=0.1 + difference,
            challenger_loss=0.1,
            difference=difference,
            statistic=draw(st.floats(-3, 6)),
            p_value=draw(PROBABILITY),
            dates=draw(st.integers(REQUIRED - 2, REQUIRED + 60)),
            lag=5,
        )

    baselines = tuple(one(name, "baseline") for name in NAMES[: draw(st.integers(0, len(NAMES)))])
    return (*baselines, one("champion-3", "champion")) if draw(st.booleans()) else baselines


@st.composite
def evidences(draw: st.DrawFn) -> Evidence:
    champion = draw(st.sampled_from(["", "champion-3"]))
    found = draw(comparisons())
    return Evidence(
        challenger=draw(st.sampled_from(["gbm", "har"])),
        challenger_engine=draw(st.sampled_from(["h2o", "linear", "autokeras", "baseline"])),
        challenger_recipe_sha256=draw(st.sampled_from(["a", "b"])),
        best_baseline=draw(st.sampled_from(["", "har", "last"])),
        comparisons=found,
        dates=draw(st.integers(REQUIRED - 2, REQUIRED + 60)),
        champion=champion,
        champion_recipe_sha256=draw(st.sampled_from(["a", "c"])) if champion else "",
        champion_unscored=draw(st.sampled_from(["", "", "", "no predictions"])),
        required_dates=REQUIRED,
        partial=draw(st.sampled_from([(), (), ("h2o failed",), ("h2o failed", "X quarantined")])),
        alarms=draw(st.sampled_from([(), (), ("too good",), ("too good", "far too good")])),
    )


@st.composite
def winners(draw: st.DrawFn) -> Evidence:
    """Evidence that promotes, so that laws of the form "and never if" are not tested on losers alone."""
    found = draw(evidences())
    champion = found.champion
    tests = tuple(
        dataclasses.replace(item, p_value=draw(st.floats(0.0, 0.049)), difference=0.01, dates=REQUIRED + 9)
        for item in found.comparisons
        if item.role == "baseline"
    )
    extra = [("champion-3", "champion")] if champion else []
    extra += [("har", "baseline")] if all(item.rival != "har" for item in tests) else []
    for rival, role in extra:
        tests += (
            GateComparison(
                rival=rival,
                role=role,  # type: ignore[arg-type]
                rival_loss=0.2,
                challenger_loss=0.1,
                difference=0.1,
                statistic=3.0,
                p_value=draw(st.floats(0.0, 0.049)),
                dates=REQUIRED,
                lag=5,
            ),
        )
    return dataclasses.replace(
        found,
        challenger="gbm",
        challenger_engine="h2o",
        challenger_recipe_sha256="b",
        best_baseline="har",
        comparisons=tests,
        dates=REQUIRED + 5,
        champion_unscored="",
        partial=(),
        alarms=(),
    )


def promoted(found: Evidence, allow_partial: bool = False, alpha: float = 0.05) -> bool:
    return decide(found, alpha, allow_partial).outcome == "promoted"


@settings(deadline=None, max_examples=200)
@given(winners())
def test_superiority_over_everything_promotes(found: Evidence) -> None:
    decision = decide(found, 0.05, False)
    assert (decision.outcome, decision.promote) == ("promoted", "gbm")


@settings(deadline=None, max_examples=300)
@given(evidences(), st.booleans())
def test_what_is_promoted_met_every_condition(found: Evidence, allow_partial: bool) -> None:
    decision = decide(found, 0.05, allow_partial)
    if decision.outcome == "promoted":
        assert decision.promote == found.challenger
        assert not found.alarms
        assert allow_partial or not found.partial
        assert found.dates >= REQUIRED
        assert found.comparisons
        assert all(c.p_value < 0.05 and c.difference > 0 and c.dates >= REQUIRED for c in found.comparisons)
        if found.champion:
            assert any(c.role == "champion" for c in found.comparisons)
            assert found.challenger_recipe_sha256 != found.champion_recipe_sha256
    elif decision.outcome == "baseline":
        assert not found.champion
        assert decision.promote == found.best_baseline != ""
    else:
        assert decision.promote == ""
    assert decision.outcome != "quarantined" or found.alarms


@settings(deadline=None, max_examples=200)
@given(winners(), st.data())
def test_one_flaw_is_enough_to_stop_a_winner(found: Evidence, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(found.comparisons) - 1))
    item = found.comparisons[place]

    def with_item(**change: float) -> Evidence:
        changed = dataclasses.replace(item, **change)  # type: ignore[arg-type]
        return dataclasses.replace(
            found, comparisons=(*found.comparisons[:place], changed, *found.comparisons[place + 1 :])
        )

    tie = with_item(difference=0.0, statistic=0.0, p_value=1.0)
    flaws = [
        tie,
        with_item(difference=0.0),
        with_item(p_value=0.05),
        with_item(dates=REQUIRED - 1),
        dataclasses.replace(found, dates=REQUIRED - 1),
        dataclasses.replace(found, alarms=("too good",)),
        dataclasses.replace(found, partial=("h2o failed",)),
    ]
    if found.champion:
        flaws.append(dataclasses.replace(found, champion_recipe_sha256=found.challenger_recipe_sha256))
        flaws.append(dataclasses.replace(found, champion_unscored="no predictions"))
    assert not any(promoted(flaw) for flaw in flaws)


@settings(deadline=None, max_examples=300)
@given(evidences(), st.data(), st.booleans())
def test_stronger_evidence_never_loses_what_weaker_evidence_won(
    found: Evidence, data: st.DataObject, allow_partial: bool
) -> None:
    """Monotone in every p-value, effect and number of dates, and in alarms and gaps taken away."""
    shrink, grow, more = data.draw(st.floats(0, 1)), data.draw(st.floats(0, 1)), data.draw(st.integers(0, 50))
    stronger = dataclasses.replace(
        found,
        comparisons=tuple(
            dataclasses.replace(c, p_value=c.p_value * shrink, difference=c.difference + grow, dates=c.dates + more)
            for c in found.comparisons
        ),
        dates=found.dates + more,
        alarms=found.alarms[1:],
        partial=found.partial[1:],
    )
    assert promoted(stronger, allow_partial) >= promoted(found, allow_partial)


@settings(deadline=None, max_examples=200)
@given(st.one_of(evidences(), winners()), st.floats(0.001, 0.2), st.floats(0.001, 0.2), st.booleans())
def test_a_stricter_alpha_never_promotes_more(found: Evidence, one: float, other: float, allow_partial: bool) -> None:
    strict, loose = sorted((one, other))
    assert promoted(found, allow_partial, strict) <= promoted(found, allow_partial, loose)


@settings(deadline=None, max_examples=200)
@given(st.one_of(evidences(), winners()), st.randoms(use_true_random=False), st.booleans())
def test_order_is_irrelevant_reasons_included(found: Evidence, random: object, allow_partial: bool) -> None:
    def shuffled(items: tuple[object, ...]) -> tuple[object, ...]:
        mixed = list(items)
        random.shuffle(mixed)  # type: ignore[attr-defined]
        return tuple(mixed)

    other = dataclasses.replace(
        found,
        comparisons=shuffled(found.comparisons),  # type: ignore[arg-type]
        alarms=shuffled(found.alarms),  # type: ignore[arg-type]
        partial=shuffled(found.partial),  # type: ignore[arg-type]
    )
    assert decide(found, 0.05, allow_partial) == decide(other, 0.05, allow_partial)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(60, 300), st.integers(0, 10), st.floats(0.0, 0.5))
def test_a_larger_advantage_never_has_a_larger_p_value(seed: int, n: int, overlap: int, gain: float) -> None:
    rng = np.random.default_rng(seed)
    dates = pd.bdate_range("2020-01-01", periods=n)
    mine, theirs = (pd.Series(rng.exponential(size=n), index=dates) for _ in range(2))
    before = compare(mine, theirs, name="har", role="baseline", overlap=overlap)
    after = compare(mine, theirs + gain, name="har", role="baseline", overlap=overlap)
    mirror = compare(theirs, mine, name="har", role="baseline", overlap=overlap)
    assert after.p_value <= before.p_value + 1e-9
    assert mirror.p_value + before.p_value == 1.0 or abs(mirror.p_value + before.p_value - 1.0) < 1e-9
    assert 0.0 <= before.p_value <= 1.0
