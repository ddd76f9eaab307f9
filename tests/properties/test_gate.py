"""Laws of the gate's decision and of the test under it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.evaluation import Evidence, GateComparison, Licence, TransferWorth
from tasks.registry.gate import Policy, compare, decide, obstacles, read_level

REQUIRED = 504
EFFECTIVE = 30.0
DATES = st.sampled_from([REQUIRED - 2, REQUIRED - 1, REQUIRED, REQUIRED + 60])
"""Few values: each has a critical value of its own to be computed."""

NAMES = ["last", "ewma", "har", "lhar", "garch"]
PROBABILITY = st.one_of(st.floats(0.0, 0.03), st.floats(0.0, 1.0))


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
            dates=draw(DATES),
            lag=5,
            qlike_worse_p=draw(st.sampled_from([1.0, 1.0, 1.0, 0.06, 0.04])),
        )

    baselines = tuple(one(name, "baseline") for name in NAMES[: draw(st.integers(0, len(NAMES)))])
    return (*baselines, one("champion-3", "champion")) if draw(st.booleans()) else baselines


@st.composite
def licences(draw: st.DrawFn) -> Licence | None:
    upper = draw(st.sampled_from([-0.01, 0.0, 0.009, 0.01, 0.5, float("nan")]))
    found = Licence(
        recipe_sha256=draw(st.sampled_from(["a", "c", "c"])),
        term="2018-12-12",
        granted=draw(st.sampled_from([upper < 0.01, upper < 0.01, True, False])),
        increase=0.0,
        upper=upper,
        limit=0.01,
        origins=8,
        dates=440,
    )
    return draw(st.sampled_from([None, found, found]))


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
        dates=draw(DATES),
        champion=champion,
        champion_recipe_sha256=draw(st.sampled_from(["a", "c"])) if champion else "",
        champion_unscored=draw(st.sampled_from(["", "", "", "no predictions"])),
        required_dates=REQUIRED,
        effective=draw(st.sampled_from([29.9, EFFECTIVE, 300.0])),
        required_effective=EFFECTIVE,
        read=draw(st.sampled_from([0, 1, 1, 2, 5])),
        level=draw(st.sampled_from([0.05, 0.025, 0.001])),
        refreshable=draw(st.sampled_from(["", "champion", "champion"])),
        not_refreshed=draw(st.sampled_from(["", "", "nothing new"])),
        licence=draw(licences()),
        obstacles=draw(st.sampled_from([(), (), (), ("survivors",), ("survivors", "restated")])),
        waivers=draw(st.sampled_from([(), ("survivorship",)])),
        partial=draw(st.sampled_from([(), (), ("h2o failed",), ("h2o failed", "X quarantined")])),
        alarms=draw(st.sampled_from([(), (), ("too good",), ("too good", "far too good")])),
        underpowered=draw(st.sampled_from(["", "", "it could find too little"])),
        notes=draw(st.sampled_from([(), ("9 of 505 symbols are in quarantine.",)])),
    )


@st.composite
def winners(draw: st.DrawFn) -> Evidence:
    """Evidence that promotes, so that laws of the form "and never if" are not tested on losers alone."""
    found = draw(evidences())
    champion = found.champion
    tests = tuple(
        dataclasses.replace(
            item, p_value=draw(st.floats(0.0, 0.0249)), difference=0.01, dates=REQUIRED + 60, qlike_worse_p=1.0
        )
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
                p_value=draw(st.floats(0.0, 0.0249)),
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
        dates=REQUIRED + 60,
        effective=EFFECTIVE,
        read=1,
        level=0.025,
        obstacles=(),
        champion_unscored="",
        partial=(),
        alarms=(),
        underpowered="",
    )


@st.composite
def refreshables(draw: st.DrawFn) -> Evidence:
    """Evidence that refreshes the champion: the challenger is not better, the licence stands, the run is whole."""
    found = draw(winners())
    lost = tuple(dataclasses.replace(item, p_value=0.5) for item in found.comparisons)
    licence = Licence(
        recipe_sha256="c", term="t", granted=True, increase=0.0, upper=draw(st.floats(-0.5, 0.0099)), limit=0.01,
        origins=8, dates=440,
    )  # fmt: skip
    return dataclasses.replace(
        found,
        comparisons=lost,
        champion="champion-3",
        champion_recipe_sha256="c",
        refreshable="champion",
        not_refreshed="",
        licence=licence,
    )


def policy(allow_partial: bool = False, alpha: float = 0.05) -> Policy:
    return Policy(alpha=alpha, allow_partial=allow_partial)


def promoted(found: Evidence, allow_partial: bool = False, alpha: float = 0.05) -> bool:
    return decide(found, policy(allow_partial, alpha)).outcome == "promoted"


def moved(found: Evidence, allow_partial: bool = False) -> bool:
    """Whether the champion's alias moves to something that is no fallback."""
    return decide(found, policy(allow_partial)).outcome in ("promoted", "refreshed")


