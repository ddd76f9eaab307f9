"""What is kept from night to night: chosen by the selection loss alone, from earlier nights, counted by the ledger."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from tasks.contracts import (
    Candidate,
    EngineName,
    EngineResult,
    FeatureMatrix,
    FeatureSpec,
    Ref,
    Rows,
    Snapshot,
    Target,
    Window,
)
from tasks.documents import digest, to_json
from tasks.problem import Problem
from tasks.registry.families import Family, term_of
from tasks.registry.ledger import Asked, Ledger
from tasks.search import recipes
from tasks.search.recipes import Recalled, keep, recall

NONE = Ref(path="", sha256="", rows=0)
FEATURES = FeatureMatrix(ref=NONE, spec=FeatureSpec(columns=("har_1", "har_5"), tick=0.01), lookback=60)
MONDAY, TUESDAY, WEDNESDAY = (f"2018-12-{day}T21:00:00+00:00" for day in (17, 18, 19))


def problem(**changes: Any) -> Problem:
    return Problem(name="toy", source="builtin:sp500", warm_start=3).model_copy(update=changes)


def snapshot(last: str, sha256: str = "a" * 64) -> Snapshot:
    return Snapshot(
        sha256=sha256, bars=NONE, symbols=("X",), first="2000-01-03T21:00:00+00:00", last=last, bar="1d",
        calendar="XNYS", true_opens=True, has_volume=True,
    )  # fmt: skip


def rows(selection: str = "2014-06-30T20:00:00+00:00") -> Rows:
    window = Window(name="selection", first="2013-06-30T20:00:00+00:00", last=selection, rows=250, dates=250)
    return Rows(
        ref=NONE,
        target=Target(name="volatility", horizon=1, kind="regression", loss="mse"),
        windows=(window,),
        purged=0,
        embargo=5,
        term_start="",
    )


def recipe(penalty: float, **more: Any) -> dict[str, Any]:
    return {"algorithm": "ridge", "penalty": penalty, "columns": ["har_1"], **more}


def found(engine: EngineName, **candidates: dict[str, Any]) -> EngineResult:
    made = tuple(
        Candidate(
            name=name, engine=engine, recipe=each, model="", predictions=NONE, train_seconds=1.0, predict_us_per_row=1.0
        )
        for name, each in candidates.items()
    )
    return EngineResult(engine=engine, candidates=made)


def night(last: str, losses: dict[str, float], *results: EngineResult, **more: Any) -> Path:
    path = keep(more.get("problem", problem()), snapshot(last), more.get("rows", rows()), results, losses)
    assert path is not None
    return path


def recalled(last: str, **more: Any) -> Recalled:
    return recall(more.get("problem", problem()), snapshot(last), more.get("rows", rows()), FEATURES)


LINEAR = found("linear", a=recipe(1.0), b=recipe(2.0), c=recipe(3.0), d=recipe(4.0))


def test_the_best_on_the_selection_rows_are_handed_on_as_they_are() -> None:
    night(MONDAY, {"a": 0.4, "b": 0.1, "c": 0.3, "d": 0.2}, LINEAR)
    told = recalled(TUESDAY)
    assert [each.recipe["penalty"] for each in told.of("linear")] == [2.0, 4.0, 3.0]
    assert {each.night for each in told.of("linear")} == {"2018-12-17"}
    assert told.of("linear")[0].name == f"b-warm-{digest(recipe(2.0))[:6]}"
    assert told.of("h2o") == ()
    assert told.notes == ()


def test_neither_folds_nor_gate_have_a_say() -> None:
    """A board with scores and a decision cannot even be given to ``keep``: what it takes is the selection's losses."""
    unscored = found("linear", a=recipe(1.0), lost=recipe(9.0), diverged=recipe(8.0))
    night(MONDAY, {"a": 0.4, "diverged": float("nan")}, unscored)
    assert [each.recipe["penalty"] for each in recalled(TUESDAY).of("linear")] == [1.0]


def test_a_night_is_never_handed_its_own_findings_nor_later_ones() -> None:
    night(MONDAY, {"a": 0.1}, found("linear", a=recipe(1.0)))
    before = recalled(TUESDAY)
    night(TUESDAY, {"a": 0.1}, found("linear", a=recipe(5.0)))
    night(WEDNESDAY, {"a": 0.1}, found("linear", a=recipe(7.0)))
    assert recalled(TUESDAY) == before
    assert recall(problem(), snapshot(TUESDAY, "b" * 64), rows(), FEATURES) == before
    assert recalled(MONDAY) == Recalled()


