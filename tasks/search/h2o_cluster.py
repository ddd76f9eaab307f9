"""An H2O cluster that somebody else runs: used by its URL, left as it was found.

``NOCTURNE_H2O_URL`` names it (http or https, of any of its nodes), ``NOCTURNE_H2O_USER`` and ``NOCTURNE_H2O_PASSWORD``
whom it knows; they stand in the environment only. No JVM is started here then, and none is shut down.

Others may work on it, so that what is ours is known by name: frames and models that are made here carry a prefix with a
name that this search drew; models that AutoML names itself are ours if they learned from one of those frames. ``close``
removes them, and the next search of the same state folder those of a search that was killed (``h2o_leases.py``).

A cluster that loses a node does not end a job, it waits for ever: its health is asked every few seconds, and a cluster
that is lost interrupts the main thread, as a JVM that died does.
"""

from __future__ import annotations

import contextlib
import http.client
import logging
import os
import signal
import threading
import urllib.error
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import h2o

from tasks.errors import ConfigurationError, EngineError, EngineKilledError
from tasks.search.h2o_leases import Lease, forget
from tasks.search.h2o_server import ask

URL, USER, PASSWORD = "NOCTURNE_H2O_URL", "NOCTURNE_H2O_USER", "NOCTURNE_H2O_PASSWORD"
VERSION = "3.46.0.11"
"""The last that gives its models away as MOJOs under the Apache licence; client and server have to be the same."""

EVERY_SECONDS, PATIENCE = 2.0, 3
log = logging.getLogger("nocturne.search.h2o")


