"""Keys, seals and signatures: what was signed is accepted, and nothing else."""

from __future__ import annotations

import base64
import builtins
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import ConfigurationError, IntegrityError
from tasks.registry import mlflow_store, model_log, signing
from tasks.registry.bundle import entry_facts
from tasks.registry.client.signature import TRUSTED, read_trusted, signer_of, verify
from tasks.registry.records import Entry, Night
from tasks.registry.serving.folder import folder_digest
from tasks.registry.signing import KEY, PASSWORD, KeyPair, create_key, seal, seal_folder, sign
from tasks.storage import PROJECT, home
from tests.registry import flips
from tests.registry.flips import Counts


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return create_key(tmp_path_factory.mktemp("keys"))


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (KEY, PASSWORD, TRUSTED):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small folder like a model's."""
    model = tmp_path / "model"
    files = {
        "MLmodel": "flavors: {}\n",
        "model.py": "x = 1\n",
        "code/package/a.py": "",
        "artifacts/bundle/m.json": "{}",
    }
    for name, text in files.items():
        (model / name).parent.mkdir(parents=True, exist_ok=True)
        (model / name).write_text(text)
    return model


def test_a_new_key_is_private_and_apart(tmp_path: Path) -> None:
    made = create_key(tmp_path / "keys" / "2026")
    assert made.private.stat().st_mode & 0o777 == 0o600
    assert made.private.parent.stat().st_mode & 0o777 == 0o700
    assert read_trusted(made.public.parent) == {made.fingerprint: made.public.read_bytes()}
    assert b"PRIVATE" not in made.public.read_bytes()
    with pytest.raises(ConfigurationError, match="there is a key already"):
        create_key(tmp_path / "keys" / "2026")


def test_no_private_key_in_the_project_or_its_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in (home() / "keys", PROJECT / "keys", home() / "mlflow" / "artifacts"):
        with pytest.raises(ConfigurationError, match="must not lie below"):
            create_key(place)
        assert not place.exists()
        monkeypatch.setenv(KEY, str(place / "private.pem"))
        with pytest.raises(ConfigurationError, match="must not lie below"):
            signing.configured_key()
    beside = tmp_path / "elsewhere"
    for uri, place in (
        (f"sqlite:///{beside}/mlflow.db", beside / "artifacts" / "keys"),
        (f"sqlite:///{beside}/mlflow.db?timeout=5", beside / "mlruns" / "keys"),
        (f"file://{beside}/with%20space", beside / "with space"),
        (str(beside / "runs"), beside / "runs" / "1"),
    ):
        monkeypatch.setenv("NOCTURNE_TRACKING_URI", uri)
        with pytest.raises(ConfigurationError, match="must not lie below"):
            create_key(place)
    for uri in ("https://user:secret@mlflow.example/store", f"sqlite:///{beside}/mlflow.db"):
        monkeypatch.setenv("NOCTURNE_TRACKING_URI", uri)
        signing.require_apart(beside / "keys")
    (tmp_path / "link").symlink_to(PROJECT)
    with pytest.raises(ConfigurationError, match="must not lie below"):
        create_key(tmp_path / "link" / "keys")


def test_a_key_that_cannot_be_used_is_named(tmp_path: Path, folder: Path, pair: KeyPair) -> None:
    loose = tmp_path / "loose.pem"
    shutil.copy(pair.private, loose)
    loose.chmod(0o640)
    with pytest.raises(ConfigurationError, match=r"mode 640\): chmod 600"):
        sign(folder, loose)
    with pytest.raises(ConfigurationError, match="not a private key"):
        sign(folder, pair.public)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        sign(folder, tmp_path / "none.pem")
    locked = create_key(tmp_path / "locked", "secret")
    with pytest.raises(ConfigurationError, match=PASSWORD):
        sign(folder, locked.private, "wrong")
    assert verify(folder, sign(folder, locked.private, "secret"), read_trusted(locked.public)) == locked.fingerprint


