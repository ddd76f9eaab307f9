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
from flows.canary import state_of_its_own
with state_of_its_own("noise"):
    open_store()
store = open_store()
print(json.dumps({"added": sorted(set(os.environ) - before), "uri": store.tracking_uri}))
"""


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
