"""``nocturne verify`` and ``nocturne keys``: what is sound is told, and what was altered is found."""

from __future__ import annotations

import json
import marshal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from tasks.errors import ConfigurationError, IntegrityError
from tasks.registry import asking, mlflow_store, nights, parity, signing
from tasks.registry.inspection import Inspection, inspect, sign_again
from tasks.registry.ledger import Ledger
from tasks.registry.records import Entry, Night, Registered
from tasks.registry.signatures import signature_of
from tasks.storage import home, read_parquet
from tests.registry.conftest import NAME, takes_its_place

_URI = f"models:/{NAME}/1"


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> signing.KeyPair:
    """A key that the house signs with and trusts."""
    made = signing.create_key(tmp_path / "keys")
    monkeypatch.setenv(signing.KEY, str(made.private))
    return made


@pytest.fixture
def champion(store: mlflow_store.Store, night: Night, entry: Entry, key: signing.KeyPair) -> Registered:
    """Registered, sealed, proved and promoted."""
    logged = nights.log_night(store, night)
    registered = nights.register(store, night, logged, entry)
    takes_its_place(store, registered, entry, night)
    return registered


def look(store: mlflow_store.Store, version: str = "") -> Inspection:
    with Ledger.open() as ledger:
        return inspect(store, ledger, NAME, version)


def states(found: Inspection) -> dict[str, str]:
    return {finding.what: finding.state for finding in found.findings}


def logged_file(pattern: str, registered: Registered) -> Path:
    """A file of the champion's folder where the registry keeps it."""
    store = mlflow_store.open_store()
    source = str(store.client.get_model_version(NAME, registered.version).source).removeprefix("models:/")
    (found,) = (home() / "mlflow").rglob(f"{source}/artifacts/{pattern}")
    return found