@settings(deadline=None, max_examples=200)
@given(winners())
def test_superiority_over_everything_promotes(found: Evidence) -> None:
    decision = decide(found, policy())
    assert (decision.outcome, decision.promote) == ("promoted", "gbm")


@settings(deadline=None, max_examples=200)
@given(refreshables())
def test_a_licence_refreshes_what_is_not_replaced(found: Evidence) -> None:
    decision = decide(found, policy())
    assert (decision.outcome, decision.promote) == ("refreshed", "champion")


@settings(deadline=None, max_examples=500)
@given(st.one_of(evidences(), winners(), refreshables()), st.booleans())
def test_what_moves_the_alias_met_every_condition(found: Evidence, allow_partial: bool) -> None:
    decision = decide(found, policy(allow_partial))
    if decision.outcome in ("promoted", "refreshed"):
        assert not found.alarms
        assert not found.obstacles
        assert allow_partial or not found.partial
        assert found.dates >= REQUIRED
        assert found.effective >= EFFECTIVE
    if decision.outcome == "promoted":
        assert decision.promote == found.challenger
        assert found.read >= 1
        assert not found.underpowered
        assert found.comparisons
        level = min(found.level, read_level(found.read, 0.05))
        assert all(c.p_value < level and c.difference > 0 and c.dates >= REQUIRED for c in found.comparisons)
        assert all(c.qlike_worse_p >= 0.05 for c in found.comparisons)
        assert found.champion or found.challenger_engine != "baseline"
        if found.champion:
            assert any(c.role == "champion" for c in found.comparisons)
            assert found.challenger_recipe_sha256 != found.champion_recipe_sha256
    elif decision.outcome == "refreshed":
        assert found.champion
        assert decision.promote == found.refreshable != ""
        assert found.licence is not None
        assert found.licence.granted
        assert found.licence.upper < found.licence.limit
        assert found.licence.recipe_sha256 == found.champion_recipe_sha256
    elif decision.outcome == "baseline":
        assert not found.champion
        assert decision.promote == found.best_baseline != ""
    else:
        assert decision.promote == ""
    assert (decision.outcome == "quarantined") is bool(found.alarms)
    assert all(decision.reasons)


@settings(deadline=None, max_examples=200)
@given(st.one_of(evidences(), winners(), refreshables()))
def test_notes_are_told_and_decide_nothing(found: Evidence) -> None:
    bare = decide(dataclasses.replace(found, notes=()), policy())
    noted = decide(dataclasses.replace(found, notes=("a note",)), policy())
    assert noted == dataclasses.replace(bare, reasons=(*bare.reasons, "a note"))


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

    flaws = [
        with_item(difference=0.0, statistic=0.0, p_value=1.0),
        with_item(difference=0.0),
        with_item(p_value=0.025),
        with_item(p_value=float("nan")),
        with_item(qlike_worse_p=0.0499),
        with_item(dates=REQUIRED - 1),
        dataclasses.replace(found, read=0),
        dataclasses.replace(found, level=0.0),
        dataclasses.replace(found, underpowered="it could find too little"),
        *general_flaws(found),
    ]
    if found.champion:
        flaws.append(dataclasses.replace(found, champion_recipe_sha256=found.challenger_recipe_sha256))
        flaws.append(dataclasses.replace(found, champion_unscored="no predictions"))
    assert not any(promoted(flaw) for flaw in flaws)


