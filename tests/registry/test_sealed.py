"""What the house runs is what it sealed: the shipped model and its gated fit, or neither is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.errors import ConfigurationError, IntegrityError, RegistryError
from tasks.registry import asking, mlflow_store, nights, scoring
from tasks.registry.bundle import entry_facts
from tasks.registry.ledger import Ledger
from tasks.registry.ledger_place import ledger_path
from tasks.registry.mlflow_store import Store
from tasks.registry.promotions import standing
from tasks.registry.records import Entry, Night, Registered
from tasks.registry.sealed import checked_copies, checked_copy
from tasks.registry.signatures import fit_sealed, record_signature, signature_of
from tasks.storage import home, read_parquet
from tests.registry.conftest import NAME, made_champion
from tests.registry.servers import register

PLANTED = "raise SystemExit('planted code ran')\n"


@pytest.fixture
def champion(store: Store, night: Night, entry: Entry) -> Registered:
    """Registered by a night, with another gated fit, and believed to be verified."""
    registered = nights.register(store, night, nights.log_night(store, night), entry)
    made_champion(store, registered)
    return registered


def plant(uri: str) -> Path:
    """Alter the code of a logged model where the registry keeps it."""
    (script,) = (home() / "mlflow").rglob(f"{uri.removeprefix('models:/')}/artifacts/model.py")
    script.write_text(PLANTED + script.read_text())
    return script


def test_an_altered_fit_is_run_by_nobody(champion: Registered, store: Store, night: Night, tmp_path: Path) -> None:
    info = mlflow_store.champion(store, NAME)
    assert info is not None
    with Ledger.open() as ledger:
        assert fit_sealed(ledger, info.gated_uri.removeprefix("models:/"))
        assert signature_of(ledger, NAME, "1") is not None
        now = standing(ledger, NAME)
    assert scoring.champion_predictions(info, night.snapshot, tmp_path / "sound.parquet").rows

    plant(info.gated_uri)
    with pytest.raises(RegistryError, match=r"cannot be scored: models:/m-\w+: .* it was altered or damaged"):
        scoring.champion_predictions(info, night.snapshot, tmp_path / "altered.parquet")
    assert scoring.live_predictions(store, now, night.snapshot, tmp_path / "live")

    source = store.client.get_model_version(NAME, "1").source
    plant(str(source))
    with pytest.raises(RegistryError, match=r"the champion, version 1, cannot be scored: .* altered or damaged"):
        scoring.live_predictions(store, now, night.snapshot, tmp_path / "live")
    with pytest.raises(IntegrityError, match="altered or damaged, and was not loaded"):
        asking.predict(store, f"models:/{NAME}@champion", read_parquet(night.snapshot.bars), "last")
    store.client.set_model_version_tag(NAME, "1", "model_sha256", "0" * 64)
    with pytest.raises(IntegrityError, match="altered or damaged"):
        checked_copy(store, f"models:/{NAME}/1", tmp_path / "copy")


def test_who_is_not_sealed_though_others_are_is_not_run(
    champion: Registered, store: Store, night: Night, entry: Entry, tmp_path: Path
) -> None:
    version = register(store, night, entry.shipped, entry_facts(entry, "shipped"), NAME)
    (found,) = checked_copies(store.tracking_uri, [f"models:/{NAME}/{version}"], tmp_path / "a")
    assert isinstance(found, IntegrityError)
    assert "no night of this house registered it" in str(found)
    source = str(store.client.get_model_version(NAME, version).source)
    with pytest.raises(IntegrityError, match="never this one"):
        checked_copy(store, source, tmp_path / "b")
    store.client.set_model_version_tag(NAME, "1", "gated_uri", source)
    with pytest.raises(IntegrityError, match="never this one"):
        checked_copy(store, source, tmp_path / "c")


def test_what_is_older_than_the_first_seal_is_loaded_as_before(
    store: Store, night: Night, entry: Entry, tmp_path: Path
) -> None:
    assert register(store, night, entry.shipped, entry_facts(entry, "shipped"), NAME) == "1"
    uri, source = f"models:/{NAME}/1", str(store.client.get_model_version(NAME, "1").source)
    store.client.set_model_version_tag(NAME, "1", "gated_uri", source)
    assert checked_copy(store, uri, tmp_path / "a").is_dir()
    assert not ledger_path().exists(), "who merely loads makes no ledger"
    with Ledger.open() as ledger:
        for later in ("2", "m-2"):
            record_signature(ledger, NAME, later, "0" * 64, "", "")
    assert checked_copy(store, uri, tmp_path / "b").is_dir()
    assert checked_copy(store, source, tmp_path / "c").is_dir()
    plant(source)
    with pytest.raises(IntegrityError, match="altered or damaged"):
        checked_copy(store, uri, tmp_path / "d")


def test_what_is_no_registered_model_is_refused(store: Store, tmp_path: Path) -> None:
    for uri, words in (
        ("runs:/1/model", "not a registered model"),
        ("models:/x/1", "x has no version 1"),
        ("models:/x@champion", "no registered model 'x' that holds the alias"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            checked_copy(store, uri, tmp_path / "copy")
