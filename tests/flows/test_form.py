"""The form of a deployment, as an analyst meets it: opened in a browser, filled, submitted, its run completed and read.

A real Prefect server, and a process that serves the night. What no form can check is refused there in words.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tasks.problem import Problem
from tests.flows.conftest import PROJECT
from tests.flows.servers import prefect_server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow

# By its file, as a worker has it: a flow that is imported and served is pickled, and loses the types of its parameters.
SERVE = """
import json, os, sys
from prefect import Flow
nightly = Flow.from_source(source=os.getcwd(), entrypoint="flows/nightly.py:nightly")
nightly.serve(name="form", parameters=json.loads(sys.argv[1]))
"""
PROBLEM = {"name": "sp500-volatility", "source": "builtin:sp500", "engines": ["baseline"]}
CHROMIUM = "/usr/bin/chromium"
PATIENCE = 240_000
"""Milliseconds that a page may take to do what it is asked for; the machine may be busy with other tests."""


@dataclass(frozen=True)
class Served:
    """A server with one deployment that a process serves; ``prefect`` holds the server's database."""

    api: str
    deployment: str
    prefect: Path
    home: Path

    def post(self, path: str, body: dict[str, Any]) -> Any:
        for _ in range(60):
            answer = httpx.post(f"{self.api}{path}", json=body, timeout=120)
            if answer.status_code != 503:  # its SQLite is locked for a moment: Prefect's own clients ask again, too
                break
            time.sleep(1)
        assert answer.is_success, answer.text
        return answer.json()

    def start(self, changes: dict[str, Any], state: dict[str, Any] | None = None) -> str:
        """A run of the deployment with some of the problem's fields changed; its id."""
        body = {"parameters": {"problem": {**PROBLEM, **changes}}, "state": state or {"type": "SCHEDULED"}}
        return str(self.post(f"/deployments/{self.deployment}/create_flow_run", body)["id"])

    def ended(self, run: str, seconds: float) -> dict[str, Any]:
        """The run once it has ended."""
        found: dict[str, Any] = {}
        for _ in range(int(seconds)):
            found = httpx.get(f"{self.api}/flow_runs/{run}", timeout=120).json()
            if found["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
                return found
            time.sleep(1)
        pytest.fail(f"run {run} is {found['state_name']} after {seconds:.0f} s: {found['state'].get('message')}")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The nightly flow, served."""
    prefect, home = tmp_path_factory.mktemp("prefect"), tmp_path_factory.mktemp("home")
    with prefect_server(prefect) as api:
        environment = {**os.environ, "NOCTURNE_HOME": str(home), "PREFECT_API_URL": api, "PREFECT_HOME": str(prefect)}
        command = [sys.executable, "-c", SERVE, json.dumps({"problem": PROBLEM})]
        with (
            (home / "serve.log").open("wb") as log,
            subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=log, stderr=log) as process,
        ):
            try:
                yield Served(api, _deployment(api, process), prefect, home)
            finally:
                process.terminate()
                process.wait(timeout=60)


def _deployment(api: str, process: subprocess.Popen[bytes]) -> str:
    for _ in range(240):
        assert process.poll() is None, "the serving process ended"
        found = httpx.post(f"{api}/deployments/filter", json={}, timeout=120).json()
        if found:
            return str(found[0]["id"])
        time.sleep(0.5)
    pytest.fail("nothing was deployed in two minutes")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"], timeout=PATIENCE
        )
        yield found
        found.close()


def picture(page: Page, path: Path, height: int = 1600) -> None:
    """The page as it looks at desktop and at phone width; the form scrolls inside the page, so that is made tall."""
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_timeout(700)
        page.screenshot(path=path.with_name(f"{path.name}-{width}.png"))


@pytest.mark.needs_browser
def test_an_analyst_fills_the_form_and_reads_the_run(served: Served, browser: Browser, tmp_path: Path) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 1600})
    page.set_default_timeout(PATIENCE)
    page.goto(f"{served.api.removesuffix('/api')}/deployments/deployment/{served.deployment}/run")
    page.locator(".schema-form-property__label", has_text="Backtest: capital").wait_for()
    _shows_every_field_in_order(page)
    page.locator(".schema-form-property", has_text="Promotion: owner").last.locator("textarea").fill("volatility desk")
    picture(page, tmp_path / "form", height=6800)
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url("**?tab=Runs")
    (submitted,) = served.post("/flow_runs/filter", {})
    run = str(submitted["id"])

    ended = served.ended(run, 420)
    assert ended["state_name"] == "Completed", ended["state"]["message"]
    assert ended["parameters"]["problem"]["owner"] == "volatility desk"
    assert ended["parameters"]["problem"]["engines"] == ["baseline"]
    page.goto(f"{served.api.removesuffix('/api')}/runs/flow-run/{run}")
    page.get_by_text("Artifacts", exact=True).first.click()
    page.get_by_text("sp500-volatility-decision").first.wait_for()
    page.get_by_text("sp500-volatility-leaderboard").first.wait_for()
    picture(page, tmp_path / "run")
    page.get_by_text("sp500-volatility-leaderboard").first.click()
    page.get_by_text("lhar").first.wait_for()
    picture(page, tmp_path / "leaderboard")
    page.close()


def _shows_every_field_in_order(page: Page) -> None:
    fields = sorted(Problem.model_json_schema()["properties"].values(), key=lambda field: field["position"])
    labels = [
        label.removesuffix(" (Optional)") for label in page.locator(".schema-form-property__label").all_inner_texts()
    ]
    assert labels == ["problem", *(field["title"] for field in fields), "restart_from"]
    told = [text.strip() for text in page.locator(".schema-form-property__description").all_inner_texts()]
    assert told[1 : len(fields) + 1] == [field["description"] for field in fields]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown source": ({"source": "bloomberg:SPX"}, "no source is called 'bloomberg'"),
    "horizon": (
        {"horizon": 260, "gate_sessions": 60},
        "a horizon of 260 bars with an embargo of 5 is as long as the gate",
    ),
    "logarithms": ({"negative_prices": True}, "negative_prices cannot be combined with target volatility"),
}


@pytest.fixture(scope="module")
def refused(served: Served) -> dict[str, dict[str, Any]]:
    """Runs that no form could have refused, all at once."""
    runs = {name: served.start(changes) for name, (changes, _) in REFUSED.items()}
    return {name: served.ended(run, 300) for name, run in runs.items()}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_form_cannot_check_is_refused_at_once_in_words(
    name: str, refused: dict[str, dict[str, Any]], served: Served
) -> None:
    run = refused[name]
    assert run["state_name"] == "Failed"
    assert REFUSED[name][1] in run["state"]["message"]
    question = {"task_runs": {"flow_run_id": {"any_": [run["id"]]}}}
    assert served.post("/task_runs/filter", question) == [], "nothing was begun"
    assert run["total_run_time"] < 10


def test_what_the_form_checks_is_refused_by_the_server(served: Served) -> None:
    body = {"parameters": {"problem": {**PROBLEM, "horizon": 9999}}}
    answer = httpx.post(f"{served.api}/deployments/{served.deployment}/create_flow_run", json=body, timeout=120)
    assert answer.status_code in (409, 422)
    assert "9999 is greater than the maximum of 260" in answer.text


def scheduled(served: Served, moment: datetime, changes: dict[str, Any]) -> str:
    """A run as the server's scheduler would have made it for that time; it is late, and starts at once."""
    later = (datetime.now(UTC) + timedelta(days=30)).isoformat()
    run = served.start(changes, {"type": "SCHEDULED", "state_details": {"scheduled_time": later}})
    with sqlite3.connect(served.prefect / "prefect.db", timeout=120) as database:
        database.execute(
            "update flow_run set auto_scheduled = 1, expected_start_time = ? where id = ?",
            (moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f"), run),
        )
    now = {"type": "SCHEDULED", "state_details": {"scheduled_time": datetime.now(UTC).isoformat()}}
    served.post(f"/flow_runs/{run}/set_state", {"state": now, "force": True})
    return run


@pytest.fixture(scope="module")
def by_schedule(served: Served) -> dict[str, dict[str, Any]]:
    """Scheduled nights on Thanksgiving, and of bars that are years late; past ones: no bar is waited for any more."""
    thanksgiving, wednesday = datetime(2025, 11, 27, 23, tzinfo=UTC), datetime(2025, 11, 26, 23, tzinfo=UTC)
    runs = {
        "holiday": scheduled(served, thanksgiving, {}),
        "late": scheduled(served, wednesday, {"fresh_within": 1, "wait_hours": 0}),
    }
    return {name: served.ended(run, 300) for name, run in runs.items()}


def test_a_scheduled_night_on_a_holiday_ends_as_skipped_and_names_it(by_schedule: dict[str, dict[str, Any]]) -> None:
    run = by_schedule["holiday"]
    assert (run["state_type"], run["state_name"]) == ("COMPLETED", "Skipped")
    assert run["state"]["message"] == "XNYS is closed on 2025-11-27 (Thanksgiving)"


def test_a_scheduled_night_whose_bars_are_late_fails_in_words(by_schedule: dict[str, dict[str, Any]]) -> None:
    run = by_schedule["late"]
    assert run["state_name"] == "Failed"
    message = run["state"]["message"]
    assert "bars are late: builtin:sp500 lacks sessions 2019-01-02 to 2025-11-26" in message
    assert "its newest bar closed at 2018-12-31T21:00:00Z" in message
    assert "Waited until 2025-11-26 23:00 UTC (wait_hours: 0)" in message