def test_the_last_night_that_has_leaders_of_an_engine_counts() -> None:
    night(MONDAY, {"a": 0.1, "g": 0.1}, found("linear", a=recipe(1.0)), found("h2o", g=recipe(0.0, algorithm="gbm")))
    night(TUESDAY, {"a": 0.2}, found("linear", a=recipe(2.0)))
    told = recalled(WEDNESDAY)
    assert [each.recipe["penalty"] for each in told.of("linear")] == [2.0]
    assert [each.night for each in told.of("h2o")] == ["2018-12-17"]


def test_a_recipe_that_leads_for_many_nights_keeps_one_name() -> None:
    for last, following in ((MONDAY, TUESDAY), (TUESDAY, WEDNESDAY)):
        known = recalled(last).of("linear")
        name = known[0].name if known else "ridge"
        night(last, {name: 0.1}, found("linear", **{name: recipe(1.0)}))
        assert [each.name for each in recalled(following).of("linear")] == [f"ridge-warm-{digest(recipe(1.0))[:6]}"]


def test_the_same_recipe_counts_once() -> None:
    night(MONDAY, {"a": 0.1, "b": 0.1}, found("linear", a=recipe(1.0), b=recipe(1.0)))
    assert [each.name[0] for each in recalled(TUESDAY).of("linear")] == ["a"]


@pytest.mark.parametrize(("allowed", "count"), [(False, 1), (True, 2)])
def test_ensembles_are_kept_where_they_may_be_refitted(allowed: bool, count: int) -> None:
    mine = problem(refit_ensembles=allowed)
    both = found("h2o", stack=recipe(0.0, algorithm="stackedensemble"), gbm=recipe(0.0, algorithm="gbm"))
    night(MONDAY, {"stack": 0.1, "gbm": 0.2}, both, problem=mine)
    assert len(recalled(TUESDAY, problem=mine).of("h2o")) == count


def test_what_was_chosen_on_bars_that_now_lie_in_the_folds_is_left_out_in_words() -> None:
    night(MONDAY, {"a": 0.1}, found("linear", a=recipe(1.0)))
    told = recalled(TUESDAY, rows=rows("2014-06-27T20:00:00+00:00"))
    assert told.recipes == {}
    assert "have seen what they would be ranked on" in told.notes[0]
    assert recalled(TUESDAY, rows=rows("2015-06-30T20:00:00+00:00")).of("linear")


@pytest.mark.parametrize(
    "other",
    [{"name": "another"}, {"horizon": 5}, {"cross_section": "rank"}, {"warm_start": 0}, {"engines": ("h2o",)}],
)
def test_only_the_same_forecast_of_the_same_problem_is_taken_over(other: dict[str, Any]) -> None:
    night(MONDAY, {"a": 0.1}, found("linear", a=recipe(1.0)))
    assert recalled(TUESDAY, problem=problem(**other)) == Recalled()


def test_a_recipe_whose_columns_are_gone_is_left_out_in_words() -> None:
    night(MONDAY, {"a": 0.1, "b": 0.2}, found("linear", a=recipe(1.0, columns=["gone", "har_1"]), b=recipe(2.0)))
    told = recalled(TUESDAY)
    assert [each.name[0] for each in told.of("linear")] == ["b"]
    assert told.notes == ("linear: a of 2018-12-17 wants columns that are not there: gone",)


@pytest.mark.parametrize("damage", ["altered", "torn", "format"])
def test_a_damaged_file_is_told_and_the_night_before_counts(damage: str) -> None:
    night(MONDAY, {"a": 0.1}, found("linear", a=recipe(1.0)))
    path = night(TUESDAY, {"a": 0.1}, found("linear", a=recipe(2.0)))
    document = json.loads(path.read_text())
    if damage == "altered":
        document["night"]["leaders"]["linear"][0]["recipe"]["penalty"] = 99.0
    document["format"] = 2 if damage == "format" else 1
    path.write_text(path.read_text()[:-20] if damage == "torn" else json.dumps(document))
    told = recalled(WEDNESDAY)
    assert [each.recipe["penalty"] for each in told.of("linear")] == [1.0]
    assert path.name in told.notes[0]


@pytest.mark.parametrize("marks", [("a", "b"), ("b", "a")])
def test_of_one_night_on_two_snapshots_what_was_written_last_counts(marks: tuple[str, str]) -> None:
    """Bars that were restated, or came late, make another snapshot of the same night: its hash orders nothing."""
    for penalty, mark in enumerate(marks):
        chosen = found("linear", a=recipe(float(penalty)))
        keep(problem(), snapshot(MONDAY, mark * 64), rows(), (chosen,), {"a": 0.1})
    assert [each.recipe["penalty"] for each in recalled(TUESDAY).of("linear")] == [1.0]
    keep(problem(), snapshot(MONDAY, marks[0] * 64), rows(), (found("linear", a=recipe(7.0)),), {"a": 0.1})
    assert [each.recipe["penalty"] for each in recalled(TUESDAY).of("linear")] == [7.0]


