"""Where a fleet's nights run: on the Dask cluster that NOCTURNE_DASK names, or on worker processes of this machine.

Who may talk to a Dask scheduler may run code on every worker. So the local cluster listens on the loopback, wants a
certificate that lives in its own memory alone, and serves no page; and a cluster elsewhere is reached by ``tls://``,
with the certificates that Dask's own configuration names (``DASK_DISTRIBUTED__COMM__TLS__…``).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import dask
from distributed import LocalCluster
from distributed.security import Security
from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.errors import ConfigurationError

ADDRESS = "NOCTURNE_DASK"
WORKERS = "NOCTURNE_DASK_WORKERS"
MOST_WORKERS = 64
NO_PAGES = {
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    "distributed.admin.system-monitor.gil.enabled": False,
}
"""Dask opens a port for pages whatever it is told; without routes it answers nothing but 404."""
log = logging.getLogger("nocturne.fleet")


@contextmanager
def cluster() -> Iterator[Any]:
    """What a Dask client connects to: an address, or a local cluster that lives as long as the block.

    Raises ConfigurationError for an address that would carry nights in the clear.
    """
    named = address()
    if named:
        log.info("nights run on the Dask cluster at %s", named)
        yield named
        return
    with dask.config.set(NO_PAGES), _local(workers()) as found:
        log.info("nights run on %d processes of this machine", workers())
        yield found


def _local(count: int) -> LocalCluster:
    """One night a process: each is measured, logged and bounded as a process of its own."""
    security = Security.temporary()  # type: ignore[no-untyped-call]
    return LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=count,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        protocol="tls://",
        security=security,
        dashboard_address="127.0.0.1:0",
        worker_dashboard_address="127.0.0.1:0",
        memory_limit=0,  # Dask sees the worker, not the engines' processes: the problem bounds those
        silence_logs=logging.ERROR,
    )


def address() -> str:
    """NOCTURNE_DASK, checked; empty where nights run on this machine. Raises ConfigurationError."""
    given = os.environ.get(ADDRESS, "")
    if not given:
        return ""
    parts = urlsplit(given)
    try:
        sound = parts.scheme in ("tls", "tcp") and bool(parts.hostname) and bool(parts.port)
    except ValueError:
        sound = False
    if not sound:
        raise ConfigurationError(f"{ADDRESS} must be tls://host:port, got '{given}'")
    if parts.scheme == "tcp" and not _on_loopback(parts.hostname or ""):
        raise ConfigurationError(
            f"{ADDRESS}={given}: whoever reaches a scheduler without TLS runs code on its workers; start it with "
            "certificates and name it tls://host:port (tcp:// is taken on the loopback only)"
        )
    return given


def _on_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def workers() -> int:
    """How many processes of this machine run nights: NOCTURNE_DASK_WORKERS, or 2. Raises ConfigurationError."""
    given = os.environ.get(WORKERS) or "2"
    if not given.isdigit() or not 1 <= int(given) <= MOST_WORKERS:
        raise ConfigurationError(f"{WORKERS} must be a number from 1 to {MOST_WORKERS}, got '{given}'")
    return int(given)


@contextmanager
def reachable_server() -> Iterator[None]:
    """Workers report to the Prefect server of this run while the block runs, the one that lives for it alone included.

    Without its address every worker would start a server of its own, on the same database.
    """
    server = SubprocessASGIServer()
    if PREFECT_API_URL.value() or not server.running:
        yield
        return
    with temporary_settings({PREFECT_API_URL: server.api_url}):
        yield
