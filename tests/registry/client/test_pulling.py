"""What is pulled is whole and is what was registered, or it is refused before anything of it is parsed."""

from __future__ import annotations

import json
import pickle
import threading
import traceback
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tasks.errors import ConfigurationError, IntegrityError, StorageError
from tasks.registry import signing
from tasks.registry.client import cli, pulling
from tasks.registry.client.cache import Cache
from tasks.registry.client.loading import Loaded
from tasks.registry.client.pulling import pull
from tasks.registry.client.records import MODEL, VERSION
from tasks.registry.client.signature import verify
from tasks.registry.client.sources import RegistryAwayError, open_source, within, without_passwords
from tasks.registry.serving import pickles
from tasks.registry.serving.folder import folder_digest
from tests.registry.client.conftest import BUNDLE, Shelf, variant
from tests.registry.conftest import NAME

WORD = "-".join(("pass", "word"))  # not as it stands here: tracebacks show these lines too


@pytest.fixture
def one(shelf: Shelf) -> Shelf:
    """A shelf whose version 1 is champion."""
    shelf.point(champion=shelf.put())
    shelf.tag(epoch="7")
    return shelf


def uri(shelf: Shelf) -> str:
    return shelf.store.tracking_uri


def test_a_version_lands_in_the_cache_whole_and_is_not_fetched_twice(one: Shelf, tmp_path: Path) -> None:
    pulled = pull(NAME, tracking_uri=uri(one))
    assert pulled.folder == tmp_path / "cache" / NAME / f"1-{folder_digest(one.sources['1'])[:12]}"
    assert folder_digest(pulled.model) == pulled.version.model_sha256
    assert (pulled.version.alias, pulled.version.epoch, pulled.signed) == ("champion", 7, False)
    one.sources["1"].rename(tmp_path / "gone")
    assert pull(NAME, tracking_uri=uri(one), version="1").folder == pulled.folder


def test_a_pulled_folder_is_a_registry_of_one_version(one: Shelf, tmp_path: Path) -> None:
    pulled = pull(NAME, tracking_uri=uri(one), to=tmp_path / "usb" / "model")
    record = json.loads((tmp_path / "usb" / "model" / VERSION).read_bytes())
    assert (record["name"], record["version"], record["alias"], record["epoch"]) == (NAME, "1", "champion", 7)
    assert record["pulled_at"].endswith("+00:00")
    again = pull(NAME, tracking_uri=str(pulled.folder), cache=tmp_path / "elsewhere")
    assert folder_digest(again.model) == record["model_sha256"]
    with pytest.raises(ConfigurationError, match=f"holds the model '{NAME}', not 'other'"):
        pull("other", tracking_uri=str(pulled.folder))
    with pytest.raises(ConfigurationError, match=r"holds version 1 of .*, not 2"):
        pull(NAME, version="2", tracking_uri=str(pulled.folder))
    with pytest.raises(ConfigurationError, match="no alias 'challenger'"):
        pull(NAME, alias="challenger", tracking_uri=str(pulled.folder))


def test_an_exported_folder_is_replaced_and_nothing_else_is(one: Shelf, tmp_path: Path) -> None:
    pull(NAME, tracking_uri=uri(one), to=tmp_path / "out")
    one.point(champion=one.put(-0.5))
    pull(NAME, tracking_uri=uri(one), to=tmp_path / "out")
    assert json.loads((tmp_path / "out" / VERSION).read_bytes())["version"] == "2"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(StorageError, match="something else there already"):
        pull(NAME, tracking_uri=uri(one), to=tmp_path / "mine")
    assert not list(tmp_path.glob(".*")), "no scratch folder is left"


@pytest.mark.parametrize("hit", ["MLmodel", "model.py", "artifacts/bundle/manifest.json", "input_example.json"])
def test_an_altered_file_is_refused_before_anything_is_parsed(
    one: Shelf, monkeypatch: pytest.MonkeyPatch, hit: str
) -> None:
    path = one.sources["1"] / hit
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)

    def parsed(*_: object) -> None:
        raise AssertionError("it was parsed")

    monkeypatch.setattr(pulling, "read_document", parsed)
    monkeypatch.setattr(pickles, "scan", parsed)
    with pytest.raises(IntegrityError, match=r"was altered or damaged, and was not opened"):
        pull(NAME, tracking_uri=uri(one))
    assert not list(Cache().folder.rglob(VERSION)), "nothing of it is kept"


def test_a_file_more_or_less_is_refused(one: Shelf) -> None:
    (one.sources["1"] / "code" / "sitecustomize.py").write_text("print('hello')")
    with pytest.raises(IntegrityError, match="was altered"):
        pull(NAME, tracking_uri=uri(one))


