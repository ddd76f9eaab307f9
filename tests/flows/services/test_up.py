"""One ``nocturne up`` on real servers, and everything that is promised of it, in the order in which it would happen."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from flows.services import deploying, ports, prefect_api, processes, state
from flows.services.prefect_api import PrefectApi
from tests.flows.conftest import PROJECT, document, nocturne
from tests.security import spilled
from tests.security.listeners import OPEN, Witness, Witnessed, asked

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("services")]
OPERATORS = {
    "VENDOR_API_KEY": "geheim-of-a-vendor",
    "NOCTURNE_NOTIFY_WEBHOOK": "http://127.0.0.1:9/geheim-of-a-webhook",
    "NOCTURNE_NOTIFY_EMAIL": "desk@example.org",
    "NOCTURNE_NOTIFY_SMTP": "smtp://desk:geheim-of-mail@127.0.0.1:9",
}
"""What the operator has in the environment: a key, and channels on which nobody listens."""

OPERATORS_SECRETS = ("geheim-of-a-vendor", "geheim-of-a-webhook", "geheim-of-mail")


@dataclass(frozen=True)
class Up:
    """The state folder, what ``up`` printed as JSON, and its ports."""

    home: Path
    first: dict[str, Any]
    prefect: int
    mlflow: int

    @property
    def folder(self) -> Path:
        return self.home / "services"

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return nocturne(self.home, *arguments)

    def up(self) -> dict[str, Any]:
        return document(self.run("up", "--beside", "--json"))

    def status(self) -> tuple[int, dict[str, Any]]:
        done = self.run("status", "--json")
        return done.returncode, json.loads(done.stdout)

    def pid(self, name: str) -> int:
        return int(json.loads((self.folder / "state.json").read_text())["running"][name]["pid"])

    def secrets(self) -> dict[str, str]:
        return {path.name: path.read_text().strip() for path in (self.folder / "secrets").iterdir()}

    def processes(self) -> list[psutil.Process]:
        return [each for name in state.NAMES for each in processes.marked(name, self.folder)]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Services that run while this module does."""
    home = tmp_path_factory.mktemp("up").resolve()
    first, second = ports._any(), ports._any()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in OPERATORS.items():
            patch.setenv(name, value)
        try:
            asked_for = ("--prefect-port", str(first), "--mlflow-port", str(second))
            yield Up(home, document(nocturne(home, "up", "--beside", *asked_for, "--json")), first, second)
        finally:
            folder = home / "services"
            processes.end([each for name in state.NAMES for each in processes.marked(name, folder)], 5)


