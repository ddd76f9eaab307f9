"""Nights tell how they ended, under a real Prefect server and a real receiver; runs that died are marked."""

from __future__ import annotations

import http.server
import json
import os
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import SecretStr

from flows import automations, notifications
from flows.mail import NocturneMail
from tasks.errors import ConfigurationError
from tests.flows.conftest import PROJECT

HOSTILE = 'the "champion" stays {{ 7 * 6 }} <b>\n'
SECRET = "hook-5f2c9a71d0"
KEY = "s3cret-Vendor-key"


class Received(http.server.ThreadingHTTPServer):
    """A webhook on loopback that keeps what it gets."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        super().__init__(("127.0.0.1", 0), Taker)


class Taker(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Received)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies.append({**json.loads(body), "path": self.path, "type": self.headers["Content-Type"]})
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def receiver() -> Iterator[Received]:
    with Received() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def _child(api: str, home: Path, *arguments: str, **more: str) -> list[Any]:
    environment = {**os.environ, "PREFECT_API_URL": api, "NOCTURNE_HOME": str(home), **more}
    return [[sys.executable, "-m", "tests.flows.run_observed", *arguments], environment]


@pytest.fixture(scope="module")
def told(api: str, receiver: Received, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What the receiver got of four outcomes and a failed run, and a while after."""
    address = f"http://127.0.0.1:{receiver.server_port}/{SECRET}"
    home = tmp_path_factory.mktemp("told")
    keys = {"VENDOR_API_KEY": KEY, "PREFECT_LOGGING_EXTRA_LOGGERS": "nocturne"}
    command, environment = _child(api, home, "told", address, HOSTILE, **keys)
    subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, check=True, timeout=180)
    for _ in range(120):
        if len(receiver.bodies) >= 5:
            break
        time.sleep(0.5)
    time.sleep(3)
    return list(receiver.bodies)


@pytest.mark.slow
def test_each_outcome_is_told_once(told: list[dict[str, Any]]) -> None:
    # Prefect delivers an event at least once: on a busy machine its server may send the very same words twice.
    different = {json.dumps(body, sort_keys=True): body for body in told}.values()
    assert sorted(body["outcome"] for body in different) == ["failed", "kept", "late", "promoted", "quarantined"]
    assert {body["problem"] for body in told} == {"spx"}
    assert {(body["path"], body["type"]) for body in told} == {(f"/{SECRET}", "application/json")}


@pytest.mark.slow
def test_words_arrive_as_they_were_and_are_no_template(told: list[dict[str, Any]]) -> None:
    kept = next(body for body in told if body["outcome"] == "kept")
    assert kept["headline"] == f"kept: {HOSTILE}"
    assert (kept["reasons"], kept["champion_version"]) == (["why"], "7")


@pytest.mark.slow
def test_a_failed_run_says_why_and_where_it_is(told: list[dict[str, Any]], api: str) -> None:
    failed = next(body for body in told if body["outcome"] == "failed")
    assert "no engine gave a result" in failed["reasons"][0]
    assert failed["run"].startswith(f"{api.removesuffix('/api')}/runs/flow-run/")


@pytest.mark.slow
def test_no_secret_of_a_failed_run_reaches_prefect_or_who_is_told(told: list[dict[str, Any]], api: str) -> None:
    """Neither in states of run and task, nor in logs, tracebacks among them, nor in events and notifications."""
    kept: dict[str, str] = {"told": json.dumps(told)}
    for what in ("flow_runs", "task_runs", "logs", "events"):
        kept[what] = httpx.post(f"{api}/{what}/filter", json={}, timeout=30).text
    assert {what for what, text in kept.items() if KEY in text} == set()
    assert "no engine gave a result with ***" in kept["flow_runs"]
    assert "no engine gave a result with ***" in kept["task_runs"] or "/vendor/***" in kept["task_runs"]
    assert kept["logs"].count("/vendor/***") >= 2, "no traceback is there"


@pytest.mark.slow
def test_registering_twice_leaves_one_of_each_and_no_secret_in_it(told: list[dict[str, Any]], api: str) -> None:
    found = httpx.post(f"{api}/automations/filter", json={}, timeout=30).json()
    assert sorted(each["name"] for each in found) == [
        automations.ZOMBIES, "nocturne: webhook, failures", "nocturne: webhook, nights",
    ]  # fmt: skip
    assert SECRET not in json.dumps(found)
    assert SECRET not in httpx.post(f"{api}/block_documents/filter", json={}, timeout=30).text


