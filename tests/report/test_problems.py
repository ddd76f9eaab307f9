"""The page of all problems: whatever one of them left behind, every other is shown; nothing of it is markup."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import TemplateError

from flows import problems as page
from tasks.journal import Journal
from tasks.live import Move, Standing
from tasks.registry import leases
from tasks.report import gathering
from tasks.report.problems import ProblemRow, ago, ahead, render, table, trend, urgency
from tasks.report.sparkline import sparkline
from tasks.storage import home

NOW = "2026-11-21T21:00:00+00:00"
HOSTILE = '<script>alert("x")</script>'


def night(name: str, outcome: str = "kept", at: str = "2026-11-21T02:00:00+00:00", **more: Any) -> dict[str, Any]:
    """Leave a night's record, as a night does."""
    run = f"run-{at[:10]}"
    decision = {
        "outcome": outcome, "headline": f"{outcome} it is", "candidate": "lhar", "promoted": outcome == "promoted",
        "version": "3", "champion_version": "3", "reasons": [],
    }  # fmt: skip
    report = home() / "reports" / name / f"{run}.html"
    document = {"run_id": run, "started": at, "seconds": {"search": 60.0}, "report": str(report), "decision": decision}
    folder = home() / "runs" / name
    folder.mkdir(parents=True, exist_ok=True)
    stamp = at[:19].replace("-", "").replace(":", "") + "Z"
    (folder / f"{stamp}-{run}.json").write_text(json.dumps({"document": {**document, **more}}))
    return document


def drift(name: str, state: str = "within", losses: int = 60) -> None:
    """Leave a monitor's report."""
    folder = home() / "drift" / name
    folder.mkdir(parents=True)
    curve = [{"session": "2026-01-02", "loss": 0.2 + 0.001 * day} for day in range(losses)]
    report = {"state": state, "at": "2026-11-20T23:00:00", "curve": curve, "losses": {"reference_mean": 0.2}}
    (folder / "report.json").write_text(json.dumps(report))
    (folder / "index.html").write_text("page")


def test_the_last_night_is_told_with_its_report() -> None:
    night("spx", "promoted", at="2026-11-20T02:00:00+00:00")
    night("spx", "kept")
    (row,) = gathering.rows()
    assert (row.name, row.outcome, row.headline, row.seconds) == ("spx", "kept", "kept it is", 60.0)
    assert row.report == "spx/run-2026-11-21.html"
    assert row.trouble == ""


def test_a_later_run_that_failed_is_told_instead_and_the_champion_stays() -> None:
    night("spx", "promoted", at="2020-01-01T02:00:00+00:00")
    journal = Journal.begin("spx", "later")
    journal.write("search", "started")
    journal.end("failed", "EngineError")
    row = gathering.row_of("spx")
    assert (row.outcome, row.headline) == ("failed", "The run failed at stage search (EngineError)")
    assert (row.champion_version, row.champion) == ("3", "lhar")
    assert urgency(row) == 2


def test_a_run_under_way_is_told_as_one() -> None:
    Journal.begin("spx", "now").write("features", "started")
    assert gathering.row_of("spx").outcome == "running"


def test_a_run_that_lost_its_machine_is_told_as_dead() -> None:
    """After a restart nobody can tell from its process: but it does not hold the lease that it ran under."""
    Journal.begin("spx", "now").write("features", "started")

    def outcome(run: str | None) -> str:
        return gathering.row_of("spx", lambda _: run).outcome

    told = {run: outcome(run) for run in ("now", "", "another", None)}
    assert told == {"now": "running", "": "died", "another": "died", None: "running"}
    with leases.take("spx", "now", term=60):
        assert (page.at_work("spx"), page.publish()[0].outcome) == ("now", "running")
    assert (page.at_work("spx"), page.publish()[0].outcome) == ("", "died")


@pytest.mark.parametrize(
    "spoiled",
    ["", "{", "[]", '{"document": 5}', '{"document": {"decision": []}}', '{"document": {}}', "\x00\xff", "[" * 5000],
)
def test_a_record_that_cannot_be_read_spoils_no_other(spoiled: str) -> None:
    night("good")
    night("bad")
    drift("bad")
    record = next((home() / "runs" / "bad").glob("*.json"))
    record.write_text(spoiled)
    bad, good = gathering.rows()
    assert (good.outcome, good.trouble) == ("kept", "")
    assert "the last night's record cannot be read" in bad.trouble
    assert bad.drift == "within"
    shown = render((bad, good), NOW)
    assert "the last night&#39;s record cannot be read" in shown
    assert "kept it is" in shown


def test_drift_is_told_with_the_live_loss_against_what_was_expected() -> None:
    drift("spx", "exceeded")
    row = gathering.row_of("spx")
    assert (row.drift, row.drift_page, row.expected) == ("exceeded", "../drift/spx/index.html", 0.2)
    assert len(row.losses) == 60 - 20
    assert row.losses[-1] == pytest.approx(0.2 + 0.001 * (39 + 59) / 2)
    assert trend(row) == "loss 24% above expected"


def test_a_rollout_is_told_until_it_ends() -> None:
    folder = home() / "live" / "spx" / "rollout-1"
    folder.mkdir(parents=True)
    plan = {"mode": "gradual", "challenger": "9", "started": "2026-11-02T00:00:00"}
    (folder / "plan.json").write_text(json.dumps(plan))
    assert gathering.row_of("spx").rollout == "rollout of version 9 since 2026-11-02"
    (folder / "ended.json").write_text("{}")
    assert gathering.row_of("spx").rollout == ""