@contextmanager
def connected(up: Up) -> Iterator[PrefectApi]:
    """A connection to its Prefect server."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NOCTURNE_HOME", str(up.home))
        services = state.read()
        assert services is not None
        with PrefectApi(services) as connection:
            yield connection


@pytest.fixture
def api(up: Up) -> Iterator[PrefectApi]:
    """The same, for one test."""
    with connected(up) as connection:
        yield connection


@pytest.fixture(scope="module")
def witness(up: Up) -> Iterator[Witness]:
    """Tries every socket that the services and their runs open, from now on."""
    found = Witness(up.folder, {"prefect": up.prefect, "mlflow": up.mlflow})
    found.start()
    yield found
    found.stop()


@pytest.fixture(scope="module")
def night(up: Up, witness: Witness) -> str:
    """The id of a run that the server is asked for; it goes on while other tests look around."""
    with connected(up) as api:
        deployment = next(each for each in api.deployments() if each["name"] == "nightly-sp500-volatility")
        problem = {**deployment["parameters"]["problem"], "engines": ["baseline"]}
        body = {"parameters": {"problem": problem}, "state": {"type": "SCHEDULED"}}
        return str(api.ask("POST", f"/deployments/{deployment['id']}/create_flow_run", body)["id"])


def states(services: list[dict[str, Any]]) -> dict[str, str]:
    return {each["name"]: each["state"] for each in services}


ALL = dict.fromkeys(state.NAMES, "running")


def test_everything_runs_and_says_where(up: Up, night: str) -> None:
    assert night
    assert up.first["started"] == ["prefect", "mlflow", "worker"]
    assert up.first["registered"] is True
    assert states(up.first["services"]) == ALL
    assert [each["url"] for each in up.first["services"]] == [
        f"http://127.0.0.1:{up.prefect}", f"http://127.0.0.1:{up.mlflow}", "",
    ]  # fmt: skip
    assert all(each["memory_bytes"] > 20_000_000 for each in up.first["services"])


def test_it_survives_its_terminal(up: Up) -> None:
    for name in state.NAMES:
        assert os.getsid(up.pid(name)) == up.pid(name)


def test_passwords_are_for_the_owner_and_appear_nowhere_else(up: Up) -> None:
    secrets = up.secrets()
    assert {"prefect", "mlflow", "mlflow-forms"} <= set(secrets)
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in (up.folder / "secrets").iterdir())
    words = [part.encode() for text in secrets.values() for part in text.split(":") if part != "nocturne"]
    shown = [json.dumps(up.first).encode()]
    shown += [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in psutil.pids() if Path(f"/proc/{pid}").exists()]
    shown += [path.read_bytes() for path in up.folder.rglob("*") if path.is_file() and path.parent.name != "secrets"]
    shown += [path.read_bytes() for path in (up.home / "prefect").glob("prefect.db*")]
    assert (up.home / "prefect").stat().st_mode & 0o777 == 0o700, "the key of Prefect's blocks lies in its database"
    assert len(words) == len(secrets)
    assert not [word for word in words if any(word in text for text in shown)]


@pytest.mark.parametrize(
    ("server", "path"),
    [
        ("prefect", "/api/admin/version"), ("prefect", "/api/work_pools/nocturne"), ("mlflow", "/"),
        ("mlflow", "/version"), ("mlflow", "/api/2.0/mlflow/experiments/search?max_results=1"),
    ],
)  # fmt: skip
def test_no_server_answers_without_its_password(up: Up, server: str, path: str) -> None:
    url = f"http://127.0.0.1:{getattr(up, server)}{path}"
    known = up.secrets()[server].removeprefix("nocturne:")
    assert httpx.get(url).status_code == 401
    assert httpx.get(url, auth=("nocturne", "guess")).status_code == 401
    assert httpx.get(url, auth=("nocturne", known)).status_code == 200


def test_prefect_wants_a_token_and_mlflow_its_own_name(up: Up) -> None:
    prefect, mlflow = (("nocturne", up.secrets()[name].removeprefix("nocturne:")) for name in ("prefect", "mlflow"))
    answer = httpx.post(f"http://127.0.0.1:{up.prefect}/api/flow_runs/filter", json={}, auth=prefect)
    assert answer.status_code == 403
    assert "CSRF" in answer.text
    assert httpx.get(f"http://127.0.0.1:{up.mlflow}/", headers=ELSEWHERE, auth=mlflow).status_code == 403


def test_no_path_of_prefects_api_is_open_but_those_of_the_table(up: Up) -> None:
    """Each is asked as its own description says; changes are refused for the missing CSRF token even before."""
    base = f"http://127.0.0.1:{up.prefect}"
    paths = httpx.get(f"{base}/openapi.json", trust_env=False, timeout=120).json()["paths"]
    with httpx.Client(base_url=f"{base}/api", trust_env=False, timeout=120) as stranger:
        told = {
            f"{method.upper()} {path}": stranger.request(method, re.sub(r"{[^}]*}", "a", path), headers=ELSEWHERE)
            for path, methods in paths.items()
            for method in methods
        }
    assert len(told) > 150
    answered = {name: answer.text for name, answer in told.items() if answer.status_code not in (401, 403)}
    assert answered == {"GET /health": "true", "GET /ready": '{"message":"OK"}'}


ELSEWHERE = {"Host": "evil.example"}
"""As a page sends it whose name has been pointed at this machine."""

CHANNELS = ("events/in", "events/out", "logs/out", "task_runs/subscriptions/scheduled")


@pytest.mark.parametrize("path", [*CHANNELS, "work_pools/nocturne/workers/connect"])
def test_no_channel_of_prefects_takes_or_gives_a_word_without_the_password(up: Up, path: str) -> None:
    address = f"ws://127.0.0.1:{up.prefect}/api/{path}"
    with pytest.raises(InvalidStatus, match="403"):
        connect(address, proxy=None, open_timeout=60)
    with pytest.raises((ConnectionClosed, InvalidStatus), match=r"Expected 'auth' message|authentication_failed"):
        pytest.fail(f"answered {_overheard(address)!r}")


def _overheard(address: str) -> str | bytes:
    with connect(address, subprotocols=[Subprotocol("prefect")], proxy=None, open_timeout=60) as stranger:
        stranger.send('{"type": "filter", "filter": {}}')
        return stranger.recv(timeout=60)


def test_what_is_open_gives_out_nothing_of_ours(up: Up) -> None:
    """Each path of the table answers, or it need not stand there; none names a run, a model or a secret."""
    known = {"prefect": up.prefect, "mlflow": up.mlflow}
    for name, reason in OPEN.items():
        server, _, path = name.partition(" ")
        status, text = asked(f"http://127.0.0.1:{known[server]}{path}")
        assert status == 200, (name, reason)
        assert not [word for word in ("sp500", str(up.home), *up.secrets().values()) if word in text], name


def test_prefects_ui_is_served(up: Up) -> None:
    page = httpx.get(f"http://127.0.0.1:{up.prefect}/", follow_redirects=True)
    assert page.status_code == 200
    assert "<html" in page.text


def test_every_deployment_and_the_zombie_automation_are_registered(up: Up, api: PrefectApi) -> None:
    assert {each["name"] for each in api.deployments()} == set(deploying.names())
    automations = [each["name"] for each in api.ask("POST", "/automations/filter", {})]
    assert any("heartbeat" in name for name in automations)
    assert len(automations) == len(set(automations))


def test_a_second_up_starts_nothing(up: Up) -> None:
    before = {name: up.pid(name) for name in state.NAMES}
    again = up.up()
    assert (again["started"], again["registered"]) == ([], False)
    assert {name: up.pid(name) for name in state.NAMES} == before


def _slots(api: PrefectApi, seconds: float = 60) -> Counter[tuple[str, str]]:
    """Planned runs by deployment and time, once every schedule has some."""
    scheduled = {each["id"] for each in api.deployments() if each["schedules"]}
    found: Counter[tuple[str, str]] = Counter()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        runs = api.coming(200)
        found = Counter((run["deployment_id"], run["expected_start_time"]) for run in runs)
        if {run["deployment_id"] for run in runs} >= scheduled:
            break
        time.sleep(1)
    return found


def test_a_run_that_the_server_is_asked_for_is_executed_by_the_worker(up: Up, api: PrefectApi, night: str) -> None:
    """And its links lead to the MLflow server, which shows it."""
    until = time.monotonic() + 400
    while (run := api.ask("GET", f"/flow_runs/{night}"))["state_type"] not in ("COMPLETED", "FAILED", "CRASHED"):
        assert time.monotonic() < until, run["state"]
        time.sleep(0.5)
    log = (up.folder / "logs" / "worker.log").read_text()
    assert run["state_type"] == "COMPLETED", log[-3000:]
    question = {"artifacts": {"flow_run_id": {"any_": [night]}}}
    links = {each["key"]: each["data"] for each in api.ask("POST", "/artifacts/filter", question)}
    assert f"http://127.0.0.1:{up.mlflow}/#/experiments/" in links["sp500-volatility-mlflow"]
    shown = links["sp500-volatility-mlflow"].rpartition("/runs/")[2].partition(")")[0]
    answer = httpx.get(
        f"http://127.0.0.1:{up.mlflow}/api/2.0/mlflow/runs/get",
        params={"run_id": shown},
        auth=("nocturne", up.secrets()["mlflow"]),
    )
    assert answer.json()["run"]["info"]["status"] == "FINISHED"
    assert not [word for word in up.secrets().values() if word in log]


def test_every_socket_of_the_run_was_tried_and_gave_nothing_to_a_stranger(witness: Witness, night: str) -> None:
    found = _by_kind(witness.stop())
    assert set(found) == {"prefect", "mlflow", "runner"}, found.get("")
    assert {each.listener.host for kind in found.values() for each in kind} <= {"127.0.0.1", "::ffff:127.0.0.1"}
    assert not [each for kind in found.values() for each in kind if each.complaints]


def _by_kind(found: list[Witnessed]) -> dict[str, list[Witnessed]]:
    return {
        kind: [each for each in found if each.listener.kind == kind] for kind in {one.listener.kind for one in found}
    }


def test_no_secret_of_the_run_lies_anywhere_but_with_the_secrets(up: Up, witness: Witness, night: str) -> None:
    """Files of all kinds, tables of Prefect, MLflow and ledger, logs, artifacts, models, command lines."""
    secrets = {name: text.rpartition(":")[2] for name, text in up.secrets().items()}
    secrets |= {text: text for text in OPERATORS_SECRETS}
    assert {"prefect", "mlflow", "mlflow-forms", *OPERATORS_SECRETS} <= set(secrets)
    assert [*spilled.in_files(up.home, secrets, up.folder / "secrets")] == []
    assert [*spilled.in_words(witness.commands, secrets)] == []
    assert any("prefect.engine" in command for command in witness.commands)


def test_answers_of_many_pages_are_read_to_their_end(up: Up, api: PrefectApi, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = {each["id"] for each in api.deployments()}
    monkeypatch.setattr(prefect_api, "PAGE", 5)
    assert {each["id"] for each in api.deployments()} == whole
    assert len(whole) == len(deploying.names()) > 5
    assert len(api.coming(7)) == 7


def test_a_paused_pool_is_no_good_state(up: Up, api: PrefectApi) -> None:
    api.pause(True)
    code, seen = up.status()
    api.pause(False)
    assert (code, seen["ok"], seen["paused"]) == (1, False, True)
    assert states(seen["services"]) == ALL
    assert (up.home / "reports" / "index.html").is_file(), "the page of all problems is made anew"


@dataclass(frozen=True)
class Waiting:
    """A night that waits for another one and fills its queue, one that waits for a place there, and a rollout's."""

    night: str
    second: str
    rollout: str


