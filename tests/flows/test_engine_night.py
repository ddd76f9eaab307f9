"""A night in which H2O AutoML and AutoKeras really search, with as little as they can do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.flows.conftest import document, nocturne

pytestmark = [pytest.mark.slow, pytest.mark.needs_java]
LITTLE = [
    part
    for change in ("h2o_models=2", "autokeras_trials=1", "autokeras_epochs=8", "name=little")
    for part in ("--set", change)
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engine-night")


@pytest.fixture(scope="module")
def night(home: Path) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1")  # for seconds of H2O, compiling is most of it
        return document(nocturne(home, "run", "sp500-volatility", *LITTLE, "--json", timeout=900))


def test_every_engine_stands_on_the_same_rows(night: dict[str, Any]) -> None:
    assert {entry["engine"] for entry in night["leaderboard"]} == {"baseline", "linear", "h2o", "autokeras"}
    assert night["partial"] is False
    assert {engine["engine"]: engine["error"] for engine in night["engines"]} == dict.fromkeys(
        ("baseline", "linear", "h2o", "autokeras"), ""
    )


def test_no_engine_is_too_good_to_be_true_nor_useless(night: dict[str, Any]) -> None:
    """On this target published and measured R2 lie between 0.3 and 0.6 in any two years; far above is a leak."""
    best = {
        engine: max(entry["metrics"]["r2"] for entry in night["leaderboard"] if entry["engine"] == engine)
        for engine in ("linear", "h2o", "autokeras")
    }
    assert all(0.1 < r2 < 0.65 for r2 in best.values()), best


def test_engines_report_their_work_and_the_stages_their_time(night: dict[str, Any]) -> None:
    assert {"h2o", "autokeras"} <= set(night["engine_seconds"])
    assert all(seconds > 0 for seconds in night["engine_seconds"].values())
    assert night["seconds"]["search"] > 0


def test_the_leader_was_refitted_and_judged_against_every_baseline(night: dict[str, Any]) -> None:
    leader = night["leaderboard"][0]["candidate"]
    baselines = {entry["candidate"] for entry in night["leaderboard"] if entry["engine"] == "baseline"}
    assert {item["rival"] for item in night["gate"]} == baselines - {leader}
    assert all(item["dates"] >= 504 for item in night["gate"])


def test_what_is_kept_for_later_nights_led_on_the_selection_rows_and_not_in_the_folds(
    night: dict[str, Any], home: Path
) -> None:
    """Neither what was walked nor its rank: every candidate of the search, by its loss on the rows before the folds."""
    (kept,) = (home / "recipes" / "little").glob("*/*.json")
    leaders = json.loads(kept.read_text())["night"]["leaders"]
    folds = {entry["candidate"]: entry["score"] for entry in night["leaderboard"]}
    by_selection: dict[str, float] = {}
    for engine in ("linear", "h2o", "autokeras"):
        expected = selection_losses(home, engine)
        singles = {name: loss for name, loss in expected.items() if "ensemble" not in name}
        assert [leader["name"] for leader in leaders[engine]] == sorted(singles, key=lambda name: singles[name])
        by_selection |= {name: loss for name, loss in singles.items() if name in folds}
        for leader in leaders[engine]:
            assert leader["loss"] == pytest.approx(expected[leader["name"]], rel=1e-12)
            assert leader["loss"] != pytest.approx(folds.get(leader["name"], -1.0), rel=1e-3)
    assert sorted(by_selection, key=by_selection.__getitem__) != sorted(by_selection, key=folds.__getitem__)


def selection_losses(home: Path, engine: str) -> dict[str, float]:
    """The mean squared error of each searched candidate on the selection rows, from what the night stored."""
    (rows,) = (home / "stages" / "rows").glob("*/rows.parquet")
    table = pd.read_parquet(rows, columns=["window", "label"])
    (found,) = (home / "stages" / f"search-{engine}").glob("*/result.json")
    losses = {}
    for candidate in json.loads(found.read_text())["candidates"]:
        predicted = pd.read_parquet(found.parent / candidate["predictions"]["path"])["prediction"]
        error = (table["label"] - predicted)[table["window"] == "selection"]
        losses[candidate["name"]] = float((error**2).mean())
    return losses