def test_what_was_signed_is_accepted_wherever_it_lies(tmp_path: Path, folder: Path, pair: KeyPair) -> None:
    signature, trusted = sign(folder, pair.private), read_trusted(pair.public)
    assert signer_of(signature) == pair.fingerprint
    moved = shutil.copytree(folder, tmp_path / "another" / "place")
    (moved / "registered_model_meta").write_text("model_name: x\n")
    assert verify(moved, signature, trusted) == pair.fingerprint


def test_nothing_else_is_accepted(tmp_path: Path, pair: KeyPair, folder: Path) -> None:
    """Every byte of a tiny folder, and everything that is not a byte, by the signature alone."""
    signature, trusted = sign(folder, pair.private), read_trusted(pair.public)
    counts = Counts()
    flips.flip(counts, folder, lambda _: verify(folder, signature, trusted), "one byte", lambda _: 5)
    flips.restructure(counts, folder, lambda: verify(folder, signature, trusted))
    assert counts.missed == []
    assert sum(counts.tried.values()) > 40
    verify(folder, signature, trusted)


def test_no_byte_of_a_real_folder_passes_the_digest(tmp_path: Path, store: mlflow_store.Store) -> None:
    """A sample; ``python -m tests.registry.flips`` tries all of them."""
    folder = flips.logged_folder(tmp_path)
    counts, whole = Counts(), flips.by_digest(folder)
    flips.flip(
        counts, folder, flips.by_file(folder), "one byte of a file", lambda file: 2 + 38 * (file.suffix == ".py")
    )
    flips.flip(counts, folder, lambda _: whole(), "one byte", lambda _: 4001)
    assert counts.missed == []
    assert counts.tried["one byte of a file"] > 5_000
    whole()


def test_another_or_no_signature_is_refused(tmp_path: Path, folder: Path, pair: KeyPair) -> None:
    other = create_key(tmp_path / "other")
    signature, trusted = sign(folder, pair.private), read_trusted(pair.public)
    with pytest.raises(IntegrityError, match=rf"signed by key {other.fingerprint[:12]}…, which is not trusted"):
        verify(folder, sign(folder, other.private), trusted)
    with pytest.raises(IntegrityError, match="not signed"):
        verify(folder, "", trusted)
    named_otherwise = sign(folder, other.private).replace(other.fingerprint, pair.fingerprint)
    with pytest.raises(IntegrityError, match="not what was signed"):
        verify(folder, named_otherwise, trusted)
    for text in (
        "{}",
        "[]",
        "null",
        "nonsense",
        '{"verificationMaterial": {"publicKey": {"hint": "zz"}}}',
        "[" * 100_000,
    ):
        with pytest.raises(IntegrityError, match="not a signature of a model"):
            verify(folder, text, trusted)
    document = json.loads(signature)
    document["dsseEnvelope"]["signatures"] = []
    with pytest.raises(IntegrityError, match="not what was signed"):
        verify(folder, json.dumps(document), trusted)


def test_a_signature_altered_in_a_byte_is_refused_or_the_same(folder: Path, pair: KeyPair) -> None:
    """JSON has bytes that mean nothing; where a change is accepted, payload and signature are what they were."""
    signature, trusted = sign(folder, pair.private), read_trusted(pair.public)
    accepted = []
    for place in range(0, len(signature), 7):
        text = signature[:place] + chr(ord(signature[place]) ^ 1) + signature[place + 1 :]
        try:
            verify(folder, text, trusted)
        except IntegrityError:
            continue
        accepted.append(text)
    assert all(_payload(text) == _payload(signature) for text in accepted)
    assert len(accepted) < len(signature) / 7 / 20


def _payload(signature: str) -> list[bytes]:
    envelope: dict[str, Any] = json.loads(signature)["dsseEnvelope"]
    return [base64.b64decode(envelope["payload"]), base64.b64decode(envelope["signatures"][0]["sig"])]


def test_a_signature_of_one_folder_is_none_of_another(tmp_path: Path, folder: Path, pair: KeyPair) -> None:
    newer = shutil.copytree(folder, tmp_path / "newer")
    (newer / "model.py").write_text("x = 2\n")
    with pytest.raises(IntegrityError, match="not what was signed"):
        verify(newer, sign(folder, pair.private), read_trusted(pair.public))