@settings(deadline=None, max_examples=100)
@given(refreshables())
def test_one_flaw_is_enough_to_stop_a_refresh(found: Evidence) -> None:
    licence = found.licence
    assert licence is not None
    flaws = [
        dataclasses.replace(found, licence=None),
        dataclasses.replace(found, licence=dataclasses.replace(licence, granted=False)),
        dataclasses.replace(found, licence=dataclasses.replace(licence, upper=0.01)),
        dataclasses.replace(found, licence=dataclasses.replace(licence, recipe_sha256="z")),
        dataclasses.replace(found, refreshable=""),
        dataclasses.replace(found, not_refreshed="it has learned from every bar already"),
        dataclasses.replace(found, champion=""),
        *general_flaws(found),
    ]
    assert not any(moved(flaw) for flaw in flaws)


def general_flaws(found: Evidence) -> list[Evidence]:
    return [
        dataclasses.replace(found, dates=REQUIRED - 1),
        dataclasses.replace(found, effective=29.99),
        dataclasses.replace(found, effective=float("nan")),
        dataclasses.replace(found, alarms=("too good",)),
        dataclasses.replace(found, obstacles=("survivors",)),
        dataclasses.replace(found, partial=("h2o failed",)),
    ]


@settings(deadline=None, max_examples=300)
@given(st.one_of(evidences(), winners(), refreshables()), st.data(), st.booleans())
def test_stronger_evidence_never_loses_what_weaker_evidence_won(
    found: Evidence, data: st.DataObject, allow_partial: bool
) -> None:
    """Monotone in p-values, effects, dates, effective observations, and in alarms, obstacles and gaps taken away."""
    shrink, grow = data.draw(st.floats(0, 1)), data.draw(st.floats(0, 1))
    more = data.draw(st.sampled_from([0, 60]))
    stronger = dataclasses.replace(
        found,
        comparisons=tuple(
            dataclasses.replace(c, p_value=c.p_value * shrink, difference=c.difference + grow, dates=c.dates + more)
            for c in found.comparisons
        ),
        dates=found.dates + more,
        effective=found.effective + 10 * more,
        read=min(found.read, 1),
        alarms=found.alarms[1:],
        obstacles=found.obstacles[1:],
        partial=found.partial[1:],
    )
    assert promoted(stronger, allow_partial) >= promoted(found, allow_partial)
    assert moved(stronger, allow_partial) >= moved(found, allow_partial)


@settings(deadline=None, max_examples=200)
@given(st.one_of(evidences(), winners()), st.sampled_from([0.01, 0.02, 0.05, 0.2]), st.sampled_from([0.03, 0.1]))
def test_a_stricter_alpha_never_promotes_more(found: Evidence, one: float, other: float) -> None:
    strict, loose = sorted((one, other))
    assert promoted(found, alpha=strict) <= promoted(found, alpha=loose)


@settings(deadline=None, max_examples=200)
@given(st.one_of(evidences(), winners()), st.integers(1, 5))
def test_a_later_read_never_promotes_more(found: Evidence, later: int) -> None:
    assert promoted(dataclasses.replace(found, read=found.read + later)) <= promoted(
        dataclasses.replace(found, read=max(found.read, 1))
    )


