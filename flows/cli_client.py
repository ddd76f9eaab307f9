"""Commands about using what was promoted: pull it, serve it. The same client as others install."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from flows.options import Json, show

Name = Annotated[str, typer.Argument(help="A registered model's name.")]
Alias = Annotated[str, typer.Option(help="Which alias.")]
Version = Annotated[str, typer.Option(help="Pin this version instead of following the alias.")]
Registry = Annotated[str, typer.Option(help="MLflow's address, or a pulled folder; this house's own if empty.")]
Keys = Annotated[Path | None, typer.Option(help="Trusted public keys: a PEM file or folder (NOCTURNE_TRUSTED_KEYS).")]


def pull(
    name: Name,
    version: Version = "",
    alias: Alias = "champion",
    to: Annotated[Path | None, typer.Option(help="Also copy it to this folder, to be used without a registry.")] = None,
    registry: Registry = "",
    keys: Keys = None,
    as_json: Json = False,
) -> None:
    """Fetch a promoted model, checked before anything of it is parsed, into the cache and, if asked, a folder."""
    from tasks.registry.client import cli
    from tasks.registry.client.pulling import pull as fetch

    found = fetch(name, version=version, alias=alias, tracking_uri=_where(registry), trusted_keys=keys, to=to)
    show(as_json, cli.told(found), _render_pulled)


def serve(
    name: Name,
    port: Annotated[int, typer.Option(help="Port on the loopback; 0: a free one.")] = 8765,
    watch: Annotated[bool, typer.Option("--watch/--no-watch", help="Follow the alias when it moves.")] = True,
    every: Annotated[float, typer.Option(help="Seconds between looks at the registry.")] = 10.0,
    version: Version = "",
    alias: Alias = "champion",
    registry: Registry = "",
    keys: Keys = None,
    log: Annotated[
        Path | None, typer.Option(help="Folder of logged predictions (Parquet); else live/NAME/requests at home.")
    ] = None,
) -> None:
    """Serve a promoted model's predictions over HTTP, on this machine alone, until stopped."""
    import logging

    from tasks.registry.client import cli
    from tasks.registry.client.service import Champion
    from tasks.storage import home

    champion = Champion(
        name,
        version=version,
        alias=alias,
        tracking_uri=_where(registry),
        trusted_keys=keys,
        refresh_seconds=every if watch else 0,
        log=log or home() / "live" / name / "requests",
        on_event=cli.tell,
    )
    logging.getLogger("nocturne.client").setLevel(logging.CRITICAL)  # its events are told once, by on_event
    cli.serve_until_stopped(champion, port)


def _where(registry: str) -> str:
    """The address that was given, or this house's own store, opened so that its tables are there."""
    if registry:
        return registry
    from tasks.registry import mlflow_store

    return mlflow_store.open_store().tracking_uri


def _render_pulled(document: dict[str, Any]) -> None:
    out = Console(highlight=False)
    for name, value in document.items():
        if value:
            out.print(f"{name}: {value}", markup=False, soft_wrap=True)
