"""A scheduled night whose bars are late waits, shows that it does, tells it once, and goes on when they come."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from arch.data import sp500
from prefect import flow
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import late
from tasks.problem import Problem
from tests.flows.servers import prefect_server

pytestmark = pytest.mark.slow
NIGHT = datetime(2018, 12, 31, 22, tzinfo=UTC)


class Vendor(threading.Thread):
    """Delivers the last session's bar as soon as a run of the server shows that it waits."""

    def __init__(self, api: str, bars: pd.DataFrame, path: Path) -> None:
        super().__init__(daemon=True)
        self._api, self._bars, self._path = api, bars, path
        self.waiting: dict[str, Any] = {}

    def run(self) -> None:
        question = {"flow_runs": {"state": {"name": {"any_": ["WaitingForBars"]}}}}
        for _ in range(600):
            found = httpx.post(f"{self._api}/flow_runs/filter", json=question, timeout=30).json()
            if found:
                self.waiting = found[0]
                self._bars.to_csv(self._path)
                return
            time.sleep(0.2)


def test_a_night_waits_and_goes_on_when_the_bars_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bars = sp500.load().drop(columns=["Adj Close"]).loc["2016":]
    path = tmp_path / "spx.csv"
    bars.iloc[:-1].to_csv(path)
    asked = Problem(name="spx", source=str(path), fresh_within=1).model_copy(update={"wait_hours": 1e6})
    monkeypatch.setenv("NOCTURNE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(late, "PAUSE", timedelta(seconds=1))
    with prefect_server(tmp_path) as api, temporary_settings({PREFECT_API_URL: api}):
        vendor = Vendor(api, bars, path)
        vendor.start()
        flow(name="waits", validate_parameters=False)(late.wait_for_bars)(asked, NIGHT)
        vendor.join(timeout=60)
        run = httpx.get(f"{api}/flow_runs/{vendor.waiting['id']}", timeout=30).json()
        told = events(api)
    assert vendor.waiting["state_type"] == "RUNNING"
    message = vendor.waiting["state"]["message"]
    assert "lacks session 2018-12-31 of XNYS; its newest bar closed at 2018-12-28T21:00:00Z" in message
    assert run["state_type"] == "COMPLETED"
    assert [event["payload"]["problem"] for event in told] == ["spx"]
    assert "2018-12-31" in told[0]["payload"]["reasons"][0]


def events(api: str) -> list[dict[str, Any]]:
    """The events that data is late, once the server has them."""
    question = {"filter": {"event": {"name": ["nocturne.data.late"]}}}
    found: list[dict[str, Any]] = []
    for _ in range(60):
        found = httpx.post(f"{api}/events/filter", json=question, timeout=30).json()["events"]
        if found:
            break
        time.sleep(0.5)
    return found
