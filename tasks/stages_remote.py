"""Stage outputs in an object store, so that several machines share them: a mirror behind ``storage.StageStore``.

NOCTURNE_STAGES_URL names a folder in any file system that fsspec knows, ``s3://bucket/folder`` for example; keys and
endpoint come from where its client looks for them (AWS_ACCESS_KEY_ID, AWS_PROFILE, AWS_ENDPOINT_URL, …), never from
the URL. What lies there is what lies below ``stages`` of a state folder: ``<stage>/<key>/`` with a manifest.

1. A machine that lacks an output looks for its manifest there, downloads what it names, and compares every SHA-256,
   before anything appears under the key. What does not agree is not used, and is computed here.
2. What a machine has computed it sends: files first, the manifest last, so that a part is never found.
3. A store that is away costs nothing but the sharing: it is said once, and asked again a minute later.

What it does not do: decide whom to trust. Who may write there may write a manifest too: such an account can give every
machine wrong features, as can who may write into a state folder.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
import time
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tasks.errors import ConfigurationError, IntegrityError
from tasks.storage import MANIFEST, sha256_file, write_json

SETTING = "NOCTURNE_STAGES_URL"
PAUSE_SECONDS = 60.0
MOST_MANIFEST_BYTES = 8 * 2**20
_S3_OPTIONS: dict[str, Any] = {
    "config_kwargs": {"connect_timeout": 5, "read_timeout": 60, "retries": {"max_attempts": 2}},
    "use_listings_cache": False,
    "skip_instance_cache": True,
}
log = logging.getLogger("nocturne.storage")
_opened: dict[str, Mirror] = {}
_lock = threading.Lock()


class Mirror:
    """The outputs at one address. No method raises for a store that is away: it is said, and the night goes on."""

    def __init__(self, url: str) -> None:
        self.shown = _checked(url)
        self._url, self._away_until = url, 0.0

    def fetch(self, stage: str, name: str, folder: Path) -> bool:
        """Bring an output into ``folder``, whole and verified; whether it was there and is now here."""
        if self._is_away():
            return False
        staging = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
        try:
            files = self._files()
            manifest = self._manifest(files, f"{stage}/{name}")
            if manifest is None:
                return False
            self._download(files, f"{stage}/{name}", manifest, staging)
            _publish(staging, folder)
        except (IntegrityError, FileNotFoundError) as error:
            log.warning("%s: the output of %s there is not whole and is computed here: %s", self.shown, stage, error)
            return False
        except Exception as error:  # noqa: BLE001 - each store's client has its own errors; none may cost the night
            self._away(error)
            return False
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        log.info("%s: reused, from %s", stage, self.shown)
        return True

    def send(self, stage: str, name: str, folder: Path) -> bool:
        """Copy a published output there, unless it is there; the manifest last. Whether it is there now."""
        if self._is_away():
            return False
        root = f"{stage}/{name}"
        try:
            files = self._files()
            if self._manifest(files, root) is not None:
                return True
            for path in sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST):
                files.put(str(path), f"{self._root}/{root}/{path.relative_to(folder).as_posix()}")
            files.put(str(folder / MANIFEST), f"{self._root}/{root}/{MANIFEST}")
        except Exception as error:  # noqa: BLE001 - as above
            self._away(error)
            return False
        return True

    def _files(self) -> Any:
        """The file system. Raises ModuleNotFoundError where its client is not installed."""
        import fsspec  # type: ignore[import-untyped]  # noqa: PLC0415  an extra

        scheme = urlsplit(self._url).scheme
        files = fsspec.filesystem(scheme, **(_S3_OPTIONS if scheme == "s3" else {"auto_mkdir": True}))
        self._root = files._strip_protocol(self._url).rstrip("/")
        return files

    def _manifest(self, files: Any, root: str) -> dict[str, str] | None:
        """Digests by name of the output's files, or None where there is no manifest. Raises IntegrityError."""
        try:
            text = files.cat_file(f"{self._root}/{root}/{MANIFEST}", start=0, end=MOST_MANIFEST_BYTES)
        except FileNotFoundError:
            return None
        try:
            manifest = json.loads(text)
        except ValueError as error:
            raise IntegrityError(f"{self.shown}/{root}/{MANIFEST}: not a JSON document") from error
        sound = isinstance(manifest, dict) and all(isinstance(digest, str) for digest in manifest.values())
        if not sound or not all(_is_below(name) for name in manifest):
            raise IntegrityError(f"{self.shown}/{root}/{MANIFEST}: does not name files and their digests")
        return dict(manifest)

    def _download(self, files: Any, root: str, manifest: dict[str, str], staging: Path) -> None:
        staging.mkdir(parents=True)
        for name, recorded in manifest.items():
            (staging / name).parent.mkdir(parents=True, exist_ok=True)
            files.get_file(f"{self._root}/{root}/{name}", str(staging / name))
            found = sha256_file(staging / name)
            if found != recorded:
                raise IntegrityError(
                    f"{self.shown}/{root}/{name}: SHA-256 is {found[:12]}…, its manifest says {recorded[:12]}…"
                )
        write_json(staging / MANIFEST, manifest)

    def _is_away(self) -> bool:
        return time.monotonic() < self._away_until

    def _away(self, error: Exception) -> None:
        self._away_until = time.monotonic() + PAUSE_SECONDS
        said = " ".join(str(error).split())[:300]
        log.warning(
            "%s is away (%s: %s): outputs are kept here alone meanwhile; it is asked again in %d s",
            self.shown, type(error).__name__, said, PAUSE_SECONDS,
        )  # fmt: skip


def mirror() -> Mirror | None:
    """The mirror that NOCTURNE_STAGES_URL names, or None. Raises ConfigurationError for a URL that names no folder."""
    url = os.environ.get(SETTING, "")
    if not url:
        return None
    with _lock:
        if url not in _opened:
            _opened[url] = Mirror(url)
        return _opened[url]


def _publish(staging: Path, folder: Path) -> None:
    try:
        staging.rename(folder)
    except OSError:
        if not (folder / MANIFEST).is_file():  # else another run of this machine was quicker
            raise


def _checked(url: str) -> str:
    """The URL as it may be shown."""
    parts = urlsplit(url)
    if not parts.scheme or not (parts.netloc or parts.path.strip("/")):
        raise ConfigurationError(f"{SETTING} must be a folder's address, s3://bucket/folder for example")
    if "@" in parts.netloc:
        raise ConfigurationError(f"{SETTING} must hold no password: keys belong into AWS_ACCESS_KEY_ID and its like")
    return url.rstrip("/")


def _is_below(name: str) -> bool:
    """Whether a manifest's name stays below its folder and is no manifest itself."""
    parts = Path(name).parts
    return bool(parts) and ".." not in parts and not Path(name).is_absolute() and name != MANIFEST and "\\" not in name
