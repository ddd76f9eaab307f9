"""The search for pickles: every protocol, wherever it lies, and nothing that is none."""

from __future__ import annotations

import bz2
import collections
import gzip
import io
import json
import lzma
import os
import pickle
import pickletools
import struct
import tarfile
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks.errors import IntegrityError
from tasks.registry.serving import pickles
from tasks.registry.serving.pickles import forbid_pickles, pickle_in, scan, scan_bytes
from tests.registry.conftest import Mojos

PROJECT = Path(__file__).resolve().parents[3]
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


class Runs:
    """What an attacker writes: unpickling it calls a function."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("true",)


class Built:
    """Is unpickled through NEWOBJ and BUILD."""

    def __init__(self) -> None:
        self.value = 1.0


OBJECTS = {
    "a call": Runs(),
    "a call in a container": [1, {"x": (Runs(), None)}],
    "an array": np.arange(3.0),
    "an instance": Built(),
    "an ordered dictionary": collections.OrderedDict(a=1),
    "a type": collections.Counter,
}
PLAIN = {"a dictionary": {"weights": [1.0, 2.0], "name": "x"}, "a list": [1, None, True, "y"], "a text": "abc"}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", [*OBJECTS, *PLAIN])
def test_a_file_that_is_a_pickle_is_found(name: str, protocol: int) -> None:
    data = pickle.dumps((OBJECTS | PLAIN)[name], protocol)
    assert pickle_in(data)
    assert pickle_in(pickletools.optimize(data))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", ["a call", "a call in a container", "an array", "an instance"])
def test_a_pickle_in_the_midst_of_other_bytes_is_found(name: str, protocol: int) -> None:
    data = pickle.dumps(OBJECTS[name], protocol)
    noise = np.random.default_rng(1).bytes(5_000)
    for before in (noise, b"text, and more of it\n", b"\0" * 64):
        assert pickle_in(before + data + noise), before[:5]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_pickle_whose_end_is_missing_is_found(protocol: int) -> None:
    """Its code has run before a reader meets the end, or bytes that mean nothing."""
    data = pickle.dumps(Runs(), protocol)
    call = data.rindex(b"R") + 1
    assert pickle_in(data[:call])
    assert pickle_in(data[:call] + b"\xff\xfe not an opcode")


HAND_MADE = {
    "GLOBAL and REDUCE": b"cos\nsystem\n(S'true'\ntR.",
    "GLOBAL alone": b"cos\nsystem\n.",
    "INST": b"(S'true'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nS'true'\no.",
    "BUILD": b"cos\nenviron\n}b.",
    "a header that lies": b"\x80\x00cos\nsystem\n(S'true'\ntR.",
    "STACK_GLOBAL without a header": b"\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
    "STACK_GLOBAL of old strings": b"X\x02\0\0\0osX\x06\0\0\0system\x93U\x04true\x85R.",
    "STACK_GLOBAL of lines": b"Vos\nVsystem\n\x93Vtrue\n\x85R.",
    "STACK_GLOBAL of escaped lines": b"V\\u006fs\nVsystem\n\x93Vtrue\n\x85R.",
    "STACK_GLOBAL of quoted lines": b"S'os'\nS'system'\n\x93S'true'\n\x85R.",
    "STACK_GLOBAL through the memo": b"\x80\x04\x8c\x02os\x940\x8c\x06system\x940\x8c\x03a b0h\x00h\x01\x93)R.",
    "a long argument": b"cbuiltins\nexec\n(V" + b"x" * 300_000 + b"\ntR.",
}


@pytest.mark.parametrize("data", HAND_MADE.values(), ids=HAND_MADE)
def test_pickles_made_by_hand_are_found(data: bytes) -> None:
    assert pickle_in(data)
    if b"GLOBAL" in data or data.endswith(b"R."):
        assert pickle_in(b"\x01\x02\x03 \n" + data)


JUNK = {"pairs": b"N0", "numbers": b"K\x010", "marks": b"(1"}
EVASIONS = {
    "REDUCE": (b"cos\nsystem\n", b"(S'true'\nt", b"R"),
    "REDUCE of what is fetched": (b"cos\nsystem\n", b"(S'true'\ntp1\n0g1\n", b"R"),
    "STACK_GLOBAL": (b"\x8c\x02os\x8c\x06system\x93", b"\x8c\x04true\x85", b"R"),
    "words apart": (b"\x8c\x02os", b"\x8c\x06system\x93\x8c\x04true\x85", b"R"),
    "NEWOBJ": (b"cos\nsystem\n", b")", b"\x81"),
    "BUILD": (b"cos\nenviron\n", b"}", b"b"),
    "OBJ": (b"(cos\nsystem\n", b"S'true'\n", b"o"),
    "INST": (b"(S'true'\n", b"", b"ios\nsystem\n"),
}


@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK)
@pytest.mark.parametrize("times", [1, 300, 20_000])
@pytest.mark.parametrize("parts", EVASIONS.values(), ids=EVASIONS)
def test_steps_that_do_nothing_hide_no_call(parts: tuple[bytes, ...], times: int, junk: bytes) -> None:
    """Between every two of its parts, without an end, alone and behind other bytes."""
    data = (junk * times).join(parts)
    assert pickle_in(data)
    assert pickle_in(b"\x80\x02" + data + b"\xff")
    if not data.startswith(b"(S") or times <= 300:
        assert pickle_in(b"\xff\xff " + data + b"\xff")


def test_arrays_of_objects_are_found_and_plain_ones_are_not() -> None:
    out = io.BytesIO()
    np.save(out, np.array([{"a": 1}, None]), allow_pickle=True)
    assert "array of objects" in pickle_in(out.getvalue())
    out = io.BytesIO()
    np.save(out, np.random.default_rng(0).normal(size=10_000), allow_pickle=False)
    assert not pickle_in(out.getvalue())


def zipped(data: bytes, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        archive.writestr("readme.txt", "hello")
        archive.writestr("inner/data.bin", data)
    return out.getvalue()


def tarred(data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("inner/data.bin")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


PACKED = {
    "zip": zipped,
    "stored zip": lambda data: zipped(data, zipfile.ZIP_STORED),
    "tar": tarred,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "tar.gz": lambda data: gzip.compress(tarred(data)),
    "zip in zip": lambda data: zipped(zipped(data)),
    "zip behind a script": lambda data: b"#!/bin/sh\n" + zipped(data),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("pack", PACKED.values(), ids=PACKED)
def test_members_of_archives_are_searched(pack: object, protocol: int, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file.bin").write_bytes(pack(pickle.dumps(Runs(), protocol)))  # type: ignore[operator]
    with pytest.raises(IntegrityError, match=r"deep/file\.bin"):
        scan(tmp_path)
    (tmp_path / "deep" / "file.bin").write_bytes(pack(b"harmless"))  # type: ignore[operator]
    scan(tmp_path)


def test_the_member_is_named(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match=r"m\.zip!inner/data\.bin!inner/data\.bin: is a pickle; loading"):
        scan_bytes(zipped(zipped(pickle.dumps(Runs()))), "m.zip")


def test_what_cannot_be_searched_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    deep = zipped(zipped(zipped(zipped(b"x"))))
    with pytest.raises(IntegrityError, match="3 archives deep"):
        scan_bytes(deep, "deep.zip")
    broken = bytearray(zipped(b"abc" * 1000))
    broken[broken.index(b"inner/data.bin") + 20] ^= 0xFF
    with pytest.raises(IntegrityError, match="cannot be searched"):
        scan_bytes(bytes(broken), "broken.zip")
    with pytest.raises(IntegrityError, match="cannot be searched"):
        scan_bytes(gzip.compress(b"x" * 1000)[:-10], "short.gz")
    locked = bytearray(zipped(b"abc", zipfile.ZIP_STORED))
    for place in (locked.rindex(b"PK\x01\x02") + 8, locked.index(b"PK\x03\x04", 10) + 6):
        locked[place] |= 1
    with pytest.raises(IntegrityError, match=r"cannot be searched .*(encrypted|password)"):
        scan_bytes(bytes(locked), "locked.zip")
    monkeypatch.setattr(pickles, "LARGEST", 1000)
    with pytest.raises(IntegrityError, match="larger than 1,000 bytes"):
        scan_bytes(gzip.compress(b"x" * 2000), "bomb.gz")


HARMLESS = {
    "words": b"certifi\nidna\nReportLab\ncattrs\nbabel\n",
    "a list of files": b"build\nidea\n.venv\ncoverage\n",
    "one letter": b"N\n.",
    "more words": b"cat\ndog\nhybrid\ncurl\nglib\nheReport\ncond\nor_\norange\n",
    "json": json.dumps({"c": "os\nsystem", "a": [1, 2, {"b": None}]}, indent=1).encode(),
    "python": b"class Foo:\n    pass\n\nimport os\nimport sys\n\n(first,\nsecond) = 1, 2\n",
    "png": b"\x89PNG\r\n\x1a\n" + np.random.default_rng(3).bytes(100_000),
    "doubles": struct.pack("<1000d", *np.random.default_rng(4).normal(size=1000)),
    "nothing": b"",
}


@pytest.mark.parametrize("data", HARMLESS.values(), ids=HARMLESS)
def test_other_files_raise_no_alarm(data: bytes) -> None:
    assert not pickle_in(data)
    scan_bytes(zipped(data), "a.zip")


def test_no_alarm_on_what_the_project_holds() -> None:
    files = [path for folder in ("tasks", "flows", "docs") for path in (PROJECT / folder).rglob("*") if path.is_file()]
    for path in files:
        if path.suffix != ".pyc":
            scan_bytes(path.read_bytes(), str(path))
    assert len(files) > 100


def test_no_alarm_on_mojos_and_their_jar_and_in_time(mojos: Mojos) -> None:
    begun = time.process_time()
    scan_bytes((mojos.folder / "h2o-genmodel.jar").read_bytes(), "genmodel")
    assert time.process_time() - begun < 5, "0.5 s on an idle machine"
    for name in ("value.zip", "probability.zip"):
        scan_bytes((mojos.folder / name).read_bytes(), name)


def test_five_megabytes_of_noise_raise_no_alarm() -> None:
    assert not pickle_in(np.random.default_rng(5).bytes(5_000_000))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.sampled_from([*OBJECTS]), st.sampled_from(PROTOCOLS), st.binary(max_size=50))
@example(b"(" * 400, "a call", 0, b"")
@example(b"\x80\x04\x8c\x01a", "a call", 4, b"")
def test_no_prefix_hides_a_call(before: bytes, name: str, protocol: int, after: bytes) -> None:
    if name == "a type":  # names a global and calls nothing: found by its header only
        protocol = max(protocol, 2)
    data = pickle.dumps(OBJECTS[name], protocol)
    assert pickle_in(before + data + after)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=2000))
def test_arbitrary_bytes_are_searched_without_an_error(data: bytes) -> None:
    pickle_in(data)


def test_links_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(IntegrityError, match="plain files only"):
        scan(tmp_path)


def test_while_forbidden_no_global_is_looked_up_in_this_thread() -> None:
    data, plain = pickle.dumps(collections.OrderedDict()), pickle.dumps([1, 2])
    said: list[object] = []
    with forbid_pickles():
        with pytest.raises(PermissionError, match=r"collections.OrderedDict was asked for"):
            pickle.loads(data)
        assert pickle.loads(plain) == [1, 2], "it names nothing, and raises no event"
        other = threading.Thread(target=lambda: said.append(pickle.loads(data)))
        other.start()
        other.join()
        with forbid_pickles():
            pass
        with pytest.raises(PermissionError):
            pickle.loads(data)
    assert said == [collections.OrderedDict()], "other threads go on"
    assert pickle.loads(data) == collections.OrderedDict()
