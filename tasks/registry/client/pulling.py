"""Pulling one version: fetch, check, and only then put it where it can be loaded from.

1. Its files go to a scratch folder, or a copy lies in the cache already.
2. The digest of the whole folder against the registry's; the signature against the trusted keys, if there are any.
3. No file and no archive's member is a pickle; the manifest names the model that was asked for.
4. One rename makes it the cache's entry. A copy from the cache passes step 2 again each time.

Before step 2 is done nothing of the model is parsed, let alone run.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
import tempfile
import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ...errors import ConfigurationError, IntegrityError, StorageError
from ..serving import pickles
from ..serving.folder import listed, names_digest
from .cache import Cache
from .records import MODEL, VERSION, Version, as_document, checked, read_document, write_document
from .signature import read_trusted, verify
from .sources import Source, open_source

Keys = Mapping[str, bytes]
"""Trusted public keys by fingerprint; none: signatures are not checked."""
BUNDLE = Path("artifacts") / "bundle"
_MANIFEST = "manifest.json"
_SAID = threading.Event()
_LOCKS: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
log = logging.getLogger("nocturne.client")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """A checked copy of a version. ``folder`` holds ``model/`` and ``version.json``.

    ``files``: the SHA-256 of each of the model's files, by name, as they were checked; ``signed_by``: the fingerprint
    of the trusted key, empty where signatures are not checked.
    """

    version: Version
    folder: Path
    files: Mapping[str, str]
    signed_by: str = ""

    @property
    def signed(self) -> bool:
        """Whether the signature was checked."""
        return bool(self.signed_by)

    @property
    def model(self) -> Path:
        """The logged model's own folder."""
        return self.folder / MODEL


def pull(
    name: str,
    *,
    version: str = "",
    alias: str = "champion",
    tracking_uri: str = "",
    trusted_keys: Path | str | None = None,
    cache: Path | str | None = None,
    to: Path | str | None = None,
) -> Pulled:
    """Fetch and check the version that holds an alias, or a pinned one, into the cache; with ``to``, a copy there too.

    Raises ConfigurationError for an unknown name, alias or version, IntegrityError for a model that is not what was
    registered or not signed by a trusted key, RegistryError if the registry is away, StorageError if the disk is full.
    """
    source, kept = open_source(tracking_uri), Cache(cache)
    found = resolve(source, name, version=version, alias=alias)
    pulled = obtain(source, found, kept, read_trusted(trusted_keys or ""))
    return export(pulled, Path(to)) if to else pulled


def resolve(source: Source, name: str, *, version: str = "", alias: str = "champion") -> Version:
    """The facts of the version that is meant. Raises as ``pull``."""
    if version:
        return dataclasses.replace(source.version(name, str(version)), alias="")
    seen = source.seen(name)
    if alias not in seen.aliases:
        held = ", ".join(f"{key} (version {value})" for key, value in sorted(seen.aliases.items())) or "none"
        raise ConfigurationError(f"'{name}' at {source.shown} has no alias '{alias}'; there are: {held}")
    found = source.version(name, seen.aliases[alias])
    return dataclasses.replace(found, alias=alias, epoch=seen.epoch)


def obtain(source: Source, version: Version, cache: Cache, keys: Keys) -> Pulled:
    """The version's checked copy in the cache, fetched if there is none or a damaged one. Raises as ``pull``."""
    version = checked(version)
    entry = cache.entry(version)
    with _LOCKS[str(entry)]:
        if entry.is_dir():
            try:
                return from_cache(version, cache, keys)
            except IntegrityError as error:
                log.warning("the copy in the cache is damaged and is pulled again: %s", error)
                cache.discard(version)
        with cache.scratch(version.name) as scratch:
            source.fetch(version, scratch)
            check(scratch / MODEL, version, keys)
            write_document(scratch / VERSION, as_document(_now(version)))
            cache.publish(scratch, version)
        return from_cache(version, cache, keys)


def from_cache(version: Version, cache: Cache, keys: Keys) -> Pulled:
    """The copy that lies in the cache, checked again. Raises IntegrityError if it is not there or not what it was."""
    folder = cache.entry(checked(version))
    if not folder.is_dir():
        raise IntegrityError(f"{folder}: version {version.version} of {version.name} is not in the cache")
    files, key = check_seal(folder / MODEL, version, keys)
    return Pulled(version=version, folder=folder, files=files, signed_by=key)


def check(model: Path, version: Version, keys: Keys) -> None:
    """Everything that a fetched folder must pass, in the module's order. Raises IntegrityError."""
    check_seal(model, version, keys)
    pickles.scan(model)
    manifest = read_document(model / BUNDLE / _MANIFEST)
    if manifest.get("problem") != version.name:
        raise IntegrityError(
            f"{version.name} version {version.version}: the model says that it is '{manifest.get('problem')}': "
            "somebody registered it under another name"
        )


def check_seal(model: Path, version: Version, keys: Keys) -> tuple[dict[str, str], str]:
    """The folder's digest and, with trusted keys, its signature: each file's SHA-256, and the key's fingerprint.

    Raises IntegrityError; says once what is unchecked.
    """
    what = f"{version.name} version {version.version}"
    try:
        files = listed(model)
    except StorageError as error:
        raise IntegrityError(f"{what}: its files cannot be read: {error}") from error
    found = names_digest(files)
    if found != version.model_sha256:
        raise IntegrityError(
            f"{what}: the folder's SHA-256 is {found[:12]}…, registered was {version.model_sha256[:12]}…: it was "
            "altered or damaged, and was not opened"
        )
    if not keys:
        _say_unsigned()
        return files, ""
    if not version.signature:
        raise IntegrityError(f"{what} is not signed, and trusted keys are configured: it was not opened")
    return files, verify(model, version.signature, keys, files)


def export(pulled: Pulled, to: Path) -> Pulled:
    """Copy a pulled version to a folder of the caller's, replacing one that an earlier pull made there.

    Raises StorageError if the folder holds anything else, or cannot be written.
    """
    to = to.absolute()
    if to.exists() and not (to / VERSION).is_file() and (not to.is_dir() or any(to.iterdir())):
        raise StorageError(f"{to}: there is something else there already: give an empty or a new folder")
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{to.name}-", dir=to.parent))
        try:
            shutil.copytree(pulled.folder, scratch / "new")
            write_document(scratch / "new" / VERSION, as_document(_now(pulled.version)))
            if to.exists():
                os.replace(to, scratch / "old")
            os.replace(scratch / "new", to)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise StorageError(f"{to}: cannot be written: {error.strerror}") from error
    return dataclasses.replace(pulled, folder=to)


def _now(version: Version) -> Version:
    return dataclasses.replace(version, pulled_at=datetime.now(UTC).isoformat(timespec="seconds"))


def _say_unsigned() -> None:
    if not _SAID.is_set():
        _SAID.set()
        log.warning(
            "no trusted keys are configured (NOCTURNE_TRUSTED_KEYS): digests are checked, signatures are not; whoever "
            "can write to the registry can change both model and digest"
        )
