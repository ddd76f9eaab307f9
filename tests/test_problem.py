"""The problem description: one value from file, form or command line; what breaks a rule is refused in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tasks.errors import ConfigurationError
from tasks.problem import BUDGETS, GROUPS, Problem, build, load

PROBLEMS = sorted((Path(__file__).parent.parent / "deployments" / "problems").glob("*.yaml"))
MINIMAL: dict[str, Any] = {"name": "x", "source": "builtin:sp500"}


@pytest.mark.parametrize("path", PROBLEMS, ids=lambda path: path.stem)
def test_shipped_problems_load_and_are_named_like_their_file(path: Path) -> None:
    assert load(path, "demo", {}).name == path.stem


def test_budget_fills_what_the_file_leaves_open_and_overrides_win() -> None:
    problem = build({**MINIMAL, "h2o_models": 3}, "demo", {"autokeras_trials": 2}, "test")
    assert (problem.h2o_models, problem.autokeras_trials) == (3, 2)
    assert problem.h2o_seconds == BUDGETS["demo"]["h2o_seconds"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": "red"}, "unknown field 'colour'"),
        ({"horizon": 0}, "field 'horizon'.*greater than or equal to 1.*got 0"),
        ({"target": "luck"}, "field 'target'.*got 'luck'"),
        ({"name": "../up"}, "field 'name'.*got '../up'"),
        ({"negative_prices": True}, "negative_prices"),
        ({"engines": ()}, "engines is empty"),
        ({"name": "backbone-tiny"}, "a pre-trained encoder's"),
        ({"symbols": ("A", "A")}, "symbol twice"),
        ({"seed": 0}, "field 'seed'"),
    ],
)
def test_broken_rules_are_refused_in_words(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        build({**MINIMAL, **change}, "demo", {}, "test")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", "must hold a mapping"),
        ("name: [", "not readable as YAML"),
        ("source: x", "field 'name' is missing"),
    ],
)
def test_unreadable_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "problem.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=message) as caught:
        load(path, "demo", {})
    assert str(path) in str(caught.value)


def test_a_date_that_yaml_reads_as_one_is_text_again(tmp_path: Path) -> None:
    path = tmp_path / "problem.yaml"
    path.write_text("name: x\nsource: builtin:sp500\nas_of: 2015-06-30\n")
    assert load(path, "demo", {}).as_of == "2015-06-30"


def test_a_problem_is_frozen_and_its_digest_follows_its_values() -> None:
    problem = build(MINIMAL, "demo", {}, "test")
    with pytest.raises(ValidationError):
        setattr(problem, "horizon", 2)  # noqa: B010 - what a careless caller would do
    assert problem.digest() == build({**MINIMAL, "horizon": 1}, "demo", {}, "test").digest()
    assert problem.digest() != build({**MINIMAL, "horizon": 2}, "demo", {}, "test").digest()


def test_every_field_explains_itself_and_has_a_place_in_the_form() -> None:
    positions = []
    for name, field in Problem.model_fields.items():
        assert field.description, name
        assert isinstance(field.json_schema_extra, dict)
        positions.append(field.json_schema_extra["position"])
    assert len(set(positions)) == len(positions)


def test_the_form_shows_fields_in_groups_with_their_bounds_in_words() -> None:
    fields = Problem.model_json_schema()["properties"]
    ordered = sorted(fields.values(), key=lambda field: field["position"])
    assert len({field["position"] for field in ordered}) == len(ordered)
    groups = [field["title"].split(":")[0] for field in ordered]
    assert list(dict.fromkeys(groups)) == ["Name", *GROUPS.values()]
    assert groups == sorted(groups, key=list(dict.fromkeys(groups)).index), "a group's fields stand together"
    assert fields["horizon"]["description"].endswith(" 1 to 260.")
    assert fields["alpha"]["description"].endswith(" Above 0, at most 0.2.")
    for name, field in fields.items():
        assert field["type"] in ("string", "integer", "number", "boolean", "array"), f"{name} is no flat field"
        assert field["description"]
        if field["type"] in ("integer", "number") and name not in ("price_scale", "tick", "capital"):
            assert "maximum" in field, f"{name} has no upper bound"
