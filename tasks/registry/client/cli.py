"""``nocturne-client``: pull, verify, predict, serve. Standard library's arguments; the rest is the client's.

Standard output holds the result (with ``--json`` one JSON document); what happens goes to standard error. Exit codes:
0 done, 1 the disk or the registry failed, 2 bad usage or configuration, 3 bars that cannot be predicted from.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ...errors import ConfigurationError, ModelInputError, NocturneError
from .events import Event
from .loading import Loaded
from .pulling import Pulled, pull
from .server import PORT, TOKEN, Server, rows_of, serve, token
from .service import Champion


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; errors that the project names become one sentence and their exit code."""
    asked = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    try:
        document = asked.command(asked)
    except NocturneError as error:
        sys.stderr.write(f"error {type(error).__name__}: {error}\n")
        return error.exit_code
    if document is not None:
        sys.stdout.write(_told(document, asked.json) + "\n")
    return 0


def told(pulled: Pulled) -> dict[str, Any]:
    """What was pulled, as a document: version, digest, where it lies, and whose signature was checked."""
    version = pulled.version
    return {
        "name": version.name,
        "version": version.version,
        "alias": version.alias,
        "sha256": version.model_sha256,
        "signature": f"checked, key {pulled.signed_by[:12]}" if pulled.signed else "not checked: no trusted keys",
        "folder": str(pulled.folder),
    }


def announce(server: Server, fresh: bool) -> None:
    """Say on standard error which version serves where, and the token if nobody knows it yet."""
    state = server.champion.state
    lines = [f"{state.name} version {state.version} ({state.role}) on {server.url}"]
    if state.degraded:
        lines.append(f"degraded: {state.degraded}")
    if fresh:
        lines.append(f"token (shown once; set {TOKEN} to choose it): {server.token}")
    sys.stderr.write("\n".join(lines) + "\n")
    sys.stderr.flush()


def tell(event: Event) -> None:
    """An event, on standard error."""
    sys.stderr.write(f"{event.at} {event.kind}: {event.message}\n")
    sys.stderr.flush()


def serve_until_stopped(champion: Champion, port: int) -> None:
    """``serve`` with its token from the environment, or a new one that is shown."""
    value, fresh = token()
    serve(champion, port=port, token=value, ready=lambda server: announce(server, fresh))


def _pull(asked: argparse.Namespace) -> dict[str, Any]:
    return told(pull(asked.name, **_which(asked), to=asked.to))


def _verify(asked: argparse.Namespace) -> dict[str, Any]:
    pulled = pull(asked.name, **_which(asked))
    Loaded(pulled).require_healthy()
    return {**told(pulled), "example": "predicts from its own example"}


def _predict(asked: argparse.Namespace) -> dict[str, Any]:
    bars = read_bars(asked.bars)
    with Champion(asked.name, **_which(asked), refresh_seconds=0) as champion:
        said = champion.predict(bars, asked.key, rows=asked.rows)
        degraded = champion.state.degraded
    return {"name": asked.name, "degraded": degraded, "predictions": rows_of(said)}


def _serve(asked: argparse.Namespace) -> None:
    seconds = asked.every if asked.watch else 0
    champion = Champion(asked.name, **_which(asked), refresh_seconds=seconds, log=asked.log, on_event=tell)
    logging.getLogger("nocturne.client").setLevel(logging.CRITICAL)  # its events are told once, by tell
    serve_until_stopped(champion, asked.port)


def read_bars(path: Path) -> pd.DataFrame:
    """Raw bars from a CSV or Parquet file. Raises ConfigurationError or ModelInputError."""
    try:
        return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ImportError as error:
        raise ConfigurationError(f"{path}: Parquet needs pyarrow (the extra 'log'): {error}") from error
    except ValueError as error:
        raise ModelInputError(f"{path}: not a table of bars: {error}") from error


def _which(asked: argparse.Namespace) -> dict[str, Any]:
    return {
        "version": asked.version,
        "alias": asked.alias,
        "tracking_uri": asked.registry,
        "trusted_keys": asked.keys,
        "cache": asked.cache,
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nocturne-client", description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command, about in (
        ("pull", _pull, "fetch and check a version"),
        ("verify", _verify, "fetch, check and load a version, and ask it for its own example"),
        ("predict", _predict, "predict from raw bars"),
        ("serve", _serve, "serve predictions on this machine until stopped"),
    ):
        added = commands.add_parser(name, help=about)
        added.set_defaults(command=command)
        _common(added)
        if name in _OWN:
            _OWN[name](added)
    return parser


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="a registered model")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--version", default="", help="pin this version")
    which.add_argument("--alias", default="champion", help="follow this alias (champion)")
    parser.add_argument("--registry", default="", help="MLflow's address, or a pulled folder (NOCTURNE_TRACKING_URI)")
    parser.add_argument("--keys", help="trusted public keys: a PEM file or folder (NOCTURNE_TRUSTED_KEYS)")
    parser.add_argument("--cache", help="where models are kept (NOCTURNE_CACHE, ~/.cache/nocturne)")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")


def _own_pull(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", help="also copy it to this folder, from which it can be used without a registry")


def _own_predict(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bars", type=Path, required=True, help="raw bars: a CSV or Parquet file")
    parser.add_argument("--rows", choices=("last", "all"), default="last", help="the last bar, or every bar")
    parser.add_argument("--key", help="of the request: whether it sees the challenger")


def _own_serve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, default=PORT, help=f"of the loopback ({PORT}; 0: a free one)")
    parser.add_argument("--every", type=float, default=10.0, help="seconds between looks at the registry (10)")
    parser.add_argument(
        "--watch", action=argparse.BooleanOptionalAction, default=True, help="follow the alias when it moves"
    )
    parser.add_argument("--log", help="folder of logged predictions (Parquet)")


_OWN = {"pull": _own_pull, "predict": _own_predict, "serve": _own_serve}


def _told(document: dict[str, Any], as_json: bool) -> str:
    if as_json:
        return json.dumps(document, indent=1, allow_nan=False)
    lines = [f"{name}: {value}" for name, value in document.items() if value and name != "predictions"]
    if "predictions" in document:
        lines.append(pd.DataFrame(document["predictions"]).to_string(index=False))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
