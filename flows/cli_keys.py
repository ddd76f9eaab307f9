"""Commands about trust: examine a registered version, make and show keys, sign again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.options import Json, show

keys = typer.Typer(help="Keys that sign promoted models: new, show, sign.", no_args_is_help=True)
MARKS = {"ok": "[green]ok[/]  ", "bad": "[red]bad[/] ", "none": "[dim]--[/]  "}


def verify(
    name: Annotated[str, typer.Argument(help="A registered model's name.")],
    version: Annotated[str, typer.Option(help="A version; empty means what holds the alias.")] = "",
    alias: Annotated[str, typer.Option(help="champion, challenger or fallback.")] = "champion",
    as_json: Json = False,
) -> None:
    """Pull a version and check digest, signature, pickles, manifest, code and evidence; exit code 1 if one is wrong."""
    import dataclasses

    from tasks.registry import inspection, mlflow_store
    from tasks.registry.ledger import Ledger

    store = mlflow_store.open_store()
    with Ledger.open() as ledger:
        found = inspection.inspect(store, ledger, name, version, alias)
    show(as_json, {"ok": found.ok, **dataclasses.asdict(found)}, _render_inspection)
    if not found.ok:
        raise typer.Exit(1)


@keys.command()
def new(
    folder: Annotated[Path | None, typer.Option(help="Where it goes; by default nocturne/keys in ~/.config.")] = None,
    as_json: Json = False,
) -> None:
    """Make a signing key (ECDSA, P-256), encrypted if NOCTURNE_SIGNING_KEY_PASSWORD is set."""
    from tasks.registry import signing

    pair = signing.create_key(folder or signing.keys_folder(), os.environ.get(signing.PASSWORD, ""))
    found = {"private": str(pair.private), "public": str(pair.public), "fingerprint": pair.fingerprint}
    show(as_json, found, _render_new)


@keys.command("show")
def show_keys(as_json: Json = False) -> None:
    """Show the signing key and the trusted keys that are configured, by fingerprint; never a private half."""
    from tasks.registry import signing
    from tasks.registry.client.signature import read_trusted

    key = signing.configured_key()
    half = signing.public_half(key, os.environ.get(signing.PASSWORD, "")) if key else None
    found = {
        "signing_key": {"file": str(key), "fingerprint": half[1], "public": half[0].decode()} if half else None,
        "trusted": {name: pem.decode() for name, pem in sorted(read_trusted().items())},
    }
    show(as_json, found, _render_keys)


@keys.command()
def sign(
    name: Annotated[str, typer.Argument(help="A registered model's name.")],
    version: Annotated[str, typer.Option(help="A version; empty means the champion.")] = "",
    as_json: Json = False,
) -> None:
    """Sign a registered version with the present key, if it still is what was registered: after a rotation."""
    from tasks.registry import inspection, mlflow_store
    from tasks.registry.ledger import Ledger

    store = mlflow_store.open_store()
    with Ledger.open() as ledger:
        number, seal = inspection.sign_again(store, ledger, name, version)
    found = {"name": name, "version": number, "model_sha256": seal.model_sha256, "signing_key": seal.signing_key}
    show(as_json, found, lambda told: _line(f"{name} version {number} signed by key {told['signing_key'][:16]}"))


def _render_inspection(document: dict[str, Any]) -> None:
    out = Console(highlight=False)
    out.print(f"[bold]{document['name']}[/] version {document['version']}")
    table = Table(box=None, show_header=False, pad_edge=False)
    for finding in document["findings"]:
        table.add_row(Text.from_markup(MARKS[finding["state"]]), finding["what"], Text(finding["said"]))
    out.print(table)


def _render_new(document: dict[str, Any]) -> None:
    _line(f"private key  {document['private']}  (mode 0600; sign with NOCTURNE_SIGNING_KEY={document['private']})")
    _line(f"public key   {document['public']}  (give it to consumers: NOCTURNE_TRUSTED_KEYS)")
    _line(f"fingerprint  {document['fingerprint']}")


def _render_keys(document: dict[str, Any]) -> None:
    key = document["signing_key"]
    _line(f"signs with   {key['fingerprint']}  {key['file']}" if key else "signs with   nothing: NOCTURNE_SIGNING_KEY")
    for name in document["trusted"]:
        _line(f"trusts       {name}")
    if not document["trusted"]:
        _line("trusts       nothing: NOCTURNE_TRUSTED_KEYS is not set, signatures are not checked")


def _line(text: str) -> None:
    Console(highlight=False).print(text, markup=False, soft_wrap=True)
