"""Nights of every target, of a panel, of several horizons and policies, each from bars to a champion that is pulled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from arch.data import nasdaq, sp500

from tests.flows.conftest import nights_in_one_process

pytestmark = pytest.mark.slow
NAMES = (
    "week-return", "panel", "other-quantity", "too-short", "barriers", "half-a-year-ago", "today", "knows-tomorrow",
)  # fmt: skip


def two_indices(path: Path) -> Path:
    """A panel file: both built-in indices."""
    parts = [
        sp500.load().assign(symbol="SP500"),
        nasdaq.load().assign(symbol="NASDAQ"),
    ]
    pd.concat(parts).rename_axis("Date").reset_index().to_csv(path, index=False)
    return path


def knows_tomorrow(path: Path) -> Path:
    """Bars whose volume was stamped a day early by a vendor who filled it in from the day's outcome."""
    frame = sp500.load()
    ahead = frame["Close"].pct_change().shift(-1).fillna(0.0)
    frame.assign(Volume=(1e9 * (1.0 + 5.0 * ahead)).round()).to_csv(path)
    return path


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("other-nights")
    panel = str(two_indices(folder / "indices.csv"))
    problems: list[dict[str, Any]] = [
        {"name": "week-return", "source": "builtin:nasdaq", "target": "return", "horizon": 5, "refit": "none"},
        {"name": "panel", "source": panel, "target": "volatility"},
        {"name": "panel", "source": panel, "target": "direction"},
        {"name": "too-short", "source": "builtin:sp500", "as_of": "2003-12-31"},
        {"name": "barriers", "source": "builtin:nasdaq", "target": "triple_barrier", "horizon": 10},
        {"name": "renewed", "source": "builtin:nasdaq", "variance": "total", "as_of": "2018-06-29"},
        {"name": "renewed", "source": "builtin:nasdaq", "variance": "total"},
        {"name": "tomorrow", "source": str(knows_tomorrow(folder / "bars.csv")), "target": "direction"},
    ]
    return dict(zip(NAMES, nights_in_one_process(folder, problems), strict=True))


@pytest.mark.parametrize("name", ["week-return", "panel", "half-a-year-ago"])
def test_each_ends_with_a_verified_champion(nights: dict[str, dict[str, Any]], name: str) -> None:
    """An alias moves only after the registered model, loaded afresh, repeated what was evaluated."""
    night = nights[name]
    assert night.get("refused") is None, night
    assert night["decision"]["outcome"] in ("promoted", "baseline")
    assert night["decision"]["champion_version"] == night["decision"]["version"] == "1"
    assert night["partial"] is False


def test_labels_that_overlap_are_weighted_and_counted_for_what_they_are_worth(
    nights: dict[str, dict[str, Any]],
) -> None:
    night = nights["barriers"]
    assert night["decision"]["outcome"] in ("promoted", "baseline")
    gate = night["windows"][-1]
    assert gate["dates"] / 10 < gate["effective"] < gate["dates"] / 2
    assert {"base_rate", "logistic"} <= {entry["candidate"] for entry in night["leaderboard"]}
    assert any(test["candidate"] == "buy and hold" for test in night["backtests"])


def test_a_champion_is_refreshed_by_licence_with_later_bars(nights: dict[str, dict[str, Any]]) -> None:
    before, after = nights["half-a-year-ago"], nights["today"]
    assert before["decision"]["outcome"] in ("promoted", "baseline")
    assert after["decision"]["outcome"] == "refreshed"
    assert after["decision"]["champion_version"] == after["decision"]["version"]
    assert after["decision"]["champion_version"] != before["decision"]["champion_version"]
    assert after["reading"]["licence"].startswith("granted")


def test_a_score_too_good_to_be_true_is_quarantined(nights: dict[str, dict[str, Any]]) -> None:
    night = nights["knows-tomorrow"]
    assert night["decision"]["outcome"] == "quarantined"
    assert night["decision"]["champion_version"] == ""
    assert night["ranking"]["alarms"]
    assert night["reading"]["read"] == 0, "no read is spent on what is not believed"


def test_weekly_returns_are_hardly_forecast(nights: dict[str, dict[str, Any]]) -> None:
    """Published out-of-sample R2 of returns is well below 1 %: more is a leak."""
    scores = nights["week-return"]["leaderboard"]
    assert {"zero", "historical_mean", "momentum", "ridge"} <= {entry["candidate"] for entry in scores}
    assert max(entry["metrics"]["r2_zero"] for entry in scores) < 0.05
    assert all(item["lag"] >= 4 for item in nights["week-return"]["gate"])


def test_direction_is_scored_against_its_base_rate(nights: dict[str, dict[str, Any]]) -> None:
    scores = {entry["candidate"]: entry for entry in nights["other-quantity"]["leaderboard"]}
    assert {"base_rate", "logistic"} <= set(scores)
    assert scores["logistic"]["metric"] == "log_loss"
    assert max(entry["metrics"]["hit_rate"] - entry["metrics"]["base_rate"] for entry in scores.values()) < 0.05


def test_a_panel_is_one_problem_with_one_model(nights: dict[str, dict[str, Any]]) -> None:
    night = nights["panel"]
    assert night["snapshot"]["symbols"] == ["NASDAQ", "SP500"]
    gate = night["windows"][-1]
    assert gate["rows"] == 2 * gate["dates"]
    assert not any("garch" in entry["candidate"] for entry in night["leaderboard"])
    assert all(item["dates"] == gate["dates"] for item in night["gate"])


def test_a_champion_that_predicts_something_else_is_kept_and_named(nights: dict[str, dict[str, Any]]) -> None:
    """The same name with another target must not swap what consumers pull."""
    night = nights["other-quantity"]
    assert night["decision"]["outcome"] == "kept"
    assert night["decision"]["champion_version"] == "1"
    assert any("it predicts volatility" in reason for reason in night["decision"]["reasons"])


def test_too_short_a_history_is_refused_before_anything_costly(nights: dict[str, dict[str, Any]]) -> None:
    assert nights["too-short"]["refused"] == "ConfigurationError"
    assert "sessions are too few" in nights["too-short"]["text"]