class H2OCluster:
    """A connection to a running cluster. ``close`` removes what was made there, and may be called twice.

    Construct it in the main thread. Raises ConfigurationError for a URL or a version that cannot be used, EngineError
    where the cluster does not answer, refuses the user, or is not whole, StorageError where the state folder cannot be
    written.
    """

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url, self.user, self.password = _checked(url), user, password
        self._over = threading.Event()
        cloud = self._cloud()
        self.nodes = int(cloud["cloud_size"])
        memory = sum(int(node["max_mem"]) for node in cloud["nodes"]) / 2**30
        self.told = f"on the H2O cluster at {self.url}: version {VERSION}, {self.nodes} nodes, {memory:.1f} GiB"
        log.info("%s", self.told)
        self._lease = Lease(self.url)
        self.prefix = _prefix(self._lease.name)
        signal.signal(signal.SIGUSR1, self._lost)
        threading.Thread(target=self._watch, name="cluster-watch", daemon=True).start()

    def get(self, path: str) -> Any:
        """What the cluster answers to GET, as JSON. Raises OSError if it does not. Safe in any thread."""
        return ask(self.url + path, self.user, self.password)

    def connected(self) -> None:
        """Called once the client is connected: remove what searches of this state folder left that were killed."""
        for name in self._lease.ended():
            self._remove(_carriers(_prefix(name)))
            forget(name)

    def free_models(self) -> None:
        """Take our models out of the cluster's memory; frames stay."""
        marks = self._marks(self._ours)
        for name in marks[1:]:
            _drop(name)

    def close(self) -> None:
        """Remove what is ours, where the cluster still answers, and leave it running."""
        if self._over.is_set():
            return
        self._over.set()
        if threading.current_thread() is not threading.main_thread():
            return  # the client is not for two threads; the next search removes what is left
        if self._trouble():
            return  # a cluster that is lost keeps what it has: the client would wait for it
        with contextlib.suppress(Exception):  # the same, a moment later
            self._remove(self._ours)
            self._lease.give_back()
            h2o.connection().close()

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """Turns whatever error the block ends with into EngineKilledError if the cluster is what broke."""
        try:
            yield
        except Exception as error:
            if isinstance(error, EngineKilledError) or not (reason := self._trouble()):
                raise
            raise EngineKilledError(self._words(reason)) from error

    def _remove(self, mine: Callable[[str], bool]) -> None:
        marks = self._marks(mine)
        for name in marks[1:]:
            _drop(name)
        for frame in self.get("/3/Frames")["frames"]:
            name = frame["frame_id"]["name"]
            if mine(name) or any(mark in name for mark in marks[1:]):
                _drop(name)

    def _marks(self, mine: Callable[[str], bool]) -> list[str]:
        """The prefix, and the names of the models that are ours or learned from frames that are."""
        marks = [self.prefix]
        models = {m["model_id"]["name"]: (m.get("data_frame") or {}).get("name", "") for m in self._models()}
        for name, frame in models.items():
            if mine(name) or mine(frame) or any(mark in name for mark in marks):
                marks.append(name)
        # A metalearner learned from a frame that H2O names after the ensemble.
        return marks + [name for name in models if name not in marks and any(mark in name for mark in marks[1:])]

    def _models(self) -> list[dict[str, Any]]:
        return list(self.get("/3/Models")["models"])

    def _ours(self, name: str) -> bool:
        return self.prefix in name

    def _cloud(self) -> dict[str, Any]:
        try:
            cloud = self.get("/3/Cloud")
        except urllib.error.HTTPError as error:
            refused = f"refuses user {self.user!r}: set {USER} and {PASSWORD}" if error.code == 401 else str(error)
            raise ConfigurationError(f"{URL}: the H2O cluster at {self.url} {refused}") from error
        except OSError as error:
            raise EngineError(f"{URL}: the H2O cluster at {self.url} does not answer: {error}") from error
        except (ValueError, http.client.HTTPException) as error:
            raise ConfigurationError(f"{URL}: what answers at {self.url} is no H2O cluster") from error
        if not isinstance(cloud, dict) or "version" not in cloud:
            raise ConfigurationError(f"{URL}: what answers at {self.url} is no H2O cluster")
        if cloud["version"] != VERSION:
            raise ConfigurationError(
                f"{URL}: the cluster at {self.url} is H2O {cloud['version']}, and {VERSION} is wanted: later ones "
                "do not export their models"
            )
        if not cloud.get("cloud_healthy") or cloud.get("bad_nodes"):
            raise EngineError(f"{URL}: the H2O cluster at {self.url} is not healthy")
        return dict(cloud)

    def _trouble(self) -> str:
        """What is wrong with the cluster, empty if nothing is."""
        try:
            cloud = self.get("/3/Cloud?skip_ticks=true")
        except (OSError, ValueError) as error:
            return f"it does not answer: {error}"
        nodes, bad = int(cloud.get("cloud_size", 0)), int(cloud.get("bad_nodes", 0))
        if nodes - bad < self.nodes or not cloud.get("cloud_healthy"):
            return f"{nodes - bad} of {self.nodes} nodes are left"
        return ""

    def _watch(self) -> None:
        troubled = 0
        while not self._over.wait(EVERY_SECONDS):
            self._lease.renew()
            troubled = troubled + 1 if self._trouble() else 0
            if troubled >= PATIENCE:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
                return

    def _lost(self, *_: object) -> None:
        raise EngineKilledError(self._words(self._trouble() or "it did not answer for a while"))

    def _words(self, reason: str) -> str:
        return f"the H2O cluster at {self.url} was lost: {reason}"


def configured() -> H2OCluster | None:
    """The cluster that the environment names, None where it names none."""
    url = os.environ.get(URL, "")
    return H2OCluster(url, os.environ.get(USER, ""), os.environ.get(PASSWORD, "")) if url else None


def _checked(url: str) -> str:
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except ValueError:  # its text may hold a part of a password
        raise ConfigurationError(f"{URL} must be http(s)://HOST:PORT, with a port from 1 to 65535") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not port:
        raise ConfigurationError(f"{URL} must be http(s)://HOST:PORT, got {parts.scheme}://{parts.hostname or ''}")
    if parts.username or parts.password:
        raise ConfigurationError(f"{URL} must name no user: set {USER} and {PASSWORD} instead")
    return url.rstrip("/")


def _prefix(name: str) -> str:
    return f"nocturne_{name}_"


def _carriers(mark: str) -> Callable[[str], bool]:
    """Which keys have this in their name."""
    return lambda key: mark in key


def _drop(name: str) -> None:
    """Remove a key; what is gone already (a submodel went with its model) is what was wanted."""
    with contextlib.suppress(h2o.exceptions.H2OResponseError):
        h2o.api(f"DELETE /3/DKV/{urllib.parse.quote(name, safe='')}", data={"cascade": True})