@settings(deadline=None, max_examples=200)
@given(st.one_of(evidences(), winners(), refreshables()), st.randoms(use_true_random=False), st.booleans())
def test_order_is_irrelevant_reasons_included(found: Evidence, random: object, allow_partial: bool) -> None:
    def shuffled(items: tuple[object, ...]) -> tuple[object, ...]:
        mixed = list(items)
        random.shuffle(mixed)  # type: ignore[attr-defined]
        return tuple(mixed)

    other = dataclasses.replace(
        found,
        comparisons=shuffled(found.comparisons),  # type: ignore[arg-type]
        alarms=shuffled(found.alarms),  # type: ignore[arg-type]
        obstacles=shuffled(found.obstacles),  # type: ignore[arg-type]
        partial=shuffled(found.partial),  # type: ignore[arg-type]
    )
    assert decide(found, policy(allow_partial)) == decide(other, policy(allow_partial))


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


def worth(verdict: str, candidate: str = "gbm", hurts_p: float = 0.5) -> TransferWorth:
    return TransferWorth(
        candidate=candidate, control="transfer-scratch-tcn", strategy="full", backbone="liquid:3", frozen=0.0,
        difference=-0.01, interval=(-0.02, -0.001), hurts_p=hurts_p, helps_p=1.0 - hurts_p,
        verdict=verdict, dates=400,  # type: ignore[arg-type]
    )  # fmt: skip


UNPROVED = st.one_of(
    st.none(),
    st.builds(worth, st.just("hurts"), hurts_p=st.floats(0.0, 0.05)),
    st.builds(worth, st.sampled_from(["", "HURTS", "unknown"])),
    st.builds(worth, st.sampled_from(["helps", "no difference"]), st.just("another-candidate")),
    st.builds(worth, st.sampled_from(["helps", "no difference"]), hurts_p=st.floats(0.0, 0.0499)),
    st.builds(worth, st.sampled_from(["helps", "no difference"]), hurts_p=st.just(float("nan"))),
    st.builds(worth, st.just("not known"), hurts_p=st.floats(0.0, 1.0)),
)


@settings(deadline=None, max_examples=300)
@given(st.one_of(winners(), evidences(), refreshables()), UNPROVED, st.booleans())
def test_a_transfer_that_hurts_or_has_no_control_is_never_promoted(
    found: Evidence, unproved: TransferWorth | None, allow_partial: bool
) -> None:
    """Whatever else the evidence holds; and its gate is not read, for nothing could come of it."""
    pre_trained = dataclasses.replace(
        found, challenger="gbm", challenger_engine="transfer", worth=unproved, from_scratch=False
    )
    decision = decide(pre_trained, policy(allow_partial))
    assert decision.outcome != "promoted"
    assert decision.promote != "gbm"
    against = [text for text in obstacles(pre_trained, policy(allow_partial)) if "transfer" in text]
    assert len(against) == 1
    assert pre_trained.alarms or against[0] in decision.reasons or decision.outcome == "refreshed"
    known = unproved is not None and unproved.candidate == "gbm" and unproved.verdict != "not known"
    assert ("hurts" in against[0]) is known


@settings(deadline=None, max_examples=100)
@given(winners(), st.sampled_from(["helps", "no difference"]))
def test_a_transfer_that_does_not_hurt_is_judged_like_any_other(found: Evidence, verdict: str) -> None:
    pre_trained = dataclasses.replace(found, challenger_engine="transfer", worth=worth(verdict))
    assert decide(pre_trained, policy()).outcome == "promoted"
    control = dataclasses.replace(found, challenger_engine="transfer", from_scratch=True)
    assert decide(control, policy()).outcome == "promoted"


@settings(deadline=None, max_examples=100)
@given(refreshables(), UNPROVED)
def test_tonights_transfer_does_not_keep_the_champion_from_being_refreshed(
    found: Evidence, unproved: TransferWorth | None
) -> None:
    pre_trained = dataclasses.replace(found, challenger="gbm", challenger_engine="transfer", worth=unproved)
    assert decide(pre_trained, policy()).outcome == "refreshed"
