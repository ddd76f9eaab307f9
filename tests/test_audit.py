"""The audit of the lock against a service whose answers were made by hand: nothing is passed that was not looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests import audit
from tests.vulnerability_service import FLAW, service

KNOWN: dict[str, list[dict[str, Any]]] = {audit.CANARY: [FLAW], "good==1.0": []}
Answers = dict[str, list[dict[str, Any]]]


def told(
    answers: Answers, pins: tuple[str, ...], tmp_path: Path, exceptions: audit.Accepted | None = None
) -> audit.Verdict:
    """The verdict on these pins when the service answers so."""
    with service(answers, tmp_path) as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        return audit.verdict(pins, exceptions or audit.Accepted())


def test_a_clean_lock_passes(tmp_path: Path) -> None:
    found = told(KNOWN, ("good==1.0",), tmp_path)
    assert found == audit.Verdict(0, ("1 packages looked at, 0 problems, 0 exceptions used",))


def test_a_vulnerable_package_is_named_with_what_mends_it(tmp_path: Path) -> None:
    found = told({**KNOWN, "bad==2.0": [FLAW]}, ("good==1.0", "bad==2.0"), tmp_path)
    assert found.code == 1
    assert found.lines[0] == "bad 2.0: PYSEC-0000-1, mended in 9.9: made by hand"
    assert len(found.lines) == 2


def test_a_package_that_could_not_be_audited_is_a_failure(tmp_path: Path) -> None:
    found = told(KNOWN, ("good==1.0", "unheard-of==1.0"), tmp_path)
    assert found.code == 1
    assert found.lines[0].startswith("unheard-of: could not be audited: ")


def test_exceptions_pass_and_what_is_no_longer_needed_is_said(tmp_path: Path) -> None:
    exceptions = audit.Accepted(
        skipped={"unheard-of": "ours", "good": "once unknown"}, vulnerable={"CVE-0000-0001": "not reachable here"}
    )
    answers = {**KNOWN, "bad==2.0": [FLAW]}
    found = told(answers, ("good==1.0", "unheard-of==1.0", "bad==2.0"), tmp_path, exceptions)
    assert found.code == 0
    assert found.lines[0] == "no longer needed in audit.yaml: good"
    assert found.lines[-1] == "3 packages looked at, 0 problems, 2 exceptions used"


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ({"good==1.0": []}, "the service does not answer for the canary jinja2==2.10: Dependency not found"),
        ({"good==1.0": [], audit.CANARY: []}, "the service knows no vulnerability of the canary jinja2==2.10"),
    ],
)
def test_a_service_that_does_not_know_the_canary_is_not_believed(answers: Answers, why: str, tmp_path: Path) -> None:
    found = told(answers, ("good==1.0",), tmp_path)
    assert found.code == audit.NOTHING_AUDITED
    assert found.lines[0].startswith(f"NOTHING COULD BE AUDITED: {why}")


def test_a_service_that_cannot_be_reached_is_said_to_be_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    found = audit.verdict(("good==1.0",), audit.Accepted())
    assert found.code == audit.NOTHING_AUDITED
    assert "does not answer for the canary jinja2==2.10: pip-audit ended with exit code 1" in found.lines[0]


def test_what_was_left_out_of_the_answer_was_not_audited(monkeypatch: pytest.MonkeyPatch) -> None:
    flawed = [{"name": "jinja2", "version": "2.10", "vulns": [{**FLAW, "fix_versions": [], "description": ""}]}]
    monkeypatch.setattr(audit, "audited", lambda pins: flawed if pins == (audit.CANARY,) else [])
    found = audit.verdict(("good==1.0",), audit.Accepted())
    assert (found.code, found.lines[0]) == (1, "good==1.0: was not looked at")


def test_every_pin_of_the_lock_is_asked_for() -> None:
    lock = audit.LOCK.read_text(encoding="utf-8")
    hashed = {line.partition("==")[0] for line in lock.splitlines() if "==" in line and not line.startswith((" ", "#"))}
    assert {pin.partition("==")[0] for pin in audit.pins(lock)} == hashed
    assert audit.pins("Some_Thing==1.0 ; sys_platform == 'win32' \\\n    --hash=sha256:00\nb==2 \\\n") == ("b==2",)


def test_an_exception_needs_a_reason(tmp_path: Path) -> None:
    assert audit.accepted(audit.ACCEPTED) is not None
    (tmp_path / "audit.yaml").write_text("skipped: {some: ''}\n")
    with pytest.raises(ValueError, match="some: an exception needs a reason"):
        audit.accepted(tmp_path / "audit.yaml")
