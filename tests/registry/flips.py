"""Every way to alter a small model's folder, tried: ``python -m tests.registry.flips`` prints how many were refused.

A linear model is logged as a night logs it. Each byte of each file is altered once, each file is truncated, extended,
emptied, removed, renamed, replaced by a link; files are added wherever one can be. Two checks must refuse each of them,
as a client runs them before it opens anything: the folder's digest against the registry's, and, for somebody who can
alter the registry's digest as well, the signature alone.

Every byte of the bundle is altered under the digest of the whole folder, and every byte of all other files under the
part of it that reads a file (the folder's digest is that of the names and digests of its files), with every n-th of
them under the whole. The signature takes 10 ms a check: it sees every n-th byte.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tasks.errors import IntegrityError, StorageError
from tasks.registry import mlflow_store, model_log, signing
from tasks.registry.bundle import entry_facts
from tasks.registry.client.signature import read_trusted, verify
from tasks.registry.inspection import BUNDLE
from tasks.registry.serving.bundle import MANIFEST, read_manifest
from tasks.registry.serving.folder import files_of, folder_digest
from tasks.registry.serving.model_folder import digest
from tests.registry.conftest import make_bars, make_entry, make_night

Check = Callable[[], object]
ADDED = ("evil.py", ".gitignore", ".git/config", ".github/x", "registered_model_meta/evil.py", "code/sitecustomize.py")


@dataclass
class Counts:
    """How many alterations of each kind were tried, and which of them were not refused."""

    tried: dict[str, int] = field(default_factory=dict)
    missed: list[str] = field(default_factory=list)

    def try_one(self, kind: str, what: str, check: Check) -> None:
        """Run the check on an altered folder."""
        self.tried[kind] = self.tried.get(kind, 0) + 1
        try:
            check()
        except (IntegrityError, StorageError):
            return
        self.missed.append(f"{kind}: {what}")


def logged_folder(scratch: Path) -> Path:
    """A linear model's folder as the registry gives it back; needs ``NOCTURNE_HOME`` to be a scratch folder."""
    night = make_night(scratch, make_bars())
    entry = make_entry(night)
    store = mlflow_store.open_store()
    run = mlflow_store.new_run(store, mlflow_store.experiment(store, night.problem.name), "run", {})
    uri = model_log.log_model(run, "model", night, entry.shipped, entry_facts(entry, "shipped"))
    (folder := scratch / "pulled").mkdir()
    return mlflow_store.fetch(store, uri, folder)


def flip(counts: Counts, folder: Path, check: Callable[[Path], object], kind: str, step: Callable[[Path], int]) -> None:
    """Alter every ``step(file)``-th byte of each file (0: none of it), one bit of it, check, and put it back."""
    for file in list(files_of(folder)):
        data, every = file.read_bytes(), step(file)
        if not every:
            continue
        handle = os.open(file, os.O_WRONLY)
        try:
            for place in range(0, len(data), every):
                os.pwrite(handle, bytes([data[place] ^ (1 << place % 8)]), place)
                counts.try_one(kind, f"{file.relative_to(folder)} byte {place}", lambda: check(file))  # noqa: B023
                os.pwrite(handle, data[place : place + 1], place)
        finally:
            os.close(handle)
        assert file.read_bytes() == data


def restructure(counts: Counts, folder: Path, check: Check) -> None:
    """Everything that is not the change of a byte."""
    for file in list(files_of(folder)):
        for kind, alter in ALTERATIONS.items():
            with put_back(file) as scratch:
                alter(file, scratch)
                counts.try_one(kind, str(file.relative_to(folder)), check)
    for below in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        for name in ADDED if below == folder else ("evil.py", ".gitignore"):
            with added(below, name):
                counts.try_one("addition", str((below / name).relative_to(folder)), check)


@contextlib.contextmanager
def put_back(file: Path) -> Iterator[Path]:
    """The folder of the file as it was, whatever the block did to the file; yields a scratch folder elsewhere."""
    with tempfile.TemporaryDirectory() as scratch:
        kept = shutil.copytree(file.parent, Path(scratch) / "kept")
        yield Path(scratch)
        shutil.rmtree(file.parent)
        shutil.copytree(kept, file.parent)


@contextlib.contextmanager
def added(below: Path, name: str) -> Iterator[None]:
    """A file, and the folders that it needs, while the block runs."""
    first = below / Path(name).parts[0]
    held = first.read_bytes() if first.is_file() else None  # MLflow's own file, where a folder is tried
    if held is not None:
        first.unlink()
    (below / name).parent.mkdir(parents=True, exist_ok=True)
    (below / name).write_text("raise SystemExit\n")
    yield
    if (below / name).parent == below or (below / name).parent.name == "code":
        (below / name).unlink()
    else:
        shutil.rmtree(first)
    if held is not None:
        first.write_bytes(held)


