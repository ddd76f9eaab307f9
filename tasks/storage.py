"""Atomic, hashed reads and writes of Parquet and JSON: the only module that touches those files.

A write goes to a temporary name in the same folder, is flushed to disk, and then renamed, so that a reader sees the
old file or the new one and never a part. A read verifies the recorded SHA-256 before anything is parsed.

``StageStore`` is the only cache of the project: the whole output folder of a stage, addressed by what went in. Where
NOCTURNE_STAGES_URL names an object store, machines share these folders there (``stages_remote``).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq

from tasks.contracts import Ref
from tasks.documents import digest
from tasks.errors import IntegrityError, StorageError

if TYPE_CHECKING:
    from tasks.stages_remote import Mirror

PROJECT = Path(__file__).resolve().parent.parent
MANIFEST = "manifest.json"
ABANDONED_SECONDS = 2 * 86_400
FEW_ROWS = 20_000
log = logging.getLogger("nocturne.storage")
Watcher = Callable[[str, str, bool], None]
_WATCHER: ContextVar[Watcher | None] = ContextVar("watcher", default=None)
_SALT: ContextVar[str] = ContextVar("salt", default="")


def home() -> Path:
    """The folder below which all state lies: ``NOCTURNE_HOME``, or ``var`` in the project."""
    return Path(os.environ.get("NOCTURNE_HOME") or PROJECT / "var").resolve()


def sha256_bytes(data: bytes) -> str:
    """SHA-256 of the bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes. Raises StorageError if it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from error


def sha256_json(document: Any) -> str:
    """SHA-256 of a JSON document in canonical form (sorted keys, no spaces)."""
    return digest(document)


def write_json(path: Path, document: Any) -> Ref:
    """Write a JSON document atomically. NaN and infinity are refused with ValueError."""
    data = json.dumps(document, indent=1, sort_keys=True, allow_nan=False).encode()
    _write_atomic(path, lambda target: target.write_bytes(data))
    return Ref(path=str(path), sha256=sha256_bytes(data), rows=len(document))


def read_json(path: Path) -> Any:
    """Read a JSON document. Raises StorageError if it is missing, IntegrityError if it is not JSON."""
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise IntegrityError(f"{path}: not a JSON document: {error}") from error


def write_text(path: Path, text: str) -> Ref:
    """Write UTF-8 text atomically."""
    data = text.encode()
    _write_atomic(path, lambda target: target.write_bytes(data))
    return Ref(path=str(path), sha256=sha256_bytes(data), rows=text.count("\n"))


def read_text(ref: Ref) -> str:
    """Read UTF-8 text back. Raises IntegrityError if its digest is not the recorded one."""
    _require_digest(ref)
    return Path(ref.path).read_text(encoding="utf-8")


def write_parquet(path: Path, frame: pd.DataFrame) -> Ref:
    """Write a frame as Parquet, atomically. The index is not kept."""
    _write_atomic(path, lambda target: frame.to_parquet(target, index=False, compression="zstd"))
    return Ref(path=str(path), sha256=sha256_file(path), rows=len(frame))


def read_parquet(ref: Ref, columns: list[str] | None = None) -> pd.DataFrame:
    """Read a frame back. Raises IntegrityError, before parsing, if the file's digest is not the recorded one.

    Of one file by itself: what pandas goes through to read any number of them costs a small part more than its rows.
    So do threads.
    """
    _require_digest(ref)
    with pq.ParquetFile(ref.path) as file:
        threads = file.metadata.num_rows > FEW_ROWS
        frame: pd.DataFrame = file.read(columns=columns, use_threads=threads).to_pandas(use_threads=threads)
    return frame if columns is None else frame[columns]


def read_predictions(ref: Ref) -> npt.NDArray[np.float64]:
    """A candidate's predictions (n,), aligned with the snapshot's rows; NaN inside its lookback.

    Raises as ``read_parquet``.
    """
    return read_parquet(ref, ["prediction"])["prediction"].to_numpy(np.float64)


