"""The clean process and what is compared: a foreign model may fail in any way, and none goes unnoticed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tasks.errors import RegistryError
from tasks.registry import parity
from tasks.registry.parity import Said, require_parity
from tasks.registry.verify import FORBIDDEN, MARK
from tests.registry.conftest import make_bars, snapshot_of

Floats = npt.NDArray[np.float64]
EXPECTED = np.array([np.nan, 1.0, -2.0, 0.5, 1e-9])
GATE = np.array([False, False, False, True, True])


def said(predictions: Floats, error: str = "") -> Said:
    return Said(uri="models:/m/1", predictions=predictions, error=error, seconds=0.0)


def test_the_same_predictions_pass_with_no_difference() -> None:
    assert require_parity(said(EXPECTED.copy()), EXPECTED, GATE, 1e-12) == 0.0


def test_rows_that_only_the_model_predicts_do_not_count() -> None:
    more = EXPECTED.copy()
    more[0] = 7.0
    assert require_parity(said(more), EXPECTED, GATE, 1e-12) == 0.0


def test_differences_are_relative_to_the_prediction_or_the_typical_one() -> None:
    typical = np.sqrt(np.mean(EXPECTED[1:] ** 2))
    off = EXPECTED.copy()
    off[4] += 1e-7 * typical
    assert require_parity(said(off), EXPECTED, GATE, 1e-6) == pytest.approx(1e-7, rel=1e-3)
    off = EXPECTED.copy()
    off[2] *= 1 + 2e-6
    with pytest.raises(RegistryError, match=r"differ from the evaluated ones by 2e-06 relative, 1e-06 is allowed"):
        require_parity(said(off), EXPECTED, GATE, 1e-6)


def test_a_missing_gate_row_is_refused_and_a_missing_other_row_is_not() -> None:
    lost = EXPECTED.copy()
    lost[1] = np.nan
    assert require_parity(said(lost), EXPECTED, GATE, 1e-12) == 0.0
    lost[3] = np.nan
    with pytest.raises(RegistryError, match="misses 1 that count"):
        require_parity(said(lost), EXPECTED, GATE, 1e-12)


def test_nothing_predicted_and_errors_are_refused() -> None:
    nothing = np.full(5, np.nan)
    with pytest.raises(RegistryError, match="predicts 0 evaluated rows"):
        require_parity(said(nothing), EXPECTED, np.zeros(5, dtype=bool), 1e-12)
    with pytest.raises(RegistryError, match="does not load and predict in a clean process: OSError: gone"):
        require_parity(said(nothing, "OSError: gone"), EXPECTED, GATE, 1e-12)


def fake(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clean process is this script, and its models need not be there."""
    path = tmp_path / "fake.py"
    path.write_text(script)
    monkeypatch.setattr(parity, "SCRIPT", path)
    monkeypatch.setattr(parity, "checked_copies", lambda _, uris, folder: [folder for _ in uris])


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", r"ended with -9: no word"),
        ("raise SystemExit('no such thing')", "ended with 1: no such thing"),
        ("print('hello')", "ended with 0: hello"),
        ("import time; time.sleep(60)", r"took more than 2 s"),
    ],
)
def test_a_clean_process_that_dies_or_hangs_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str
) -> None:
    fake(script, tmp_path, monkeypatch)
    monkeypatch.setattr(parity, "TIMEOUT_SECONDS", 2)
    with pytest.raises(RegistryError, match=message):
        parity.ask("sqlite://", ["models:/m/1"], snapshot_of(make_bars(sessions=30), tmp_path))


def test_the_clean_process_sees_nothing_of_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = f"""
import json, os, sys
answer = {{"uri": "m", "error": json.dumps([dict(os.environ), os.getcwd(), sys.path]), "seconds": 0}}
print({MARK!r} + json.dumps({{"models": [answer]}}))
"""
    fake(script, tmp_path, monkeypatch)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for name in ("NOCTURNE_SECRET", "AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "x")
    answer = parity.ask("sqlite://", ["m"], snapshot_of(make_bars(sessions=30), tmp_path))[0]
    environment, folder, path = json.loads(answer.error)
    assert set(environment) <= {"PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "JAVA_HOME", "NOCTURNE_JVM_MB", "LC_CTYPE",
        "MLFLOW_DISABLE_TELEMETRY"}  # fmt: skip
    assert Path(environment["HOME"]).parent == Path(folder), "the signing user's keys lie in his home"
    assert Path(folder).name.startswith("nocturne-verify-")
    assert not {str(tmp_path), "", str(Path.cwd())} & set(path)


CLEAN = """
import runpy, sys
sys.argv = ["verify.py"]
verify = runpy.run_path({script!r}, run_name="verify")
sys.meta_path.insert(0, verify["Absent"]())
sys.addaudithook(verify["forbid_pickle"])
"""


def in_clean_process(code: str) -> str:
    script = CLEAN.format(script=str(parity.SCRIPT)) + code
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_project_and_the_engines_cannot_be_imported_there() -> None:
    code = f"""
import importlib
found = []
for name in {FORBIDDEN!r}:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        continue
    found.append(name)
print(found)
"""
    assert in_clean_process(code) == "[]"


def test_a_pickle_that_would_run_code_is_stopped_there() -> None:
    code = """
import pickle
try:
    pickle.loads(b"cos\\ngetcwd\\n(tR.")
except PermissionError as error:
    print("stopped", error)
"""
    assert in_clean_process(code).startswith("stopped a promoted model must not contain a pickle")