def test_bytecode_that_someone_left_in_the_store_is_neither_counted_nor_kept(one: Shelf) -> None:
    package = next((one.sources["1"] / "code").iterdir())
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "errors.cpython-311.pyc").write_bytes(b"x")
    assert not list(pull(NAME, tracking_uri=uri(one)).folder.rglob("__pycache__"))


def test_a_damaged_copy_in_the_cache_is_pulled_again(one: Shelf, caplog: pytest.LogCaptureFixture) -> None:
    pulled = pull(NAME, tracking_uri=uri(one))
    (pulled.model / BUNDLE / "model" / "model.json").write_text("{}")
    assert folder_digest(pull(NAME, tracking_uri=uri(one)).model) == pulled.version.model_sha256
    assert "damaged and is pulled again" in caplog.text
    assert not list(pulled.folder.parent.glob(".*")), "the damaged copy is gone"


def test_a_version_without_a_recorded_digest_is_refused_with_what_to_do(one: Shelf) -> None:
    version = one.put(model_sha256="")
    with pytest.raises(IntegrityError, match=r"registered before models were sealed.*Use a newer version"):
        pull(NAME, version=version, tracking_uri=uri(one))


def test_a_model_registered_under_another_name_is_refused(one: Shelf, tmp_path: Path) -> None:
    path = variant(one.logged, tmp_path / "foreign", name="someone-elses")
    with pytest.raises(IntegrityError, match="says that it is 'someone-elses'"):
        pull(NAME, version=one.register(path), tracking_uri=uri(one))


def test_a_pickle_anywhere_is_refused(one: Shelf) -> None:
    def hide(model: Path) -> None:
        (model / "weights.bin").write_bytes(pickle.dumps(threading.Event))

    version = one.put(edit=hide)
    with pytest.raises(IntegrityError, match=r"weights\.bin.*pickle"):
        pull(NAME, version=version, tracking_uri=uri(one))


@pytest.mark.parametrize("version", ["../1", "", "1e3", "-1", "9" * 30])
def test_a_version_that_is_no_number_is_never_a_path(one: Shelf, tmp_path: Path, version: str) -> None:
    folder = pull(NAME, tracking_uri=uri(one), to=tmp_path / "out").folder
    record = json.loads((folder / VERSION).read_bytes())
    (folder / VERSION).write_text(json.dumps(record | {"version": version}))
    with pytest.raises(IntegrityError, match="is not a version number"):
        pull(NAME, tracking_uri=str(folder))


@pytest.mark.parametrize("name", ["../x", "/etc", "", ".hidden", "a/b", "a\0b", "x" * 201])
def test_hostile_names_are_refused(one: Shelf, name: str) -> None:
    with pytest.raises(ConfigurationError, match="no registered model's name"):
        pull(name, tracking_uri=uri(one))


def test_unknown_names_aliases_and_versions_say_what_there_is(one: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="no registered model 'nothing'"):
        pull("nothing", tracking_uri=uri(one))
    with pytest.raises(ConfigurationError, match=r"no alias 'fallback'; there are: champion \(version 1\)"):
        pull(NAME, alias="fallback", tracking_uri=uri(one))
    with pytest.raises(ConfigurationError, match="no version 9"):
        pull(NAME, version="9", tracking_uri=uri(one))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # MLflow puts it there
    with pytest.raises(ConfigurationError, match="where is the registry"):
        pull(NAME)


def test_a_registry_that_is_away_is_said_at_once_and_without_its_password() -> None:
    with pytest.raises(RegistryAwayError, match=r"http://127\.0\.0\.1:9/x: nobody answers") as caught:
        pull(NAME, tracking_uri="http://me:secret@127.0.0.1:9/x")
    assert "secret" not in str(caught.value)
    assert "secret" not in open_source("http://me:secret@127.0.0.1:9/x").shown


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://me:secret@host:5000/x", "http://host:5000/x"),
        ("http://me:sec/ret@host:5000/x", "http://host:5000/x"),
        ("http://me:sec@ret@host/x", "http://host/x"),
        ("postgresql://me:secret@db/mlflow?password=secret&sslmode=require", "postgresql://db/mlflow"),
        ("https://host/x?token=secret#secret", "https://host/x"),
        ("sqlite:////home/me/mlflow.db", "sqlite:////home/me/mlflow.db"),
    ],
)
def test_no_part_of_a_password_is_shown(uri: str, shown: str) -> None:
    assert open_source(uri).shown == shown


def test_what_a_foreign_message_says_of_addresses_holds_no_password() -> None:
    uri = "http://me:s3cr%2Ft@host/x?token=hidden"
    text = f"redirected from {uri} to 'https://you:0th3r@far/y?sig=abc': login s3cr/t, hidden; see https://mlflow.org/x"
    said = without_passwords(text, uri)
    assert said == "redirected from http://host/x to 'https://far/y': login …, …; see https://mlflow.org/x"


