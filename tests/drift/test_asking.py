"""When a retraining run is asked for: once an onset."""

from __future__ import annotations

import dataclasses

import pytest

from tasks.drift.values import DriftReport, State, begins

REPORT = DriftReport(
    name="made", version="9", candidate="ridge", at="", snapshot="", training_end="", window=63, sessions=70, last="",
    state="retrain", run_length=504, since_version="2",
)  # fmt: skip


def said(state: State, version: str = "9", since: str = "2") -> DriftReport:
    return dataclasses.replace(REPORT, state=state, version=version, since_version=since)


@pytest.mark.parametrize(
    ("before", "now", "asks"),
    [
        (None, said("within"), False),
        (None, said("retrain"), True),
        (said("within"), said("retrain"), True),
        (said("retrain"), said("retrain"), False),
        (said("retrain"), said("retrain", version="10"), False),
        (said("retrain"), said("exceeded", version="10"), True),
        (said("exceeded"), said("retrain", version="10"), False),
        (said("exceeded"), said("within"), False),
        (said("nothing live"), said("exceeded"), True),
        (said("retrain"), said("retrain", version="11", since="11"), True),
        (said("retrain", version="2", since=""), said("retrain", version="3"), False),
    ],
)
def test_an_alarm_is_told_once_an_onset(before: DriftReport | None, now: DriftReport, asks: bool) -> None:
    """A refresh of the same recipe is no other alarm: a night a night would be asked for, for ever."""
    assert begins(before, now) is asks