def _move(epoch: int, version: str, action: Any) -> Move:
    return Move(
        standing=Standing(name="spx", epoch=epoch, champion=version), action=action,
        at=f"2026-11-0{epoch}T00:00:00+00:00", why=(), by="test",
    )  # fmt: skip


def test_a_refreshed_champion_keeps_its_recipes_age() -> None:
    moves = (
        _move(4, "4", "refreshed"),
        _move(3, "3", "refreshed"),
        _move(2, "2", "promoted"),
        _move(1, "1", "baseline"),
    )
    served = page._served(ProblemRow(name="spx", champion="ridge", champion_version="4"), moves)
    assert (served.champion_version, served.champion_since, served.champion) == ("4", moves[2].at, "ridge")


def test_a_champion_that_was_rolled_back_is_not_the_last_nights() -> None:
    served = page._served(
        ProblemRow(name="spx", champion="ridge", champion_version="2"),
        (_move(3, "1", "rolled back"), _move(2, "2", "promoted"), _move(1, "1", "baseline")),
    )
    assert (served.champion_version, served.champion_since, served.champion) == ("1", "2026-11-03T00:00:00+00:00", "")


def test_the_page_is_written_without_a_server_and_links_to_none() -> None:
    night("spx")
    rows = page.publish()
    assert [row.name for row in rows] == ["spx"]
    text = page.page().read_text()
    assert 'href="spx/run-2026-11-21.html"' in text
    assert page.servers() == ()


def test_a_page_that_cannot_be_made_costs_itself(caplog: pytest.LogCaptureFixture) -> None:
    night("spx")
    (home() / "reports").write_text("a file where a folder should be")
    page.publish_safely()
    assert "not made anew" in caplog.text


def test_whatever_the_page_stumbles_over_costs_the_page_alone(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> str:
        raise TemplateError("no filter named 'money'")

    monkeypatch.setattr(page, "render", broken)
    page.publish_safely()
    assert "not made anew: TemplateError: no filter named 'money'" in caplog.text


@settings(deadline=None, max_examples=40)
@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=30))
def test_text_from_outside_is_never_markup(name: str, headline: str, moment: str) -> None:
    row = ProblemRow(
        name=HOSTILE + name, outcome=headline, headline=HOSTILE + headline, at=moment, champion=name,
        champion_version=moment, champion_since=moment, drift=headline, drift_at=moment, rollout=name, next_run=moment,
        trouble=name,
    )  # fmt: skip
    shown = render((row,), NOW)
    assert "<script" not in shown
    tags = set(re.findall(r"<(\w+)", shown.partition("<body>")[2]))
    assert tags <= {"header", "h1", "p", "strong", "main", "div", "table", "thead", "tbody", "tr", "th", "td", "span",
                    "time", "a", "footer", "code"}  # fmt: skip
    assert len(table((row,), NOW).splitlines()) == 3


def test_a_link_is_only_ever_one_of_the_web_or_of_this_folder() -> None:
    night("spx", run_url="javascript:alert(1)", report="/etc/passwd")
    row = gathering.row_of("spx")
    assert (row.run_url, row.report) == ("", "")


def test_who_needs_a_look_comes_first() -> None:
    rows = (
        ProblemRow(name="a", outcome="kept"),
        ProblemRow(name="b", outcome="kept", drift="exceeded"),
        ProblemRow(name="c", outcome="kept", drift="retrain"),
        ProblemRow(name="d", outcome="failed"),
    )
    shown = re.findall(r'<th scope="row">(\w)', render(rows, NOW))
    assert shown == ["b", "d", "c", "a"]
    assert "2 to look at" in render(rows, NOW)


def test_the_page_needs_nothing_else() -> None:
    shown = render((ProblemRow(name="a", losses=(0.1, 0.3, 0.2), expected=0.2),), NOW)
    assert "default-src 'none'" in shown
    assert not re.search(r"<(script|link rel=.stylesheet|img)", shown)
    assert "<polyline" in shown
    assert render((), NOW).count("No night has run yet") == 1


@given(st.timedeltas(min_value=timedelta(seconds=0), max_value=timedelta(days=4000)))
def test_moments_are_told_roughly_and_never_backwards(gone: timedelta) -> None:
    now = datetime(2026, 11, 21, tzinfo=UTC)
    past = (now - gone).isoformat()
    assert ago(past, now.isoformat()).endswith(("ago", "just now"))
    assert ahead((now + gone).isoformat(), now.isoformat()).startswith("in ")
    assert ahead((now - gone - timedelta(seconds=1)).isoformat(), now.isoformat()) == "due"


def test_an_unknown_moment_is_left_out() -> None:
    assert (ago("", NOW), ago("soon", NOW), ahead("", NOW)) == ("", "", "")


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=40), st.floats())
def test_a_sparkline_stays_in_its_box(values: list[float], expected: float) -> None:
    drawn = sparkline(tuple(value for value in values if abs(value) < 1e100 or value != value), expected)
    for x, y in re.findall(r"([\d.-]+),([\d.-]+)", drawn):
        assert 0 <= float(x) <= 132
        assert 0 <= float(y) <= 30


@pytest.mark.needs_browser
def test_the_page_fits_a_phone_and_a_desk(tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    file = tmp_path / "index.html"
    rows = tuple(
        ProblemRow(name=name * 12, outcome="quarantined", headline="x" * 200, at=NOW) for name in ("long-", "w")
    )
    file.write_text(render(rows, NOW))
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for width in (390, 1280):
            view = browser.new_page(viewport={"width": width, "height": 800})
            view.goto(file.as_uri())
            assert view.evaluate("document.documentElement.scrollWidth") <= width
        browser.close()
