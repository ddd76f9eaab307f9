"""A whole night with baselines and linear models: what it says, what it leaves behind, and the night after it, which
runs under a Prefect server: named and tagged runs, artifacts, pages in a browser.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
import yaml
from arch.data import sp500

from tasks import storage
from tests.flows.conftest import PROJECT, QUICK, document, nocturne

pytestmark = pytest.mark.slow


def test_the_document_has_what_scripts_rely_on(quick_night: dict[str, Any]) -> None:
    assert quick_night["problem"] == "sp500-volatility"
    assert {"sha256", "rows", "symbols", "first", "last"} <= set(quick_night["snapshot"])
    assert quick_night["snapshot"]["rows"] == 5031
    entry = quick_night["leaderboard"][0]
    assert {"rank", "candidate", "engine", "metric", "direction", "score", "skill"} <= set(entry)
    assert {"train_seconds", "predict_us_per_row"} <= set(entry)
    assert {"outcome", "candidate", "version", "reasons"} <= set(quick_night["decision"])
    assert {"ingest", "features", "search", "refit", "gate", "register", "report"} <= set(quick_night["seconds"])
    assert set(quick_night["engine_seconds"]) == {"baseline", "linear"}


def test_windows_are_in_time_order_and_the_gate_holds_two_years(quick_night: dict[str, Any]) -> None:
    windows = quick_night["windows"]
    assert [window["name"] for window in windows] == ["train", "validation", "blending", "selection", "fold", "gate"]
    assert all(before["last"] < after["first"] for before, after in pairwise(windows))
    assert windows[-1]["dates"] >= 504


def test_the_shipped_backbone_ends_before_the_validation_of_the_shipped_problem(quick_night: dict[str, Any]) -> None:
    shipped = yaml.safe_load((PROJECT / "deployments" / "pretraining" / "nasdaq.yaml").read_text(encoding="utf-8"))
    validation = next(window for window in quick_night["windows"] if window["name"] == "validation")
    assert pd.Timestamp(shipped["until"], tz="UTC") < pd.Timestamp(validation["first"])


def test_the_leaderboard_is_ranked_and_skill_is_against_the_best_baseline(quick_night: dict[str, Any]) -> None:
    board = quick_night["leaderboard"]
    scores = [entry["score"] for entry in board]
    assert scores == sorted(scores)
    best = min(entry["score"] for entry in board if entry["engine"] == "baseline")
    for entry in board:
        assert entry["skill"] == pytest.approx(1 - entry["score"] / best, abs=1e-9)
    names = {entry["candidate"] for entry in board}
    assert {"last_value", "ewma", "har", "lhar", "garch", "gjr_garch", "ridge"} <= names


def test_the_folds_come_after_the_search_and_every_candidate_is_told_apart_on_them(quick_night: dict[str, Any]) -> None:
    ranking, windows = quick_night["ranking"], {window["name"]: window for window in quick_night["windows"]}
    folds = ranking["folds"]
    assert len(folds) == 5
    assert all(before["last"] < after["first"] for before, after in pairwise(folds))
    assert windows["selection"]["last"] < folds[0]["first"]
    assert folds[-1]["last"] < windows["gate"]["first"]
    assert sum(fold["rows"] for fold in folds) == ranking["rows"]
    baselines = {entry["candidate"] for entry in quick_night["leaderboard"] if entry["engine"] == "baseline"}
    for entry in quick_night["leaderboard"]:
        assert len(entry["fold_scores"]) == 5
        assert set(entry["p_values"]) == baselines - {entry["candidate"]}
        low, high = entry["skill_interval"]
        assert low <= entry["skill"] <= high


def test_one_read_of_the_gate_is_in_the_ledger(quick_night: dict[str, Any], quick_home: Path) -> None:
    told = document(nocturne(quick_home, "ledger", "sp500-volatility", "--json"))
    assert [(read["k"], read["level"]) for read in told["reads"]] == [(1, 0.025)]
    assert told["trials"] == len(quick_night["leaderboard"])
    assert quick_night["reading"]["read"] == 1
    assert set(quick_night["reading"]["losses"]) == {entry["candidate"] for entry in quick_night["leaderboard"]}


def test_lhar_is_a_hard_hurdle(quick_night: dict[str, Any]) -> None:
    r2 = {entry["candidate"]: entry["metrics"]["r2"] for entry in quick_night["leaderboard"]}
    assert r2["lhar"] > r2["har"] > r2["last_value"]


def test_something_is_champion_and_the_decision_says_why(quick_night: dict[str, Any], quick_home: Path) -> None:
    decision = quick_night["decision"]
    assert decision["outcome"] in ("promoted", "baseline")
    assert any("p" in reason for reason in decision["reasons"])
    listed = document(nocturne(quick_home, "models", "--json"))["models"]
    champion = next(version for version in listed if "champion" in version["aliases"])
    assert champion["version"] == decision["champion_version"]
    assert champion["candidate"] == decision["candidate"]


def test_a_plain_mlflow_client_pulls_the_champion_and_predicts_from_raw_bars(
    quick_night: dict[str, Any], quick_home: Path, tmp_path: Path
) -> None:
    """The shipped fit, in a process that knows nothing of this project, repeats what it was in the night."""
    script = (
        "import sys, json, mlflow\n"
        "from arch.data import sp500\n"
        f"mlflow.set_tracking_uri({quick_night['tracking_uri']!r})\n"
        "model = mlflow.pyfunc.load_model('models:/sp500-volatility@champion')\n"
        "bars = sp500.load().reset_index().rename(columns=str.lower).rename(columns={'date': 'time'})\n"
        "said = model.predict(bars[['time', 'open', 'high', 'low', 'close', 'volume']])\n"
        "assert not {'tasks', 'h2o', 'keras', 'jax', 'prefect'} & set(sys.modules)\n"
        "print(json.dumps([float(said['prediction'].iloc[-1]), len(said)]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    value, rows = json.loads(done.stdout.splitlines()[-1])
    assert rows == 1
    daily_percent = 100 * np.exp(value)
    assert 0.2 < daily_percent < 6


def test_the_snippet_to_copy_runs_as_it_stands(quick_night: dict[str, Any], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-c", quick_night["snippet"]],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "prediction" in done.stdout


def test_predict_on_the_command_line_gives_the_same(
    quick_night: dict[str, Any], quick_home: Path, tmp_path: Path
) -> None:
    bars = sp500.load().tail(900)
    path = tmp_path / "bars.csv"
    bars.to_csv(path)
    tail = document(nocturne(quick_home, "predict", "sp500-volatility", "--bars", str(path), "--json"))["predictions"]
    bars.tail(800).to_csv(path)
    shorter = document(nocturne(quick_home, "predict", "sp500-volatility", "--bars", str(path), "--json"))[
        "predictions"
    ]
    assert len(tail) == 1
    assert tail[0]["prediction"] == pytest.approx(shorter[0]["prediction"], rel=1e-6)


def test_too_few_bars_to_predict_are_refused_with_the_number_needed(
    quick_night: dict[str, Any], quick_home: Path, tmp_path: Path
) -> None:
    path = tmp_path / "bars.csv"
    sp500.load().tail(2).to_csv(path)
    done = nocturne(quick_home, "predict", "sp500-volatility", "--bars", str(path), "--json")
    assert done.returncode == 3
    assert "needs at least" in done.stderr
    assert json.loads(done.stdout)["error"]["exit_code"] == 3


def test_the_report_is_one_file_that_names_the_decision(quick_night: dict[str, Any]) -> None:
    page = Path(quick_night["report"]).read_text(encoding="utf-8")
    assert quick_night["decision"]["candidate"] in page
    assert "<svg" in page
    assert "<script src" not in page


def test_an_unchanged_night_is_answered_without_running(quick_night: dict[str, Any], quick_home: Path) -> None:
    after = document(nocturne(quick_home, "run", "sp500-volatility", *QUICK, "--json"))
    assert after["decision"]["outcome"] == "unchanged"
    assert after["unchanged_since"] == quick_night["run_id"]
    assert after["leaderboard_sha256"] == quick_night["leaderboard_sha256"]
    assert list(after["seconds"]) == ["unchanged"]
    records = sorted((quick_home / "runs" / "sp500-volatility").glob("*Z-*.json"))
    assert any(storage.read_json(path)["answered"] for path in records)


@dataclass(frozen=True)
class UnderServer:
    """The night after it, under a server that was there before: what it told, the server's address, its run there."""

    told: dict[str, Any]
    progress: str
    api: str
    run: dict[str, Any]


