"""Where models come from: an MLflow registry at any tracking URI, or a folder that ``nocturne pull --to`` made.

Both answer the same three questions: who holds which alias, what are the facts of a version, and its files. The only
module of the client that calls MLflow, and only its tracking client: a model is never loaded through MLflow here.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import shutil
import socket
import threading
import urllib.parse
import urllib.request
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ...errors import ConfigurationError, IntegrityError, RegistryError, StorageError
from ..serving.folder import drop_bytecode
from .records import MODEL, VERSION, Seen, Version, checked, read_version, require_name

if TYPE_CHECKING:
    from mlflow import MlflowClient

REACH_SECONDS = 3.0
"""How long a connection may take before a registry counts as away: MLflow itself retries for minutes."""
ANSWER_SECONDS = 30.0
"""How long the registry may take to say who holds which alias."""
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")
_SHORTEST = 3
"""Letters of a password that is looked for by itself in messages: shorter ones are in every word."""
_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
log = logging.getLogger("nocturne.client")
T = TypeVar("T")


class RegistryAwayError(RegistryError):
    """The registry did not answer, or not in time; the same question may be answered later."""

    retryable = True


class Source(Protocol):
    """Where models come from. ``shown``: its address without passwords; ``id``: a short name for its files."""

    shown: str
    id: str

    def seen(self, name: str) -> Seen:
        """Who holds which alias. Raises ConfigurationError for an unknown name, RegistryAwayError."""

    def version(self, name: str, version: str) -> Version:
        """The facts of one version. Raises ConfigurationError if there is none, IntegrityError, RegistryAwayError."""

    def fetch(self, version: Version, into: Path) -> None:
        """Copy its files to ``into/model``, unchecked. Raises RegistryAwayError, StorageError."""


def tracking_uri(given: str = "") -> str:
    """The given one, NOCTURNE_TRACKING_URI, or MLFLOW_TRACKING_URI. Raises ConfigurationError if there is none."""
    uri = given or os.environ.get("NOCTURNE_TRACKING_URI") or os.environ.get("MLFLOW_TRACKING_URI") or ""
    if not uri:
        raise ConfigurationError(
            "where is the registry? Give tracking_uri (or set NOCTURNE_TRACKING_URI): an MLflow server's address, or "
            "a folder that 'pull --to' made"
        )
    return uri


def open_source(uri: str = "") -> Source:
    """The source at a tracking URI; a path without a scheme is a pulled folder. Opens no connection."""
    address = tracking_uri(uri)
    is_path = ":" not in address and address != "databricks"
    return Folder(Path(address).absolute()) if is_path else Registry(address)


class Folder:
    """A model without any registry: ``model/`` and ``version.json``. Needs no MLflow."""

    def __init__(self, folder: Path) -> None:
        self.shown, self.id, self._folder = str(folder), _short(str(folder)), folder

    def seen(self, name: str) -> Seen:
        """The one version that lies there, under the alias that it was pulled by, or under any if it was pinned."""
        found = self._version(name)
        return Seen(name=name, aliases={found.alias or "champion": found.version}, epoch=found.epoch)

    def version(self, name: str, version: str) -> Version:
        """Its facts, if it is the version that lies there."""
        found = self._version(name)
        if found.version != version:
            raise ConfigurationError(f"{self.shown} holds version {found.version} of {name}, not {version}")
        return found

    def fetch(self, version: Version, into: Path) -> None:
        """Copy ``model/``; links stay links, which no model may hold."""
        try:
            shutil.copytree(self._folder / MODEL, into / MODEL, symlinks=True)
            drop_bytecode(into / MODEL)
        except (OSError, shutil.Error) as error:
            raise StorageError(f"{self.shown}: version {version.version} cannot be copied: {error}") from error

    def _version(self, name: str) -> Version:
        try:
            found = read_version(self._folder / VERSION)
        except StorageError as error:
            if isinstance(error, IntegrityError):
                raise
            raise RegistryAwayError(f"{self.shown}: no pulled model there: {error}") from error
        if found.name != require_name(name):
            raise ConfigurationError(f"{self.shown} holds the model '{found.name}', not '{name}'")
        return found


class Registry:
    """An MLflow registry at any tracking URI; with mlflow-skinny that is one over HTTP."""

    def __init__(self, uri: str) -> None:
        self._uri, self.shown = uri, _without_password(uri)
        self.id = _short(self.shown)
        self._opened: MlflowClient | None = None

    def seen(self, name: str) -> Seen:
        """Aliases and tags of the registered model, in one request."""
        require_name(name)
        found = self._ask(f"no registered model '{name}'", lambda client: client.get_registered_model(name))
        tags = dict(found.tags)
        aliases = {alias: str(version) for alias, version in found.aliases.items()}
        return Seen(
            name=name,
            aliases=aliases,
            epoch=_epoch(tags.get("nocturne.epoch", "")),
            share=_share(name, tags.get("nocturne.share", "")),
            drifted=_drifted(tags, aliases.get("champion", "")),
        )

    def version(self, name: str, version: str) -> Version:
        """Its digest and signature, from the version's tags."""
        require_name(name)
        missing = f"no version {version} of '{name}'"
        found = self._ask(missing, lambda client: client.get_model_version(name, version))
        tags = {key: found.tags.get(key, "") for key in ("model_sha256", "signature", "signing_key")}
        return checked(Version(name=name, version=str(found.version), **tags))

    def fetch(self, version: Version, into: Path) -> None:
        """Download the logged folder."""
        missing = f"version {version.version} of '{version.name}' has no files"
        found = Path(self._ask(missing, lambda client: self._download(client, version, into), seconds=None))
        try:
            if found.is_symlink() or not found.resolve().is_relative_to(into.resolve()):
                raise IntegrityError(f"{found}: not below {into}, where it was to be downloaded")
            if found != into / MODEL:
                os.replace(found, into / MODEL)
            drop_bytecode(into / MODEL)
        except OSError as error:
            raise StorageError(f"{into / MODEL}: cannot be written: {error.strerror}") from error

    def _download(self, client: MlflowClient, version: Version, into: Path) -> str:
        from mlflow.artifacts import download_artifacts  # noqa: PLC0415

        # Not by models:/ URI: MLflow resolves those at the process's own registry, whatever URI is given with it.
        uri = client.get_model_version_download_uri(version.name, version.version)
        if uri.startswith("models:/m-"):
            uri = client.get_logged_model(uri.removeprefix("models:/")).artifact_location
        return str(download_artifacts(artifact_uri=uri, dst_path=str(into), tracking_uri=self._uri))

    def _ask(self, missing: str, question: Callable[[MlflowClient], T], seconds: float | None = ANSWER_SECONDS) -> Any:
        with self._in_words(missing):
            require_reachable(self._uri)
            client = self._client()  # importing MLflow is not the registry's time
            return within(seconds, lambda: question(client)) if seconds else question(client)

    def _client(self) -> MlflowClient:
        if self._opened is None:
            os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
            os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # deprecations between MLflow and what it imports
                from mlflow import MlflowClient  # noqa: PLC0415

                self._opened = MlflowClient(tracking_uri=self._uri, registry_uri=self._uri)
        return self._opened

    @contextlib.contextmanager
    def _in_words(self, missing: str) -> Iterator[None]:
        try:
            yield
        except (RegistryError, ConfigurationError, StorageError):
            raise
        except ImportError as error:
            raise ConfigurationError(
                f"a registry needs MLflow: pip install mlflow-skinny (the extra 'registry'): {error}"
            ) from error
        except Exception as error:  # noqa: BLE001 - MLflow's, requests' and urllib3's: each means "no answer"
            said = without_passwords(str(error), self._uri)
            cause = error if said == str(error) else None  # a traceback would show it all the same
            if getattr(error, "error_code", "") in _ABSENT:
                raise ConfigurationError(f"{missing} at {self.shown}: {said}") from cause
            raise RegistryAwayError(f"{self.shown}: the registry gave no answer: {said}") from cause