def test_a_file_from_before_the_time_was_written_down_is_used() -> None:
    path = night(MONDAY, {"a": 0.1}, found("linear", a=recipe(1.0)))
    told = json.loads(path.read_text())["night"]
    del told["written"]
    path.write_text(json.dumps({"format": 1, "night": told, "sha256": digest(told)}))
    assert [each.recipe["penalty"] for each in recalled(TUESDAY).of("linear")] == [1.0]


def test_not_all_years_are_read_for_an_engine_that_led_long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that need not be opened, those before the last nights and those after tonight, are damaged."""
    monkeypatch.setattr(recipes, "NIGHTS", 3)
    led, once = found("linear", a=recipe(1.0)), found("h2o", g=recipe(0.0, algorithm="gbm"))
    days = [f"2018-12-{day:02}T21:00:00+00:00" for day in range(10, 18)]
    for day in days:
        path = night(day, {"a": 0.1, "g": 0.1}, led, *([once] if day in (days[0], days[4]) else []))
        if day < days[4] or day > days[6]:
            path.write_text("{")
    told = recalled(days[7])
    assert [each.night for each in told.of("h2o")] == [days[4][:10]]
    assert told.notes == ()
    assert recalled("2018-12-16T20:00:00+00:00").notes[0].startswith("recipes of an earlier night are not used: ")


def test_a_night_without_leaders_leaves_nothing() -> None:
    assert keep(problem(), snapshot(MONDAY), rows(), (found("baseline", har=recipe(0.0)),), {"har": 0.1}) is None
    assert recalled(TUESDAY) == Recalled()


def test_reads_of_the_gate_go_with_the_recipe() -> None:
    """The ledger knows a recipe by its digest, which being kept and handed on leaves as it was."""
    exact = recipe(0.1 + 0.2, seed=7, base=[{"depth": 3, "rate": 1e-05}], clip=8.0)
    family = Family(
        predicts=problem().predicts,
        symbols=frozenset({"X"}),
        series=frozenset(),
        term=term_of(recipes._moment(MONDAY).replace(tzinfo=None)),  # type: ignore[arg-type]
        problem="toy",
    )
    asked = Asked(
        problem="toy",
        family=family,
        recipe=digest(exact),
        evidence="monday",
        dates=("2018-12-14", "2018-12-17"),
        alpha=0.05,
    )
    with Ledger.in_memory() as ledger:
        assert ledger.spend(asked).k == 1
        night(MONDAY, {"a": 0.1}, found("linear", a=exact))
        (warm,) = recalled(TUESDAY).of("linear")
        again = dataclasses.replace(
            asked, recipe=digest(warm.recipe), evidence="tuesday", dates=(*asked.dates, "2018-12-18")
        )
        assert "this recipe was read on the gate through 2018-12-17" in ledger.spend(again).not_read
        fresh = dataclasses.replace(again, recipe=digest({**warm.recipe, "seed": 8}))
        assert ledger.spend(fresh).k == 2
    assert to_json(warm.recipe) == exact


def test_a_control_comes_along_with_the_transfer_that_names_it() -> None:
    """However badly it did: without it, nothing could be said of the transfer."""
    control = recipe(0.0, strategy="scratch", control="")
    tuned = recipe(1.0, strategy="full", control=digest(control))
    engine = found("transfer", tuned=tuned, scratch=control, other=recipe(2.0), more=recipe(3.0))
    transfers = problem(engines=("transfer",), warm_start=1)
    night(MONDAY, {"tuned": 0.1, "other": 0.2, "more": 0.3, "scratch": 0.9}, engine, problem=transfers)
    told = recalled(TUESDAY, problem=transfers).of("transfer")
    assert [each.recipe for each in told] == [tuned, control]


def test_a_control_is_kept_beyond_the_number_of_leaders() -> None:
    control = recipe(0.0, strategy="scratch", control="")
    many = {f"r{i}": recipe(float(i), strategy="full", control=digest(control)) for i in range(1, 25)}
    losses = {name: 0.01 * place for place, name in enumerate(many)} | {"scratch": 9.0}
    path = night(MONDAY, losses, found("transfer", **many, scratch=control), problem=problem(engines=("transfer",)))
    kept = json.loads(path.read_text())["night"]["leaders"]["transfer"]
    assert len(kept) == recipes.LEADERS + 1
    assert kept[-1]["recipe"] == control