@pytest.fixture(scope="module")
def again(api: str, quick_night: dict[str, Any], quick_home: Path) -> UnderServer:
    """Everything is there already: its stages are those of the quick night, reused."""
    environment = {**os.environ, "NOCTURNE_HOME": str(quick_home), "PREFECT_API_URL": api}
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "run", "sp500-volatility", *QUICK, "--again", "--json"],
        cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    told = document(done)
    (run,) = httpx.post(f"{api}/flow_runs/filter", json={}, timeout=120).json()
    return UnderServer(told, done.stderr, api, run)


def test_running_again_reuses_every_stage_and_does_not_promote_a_tie(
    quick_night: dict[str, Any], again: UnderServer
) -> None:
    after = again.told
    assert after["decision"]["outcome"] == "kept"
    assert after["decision"]["champion_version"] == quick_night["decision"]["champion_version"]
    assert after["leaderboard_sha256"] == quick_night["leaderboard_sha256"]
    assert "reused" in again.progress
    assert after["seconds"]["search"] < quick_night["seconds"]["search"]
    assert after["reading"]["read"] == 1, "identical evidence counts once"


def test_the_run_is_named_tagged_and_completed(again: UnderServer) -> None:
    assert again.run["name"] == "sp500-volatility"
    assert {"sp500-volatility", "volatility"} <= set(again.run["tags"])
    assert again.run["state_type"] == "COMPLETED"
    assert again.run["parameters"]["problem"]["name"] == "sp500-volatility"