def within(seconds: float, question: Callable[[], T]) -> T:
    """The question's answer, or RegistryAwayError after ``seconds``; a late answer is thrown away."""
    answer: list[T] = []
    failure: list[BaseException] = []

    def ask() -> None:
        try:
            answer.append(question())
        except BaseException as error:  # noqa: BLE001 - raised again in the asking thread
            failure.append(error)

    thread = threading.Thread(target=ask, name="nocturne-registry", daemon=True)
    thread.start()
    thread.join(seconds)
    if failure:
        raise failure[0]
    if not answer:
        raise RegistryAwayError(f"the registry gave no answer in {seconds:g} s")
    return answer[0]


def require_reachable(uri: str) -> None:
    """Raises RegistryAwayError if nothing listens at an HTTP address. Behind a proxy nothing can be said."""
    parts = urllib.parse.urlsplit(uri)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return
    if parts.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(parts.hostname):
        return
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        raise ConfigurationError(
            f"{_without_password(uri)}: the port is no number; in a password '/', '?', '#' and '@' are written as %2F, "
            "%3F, %23 and %40"
        ) from None
    try:
        socket.create_connection((parts.hostname, port), timeout=REACH_SECONDS).close()
    except OSError as error:
        raise RegistryAwayError(f"{_without_password(uri)}: nobody answers there: {error}") from error


def _epoch(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _share(name: str, text: str) -> float:
    try:
        share = float(text or 0)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        log.warning("%s: the tag nocturne.share is %r, not a number in [0, 1]: nobody sees the challenger", name, text)
        return 0.0
    return share


def _drifted(tags: Mapping[str, str], champion: str) -> bool:
    """Whether the monitor judged the present champion; what it said of one before does not count."""
    return tags.get("nocturne.drift") == "exceeded" and tags.get("nocturne.drift.version", champion) == champion


def _without_password(uri: str) -> str:
    """The address without what stands before its last @ (a password may hold slashes), and without its query."""
    scheme, separator, rest = uri.partition("://")
    return f"{scheme}{separator}{re.split('[?#]', rest.rpartition('@')[2])[0]}"


def without_passwords(text: str, uri: str) -> str:
    """A foreign message without what addresses in it hold beside host and path, and without this address's password."""
    shown = text.replace(uri, _without_password(uri)) if uri else text
    for secret in _secrets(uri):
        shown = shown.replace(secret, "…")
    return _ADDRESS.sub(lambda found: _without_password(found.group()), shown)


def _secrets(uri: str) -> set[str]:
    """The password and the query's values of an address, as they are written and as they are meant."""
    before, _, _ = uri.partition("://")[2].rpartition("@")
    query = urllib.parse.parse_qsl(uri.partition("?")[2])
    values = [before.partition(":")[2], *(value for _, value in query)]
    return {form for value in values for form in (value, urllib.parse.unquote(value)) if len(form) >= _SHORTEST}


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
