"""Which ports the servers take: the usual ones where they are free, else any free one, and the same ones ever after."""

from __future__ import annotations

import contextlib
import socket

import psutil

from flows.services.state import HOST
from tasks.errors import ConfigurationError

USUAL = {"prefect": 4200, "mlflow": 5000}


def is_free(port: int) -> bool:
    """Whether nobody listens on this port of the loopback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def choose(name: str, asked: int, remembered: int) -> int:
    """The port asked for, the one of the last start, the usual one, or any free one, in this order.

    Raises ConfigurationError if one that was asked for or remembered is taken: links and bookmarks hold it.
    """
    fixed = asked or remembered
    if fixed and not is_free(fixed):
        raise ConfigurationError(
            f"port {fixed} of {HOST}, which is {name}'s, is taken by {owner(fixed)}. Stop it, or move {name}: "
            f"nocturne up --{name}-port PORT"
        )
    return fixed or (USUAL[name] if is_free(USUAL[name]) else _any())


def _any() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def owner(port: int) -> str:
    """Who listens there, as far as this user may know."""
    with contextlib.suppress(psutil.Error, OSError):
        for found in psutil.net_connections("tcp"):
            if found.status == psutil.CONN_LISTEN and found.laddr.port == port and found.pid:
                return f"process {found.pid} ({psutil.Process(found.pid).name()})"
    return "another program"