@pytest.mark.slow
def test_silence_of_nine_minutes_crashes_a_run(told: list[dict[str, Any]], api: str) -> None:
    found = httpx.post(f"{api}/automations/filter", json={}, timeout=30).json()
    zombies = next(each for each in found if each["name"] == automations.ZOMBIES)
    assert zombies["trigger"]["within"] >= 540
    assert zombies["trigger"]["posture"] == "Proactive"
    assert [(action["type"], action["state"]) for action in zombies["actions"]] == [
        ("change-flow-run-state", "CRASHED")
    ]


@pytest.mark.slow
def test_a_killed_run_is_crashed_and_told(
    told: list[dict[str, Any]], receiver: Received, api: str, tmp_path: Path
) -> None:
    """The threshold is shortened for the test: ten seconds are the least that Prefect allows."""
    with temporary_settings({PREFECT_API_URL: api}):
        automations.register({}, silence=timedelta(seconds=10))
    command, environment = _child(api, tmp_path, "sleeper", PREFECT_FLOWS_HEARTBEAT_FREQUENCY="30")
    with subprocess.Popen(
        command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == b"up\n"
        time.sleep(2)
        run.kill()
    for _ in range(120):
        if len(receiver.bodies) > len(told):
            break
        time.sleep(0.5)
    assert receiver.bodies[-1]["headline"] == "The run ended as Crashed"
    assert "No heartbeat for 10 s" in receiver.bodies[-1]["reasons"][0]


@pytest.mark.slow
def test_off_takes_a_channel_away(told: list[dict[str, Any]], api: str) -> None:
    with temporary_settings({PREFECT_API_URL: api}):
        assert automations.register({"NOCTURNE_NOTIFY_WEBHOOK": "off"}) == (automations.ZOMBIES,)
    assert len(httpx.post(f"{api}/automations/filter", json={}, timeout=30).json()) == 1


def test_without_a_server_nothing_is_emitted_and_nothing_fails() -> None:
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        assert automations.tell("kept", "spx", headline="the champion stays") is None


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"NOCTURNE_NOTIFY_WEBHOOK": f"ftp://{SECRET}"}, "NOCTURNE_NOTIFY_WEBHOOK"),
        ({"NOCTURNE_NOTIFY_SLACK": SECRET}, "NOCTURNE_NOTIFY_SLACK"),
        ({"NOCTURNE_NOTIFY_EMAIL": "a@b.c"}, "NOCTURNE_NOTIFY_SMTP"),
        ({"NOCTURNE_NOTIFY_EMAIL": SECRET, "NOCTURNE_NOTIFY_SMTP": "smtp://h"}, "NOCTURNE_NOTIFY_EMAIL"),
        ({"NOCTURNE_NOTIFY_WEBHOOK": "http://h/x", "NOCTURNE_NOTIFY_ON": "kept,won"}, "'won'"),
    ],
)
def test_a_channel_that_cannot_be_is_refused_without_its_secret(environment: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named) as refused:
        notifications.channels(environment)
    assert SECRET not in str(refused.value)


def test_a_channel_keeps_its_address_to_itself() -> None:
    (channel,) = notifications.channels({"NOCTURNE_NOTIFY_SLACK": f"https://hooks.example/{SECRET}"})
    assert SECRET not in repr(channel)
    assert channel.outcomes == notifications.TOLD


def test_outcomes_are_chosen_for_all_or_for_one_channel() -> None:
    both = {"NOCTURNE_NOTIFY_WEBHOOK": "https://h/x", "NOCTURNE_NOTIFY_SLACK": "https://h/y"}
    chosen = {"NOCTURNE_NOTIFY_ON": "failed, late", "NOCTURNE_NOTIFY_SLACK_ON": "promoted"}
    found = {channel.kind: channel.outcomes for channel in notifications.channels({**both, **chosen})}
    assert found == {"webhook": ("failed", "late"), "slack": ("promoted",)}


class Post(socketserver.StreamRequestHandler):
    """As much of a mail server as a client needs."""

    mails: list[str]

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        for line in self.rfile:
            if line.upper().startswith(b"DATA"):
                self.wfile.write(b"354 go on\r\n")
                self.mails.append(b"".join(iter(self.rfile.readline, b".\r\n")).decode())
            self.wfile.write(b"221 bye\r\n" if line.upper().startswith(b"QUIT") else b"250 well\r\n")


def test_a_mail_arrives_and_its_subject_makes_no_header() -> None:
    Post.mails = []
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Post) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = SecretStr(f"smtp://127.0.0.1:{server.server_address[1]}")
        try:
            NocturneMail(server=address, to=("ops@example.com",)).send("spx: kept\r\nBcc: all@example.com", "It stays")
        finally:
            server.shutdown()
            thread.join()
    (mail,) = Post.mails
    assert "Subject: spx: kept Bcc: all@example.com" in mail
    assert not any(line.startswith("Bcc:") for line in mail.splitlines())
    assert "It stays" in mail