def test_every_stage_is_a_task_run(again: UnderServer) -> None:
    wanted = {"ingest", "rows", "search-baseline", "search-linear", "leaderboard", "gate", "register", "report"}
    question = {"task_runs": {"flow_run_id": {"any_": [again.run["id"]]}}}
    names: set[str] = set()
    for _ in range(40):
        found = httpx.post(f"{again.api}/task_runs/filter", json=question, timeout=120).json()
        names = {name for run in found for name in (run["name"], run["name"].rsplit("-", 1)[0])}
        if wanted <= names:
            return
        time.sleep(0.5)
    pytest.fail(f"missing {wanted - names} among {sorted(names)}")


def test_leaderboard_decision_and_links_are_artifacts(again: UnderServer) -> None:
    artifacts = httpx.post(f"{again.api}/artifacts/filter", json={}, timeout=30).json()
    by_key = {artifact["key"]: artifact for artifact in artifacts}
    assert {"sp500-volatility-leaderboard", "sp500-volatility-decision", "sp500-volatility-report"} <= set(by_key)
    assert "lhar" in by_key["sp500-volatility-leaderboard"]["data"]
    assert by_key["sp500-volatility-decision"]["type"] == "markdown"


@pytest.mark.needs_browser
def test_the_run_can_be_looked_at_in_a_browser(again: UnderServer, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert browser is not None
    page = f"{again.api.removesuffix('/api')}/runs/flow-run/{again.run['id']}"
    picture = tmp_path / "run.png"
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    flags += f" --disable-component-update --disable-sync --user-data-dir={tmp_path / 'user'} --window-size=1280,1000"
    done = subprocess.run(
        [browser, *flags.split(), "--virtual-time-budget=15000", f"--screenshot={picture}", "--dump-dom", page],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-1000:]
    assert "sp500-volatility" in done.stdout
    assert picture.stat().st_size > 20_000


def test_a_past_night_uses_no_later_bar(quick_home: Path) -> None:
    past = document(
        nocturne(
            quick_home, "run", "sp500-volatility", "--set", "engines=[baseline]", "--json",
            "--set", "as_of=2015-06-30", "--set", "name=past-night",
        )
    )  # fmt: skip
    assert past["snapshot"]["last"][:10] == "2015-06-30"
    assert pd.Timestamp(past["windows"][-1]["last"]) <= pd.Timestamp("2015-07-01", tz="UTC")
