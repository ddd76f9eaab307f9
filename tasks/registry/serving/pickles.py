"""No pickle in a model: every file and archive member is searched for pickle opcodes, and loading one is forbidden.

A pickle runs code by naming a global (``GLOBAL``, ``INST``, ``STACK_GLOBAL``) and calling it. Found are:

1. a whole file or member that is a pickle, of any protocol, with or without a header, harmless or not;
2. anywhere inside other bytes, a stream that names a global and calls it, or that has a header and names a global;
3. arrays of objects (``.npy``), whose data are a pickle.

A stream need not be complete: a pickle has run its code before its end is reached. Zip (jar, MOJO, npz, keras), tar,
gzip, bzip2 and xz are opened, down to archives in archives. Standard library only.
"""

from __future__ import annotations

import bz2
import contextlib
import functools
import gzip
import io
import itertools
import lzma
import pickletools
import re
import struct
import sys
import tarfile
import threading
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from ...errors import IntegrityError
from .folder import files_of

DEEPEST = 3
"""Archives within archives that are opened; a deeper one is refused unread."""
LARGEST = 2**30
"""Bytes that a file or member may unpack to."""

_NAME = rb"[A-Za-z_][\w.]*"
_HEADER = re.compile(rb"\x80[\0-\x05]")
_GLOBAL = re.compile(rb"c(?=" + _NAME + rb"\n" + _NAME + rb"\n)")
_OBJ = re.compile(rb"\((?=c" + _NAME + rb"\n" + _NAME + rb"\n)")
_INST = re.compile(rb"i(?=" + _NAME + rb"\n" + _NAME + rb"\n)")
# A string by itself: the first of the two that STACK_GLOBAL takes. None longer than 255 names a module.
_STRING = re.compile(
    rb"\x8c[\x01-\xff](?=[A-Za-z_])|[XT][\x01-\xff]\0\0\0(?=[A-Za-z_])|\x8d[\x01-\xff]\0{7}(?=[A-Za-z_])"
    rb"|U[\x01-\xff](?=[A-Za-z_])|V(?=[\w.\\]+\n)|S(?=['\"][\w.\\]+['\"]\n)",
    re.DOTALL,
)
_WORD = re.compile(r"[A-Za-z_][\w.]*\Z")
_STRINGS = frozenset(
    ("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE", "STRING", "BINSTRING", "SHORT_BINSTRING")
)
_TUPLES = frozenset(("TUPLE", "EMPTY_TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"))
_STATES = frozenset(("EMPTY_DICT", "DICT", "NONE")) | _TUPLES
_CALLS = frozenset(("REDUCE", "NEWOBJ", "NEWOBJ_EX", "BUILD", "OBJ", "INST"))
_FETCHES = frozenset(("GET", "BINGET", "LONG_BINGET"))
_KEEPS = frozenset(("PUT", "BINPUT", "LONG_BINPUT"))
_MOST_OPCODES = 10_000
"""After which a run is refused if it pushed a string, a mark or a global: what it does later is not known."""
_BEFORE = 4096  # bytes in which the mark before an INST is looked for
_UNREADABLE = (ValueError, IndexError, KeyError, OverflowError, UnicodeError, struct.error)
_DAMAGED = (
    OSError, EOFError, RuntimeError, NotImplementedError, ValueError, zlib.error, lzma.LZMAError, zipfile.BadZipFile,
    tarfile.TarError,
)  # fmt: skip


def scan(folder: Path) -> None:
    """Search every file below the folder. Raises IntegrityError naming the file, the member and what was found.

    Also raised for an archive that cannot be searched: encrypted, damaged, nested deeper than ``DEEPEST``, or larger
    than ``LARGEST`` when unpacked; and for anything but plain files.
    """
    for path in files_of(folder):
        if path.stat().st_size > LARGEST:
            raise IntegrityError(f"{path}: larger than {LARGEST:,} bytes, which is not searched for pickles")
        scan_bytes(path.read_bytes(), str(path))


