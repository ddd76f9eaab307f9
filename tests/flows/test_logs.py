"""A run's log: one JSON object a line, its stage and engine on it, engines' own lines in it, and no secret."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flows import cli, logs
from flows.resources import Meter, folder_mb
from tasks import masking
from tasks.errors import ConfigurationError, NocturneError, SourceUnavailableError
from tasks.search.engine_log import passed_on
from tests.flows.conftest import PROJECT

log = logging.getLogger("nocturne.trial")
SECRET = "s3cret-Val/ue"


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_record_carries_run_stage_and_engine() -> None:
    with logs.run_log("spx", "run-1") as path, logs.stage("search"):
        log.info("best %.2f", 0.5, extra={"stage": "h2o"})
        log.debug("not said")
    (line,) = _lines(path)
    assert {key: line[key] for key in ("problem", "run", "stage", "engine", "level", "logger", "message")} == {
        "problem": "spx", "run": "run-1", "stage": "search", "engine": "h2o", "level": "INFO",
        "logger": "nocturne.trial", "message": "best 0.50",
    }  # fmt: skip
    assert line["time"].endswith("+00:00")


def test_two_runs_in_one_process_keep_to_their_own_files() -> None:
    said: dict[str, Path] = {}

    def run(name: str, other: threading.Barrier) -> None:
        with logs.run_log("spx", name) as path:
            said[name] = path
            other.wait(5)
            log.info("from %s", name)
            other.wait(5)

    both = threading.Barrier(2)
    threads = [threading.Thread(target=run, args=(name, both)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name: [line["message"] for line in _lines(path)] for name, path in said.items()} == {
        "one": ["from one"], "two": ["from two"],
    }  # fmt: skip


def test_what_was_there_before_is_there_after() -> None:
    root = logging.getLogger("nocturne")
    before = (root.level, list(root.handlers))
    with logs.run_log("spx", "run-1"):
        assert list(root.handlers) != before[1]
    assert (root.level, list(root.handlers)) == before


@pytest.mark.parametrize("name", ["../x", "", "a/b", "..", "x\0y"])
def test_a_name_that_is_no_file_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot name"), logs.run_log(name, "run-1"):
        pass


def test_secrets_are_masked_in_messages_and_tracebacks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VENDOR_API_KEY", SECRET)
    monkeypatch.setenv("NOCTURNE_HOME", str(tmp_path))
    (tmp_path / "services" / "secrets").mkdir(parents=True)
    (tmp_path / "services" / "secrets" / "prefect").write_text("admin:hunter-22\n")
    masking._current.cache_clear()
    with logs.run_log("spx", "run-1") as path:
        log.info("asked with %s and hunter-22, as s3cret-Val%%2Fue too", SECRET)
        log.info("connect to postgres://joe:unheard-of@db/x")
        try:
            raise ValueError(f"refused {SECRET}")
        except ValueError:
            log.exception("the vendor")
    text = path.read_text()
    assert not any(secret in text for secret in (SECRET, "hunter-22", "unheard-of", "Val%2Fue"))
    assert "postgres://joe:***@db/x" in text
    assert "ValueError: refused ***" in text


def test_prefect_is_given_masked_records_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VENDOR_TOKEN", SECRET)
    masking._current.cache_clear()
    heard: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(self.format(record))

    listener = Listener()
    engine = logging.getLogger("prefect.trial")  # its handler is its own, as that of prefect.flow_runs is
    engine.addHandler(listener)
    try:
        with logs.run_log("spx", "run-1"):
            engine.error("asked with %s", SECRET)
        try:  # Prefect tells how a run failed when its log has ended
            raise ValueError(f"refused {SECRET}")
        except ValueError:
            engine.exception("Encountered exception")
    finally:
        engine.removeHandler(listener)
    assert heard[0] == "asked with ***"
    assert heard[1].endswith("ValueError: refused ***")
    assert SECRET not in heard[1]


def _refused(message: str) -> None:
    try:
        raise KeyError(SECRET)
    except KeyError as error:
        raise SourceUnavailableError(message) from error


def _lost() -> None:
    raise FileNotFoundError(2, "gone", f"/vendor/{SECRET}")


def test_an_error_leaves_a_task_without_secrets_and_as_what_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its type says whether another try can help; only one that keeps the secret out of reach becomes another."""
    monkeypatch.setenv("VENDOR_TOKEN", SECRET)
    masking._current.cache_clear()
    with pytest.raises(SourceUnavailableError) as refused:
        masking.at_the_edge(_refused)(f"no answer to {SECRET}")
    with pytest.raises(NocturneError) as lost:
        masking.at_the_edge(_lost)()
    for told in (refused, lost):
        assert SECRET not in "".join(traceback.format_exception(told.value))
    assert str(refused.value) == "no answer to ***"
    assert "FileNotFoundError" in str(lost.value)
    assert "/vendor/***" in str(lost.value)


@pytest.mark.parametrize("error", [ValueError("no secret"), OSError(2, "gone", "file"), KeyError(("a", 1))])
def test_an_error_without_secrets_is_left_as_it_is(error: Exception) -> None:
    words = str(error)
    assert masking.without_secrets(error) is error
    assert str(error) == words