HOLDS = """
from tasks.registry import leases
with leases.take("sp500-direction", "a test's"):
    print("held", flush=True)
    input()
"""


@pytest.fixture
def waiting(up: Up, api: PrefectApi) -> Iterator[Waiting]:
    queue = "/work_pools/nocturne/queues/nights"
    api.ask("PATCH", queue, {"concurrency_limit": 1})
    known = {each["name"]: each["id"] for each in api.deployments()}

    def begun(name: str) -> str:
        asked = {"state": {"type": "SCHEDULED"}}
        return str(api.ask("POST", f"/deployments/{known[name]}/create_flow_run", asked)["id"])

    environment = {**os.environ, "NOCTURNE_HOME": str(up.home)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS], cwd=PROJECT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        first = begun("nightly-sp500-direction")
        _until(api, first, "RUNNING")
        yield Waiting(first, begun("nightly-sp500-volatility"), begun("rollout-sp500-volatility"))
        api.ask("POST", f"/flow_runs/{first}/set_state", {"state": {"type": "CANCELLING"}})
        _until(api, first, "CANCELLED")
        other.communicate(b"\n", timeout=60)
    api.ask("PATCH", queue, {"concurrency_limit": deploying.RUNS_AT_ONCE})


def _until(api: PrefectApi, run: str, state_type: str) -> None:
    until = time.monotonic() + 180
    while (found := api.ask("GET", f"/flow_runs/{run}"))["state_type"] != state_type:
        assert time.monotonic() < until, found["state"]
        time.sleep(0.5)