def scan_bytes(data: bytes, name: str, depth: int = 0) -> None:
    """Search one file's bytes, and the members if it is an archive; ``name`` is for the message. Raises as ``scan``."""
    found = pickle_in(data)
    if found:
        raise IntegrityError(f"{name}: {found}; loading a pickle runs its code, so a model holds none")
    members = _opener(data)
    if members is None:
        return
    if depth >= DEEPEST:
        raise IntegrityError(f"{name}: an archive {depth} archives deep: not searched for pickles, so refused")
    try:
        for member, inner in members(data):
            scan_bytes(inner, f"{name}!{member}", depth + 1)
    except IntegrityError:
        raise
    except _DAMAGED as error:
        raise IntegrityError(f"{name}: an archive that cannot be searched for pickles: {error}") from error


def pickle_in(data: bytes) -> str:
    """What pickle these bytes are or hold, in words; empty if none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes in what looks like a string, in bytes that are none
        return _pickle_in(data)


def _pickle_in(data: bytes) -> str:
    if data.startswith(b"\x93NUMPY") and re.search(rb"'descr':[^}]*?O", data[:65_536]):
        return "an array of objects (npy), whose data are a pickle"
    if _is_whole(data):
        return "is a pickle"
    stream = io.BytesIO(data)
    for headed, start in _candidates(data):
        stream.seek(start)
        read = _Program(stream)
        if read.calls or (headed and read.named):
            return f"holds a pickle at byte {start}, which names {read.named}"
        if read.endless:
            return f"holds what may be a pickle of more than {_MOST_OPCODES:,} steps at byte {start}"
    return ""


class _Program:
    """The opcodes from a place on, as far as they can be read: the global that is named, and whether it is called.

    The stack is followed by the kinds of what lies there: ``global``, ``arguments`` (a tuple, or what may be a state),
    ``string``, ``mark``, ``any`` (fetched from the memo before it was seen to be put there) and ``other``. What comes
    between naming and calling does not matter, nor whether the stream ends well.
    """

    def __init__(self, stream: io.BytesIO) -> None:
        self.named, self.calls, self.endless = "", False, False
        self._words: list[str] = []
        self._stack: list[str] = []
        self._memo: dict[Any, str] = {}
        self._suspect = False
        with contextlib.suppress(*_UNREADABLE):
            self._read(stream)

    def _read(self, stream: io.BytesIO) -> None:
        count = 0
        for opcode, argument, _ in itertools.islice(pickletools.genops(stream), _MOST_OPCODES):
            self._step(opcode, argument)
            count += 1
            if self.calls:
                return
        self.endless = count == _MOST_OPCODES and self._suspect

    def _step(self, opcode: Any, argument: Any) -> None:
        name, stack = opcode.name, self._stack
        if name in _CALLS:
            self._call(name, argument)
        elif name in _STRINGS:
            self._words.append(str(argument))
            self._push("string")
        elif name == "GLOBAL":
            self._name(str(argument).split(" "))
        elif name == "STACK_GLOBAL":
            self._stack_global()
        elif name in _KEEPS or name == "MEMOIZE":
            if stack:
                self._memo[len(self._memo) if name == "MEMOIZE" else int(argument)] = stack[-1]
        elif name in _FETCHES:
            stack.append(self._memo.get(int(argument), "any" if _is_index(name, int(argument)) else "other"))
        elif name == "DUP":
            stack.append(stack[-1] if stack else "other")
        elif name == "MARK":
            self._push("mark")
        else:
            self._move(opcode)

    def _push(self, kind: str) -> None:
        self._suspect = True
        self._stack.append(kind)

    def _move(self, opcode: Any) -> None:
        """Any other opcode, by what it says that it takes and leaves."""
        stack = self._stack
        if pickletools.markobject in opcode.stack_before:
            while stack and stack.pop() != "mark":
                pass
            below = opcode.stack_before.index(pickletools.markobject)
        else:
            below = len(opcode.stack_before)
        del stack[max(0, len(stack) - below) :]
        kind = "arguments" if opcode.name in _STATES else "other"
        stack.extend([kind] * len(opcode.stack_after))

    def _stack_global(self) -> None:
        taken = self._stack[-2:]
        del self._stack[-2:]
        words = [word for word in self._words if _WORD.match(word)][-2:]
        if len(taken) == 2 and set(taken) <= {"string", "any"} and len(self._words) >= 2:
            # Which of the strings it takes is not followed through the memo: any two will do.
            self._name(words if len(words) == 2 else ["what", "its_stack_holds"])
        else:
            self._stack.append("other")

    def _call(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in ("OBJ", "INST"):
            marked = "mark" in stack
            taken = stack[len(stack) - stack[::-1].index("mark") :] if marked else []
            if name == "INST":
                words = str(argument).split(" ")
                if all(_WORD.match(word) for word in words):
                    self.named = self.named or ".".join(words)
                    self.calls = marked
                return
            self.calls = bool(self.named) and bool(taken) and taken[0] in ("global", "any")
            return
        least = 3 if name == "NEWOBJ_EX" else 2
        taken = stack[-least:]
        del stack[-least:]
        fits = len(taken) == least and taken[0] in ("global", "any") and set(taken[1:]) <= {"arguments", "any"}
        self.calls = bool(self.named) and fits
        stack.append("other")

    def _name(self, words: list[str]) -> None:
        sound = len(words) == 2 and all(_WORD.match(word) for word in words)
        if sound:
            self.named = ".".join(words)
        self._push("global" if sound else "other")


def _is_index(name: str, index: int) -> bool:
    """Whether a place in the memo that nothing was seen to be put to is one, and not two letters of a text."""
    return name == "GET" or (name == "BINGET" and not 32 <= index < 127) or (name == "LONG_BINGET" and index < 2**24)


def _candidates(data: bytes) -> Iterator[tuple[bool, int]]:
    """Places at which a pickle may begin, and whether its header stands there."""
    yield False, 0
    for pattern in (_HEADER, _OBJ, _GLOBAL, _STRING):
        for match in pattern.finditer(data):
            yield pattern is _HEADER, match.start()
    for match in _INST.finditer(data):
        low = max(0, match.start() - _BEFORE)
        for mark in re.finditer(rb"\(", data[low : match.start()]):
            yield False, low + mark.start()


class _Nowhere(io.TextIOBase):
    def write(self, text: str) -> int:
        return len(text)


def _is_whole(data: bytes) -> bool:
    """Whether the bytes begin with a pickle whose stack adds up, and hold nothing else or have its header."""
    stream = io.BytesIO(data)
    try:
        pickletools.dis(stream, _Nowhere())  # type: ignore[arg-type]
    except _UNREADABLE:
        return False
    return stream.tell() == len(data) or _HEADER.match(data) is not None


def _opener(data: bytes) -> Callable[[bytes], Iterator[tuple[str, bytes]]] | None:
    """How an archive's members are had; None if the bytes are no archive."""
    for magic, opener in ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\0", lzma.open)):
        if data.startswith(magic):
            return functools.partial(_unpacked, opener)
    if zipfile.is_zipfile(io.BytesIO(data)):
        return _zip_members
    return _tar_members if _is_tar(data) else None


