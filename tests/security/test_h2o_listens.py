"""H2O's two ports, tried as a stranger would: its REST API wants the password, its internal port says nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.services import processes
from tests.security import spilled
from tests.security.listeners import Witness

SEARCH = """
import sys
from pathlib import Path
from tasks.search.h2o_server import H2OServer
server = H2OServer(Path(sys.argv[1]), 1, 512)
print(server.port, server.password, flush=True)
input()
assert server.get("/3/Cloud")["cloud_healthy"]
server.close()
"""


@pytest.mark.slow
@pytest.mark.needs_java
def test_both_ports_are_on_the_loopback_and_give_a_stranger_nothing(tmp_path: Path) -> None:
    environment = {**os.environ, processes.MARK: processes.mark("worker", tmp_path)}
    command = [sys.executable, "-c", SEARCH, str(tmp_path / "h2o")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as search:
        assert search.stdout is not None
        port, password = search.stdout.readline().split()
        witness = Witness(tmp_path, {})
        witness.look()
        search.communicate("end\n", timeout=120)
    assert search.returncode == 0, "it does not answer its owner any more"
    found = {each.listener.kind: each for each in witness.found.values()}
    assert {kind: each.listener.port for kind, each in found.items()} == {
        "h2o": int(port),
        "h2o-internal": int(port) + 1,
    }
    assert [each.complaints for each in found.values()] == [(), ()]
    assert [*spilled.in_files(tmp_path, {"h2o": password}, tmp_path / "none")] == []
    assert [*spilled.in_words(witness.commands, {"h2o": password})] == []