def read_matrix(ref: Ref, columns: Sequence[str]) -> npt.NDArray[np.float64]:
    """Read columns back as one float64 array (rows, columns), verified like ``read_parquet``, without a second copy.

    Column by column: Arrow's batches of many columns hold a good part of the file in memory at once.
    """
    _require_digest(ref)
    with pq.ParquetFile(ref.path) as file:
        matrix = np.empty((file.metadata.num_rows, len(columns)))
        for place, name in enumerate(columns):
            matrix[:, place] = file.read(columns=[name]).column(0).to_numpy()
    return matrix


def read_columns(ref: Ref, columns: Sequence[str]) -> Iterator[tuple[str, npt.NDArray[np.float64]]]:
    """Columns one after the other, each float64 (rows,), verified like ``read_parquet``: room for one at a time."""
    _require_digest(ref)
    with pq.ParquetFile(ref.path) as file:
        for name in columns:
            yield name, file.read(columns=[name]).column(0).to_numpy()


def _require_digest(ref: Ref) -> None:
    found = sha256_file(Path(ref.path))
    if found != ref.sha256:
        raise IntegrityError(
            f"{ref.path}: SHA-256 is {found[:12]}…, recorded was {ref.sha256[:12]}…: the file was altered or damaged. "
            "Delete it and run again; it will be computed anew."
        )


def code_digest(*packages: str) -> str:
    """SHA-256 over the code and page templates of packages or modules of the project, such as ``tasks/features``."""
    digest = hashlib.sha256()
    for name in sorted(packages):
        root = PROJECT / name
        files = [root] if root.suffix == ".py" else sorted([*root.rglob("*.py"), *root.rglob("*.j2")])
        for file in files:
            digest.update(f"{file.relative_to(PROJECT).as_posix()}\0{sha256_file(file)}\n".encode())
    return digest.hexdigest()


def lock_digest() -> str:
    """SHA-256 of ``requirements.lock``: the versions that every result depends on."""
    return sha256_file(PROJECT / "requirements.lock")


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """While the block runs, ``watcher(stage, key, reused)`` is told of every stored output that is used or made."""
    before = _WATCHER.set(watcher)
    try:
        yield
    finally:
        _WATCHER.reset(before)


@contextmanager
def salted(salt: str) -> Iterator[None]:
    """While the block runs, outputs have addresses of their own: they are computed anew, beside those that are there.

    With the same salt they are found again. Empty: the common addresses.
    """
    before = _SALT.set(salt)
    try:
        yield
    finally:
        _SALT.reset(before)


def _tell(stage: str, key: str, reused: bool) -> None:
    watcher = _WATCHER.get()
    if watcher is not None:
        watcher(stage, key, reused)


