"""Work pool and queues as a container's registration makes them, on a real Prefect server with a password."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.services import container, deploying
from flows.services.prefect_api import PrefectApi
from tests.flows.conftest import PROJECT
from tests.flows.servers import prefect_server

AUTH = "nocturne:a-password-of-the-test"
POOL = "/work_pools/nocturne"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectApi]:
    settings = {"PREFECT_SERVER_API_AUTH_STRING": AUTH, "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true"}
    with prefect_server(tmp_path_factory.mktemp("prefect"), **settings) as url, PrefectApi(url, auth=AUTH) as opened:
        yield opened


def registered(api: PrefectApi, secrets: Path) -> None:
    """The first step of the role ``register``, as its container would take it."""
    container.make_secrets(secrets)
    command, *_ = container.plan("register", {"NOCTURNE_SECRETS": str(secrets)}).commands
    environment = {**os.environ, "PREFECT_API_URL": api._url, "PREFECT_API_AUTH_STRING": AUTH}
    subprocess.run(command, cwd=PROJECT, env=environment, check=True, timeout=120)


def limits(api: PrefectApi) -> dict[str, int | None]:
    found = api.ask("POST", f"{POOL}/queues/filter", {})
    return {each["name"]: each["concurrency_limit"] for each in found if each["name"] in deploying.queues()}


@pytest.mark.slow
def test_a_container_makes_queues_with_limits_once_and_an_earlier_releases_pool_loses_its_own(
    api: PrefectApi, tmp_path: Path
) -> None:
    api.ask("POST", "/work_pools/", {"name": "nocturne", "type": "process", "concurrency_limit": 2})
    registered(api, tmp_path / "one")
    assert limits(api) == dict.fromkeys(deploying.queues(), deploying.RUNS_AT_ONCE)
    assert api.ask("GET", POOL)["concurrency_limit"] is None, "it would let nights that wait hold up all the others"

    api.ask("PATCH", POOL, {"concurrency_limit": 5})  # an operator's, like what follows
    api.ask("PATCH", f"{POOL}/queues/nights", {"concurrency_limit": 1})
    registered(api, tmp_path / "two")
    assert limits(api)["nights"] == 1
    assert api.ask("GET", POOL)["concurrency_limit"] == 5