def test_a_night_that_waits_holds_up_none_but_nights_and_an_interrupted_down_nothing(
    up: Up, api: PrefectApi, waiting: Waiting
) -> None:
    _until(api, waiting.rollout, "COMPLETED")
    assert api.ask("GET", f"/flow_runs/{waiting.night}")["state_type"] == "RUNNING"
    assert api.ask("GET", f"/flow_runs/{waiting.second}")["state_type"] == "SCHEDULED"
    api.ask("DELETE", f"/flow_runs/{waiting.second}")
    environment = {**os.environ, "NOCTURNE_HOME": str(up.home)}
    with subprocess.Popen([sys.executable, "-m", "flows.cli", "down"], cwd=PROJECT, env=environment) as down:
        while not api.is_paused():
            assert down.poll() is None
            time.sleep(0.2)
        time.sleep(1)
        down.send_signal(signal.SIGINT)
        assert down.wait(60) != 0
    assert not api.is_paused()
    assert json.loads((up.folder / "state.json").read_text())["paused"] is False
    assert api.ask("GET", f"/flow_runs/{waiting.night}")["state_type"] == "RUNNING"


@dataclass(frozen=True)
class Mended:
    """What was planned, what ran and what was seen before and after a start that finds much to mend."""

    pids: dict[str, int]
    slots: Counter[tuple[str, str]]
    automations: list[str]
    seen: tuple[int, dict[str, Any]]
    left_listening: bool
    after: dict[str, Any]


