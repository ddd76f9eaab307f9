"""The monitor from end to end: on what followed a night, as it was and with a drift put in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks.documents import from_json
from tasks.drift.values import DriftReport
from tests.flows.conftest import played

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What ``run_monitor`` leaves."""
    return played("run_monitor", tmp_path_factory.mktemp("monitor"), timeout=900)


def report_of(found: dict[str, Any], name: str) -> DriftReport:
    report: DriftReport = from_json(DriftReport, found[name]["report"])
    return report


def test_the_real_years_that_followed_are_within_their_limits(found: dict[str, Any]) -> None:
    report = report_of(found, "real")
    assert report.state == "within"
    assert report.training_end.startswith("2016-12-30")
    assert report.since_version == report.version
    assert report.sessions == len(report.curve) == 502
    assert report.columns[-1].ratio <= report.columns[0].ratio <= 1.0
    assert report.losses is not None
    assert "gate" in report.losses.source


def test_ranges_five_times_as_wide_raise_the_alarm_and_are_named(found: dict[str, Any]) -> None:
    report = report_of(found, "drifted")
    assert report.alarm
    over = {each.column for each in report.columns if each.exceeds}
    assert "har_1" in over
    assert "2017-01-01" < report.since <= report.last
    assert any("har_1" in line for line in report.said)


def test_the_event_is_sent_once_however_long_the_alarm_lasts(found: dict[str, Any]) -> None:
    assert found["again"] == [False, False]
    (event,) = found["events"]
    assert event["resource"]["prefect.resource.id"] == "nocturne.model.watched"
    assert event["payload"]["problem"]["name"] == "watched"


def test_the_tag_says_the_verdict_and_of_whom_and_no_alias_moves(found: dict[str, Any]) -> None:
    for name in ("real", "drifted"):
        report = report_of(found, name)
        tags = found[name]["tags"]
        assert tags["nocturne.drift"] == ("exceeded" if report.state == "exceeded" else "within")
        assert tags["nocturne.drift.version"] == report.version == found["before"]["aliases"]["champion"]
        assert found[name]["aliases"] == found["before"]["aliases"]
        assert tags["nocturne.coverage"].startswith(f"version {report.version}: asked 0.900; held ")


def test_the_pages_lie_below_the_state_folder(found: dict[str, Any]) -> None:
    files = report_of(found, "drifted").files
    assert set(files) == {"page", "report", "distributions"}
    page = Path(files["page"]).read_text(encoding="utf-8")
    assert "har_1" in page
    assert 'href="distributions.html"' in page
    assert Path(files["page"]).parts[-3:] == ("drift", "watched", "index.html")
