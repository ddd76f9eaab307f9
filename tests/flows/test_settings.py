"""What stands in the environment before a night's threads start."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

NIGHT = """
import json, os, threading
from flows import settings
settings.apply()
before = set(os.environ)
from prefect import flow
import pandera.pandas
from tasks.registry.mlflow_store import open_store
from flows.apart import apart
from flows.canary import place
with apart(place("noise")):
    open_store()
store = open_store()
print(json.dumps({"added": sorted(set(os.environ) - before), "uri": store.tracking_uri}))
"""


LIMITS = """
import json, os
from flows import settings
settings.apply()
print(json.dumps({name: value for name, value in os.environ.items() if name.startswith("MLFLOW_HTTP")}))
"""


def test_a_tracking_server_that_hangs_is_given_up_within_minutes_unless_the_operator_wants_else(tmp_path: Path) -> None:
    timeout, retries = "MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
    environment = {"PATH": "/usr/bin:/bin", "NOCTURNE_HOME": str(tmp_path), timeout: "7"}
    done = subprocess.run([sys.executable, "-c", LIMITS], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {timeout: "7", retries: "5"}


def test_no_library_adds_a_variable_while_threads_read_the_environment(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", NIGHT],
        env={"PATH": "/usr/bin:/bin", "NOCTURNE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == {"added": [], "uri": f"sqlite:///{tmp_path}/mlflow/mlflow.db"}
