"""Without ``nocturne up`` a run brings a Prefect server of its own, which answers nobody without its password."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RUN = """
import json
from flows import settings
settings.apply()
import httpx
from prefect.client.orchestration import get_client
with get_client(sync_client=True) as client:
    url = str(client.api_url).rstrip("/")
    client.read_flows(limit=1)
    paths = ("/admin/settings", "/version", "/csrf-token?client=a")
    asked = {path: httpx.get(url + path).status_code for path in paths}
    asked |= {path: httpx.post(url + path, json={}).status_code for path in ("/flow_runs/filter", "/logs/filter")}
    guess = httpx.post(url + "/flow_runs/filter", json={}, auth=("nocturne", "guess")).status_code
    print(json.dumps({"url": url, "asked": asked, "guess": guess}))
"""


@pytest.mark.slow
def test_it_is_on_the_loopback_and_knows_only_its_own_run(tmp_path: Path) -> None:
    left_out = ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING")
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    environment["NOCTURNE_HOME"] = str(tmp_path)
    done = subprocess.run([sys.executable, "-c", RUN], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["url"].startswith("http://127.0.0.1:")
    assert set(found["asked"].values()) == {401}
    assert found["guess"] == 401