def test_several_keys_are_trusted_while_one_follows_the_other(tmp_path: Path, folder: Path, pair: KeyPair) -> None:
    new = create_key(tmp_path / "new")
    both = tmp_path / "trusted"
    both.mkdir()
    (both / "keys.pem").write_bytes(b"# the old one\n" + pair.public.read_bytes() + b"\n" + new.public.read_bytes())
    trusted = read_trusted(both)
    assert set(trusted) == {pair.fingerprint, new.fingerprint}
    for key in (pair, new):
        assert verify(folder, sign(folder, key.private), trusted) == key.fingerprint


def test_trusted_keys_that_cannot_be_are_refused(
    tmp_path: Path, pair: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_trusted() == {}
    monkeypatch.setenv(TRUSTED, str(tmp_path / "none.pem"))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_trusted()
    with pytest.raises(ConfigurationError, match="holds a private key"):
        read_trusted(pair.private)
    with pytest.raises(ConfigurationError, match="holds no public key"):
        read_trusted(tmp_path)
    rewrapped = pair.public.read_bytes().split(b"-----")
    one_line = b"-----".join([*rewrapped[:2], b"\n" + rewrapped[2].replace(b"\n", b"") + b"\n", *rewrapped[3:]])
    (tmp_path / "one_line.pem").write_bytes(one_line)
    assert set(read_trusted(tmp_path / "one_line.pem")) == {pair.fingerprint}, "an editor rewrapped it"


def test_without_the_library_the_extra_is_named(folder: Path, pair: KeyPair, monkeypatch: pytest.MonkeyPatch) -> None:
    signature, real = sign(folder, pair.private), builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("model_signing"):
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigurationError, match="the extra 'signing'"):
        verify(folder, signature, read_trusted(pair.public))
    with pytest.raises(ConfigurationError, match="the extra 'signing'"):
        sign(folder, pair.private)


def test_verifying_parses_and_imports_nothing_of_the_folder(folder: Path, pair: KeyPair) -> None:
    """Files are opened to be hashed, and nothing is compiled or executed that lies in the folder."""
    (folder / "sitecustomize.py").write_text("raise SystemExit('ran')\n")
    signature = sign(folder, pair.private)
    (folder.parent / "signature.json").write_text(signature)
    code = f"""
import sys
from pathlib import Path
from tasks.registry.client.signature import read_trusted, verify
import model_signing.verifying
folder = Path({str(folder)!r})
seen = []
def watch(event, arguments):
    if event in ("compile", "exec", "import") and str(folder) in repr(arguments):
        seen.append((event, arguments))
sys.addaudithook(watch)
verify(folder, Path({str(folder.parent / "signature.json")!r}).read_text(), read_trusted({str(pair.public)!r}))
print(len(seen))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0"]


def test_a_seal_is_the_folders_digest_and_signature(
    store: mlflow_store.Store,
    night: Night,
    entry: Entry,
    pair: KeyPair,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    run = mlflow_store.new_run(store, mlflow_store.experiment(store, "x"), "run", {})
    uri = model_log.log_model(run, "model", night, entry.shipped, entry_facts(entry, "shipped"))
    plain = seal(store, uri)
    assert (plain.signature, plain.signing_key) == ("", "")
    monkeypatch.setenv(KEY, str(pair.private))
    made = seal(store, uri)
    assert made.signing_key == pair.fingerprint
    version = mlflow_store.create_version(
        store, "x", source=uri, run_id=run, tags={"signature": made.signature}, description=""
    )
    (pulled := tmp_path / "pulled").mkdir()
    folder = mlflow_store.fetch(store, f"models:/x/{version}", pulled)
    assert folder_digest(folder) == made.model_sha256 == plain.model_sha256
    kept = store.client.get_model_version("x", version).tags["signature"]
    assert verify(folder, kept, read_trusted(pair.public)) == pair.fingerprint


def test_a_folder_with_a_pickle_gets_no_seal(folder: Path) -> None:
    (folder / "artifacts" / "python_model.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(IntegrityError, match=r"python_model\.pkl: .*pickle"):
        seal_folder(folder)
    (folder / "artifacts" / "python_model.pkl").unlink()
    assert seal_folder(folder).model_sha256 == folder_digest(folder)
