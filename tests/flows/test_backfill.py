"""A backfill: nights of past sessions in order, each as of its close, never in the real registry, resumable."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.backfill import backfill
from tasks.bars.night import sessions_between
from tasks.errors import ConfigurationError
from tasks.problem import Problem
from tasks.storage import home as home_folder
from tests.flows.conftest import document, nocturne

SMALL = ("--set", "engines=[baseline]", "--set", "max_lookback=22")
PROBLEM = Problem(name="made", source="builtin:sp500")
RANGE = ("--from", "2018-11-21", "--to", "2018-11-23")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("backfill")


@pytest.fixture(scope="module")
def told(home: Path) -> dict[str, Any]:
    """Two nights: Thanksgiving lies between them, and the second session closes early."""
    return document(nocturne(home, "backfill", "sp500-volatility", *RANGE, *SMALL, "--json"))


@pytest.mark.slow
def test_each_session_has_its_night_as_of_its_close(told: dict[str, Any]) -> None:
    assert [night["session"] for night in told["nights"]] == ["2018-11-21", "2018-11-23"]
    assert [night["as_of"] for night in told["nights"]] == ["2018-11-21T21:00:00+00:00", "2018-11-23T18:00:00+00:00"]
    assert [night["last_bar"] for night in told["nights"]] == ["2018-11-21T21:00:00Z", "2018-11-23T18:00:00Z"]
    assert told["nights"][0]["champion"] == "1", "a first night elects a champion of the backfill's own"


@pytest.mark.slow
def test_nothing_is_registered_for_real(told: dict[str, Any], home: Path) -> None:
    assert document(nocturne(home, "models", "--json"))["models"] == []
    assert Path(told["state"]).parent == home / "backfills"
    assert (Path(told["state"]) / "state" / "mlflow").is_dir()
    assert (home / "bars").is_dir(), "bars are read once, for real"


@pytest.mark.slow
def test_a_night_that_is_done_is_not_run_again(told: dict[str, Any], home: Path) -> None:
    nights = Path(told["state"]) / "nights"
    before = {path.name: path.stat().st_mtime_ns for path in nights.iterdir()}
    again = document(nocturne(home, "backfill", "sp500-volatility", *RANGE, *SMALL, "--json"))
    assert again == told
    assert {path.name: path.stat().st_mtime_ns for path in nights.iterdir()} == before


def test_a_range_without_sessions_is_refused_in_words() -> None:
    thanksgiving = date(2018, 11, 22)
    with pytest.raises(ConfigurationError, match="there is no session of XNYS from 2018-11-22 to 2018-11-22"):
        backfill.fn(PROBLEM, thanksgiving, thanksgiving)


def test_sessions_to_come_are_refused_before_anything_is_done() -> None:
    today = datetime.now(UTC).date()
    (coming, *_) = sessions_between("XNYS", today + timedelta(days=1), today + timedelta(days=14))
    with pytest.raises(ConfigurationError, match=f"of sessions that are over: the bars of {coming.label} on XNYS are"):
        backfill.fn(PROBLEM, date(2018, 11, 21), coming.label)
    assert list(home_folder().glob("backfills")) == []