def _unpacked(opener: Callable[..., Any], data: bytes) -> Iterator[tuple[str, bytes]]:
    with opener(io.BytesIO(data), "rb") as stream:
        yield "unpacked", _bounded(stream)


def _zip_members(data: bytes) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for info in archive.infolist():
            with archive.open(info) as stream:
                yield info.filename, _bounded(stream)


def _tar_members(data: bytes) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        for info in archive:
            stream = archive.extractfile(info) if info.isreg() else None
            if stream is not None:
                yield info.name, _bounded(stream)


def _is_tar(data: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(data[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
    except tarfile.TarError:
        return False
    return True


def _bounded(stream: Any) -> bytes:
    data: bytes = stream.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise ValueError(f"a member is larger than {LARGEST:,} bytes")
    return data


_forbidden: ContextVar[bool] = ContextVar("nocturne_pickles_forbidden", default=False)
_watching = threading.Lock()
_watched: list[bool] = []


@contextlib.contextmanager
def forbid_pickles() -> Iterator[None]:
    """While the block runs, a pickle that names a global raises PermissionError in this thread or task.

    An audit hook on ``pickle.find_class``, installed once for the process (hooks cannot be removed) and switched by a
    context variable: threads that the block starts are not covered, nor are other threads disturbed. Not covered
    either: a pickle of plain data, which names nothing and raises no event; an unpickler that overrides
    ``find_class``; and Python code, which needs no pickle to run.
    """
    with _watching:
        if not _watched:
            sys.addaudithook(_refuse_globals)
            _watched.append(True)
    token = _forbidden.set(True)
    try:
        yield
    finally:
        _forbidden.reset(token)


def _refuse_globals(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "pickle.find_class" and _forbidden.get():
        raise PermissionError(f"a model must not contain a pickle: {'.'.join(map(str, arguments))} was asked for")