def test_words_are_not_secrets_because_a_variable_is_short() -> None:
    assert masking.known_secrets({"MY_TOKEN": "abc", "PATH": "/usr/bin:/bin"}, Path("/nowhere")) == ()


def test_an_engines_lines_are_passed_on_while_it_runs_and_after(tmp_path: Path) -> None:
    """Python's own log whole; of a JVM's the warnings and AutoML's, although its file is deleted meanwhile."""
    log_file, jvm = tmp_path / "engine.log", tmp_path / "scratch" / "h2o" / "jvm.log"
    jvm.parent.mkdir(parents=True)
    with logs.run_log("spx", "run-1") as path, logs.stage("search"):  # noqa: SIM117 - the inner one ends earlier
        with passed_on("h2o", log_file, tmp_path / "scratch"):
            log_file.write_text("10 %\r50 %\rEpoch 1: loss 0.3\n")
            jvm.write_text("INFO water.default: noise\nWARN water.default: memory is low\nINFO AutoML build started\n")
            time.sleep(1.2)
            assert _lines(path)[0]["message"] == "Epoch 1: loss 0.3"
            jvm.unlink()
            with log_file.open("a") as stream:
                stream.write("the last words\nhalf a li")
    found = _lines(path)
    assert {line["message"] for line in found} == {
        "Epoch 1: loss 0.3", "WARN water.default: memory is low", "INFO AutoML build started", "the last words",
    }  # fmt: skip
    assert {(line["logger"], line["engine"], line["stage"]) for line in found} == {
        ("nocturne.search.h2o", "h2o", "search")
    }


def test_a_disk_that_is_full_costs_the_line_and_not_the_night() -> None:
    with logs.run_log("spx", "run-1"):
        (handler,) = (each for each in logging.getLogger("nocturne").handlers if isinstance(each, logs.RunLog))
        handler.stream.close()
        handler.stream = Path("/dev/full").open("w", buffering=1)  # noqa: SIM115 - closed by the handler
        log.info("not kept")


def test_a_log_that_cannot_be_opened_is_done_without(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "runs").write_text("a file where a folder should be")
    monkeypatch.setenv("NOCTURNE_HOME", str(tmp_path))
    with logs.run_log("spx", "run-1"):
        log.info("said to nobody")
    assert "no log of its own" in caplog.text


def test_the_command_shows_the_last_run_and_one_stage_of_it() -> None:
    for run in ("first", "second"):
        with logs.run_log("spx", run):
            log.info("hello from %s", run, extra={"stage": "features"})
            log.warning("look out", extra={"stage": "h2o"})
    shown = CliRunner().invoke(cli.app, ["logs", "spx", "--stage", "features"], catch_exceptions=False).stdout
    assert "hello from second" in shown
    assert "look out" not in shown
    whole = CliRunner().invoke(cli.app, ["logs", "spx", "--run", "fir", "--json"], catch_exceptions=False).stdout
    assert [json.loads(line)["message"] for line in whole.splitlines()] == ["hello from first", "look out"]


@pytest.mark.parametrize("arguments", [["nobody"], ["spx", "--run", "zzz"]])
def test_the_command_says_what_there_is(arguments: list[str]) -> None:
    with logs.run_log("spx", "run-1"):
        pass
    with pytest.raises(ConfigurationError, match=r"spx"):
        CliRunner().invoke(cli.app, ["logs", *arguments], catch_exceptions=False)


CHARGED = """
import json, time
from dataclasses import asdict
from flows.observed import Observed
from flows.resources import Meter

meter = Meter()
try:
    observed = Observed(meter)
    with observed.stage("idle"):
        time.sleep(1.1)
    with observed.stage("work"):
        begun, held = time.process_time(), bytearray(60_000_000)
        while time.process_time() - begun < 0.5:
            held[0] += 0
finally:
    meter.close()
used = {name: asdict(observed.resources[name]) for name in ("idle", "work")}
print(json.dumps({"used": used, "names": [name for name, *_ in observed.points()]}))
"""


def test_a_stage_is_charged_what_it_took() -> None:
    said = subprocess.run(  # a process of its own: that of the tests may shrink meanwhile by what others left in it
        [sys.executable, "-c", CHARGED], cwd=PROJECT, capture_output=True, text=True, check=True, timeout=120
    )
    found = json.loads(said.stdout.splitlines()[-1])
    idle, work, names = found["used"]["idle"], found["used"]["work"], set(found["names"])
    assert idle["cpu_seconds"] < 0.3 < 0.45 < work["cpu_seconds"] < 1.5
    assert work["peak_mb"] > idle["peak_mb"] + 40
    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"} <= names
    assert {"stage/work/cpu_seconds", "stage/work/peak_mb"} <= names


def test_looking_costs_less_than_a_hundredth() -> None:
    meter = Meter()
    time.sleep(3.2)
    meter.close()
    assert meter.cost < 0.01 * 3.2 * 3  # a machine that is busy with other tests is given thrice as much


def test_a_folder_is_measured_and_a_link_out_of_it_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_bytes(bytes(1_500_000))
    (tmp_path / "out").symlink_to("/usr")
    assert folder_mb(tmp_path) == pytest.approx(1.5)
    assert folder_mb(tmp_path / "nothing") == 0.0