class StageStore:
    """Whole output folders of stages, addressed by a key made of everything that went in.

    A folder appears under its key only once its manifest, with the SHA-256 of every file, is complete. ``get``
    verifies every file; a damaged folder is set aside, reported, and counts as absent.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or home() / "stages"

    def key(self, stage: str, inputs: Mapping[str, Any], code: tuple[str, ...]) -> str:
        """The address of a stage's output: inputs and parameters, the code of the stage, the lock."""
        document = {"stage": stage, "inputs": inputs, "code": code_digest(*code), "lock": lock_digest()}
        salt = _SALT.get()
        return sha256_json({**document, "anew": salt} if salt else document)

    def folder(self, stage: str, key: str) -> Path:
        """Where the output with this key lies, or will lie."""
        return self.root / stage / stage_folder_name(key)

    def get(self, stage: str, key: str) -> Path | None:
        """The verified folder of an earlier run, or None if there is none or it is damaged. It counts as used now."""
        folder = self.folder(stage, key)
        with contextlib.suppress(OSError):  # before it is read: what is old and unused is removed (tasks/retention.py)
            os.utime(folder / MANIFEST)
        if not self._is_whole(stage, folder):
            elsewhere = _mirror()
            if elsewhere is None or not elsewhere.fetch(stage, folder.name, folder):
                return None
        _tell(stage, key, True)
        return folder

    def _is_whole(self, stage: str, folder: Path) -> bool:
        """Whether the folder is there and verified; a damaged one is set aside."""
        if not (folder / MANIFEST).is_file():
            return False
        try:
            self._verify(folder)
        except StorageError as error:
            aside = folder.with_name(f"{folder.name}.damaged-{uuid.uuid4().hex[:8]}")
            folder.rename(aside)
            log.warning("stored output of %s is damaged and will be computed again: %s", stage, error)
            return False
        return True

    @contextmanager
    def put(self, stage: str, key: str) -> Iterator[Path]:
        """A folder to fill, published under the key when the block ends without an error, else removed.

        The caller writes below the yielded path and must not record absolute paths in it: they change on publishing.
        """
        final = self.folder(stage, key)
        _collect_abandoned(final.parent)
        staging = final.with_name(f".{final.name}-{uuid.uuid4().hex[:8]}")
        try:
            staging.mkdir(parents=True)
            yield staging
            self._publish(staging, final)
        except OSError as error:
            raise not_written(staging, error) from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        elsewhere = _mirror()
        if elsewhere is not None:
            elsewhere.send(stage, final.name, final)
        _tell(stage, key, False)

    def _publish(self, staging: Path, final: Path) -> None:
        files = sorted(path for path in staging.rglob("*") if path.is_file())
        manifest = {path.relative_to(staging).as_posix(): sha256_file(path) for path in files}
        write_json(staging / MANIFEST, manifest)
        for path in files:
            _sync(path)
        try:
            staging.rename(final)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            log.info("%s was published by another run meanwhile; its output is used", final)
        _sync(final.parent)

    def _verify(self, folder: Path) -> None:
        manifest = read_json(folder / MANIFEST)
        for name, recorded in manifest.items():
            found = sha256_file(folder / name)
            if found != recorded:
                raise IntegrityError(f"{folder / name}: SHA-256 is {found[:12]}…, recorded was {recorded[:12]}…")


def stage_folder_name(key: str) -> str:
    """What an output's folder is called."""
    return key[:40]


def discard(folder: Path) -> int:
    """Remove a folder, which is gone under its name at once; returns the bytes of its files. Never raises OSError."""
    aside = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    try:
        folder.rename(aside)
    except OSError:
        return 0
    freed = sum(path.lstat().st_size for path in aside.rglob("*") if path.is_file() and not path.is_symlink())
    shutil.rmtree(aside, ignore_errors=True)
    return freed


def _mirror() -> Mirror | None:
    """Where outputs are shared; None, without loading anything, where no address is named."""
    if not os.environ.get("NOCTURNE_STAGES_URL"):
        return None
    from tasks.stages_remote import mirror  # noqa: PLC0415 - it builds on this module

    return mirror()


def _collect_abandoned(stage: Path) -> None:
    """Remove what killed runs left unpublished, once it is surely abandoned."""
    for folder in stage.glob(".*-*"):
        with contextlib.suppress(FileNotFoundError):  # its run may end at this moment
            if time.time() - folder.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


def _write_atomic(path: Path, write: Callable[[Path], object]) -> None:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        rename_durably(temporary, path)
    except OSError as error:
        raise not_written(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def rename_durably(written: Path, path: Path) -> None:
    """Let a whole file take its place, so that after a power cut either it or what stood there before is found."""
    _sync(written)
    os.replace(written, path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def not_written(path: Path, error: OSError) -> StorageError:
    """The error for a file that could not be written whole: its path, the cause, and how many bytes are free there."""
    existing = next(parent for parent in [path, *path.parents] if parent.exists())
    free = shutil.disk_usage(existing).free
    cause = "the disk is full" if error.errno == errno.ENOSPC else (error.strerror or str(error))
    return StorageError(f"{path}: cannot be written: {cause} ({free:,} bytes free). Nothing was left half-written.")