@pytest.fixture(scope="module")
def mended(up: Up) -> Mended:
    """A killed server, a killed worker whose pid is this very test now, and deployments that look like older ones."""
    with connected(up) as api:
        slots, automations = _slots(api), _automations(api)
    pids = {name: up.pid(name) for name in state.NAMES}
    for name in ("mlflow", "worker"):
        os.kill(pids[name], signal.SIGKILL)
    path = up.folder / "state.json"
    kept = json.loads(path.read_text())
    kept["running"]["worker"]["pid"] = os.getpid()
    path.write_text(json.dumps({**kept, "registered": "older"}))
    seen, left = up.status(), not ports.is_free(up.mlflow)
    return Mended(pids, slots, automations, seen, left, up.up())


def test_what_was_killed_is_named(mended: Mended) -> None:
    code, seen = mended.seen
    assert code == 1
    assert states(seen["services"]) == {"prefect": "running", "mlflow": "dead", "worker": "dead"}


def test_it_is_mended_with_all_that_it_left_and_nothing_else_is_touched(up: Up, mended: Mended) -> None:
    assert mended.left_listening  # the process that the killed one had started
    assert mended.after["started"] == ["mlflow", "worker"]
    assert states(mended.after["services"]) == ALL
    assert up.pid("prefect") == mended.pids["prefect"]
    assert up.pid("worker") != os.getpid()


def test_another_registration_doubles_nothing(api: PrefectApi, mended: Mended) -> None:
    assert mended.after["registered"] is True
    assert mended.slots, "the scheduler planned nothing"
    again = _slots(api)
    assert set(again) == set(mended.slots)
    assert max(again.values()) == 1
    assert _automations(api) == mended.automations
    assert {each["name"] for each in api.deployments()} == set(deploying.names())


def _automations(api: PrefectApi) -> list[str]:
    return sorted(each["name"] for each in api.ask("POST", "/automations/filter", {}))


def test_a_port_that_clients_know_is_not_moved_under_them(up: Up) -> None:
    done = up.run("up", "--beside", "--prefect-port", "4999")
    assert done.returncode == 2
    assert "'nocturne down' first" in done.stderr


def test_services_of_another_folder_are_not_started_unasked(up: Up, tmp_path: Path) -> None:
    done = nocturne(tmp_path / "other", "up")
    assert done.returncode == 2
    assert str(up.folder) in done.stderr
    assert not list((tmp_path / "other").rglob("*.log"))


def test_down_leaves_nothing_and_the_next_status_says_so(up: Up) -> None:
    left = document(up.run("down", "--json"))
    assert left == {"stopped": ["prefect", "mlflow", "worker"], "interrupted": []}
    assert up.processes() == []
    assert ports.is_free(up.prefect)
    assert ports.is_free(up.mlflow)
    code, seen = up.status()
    assert code == 0
    assert states(seen["services"]) == dict.fromkeys(state.NAMES, "stopped")
    kept = json.loads((up.folder / "state.json").read_text())
    assert (kept["prefect_port"], kept["mlflow_port"], kept["paused"]) == (up.prefect, up.mlflow, True)
    assert document(up.run("down", "--json"))["stopped"] == []
    assert document(up.run("up", "--mend", "--beside", "--json"))["started"] == []
    assert up.processes() == []
