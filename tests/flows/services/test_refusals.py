"""What ``up`` refuses before it starts anything, and how passwords, ports and processes are kept."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from flows import cli_services, settings
from flows.services import databases, lock, passwords, ports, processes, readiness, starting, state, stopping
from flows.services.failures import ServiceError
from flows.services.state import Service, Services
from tasks.errors import ConfigurationError, StorageError
from tasks.holder import identity
from tasks.storage import home


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that a stranger listens on."""
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        yield stranger.getsockname()[1]


def test_a_port_that_a_stranger_took_is_named_with_him(taken: int) -> None:
    assert not ports.is_free(taken)
    with pytest.raises(ConfigurationError, match=rf"port {taken} .* is taken by process {os.getpid()} .*--mlflow-port"):
        ports.choose("mlflow", taken, 0)
    with pytest.raises(ConfigurationError, match=f"port {taken}"):
        ports.choose("mlflow", 0, taken)


def test_a_usual_port_that_is_taken_is_given_up_where_nobody_knows_it(
    taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ports.USUAL, "prefect", taken)
    assert ports.choose("prefect", 0, 0) != taken


def test_a_state_folder_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("NOCTURNE_HOME", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="cannot be written: Not a directory; set NOCTURNE_HOME"):
        starting.up()


def test_a_full_disk_is_refused_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "FREE_BYTES", 2**60)
    with pytest.raises(StorageError, match=r"bytes are free on this disk, and 1,152,921,504,606,846,976 are wanted"):
        starting.up()
    assert not state.log_of("prefect").exists()


def test_two_at_a_time_are_told_apart() -> None:
    state.folder().mkdir(parents=True)
    with (
        lock.held("up"),
        pytest.raises(ConfigurationError, match=rf"'nocturne up' \(process {os.getpid()}\) is at work"),
        lock.held("down"),
    ):
        pytest.fail("both held it")
    with lock.held("down"):
        pass


def test_a_server_that_does_not_come_up_is_told_with_the_end_of_its_log() -> None:
    log = state.log_of("mlflow")
    mine = processes.mark("mlflow", state.folder())
    pid = processes.start(
        mine, [sys.executable, "-c", "print('no such table'); raise SystemExit(3)"], os.environ, log, -1
    )
    os.waitpid(pid, 0)
    service = Service(name="mlflow", pid=pid, started="1:1", since="2026-11-20T00:00:00+00:00", log=str(log))
    with pytest.raises(ServiceError, match=rf"mlflow ended while starting.*{log}:\n(.*\n)*.*no such table"):
        readiness.wait(service, Services(prefect_port=1, mlflow_port=1))


def test_what_never_ran_is_no_fault_and_stops_silently() -> None:
    assert state.read() is None
    assert state.for_commands({}) == {}


def test_a_password_is_made_once_and_a_loose_file_is_tightened() -> None:
    first = passwords.prefect()
    assert first.startswith("nocturne:")
    assert len(first) > 30
    path = passwords.folder() / "prefect"
    path.chmod(0o644)
    assert passwords.prefect() == first
    assert path.stat().st_mode & 0o777 == 0o600
    assert passwords.folder().stat().st_mode & 0o777 == 0o700
    assert passwords.mlflow() not in first


def test_a_process_is_known_by_its_start_and_not_by_its_number() -> None:
    running = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    seen = identity(running.pid)
    service = Service(name="worker", pid=running.pid, started=seen, since="", log="")
    assert seen
    assert service.alive
    assert not Service(name="worker", pid=running.pid, started=seen + "1", since="", log="").alive
    running.kill()
    assert not _waited(running.pid), "a zombie does not run"
    running.communicate()
    assert not service.alive


def _waited(pid: int) -> str:
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return identity(pid)


def test_what_a_service_started_is_found_wherever_it_went(tmp_path: Path) -> None:
    mine = processes.mark("worker", tmp_path)
    code = (
        "import subprocess, sys; "
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True)"
    )
    pid = processes.start(mine, [sys.executable, "-c", code], os.environ, tmp_path / "log", -1)
    os.waitpid(pid, 0)
    (orphan,) = processes.marked("worker", tmp_path)
    assert processes.marked("mlflow", tmp_path) == []
    assert str(tmp_path) in processes.folders()
    processes.end([orphan], 5)
    assert processes.marked("worker", tmp_path) == []


def test_a_child_with_a_clean_environment_belongs_to_its_parents_service(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys; "
        "subprocess.run([sys.executable, '-c', 'import time; print(1, flush=True); time.sleep(60)'], env={})"
    )
    mine = processes.mark("worker", tmp_path)
    pid = processes.start(mine, [sys.executable, "-c", code], os.environ, tmp_path / "log", -1)
    until = time.monotonic() + 20
    while "1\n" not in (tmp_path / "log").read_text() and time.monotonic() < until:
        time.sleep(0.05)
    both = processes.marked("worker", tmp_path)
    assert len(both) == 2
    processes.end(both, 5)
    os.waitpid(pid, 0)
    assert processes.marked("worker", tmp_path) == []