def _link(file: Path, scratch: Path) -> None:
    """A link to the very same bytes."""
    file.rename(scratch / "twin")
    file.symlink_to(scratch / "twin")


def _swap(file: Path, _: Path) -> None:
    """Contents of two files of a folder exchanged."""
    other = next((path for path in sorted(file.parent.iterdir()) if path.is_file() and path != file), None)
    if other is None or other.read_bytes() == file.read_bytes():
        file.unlink()
        return
    mine, theirs = file.read_bytes(), other.read_bytes()
    file.write_bytes(theirs)
    other.write_bytes(mine)


ALTERATIONS: dict[str, Callable[[Path, Path], object]] = {
    "truncation": lambda file, _: file.write_bytes(file.read_bytes()[:-1] if file.stat().st_size else b"\0"),
    "emptying": lambda file, _: file.write_bytes(b"" if file.stat().st_size else b"\n"),
    "extension": lambda file, _: file.write_bytes(file.read_bytes() + b"\n"),
    "removal": lambda file, _: file.unlink(),
    "renaming": lambda file, _: file.rename(file.with_name(file.name + "_")),
    "a link to the same bytes": _link,
    "exchange": _swap,
}


def by_digest(folder: Path) -> Check:
    """The check of a client without keys."""
    recorded = folder_digest(folder)

    def check() -> None:
        if folder_digest(folder) != recorded:
            raise IntegrityError("altered")

    return check


def by_file(folder: Path) -> Callable[[Path], None]:
    """The part of ``folder_digest`` that reads one file."""
    recorded = {file: digest(file) for file in files_of(folder)}

    def check(file: Path) -> None:
        if digest(file) != recorded[file]:
            raise IntegrityError("altered")

    return check


def in_bundle(folder: Path, file: Path) -> bool:
    """Whether a file is one of the bundle's."""
    return BUNDLE in file.relative_to(folder).parents


def main() -> int:
    """Print a table of counts; 1 if anything was not refused."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=200, help="the whole digest: every n-th byte outside the bundle")
    parser.add_argument("--bundle-every", type=int, default=1, help="the whole digest: every n-th byte of the bundle")
    parser.add_argument("--signed-every", type=int, default=200, help="the signature: every n-th byte")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nocturne-flips-") as scratch:
        os.environ["NOCTURNE_HOME"] = str(Path(scratch) / "home")
        folder = logged_folder(Path(scratch))
        pair = signing.create_key(Path(scratch) / "keys")
        signature, trusted = signing.sign(folder, pair.private), read_trusted(pair.public)
        sizes = {file: file.stat().st_size for file in files_of(folder)}
        inside = sum(size for file, size in sizes.items() if in_bundle(folder, file))
        print(f"{len(sizes)} files, {sum(sizes.values()):,} bytes, of them {inside:,} in the bundle", flush=True)
        whole = by_digest(folder)
        missed = [
            *_flips("the digest of each file", folder, by_file(folder), lambda _: 1),
            *_flips(
                "the digest of the folder",
                folder,
                lambda _: whole(),
                lambda file: chosen.bundle_every if in_bundle(folder, file) else chosen.every,
            ),
            *_restructured("the digest of the folder", folder, whole),
            *_flips(
                "the signature", folder, lambda _: verify(folder, signature, trusted), lambda _: chosen.signed_every
            ),
            *_restructured("the signature", folder, lambda: verify(folder, signature, trusted)),
            *_flips(
                "the model itself (its bundle but the manifest)",
                folder,
                lambda _: read_manifest(folder / BUNDLE),
                lambda file: int(in_bundle(folder, file) and file.name != MANIFEST),
            ),
        ]
    return int(bool(missed))


def _flips(by: str, folder: Path, check: Callable[[Path], object], step: Callable[[Path], int]) -> list[str]:
    counts, begun = Counts(), time.perf_counter()
    flip(counts, folder, check, "one byte", step)
    return _report(f"{by}, {time.perf_counter() - begun:.0f} s", counts)


def _restructured(by: str, folder: Path, check: Check) -> list[str]:
    counts = Counts()
    restructure(counts, folder, check)
    check()
    return _report(by, counts)


def _report(by: str, counts: Counts) -> list[str]:
    print(f"by {by}")
    for kind, tried in counts.tried.items():
        missed = sum(item.startswith(f"{kind}: ") for item in counts.missed)
        print(f"  {kind:26} {tried:8,} tried {tried - missed:8,} refused", flush=True)
    for item in counts.missed[:10]:
        print(f"  NOT REFUSED {item}")
    return counts.missed


if __name__ == "__main__":
    sys.exit(main())
