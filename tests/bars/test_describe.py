"""Descriptions: what cannot work is refused before anything is read, and what selects does not rename the source."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

import pytest

from tasks.bars.describe import SourceDescription, from_options, from_problem, parse_as_of
from tasks.errors import ConfigurationError
from tasks.problem import Problem


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("source", " ", "source is empty"),
        ("bar", "2d", "'2d'"),
        ("label", "middle", "'middle'"),
        ("price_scale", 0.0, "0.0"),
        ("price_scale", float("inf"), "inf"),
        ("tz", "Mars/Olympus", "'Mars/Olympus'"),
        ("tz", "../etc/passwd", "'../etc/passwd'"),
        ("as_of", "last week", "'last week'"),
    ],
)
def test_a_field_that_cannot_work_is_named_with_its_value(field: str, value: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=field) as caught:
        SourceDescription(**{"source": "x.csv", field: value})
    assert says in str(caught.value)


def test_the_key_depends_on_what_a_bar_means_and_not_on_what_is_selected() -> None:
    plain = SourceDescription(source="x.csv")
    assert plain.key() == SourceDescription(source="x.csv", symbols=("A",), as_of="2018-01-01").key()
    others = [
        dataclasses.replace(plain, bar="1h"),
        dataclasses.replace(plain, calendar="24/7"),
        dataclasses.replace(plain, tz="UTC"),
        dataclasses.replace(plain, label="start"),
        dataclasses.replace(plain, price_scale=10.0),
    ]
    assert len({plain.key(), *(other.key() for other in others)}) == 6
    assert "/" not in SourceDescription(source="../../etc/x.csv").key()


def test_a_problem_and_the_options_describe_the_same_source() -> None:
    problem = Problem(name="p", source="x.csv", bar="1h", tz="UTC", calendar="24/7", label="start", price_scale=10.0)
    options = from_options("x.csv", bar="1h", tz="UTC", calendar="24/7", label="start", price_scale=10.0)
    assert from_problem(problem) == options


def test_as_of_a_date_means_the_end_of_that_day_in_utc() -> None:
    assert parse_as_of("2018-06-29") == datetime(2018, 6, 30, tzinfo=UTC)
    assert parse_as_of("2018-06-29T20:00:00") == datetime(2018, 6, 29, 20, tzinfo=UTC)
    assert parse_as_of("2018-06-29T16:00:00-04:00") == datetime(2018, 6, 29, 20, tzinfo=UTC)
    assert parse_as_of("") is None