def test_a_long_log_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "LOG_BYTES", 10)
    (tmp_path / "a.log").write_text("more than ten bytes")
    os.waitpid(processes.start("x", [sys.executable, "-c", ""], os.environ, tmp_path / "a.log", -1), 0)
    assert "starting x" in (tmp_path / "a.log").read_text()
    assert (tmp_path / "a.log.1").read_text() == "more than ten bytes"


def test_one_postgresql_address_makes_three_and_is_shown_without_its_password() -> None:
    found = databases.addresses("postgresql://me:p%40ss@db.example:5433/desk")
    assert found.prefect == "postgresql+asyncpg://me:p%40ss@db.example:5433/desk_prefect"
    assert found.mlflow == "postgresql+pg8000://me:p%40ss@db.example:5433/desk_mlflow"
    assert found.shown == "postgresql://db.example:5433/desk"
    assert databases.addresses("").shown == ""
    assert databases.addresses("").mlflow == f"sqlite:///{home()}/mlflow/mlflow.db"


@pytest.mark.parametrize(
    "url", ["mysql://me@db/desk", "postgresql:///desk", "postgresql://db", 'postgresql://db/x"; DROP', "desk"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="NOCTURNE_DATABASE_URL must be postgresql://"):
        databases.addresses(url)


@pytest.mark.parametrize("rest", ["?sslmode=verify-full", "?ssl=true&x=1", "#here"])
def test_options_of_an_address_are_refused_and_not_left_out(rest: str) -> None:
    """Whoever asked for an encrypted connection must not get another one in silence."""
    with pytest.raises(ConfigurationError, match=r"takes no options after \? or #.*a tunnel") as told:
        databases.addresses(f"postgresql://me:geheim@db/desk{rest}")
    assert "geheim" not in str(told.value)


def test_prefects_database_is_closed_to_others() -> None:
    """Also one that a server made which lived for one run: the key of the blocks' secrets lies in it."""
    folder = home() / "prefect"
    folder.mkdir(parents=True, mode=0o755)
    for name in ("prefect.db", "prefect.db-wal"):
        (folder / name).touch(0o644)
    settings._make_prefects(folder)
    databases.prepare("")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_what_down_stopped_is_not_mended_and_what_died_is() -> None:
    assert not starting.meant_to_run()
    died = Service(name="prefect", pid=2**22 - 1, started="1:1", since="2026-11-20T00:00:00+00:00", log="")
    state.write(Services(prefect_port=1, mlflow_port=2, running={"prefect": died}))
    assert starting.meant_to_run()
    stopping.down()
    assert not starting.meant_to_run()


def test_moments_are_told_with_their_zone_and_what_is_planned_without_a_word(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        run = {"at": "2026-11-20T22:00:00+00:00", "deployment": "nightly-spx", "run": "x"}
        cli_services._runs(Console(), "Next", [{**run, "state": "Scheduled"}, {**run, "state": "Late"}])
    finally:
        monkeypatch.undo()
        time.tzset()
    told = capsys.readouterr().out.splitlines()
    assert told[-2:] == ["  11-20 17:00 EST  nightly-spx", "  11-20 17:00 EST  nightly-spx: Late"]


def test_a_postgresql_that_is_not_there_is_named_without_the_password() -> None:
    with pytest.raises(ConfigurationError, match=r"postgresql://127.0.0.1:1/desk cannot be used") as told:
        databases.prepare("postgresql://me:geheim@127.0.0.1:1/desk")
    assert "geheim" not in str(told.value)


def test_with_postgresql_no_command_falls_back_to_another_registry() -> None:
    passwords.keep_database("postgresql://me:geheim@db/desk")
    state.write(Services(prefect_port=1, mlflow_port=2, database="postgresql://db/desk"))
    given = state.for_commands({})
    assert given["NOCTURNE_TRACKING_URI"] == "http://127.0.0.1:2"
    assert given["NOCTURNE_LEDGER_URL"] == "postgresql://me:geheim@db/desk"
    assert "PREFECT_API_URL" not in given  # nobody listens there
    assert "NOCTURNE_TRACKING_URI" not in state.for_commands({"NOCTURNE_TRACKING_URI": "http://desk"})


def _night(seconds: float) -> int:
    """What a worker started: a process that carries its mark and is not the worker."""
    mine = processes.mark("worker", state.folder())
    code = f"import time; time.sleep({seconds})"
    return processes.start(mine, [sys.executable, "-c", code], os.environ, state.log_of("worker"), -1)


@pytest.mark.parametrize(("now", "seconds", "at_least"), [(False, 2, 1.0), (True, 60, 0.0)])
def test_down_waits_for_a_night_unless_told_not_to(now: bool, seconds: float, at_least: float) -> None:
    state.write(Services(prefect_port=1, mlflow_port=2))
    pid = _night(seconds)
    begun = time.monotonic()
    assert stopping.down(now).ended == ("worker",)
    assert at_least < time.monotonic() - begun < 30
    os.waitpid(pid, 0)
    assert processes.marked("worker", state.folder()) == []


def test_a_worker_that_is_started_again_leaves_the_nights_of_the_dead_one_alone() -> None:
    """They go on without it, and report to the server themselves."""
    services = state.write(Services(prefect_port=1, mlflow_port=2))
    pid = _night(60)
    assert not starting._runs(services, "worker")
    (night,) = processes.marked("worker", state.folder())
    processes.end([night], 5)
    os.waitpid(pid, 0)