def test_a_registry_that_redirects_for_ever_is_said_without_its_password() -> None:
    class Away(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", f"http://me:{WORD}@127.0.0.1:{port}/login?token={WORD}")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Away) as server:
        port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        with pytest.raises(RegistryAwayError) as caught:
            pull(NAME, tracking_uri=f"http://me:{WORD}@127.0.0.1:{port}")
        server.shutdown()
        thread.join()
    shown = "".join(traceback.format_exception(caught.value))
    assert WORD not in shown


def test_a_password_with_a_slash_is_told_how_to_be_written() -> None:
    with pytest.raises(ConfigurationError, match="written as %2F") as caught:
        pull(NAME, tracking_uri=f"http://me:{WORD}/{WORD}@127.0.0.1:9/x")
    assert WORD not in "".join(traceback.format_exception(caught.value))


def test_an_answer_that_comes_too_late_is_no_answer() -> None:
    with pytest.raises(RegistryAwayError, match=r"no answer in 0\.05 s"):
        within(0.05, threading.Event().wait)
    assert within(5, lambda: 3) == 3


def test_with_trusted_keys_only_what_they_signed_is_taken(one: Shelf, tmp_path: Path) -> None:
    keys = {name: signing.create_key(tmp_path / name) for name in ("mine", "theirs")}
    with pytest.raises(IntegrityError, match="not signed, and trusted keys are configured"):
        pull(NAME, tracking_uri=uri(one), trusted_keys=keys["mine"].public)
    path = variant(one.logged, tmp_path / "signed", -0.5)
    sealed = signing.sign(path, keys["mine"].private)
    version = one.register(path, signature=sealed)
    pulled = pull(NAME, version=version, tracking_uri=uri(one), trusted_keys=keys["mine"].public)
    assert pulled.signed_by == keys["mine"].fingerprint
    one.store.client.set_model_version_tag(NAME, version, "signing_key", "0" * 64)
    again = pull(NAME, version=version, tracking_uri=uri(one), trusted_keys=keys["mine"].public)
    assert keys["mine"].fingerprint[:12] in cli.told(again)["signature"], "the key that was verified, not a tag"
    with pytest.raises(IntegrityError, match="changed while they were checked"):
        verify(pulled.model, sealed, {keys["mine"].fingerprint: keys["mine"].public.read_bytes()}, {"MLmodel": "0"})
    with pytest.raises(IntegrityError, match="not trusted"):
        pull(NAME, version=version, tracking_uri=uri(one), trusted_keys=keys["theirs"].public)
    # Whoever holds the registry can change model and digest, but has no key.
    (path / "model.py").write_text("import os")
    one.store.client.set_model_version_tag(NAME, version, "model_sha256", folder_digest(path))
    with pytest.raises(IntegrityError, match="the model is not what was signed"):
        pull(NAME, version=version, tracking_uri=uri(one), trusted_keys=keys["mine"].public)


def test_without_trusted_keys_that_is_said_once(one: Shelf, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        pull(NAME, tracking_uri=uri(one))
    assert caplog.text.count("signatures are not") == 1


def test_each_of_eight_threads_gets_one_whole_version_while_the_alias_moves_back_and_forth(one: Shelf) -> None:
    one.put(-0.5)
    got: list[tuple[str, str]] = []
    wrong: list[Exception] = []

    def consume() -> None:
        for _ in range(6):
            try:
                pulled = pull(NAME, tracking_uri=uri(one))
                got.append((pulled.version.version, str(Loaded(pulled).manifest.files)))
            except Exception as error:  # noqa: BLE001 - reported below
                wrong.append(error)

    threads = [threading.Thread(target=consume) for _ in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        for version in ("2", "1"):
            one.point(champion=version)
    assert wrong == []
    assert len(got) == 48
    assert len(set(got)) == len({version for version, _ in got}), "a version's files are always the same"


def test_a_cache_that_cannot_be_written_names_the_variable(one: Shelf, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="set NOCTURNE_CACHE to a writable folder"):
        pull(NAME, tracking_uri=uri(one), cache=tmp_path / "file")


def test_what_a_killed_process_left_in_the_cache_is_cleared(one: Shelf) -> None:
    import os  # noqa: PLC0415

    home = Cache().folder / NAME
    for name, age in ((".pull-old", 2 * 86_400), (".pull-new", 60)):
        (home / name / MODEL).mkdir(parents=True)
        when = (home / name).stat().st_mtime - age
        os.utime(home / name, (when, when))
    pull(NAME, tracking_uri=uri(one))
    assert [path.name for path in home.glob(".pull-*")] == [".pull-new"]