def test_from_promotion_to_theft(
    champion: Registered, store: mlflow_store.Store, key: signing.KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One story, since registering takes seconds: sound, then altered in every way and put back."""
    found = look(store)
    assert states(found) == dict.fromkeys(
        ("digest", "signature", "pickles", "manifest", "code", "parity", "place"), "ok"
    )
    said = {finding.what: finding.said for finding in found.findings}
    assert key.fingerprint[:16] in said["signature"]
    assert "as recorded in the ledger" in said["digest"]
    assert "ridge-0 (linear), shipped" in said["manifest"]
    assert "60 predictions from tails on 60 gate dates" in said["parity"]

    runner = CliRunner()
    done = runner.invoke(app, ["verify", NAME, "--json"])
    assert (done.exit_code, json.loads(done.stdout)["ok"]) == (0, True)
    assert runner.invoke(app, ["verify", NAME]).stdout.count("ok ") == 7

    manifest = logged_file("artifacts/bundle/manifest.json", champion)
    before = manifest.read_bytes()
    manifest.write_bytes(before.replace(b'"seed": 1', b'"seed": 2'))
    altered = look(store)
    assert states(altered) == {
        "digest": "bad", "signature": "bad", "pickles": "ok", "manifest": "none", "code": "none", "parity": "ok",
        "place": "ok",
    }  # fmt: skip
    assert runner.invoke(app, ["verify", NAME]).exit_code == 1
    with Ledger.open() as ledger, pytest.raises(IntegrityError, match="not known to be what was registered"):
        sign_again(store, ledger, NAME)
    manifest.write_bytes(before)

    intruder = manifest.parent / "weights.bin"
    intruder.write_bytes(b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.")
    assert states(look(store))["pickles"] == "bad"
    intruder.unlink()
    assert look(store).ok

    own = store.client.get_model_version(NAME, "1")
    source = str(own.source)
    store.client.create_model_version(NAME, source, tags=own.tags, model_id=source.removeprefix("models:/"))
    store.client.set_registered_model_alias(NAME, "champion", "2")
    moved = look(store)
    assert (moved.version, states(moved)["digest"], states(moved)["place"]) == ("2", "bad", "bad")
    said = {finding.what: finding.said for finding in moved.findings}
    assert "and never this one: no night registered it" in said["digest"]
    assert "champion is version 2, in the ledger 1" in said["place"]
    store.client.set_registered_model_alias(NAME, "champion", "1")
    store.client.set_registered_model_alias(NAME, "challenger", "2")
    assert [each.what for each in look(store).findings if each.state == "bad"] == ["place"]
    store.client.delete_registered_model_alias(NAME, "challenger")
    assert look(store).ok

    tags = store.client.get_model_version(NAME, "1").tags
    for tag, finding in (("model_sha256", "digest"), ("signature", "signature"), ("parity_sha256", "parity")):
        store.client.set_model_version_tag(NAME, "1", tag, "0" * 64)
        assert [each.what for each in look(store).findings if each.state == "bad"] == [finding]
        store.client.set_model_version_tag(NAME, "1", tag, tags[tag])

    monkeypatch.delenv(signing.KEY)
    unchecked = look(store)
    assert unchecked.ok
    assert states(unchecked)["signature"] == "none"
    with Ledger.open() as ledger, pytest.raises(ConfigurationError, match="no signing key"):
        sign_again(store, ledger, NAME)


def test_a_rotated_key_signs_what_was_registered_before(
    champion: Registered, store: mlflow_store.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = signing.create_key(tmp_path / "new")
    monkeypatch.setenv(signing.KEY, str(new.private))
    assert states(look(store))["signature"] == "bad", "signed by a key that is no longer trusted"
    done = CliRunner().invoke(app, ["keys", "sign", NAME, "--json"])
    assert json.loads(done.stdout)["signing_key"] == new.fingerprint
    assert look(store).ok
    assert store.client.get_model_version(NAME, "1").tags["signing_key"] == new.fingerprint
    with Ledger.open() as ledger:
        kept = signature_of(ledger, NAME, "1")
    assert kept is not None
    assert kept.signing_key == new.fingerprint


def test_ordinary_use_alters_nothing(
    champion: Registered, store: mlflow_store.Store, night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow loads from a shared disk in place, and Python leaves bytecode there."""
    bars = read_parquet(night.snapshot.bars)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    asking.predict(store, f"models:/{NAME}@champion", bars, "last")
    source = str(store.client.get_model_version(NAME, champion.version).source).removeprefix("models:/")
    (folder,) = (home() / "mlflow").rglob(f"{source}/artifacts/code")
    assert not list(folder.parent.rglob("__pycache__")), "our own command leaves nothing"
    load = f"import mlflow; mlflow.set_tracking_uri({store.tracking_uri!r}); mlflow.pyfunc.load_model({_URI!r})"
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    subprocess.run([sys.executable, "-c", load], check=True, capture_output=True, cwd=home())
    bytecode = list(folder.rglob("*.pyc"))
    assert bytecode, "or this test shows nothing"
    assert look(store).ok
    assert CliRunner().invoke(app, ["keys", "sign", NAME]).exit_code == 0
    assert look(store).ok

    for file in bytecode:  # planted: with the source's own time and size, so that Python would run it
        _replace_code(file, "raise SystemExit('planted code ran')")
    assert look(store).ok
    assert asking.predict(store, f"models:/{NAME}@champion", bars, "last")
    (said,) = parity.ask(store.tracking_uri, [_URI], night.snapshot)
    assert said.error == ""
    done = subprocess.run([sys.executable, "-c", load], capture_output=True, text=True, cwd=home(), check=False)
    assert "planted code ran" in done.stderr, "a plain client is not protected, as docs/trust.md says"


def _replace_code(bytecode: Path, source: str) -> None:
    """Other code under the same header, by which Python tells that it belongs to the source beside it."""
    header = bytecode.read_bytes()[:16]
    bytecode.write_bytes(header + marshal.dumps(compile(source, "planted", "exec")))


def test_who_is_not_there_is_said(store: mlflow_store.Store) -> None:
    with Ledger.open() as ledger:
        with pytest.raises(ConfigurationError, match=r"no registered model 'x' with a version that holds the alias"):
            inspect(store, ledger, "x")
        with pytest.raises(ConfigurationError, match="no registered model 'x' with version 7"):
            inspect(store, ledger, "x", "7")


def test_keys_are_shown_by_fingerprint_and_never_the_private_half(key: signing.KeyPair) -> None:
    done = CliRunner().invoke(app, ["keys", "show", "--json"])
    told = json.loads(done.stdout)
    assert told["signing_key"]["fingerprint"] == key.fingerprint
    assert told["trusted"] == {}
    assert "PRIVATE" not in done.stdout


def test_a_new_key_goes_where_it_is_told(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["keys", "new", "--folder", str(tmp_path / "k"), "--json"])
    told = json.loads(done.stdout)
    assert Path(told["private"]).stat().st_mode & 0o777 == 0o600
    assert Path(told["public"]).is_file()
    assert signing.configured_key() is None
