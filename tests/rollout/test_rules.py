"""The rules that move aliases in a rollout, alone; with registry and ledger: tests/registry/test_rollouts.py."""

from __future__ import annotations

import dataclasses

import pytest

from tasks.errors import ConfigurationError
from tasks.live import Standing
from tasks.problem import build
from tasks.rollout import rules
from tasks.rollout.machine import Step
from tasks.rollout.plan import Mode, Outcome, Plan

NOW = Standing(name="spx", epoch=3, champion="1", challenger="2", fallback="1", share=0.25)
GOES_ON = Step(verb="goes on", step=2, share=0.25, why="not yet")


def plan(**changes: object) -> Plan:
    agreed = Plan(
        id="a-v2", name="spx", mode="gradual", champion="1", challenger="2", predicts="volatility over 1 x 1d on XNYS",
        loss="mse", started="2020-01-01T00:00:00+00:00", after="2020-01-01", streams=1, bound=1.0, level=0.025,
        limit=60, champion_recipe="a", challenger_is="ridge",
    )  # fmt: skip
    return dataclasses.replace(agreed, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(("mode", "share"), [("gradual", 0.01), ("shadow", 0.0)])
def test_it_begins_with_the_smallest_share_or_none(mode: Mode, share: float) -> None:
    found = rules.begin(plan(mode=mode), dataclasses.replace(NOW, challenger="9", share=0.0))
    assert found == (dataclasses.replace(NOW, share=share), f"{mode} of version 2 (ridge) begins")


@pytest.mark.parametrize("champion", ["", "2"])
def test_nothing_begins_without_a_champion_or_with_the_challenger_as_one(champion: str) -> None:
    assert rules.begin(plan(), dataclasses.replace(NOW, champion=champion)) is None


@pytest.mark.parametrize(
    ("champion", "step", "took_over", "end"),
    [
        ("1", GOES_ON, False, None),
        ("1", GOES_ON, True, ("promoted", "the challenger is champion")),
        ("2", GOES_ON, False, ("promoted", "the challenger is champion")),
        ("1", Step(verb="promotes", step=4, share=1.0, why="E"), False, None),
        ("1", Step(verb="promotes", step=4, share=1.0, why="E"), True, ("promoted", "E")),
        ("1", Step(verb="rolls back", step=0, share=0.0, why="worse"), False, ("rolled back", "worse")),
        ("1", Step(verb="keeps", step=0, share=0.0, why="time"), False, ("kept", "time")),
    ],
)
def test_what_an_earlier_run_had_decided(
    champion: str, step: Step, took_over: bool, end: tuple[Outcome, str] | None
) -> None:
    now = dataclasses.replace(NOW, champion=champion)
    assert rules.left_off(plan(), now, step, took_over=took_over) == end


@pytest.mark.parametrize(
    ("champion", "challenger", "recipe", "why"),
    [
        ("1", "2", "a", ""),
        ("3", "2", "a", ""),  # refitted
        ("3", "2", "c", "another recipe"),
        ("", "2", "", "no champion"),
        ("1", "4", "a", "the challenger is version 4 now"),
        ("1", "", "a", "the challenger is none now"),
    ],
)
def test_others_may_make_it_pointless(champion: str, challenger: str, recipe: str, why: str) -> None:
    now = dataclasses.replace(NOW, champion=champion, challenger=challenger)
    found = rules.superseded(plan(), now, recipe=recipe, candidate="har")
    assert (why in found) if why else not found


@pytest.mark.parametrize(
    ("outcome", "champion", "action"),
    [("promoted", "2", "promoted"), ("rolled back", "1", "rolled back"), ("kept", "1", "rollout"),
     ("stopped", "1", "rollout")],
)  # fmt: skip
def test_every_end_takes_the_challenger_out_of_its_place(outcome: Outcome, champion: str, action: str) -> None:
    after = dataclasses.replace(NOW, champion=champion, challenger="", share=0.0)
    assert rules.ended(plan(), NOW, outcome) == (after, action)


def test_an_end_leaves_another_challenger_alone() -> None:
    assert rules.ended(plan(), dataclasses.replace(NOW, challenger="4"), "superseded") is None


def test_only_what_goes_on_is_asked_for_again() -> None:
    rules.require_alike(plan(), "", "gradual")
    rules.require_alike(plan(), "2", "gradual")
    for version, mode in (("3", "gradual"), ("2", "shadow")):
        with pytest.raises(ConfigurationError, match="gradual of version 2 has been going on since 2020-01-01"):
            rules.require_alike(plan(), version, mode)  # type: ignore[arg-type]
    asked = build({"name": "spx", "source": "builtin:sp500", "target": "direction"}, "demo", {}, "test")
    with pytest.raises(ConfigurationError, match=r"compares forecasts of volatility over 1 x 1d on XNYS"):
        rules.require_same(plan(), asked)
