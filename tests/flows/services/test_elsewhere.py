"""Prefect, MLflow and the ledger on one PostgreSQL; models and stage outputs in an object store: real servers all, and
the leaderboard of SQLite and a folder.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pg8000.native
import pytest

from flows.services import processes, state
from tests.flows.conftest import QUICK, document, nocturne
from tests.object_store import BUCKET, ObjectStore, object_store
from tests.registry import postgres

pytestmark = [pytest.mark.slow, pytest.mark.needs_postgres]


@dataclass(frozen=True)
class Elsewhere:
    """A night whose services keep nothing on its machine's disk: its state folder, its document, what it used."""

    home: Path
    night: dict[str, Any]
    url: str
    store: ObjectStore

    def ask(self, database: str, question: str) -> list[Any]:
        """Rows of one of the three databases."""
        parts = urlsplit(self.url)
        with contextlib.closing(
            pg8000.native.Connection(
                parts.username or "", host="127.0.0.1", port=parts.port or 0,
                password=unquote(parts.password or ""), database=parts.path[1:] + database,
            )
        ) as connection:  # fmt: skip
            return list(connection.run(question))


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:
    home = tmp_path_factory.mktemp("elsewhere").resolve()
    with postgres.server() as database, object_store() as store, pytest.MonkeyPatch.context() as patch:
        url = database.new_database()
        settings = {
            **store.environment,
            "NOCTURNE_DATABASE_URL": url,
            "NOCTURNE_ARTIFACTS": f"s3://{BUCKET}/models",
            "NOCTURNE_STAGES_URL": f"s3://{BUCKET}/stages",
        }
        for name, value in settings.items():
            patch.setenv(name, value)
        try:
            document(nocturne(home, "up", "--beside", "--json"))
            night = document(nocturne(home, "run", "sp500-volatility", *QUICK, "--json"))
            yield Elsewhere(home, night, url, store)
        finally:
            folder = home / "services"
            processes.end([each for name in state.NAMES for each in processes.marked(name, folder)], 5)


def test_the_leaderboard_is_that_of_sqlite_and_a_folder(elsewhere: Elsewhere, quick_night: dict[str, Any]) -> None:
    assert elsewhere.night["leaderboard_sha256"] == quick_night["leaderboard_sha256"]
    assert elsewhere.night["decision"]["outcome"] == quick_night["decision"]["outcome"]


def test_run_registry_and_ledger_lie_in_postgresql(elsewhere: Elsewhere) -> None:
    assert elsewhere.ask("_prefect", "SELECT state_type FROM flow_run WHERE name = 'sp500-volatility'") == [
        ["COMPLETED"]
    ]
    assert elsewhere.ask("_mlflow", "SELECT alias, version FROM registered_model_aliases WHERE alias = 'champion'") == [
        ["champion", 1]
    ]
    assert elsewhere.ask("", "SELECT count(*) FROM nocturne.promotions")[0][0] >= 1
    kept = {path.name for path in elsewhere.home.rglob("*.db")}
    assert kept <= {"mlflow-users.db"}, "who may log in to MLflow is the one thing that stays a file"


def test_models_lie_in_the_object_store_and_are_pulled_from_it(elsewhere: Elsewhere, tmp_path: Path) -> None:
    names = elsewhere.store.names("models/")
    assert any(name.endswith("MLmodel") for name in names)
    done = nocturne(elsewhere.home, "pull", "sp500-volatility", "--to", str(tmp_path / "model"), "--json")
    assert document(done)["version"] == "1"
    assert (tmp_path / "model").is_dir()
    verified = nocturne(elsewhere.home, "verify", "sp500-volatility", "--json")
    assert json.loads(verified.stdout)["ok"], verified.stdout


def test_an_altered_model_in_the_object_store_is_refused(
    elsewhere: Elsewhere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOCTURNE_CACHE", str(tmp_path / "cache"))  # who has pulled it before has it whole
    [[source]] = elsewhere.ask("_mlflow", "SELECT storage_location FROM model_versions WHERE version = 1")
    folder = "models/" + source.partition("mlflow-artifacts:/")[2].lstrip("/")
    [name] = [each for each in elsewhere.store.names(folder) if each.endswith("model.json")][:1]
    before = elsewhere.store.read(name)
    elsewhere.store.write(name, before.replace(b"0", b"1", 1))
    try:
        done = nocturne(elsewhere.home, "pull", "sp500-volatility", "--to", str(tmp_path / "model"), "--json")
    finally:
        elsewhere.store.write(name, before)
    assert done.returncode != 0
    assert not (tmp_path / "model").exists()


def test_another_machine_finds_the_stages(
    elsewhere: Elsewhere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registry of its own, nothing on its disk: every search and refit comes from the object store."""
    monkeypatch.setenv("NOCTURNE_DATABASE_URL", "")
    there = document(nocturne(tmp_path / "there", "run", "sp500-volatility", *QUICK, "--json"))
    assert there["leaderboard_sha256"] == elsewhere.night["leaderboard_sha256"]
    assert set(there["engine_seconds"].values()) == {0.0}, "an engine has worked"
