"""A model's own copy, proved to be what was sealed before anything loads it.

The ledger holds the digest of every version that a night registered and of its gated fit. Whatever the house itself
runs, to score the champion, to compare rivals, to predict at the terminal, is fetched, freed of bytecode and compared
with that digest first. Who has no ledger compares with the version's tag, as every consumer does.

What is older than the first seal of its name has no row; it is loaded as before, and the log says so.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from tasks.errors import ConfigurationError, IntegrityError, NocturneError
from tasks.registry import mlflow_store
from tasks.registry.chain_postgres import ledger_url
from tasks.registry.ledger import Ledger
from tasks.registry.ledger_place import ledger_path
from tasks.registry.mlflow_store import Store
from tasks.registry.serving.folder import folder_digest
from tasks.registry.signatures import first_sealed, fit_sealed, seals_fits, signature_of

SCHEME = "models:/"
_FIT = re.compile(r"m-[0-9a-zA-Z]+")
log = logging.getLogger("nocturne.registry")


def checked_copy(store: Store, uri: str, folder: Path) -> Path:
    """A registered or logged model below the new folder ``folder``, with the digest that was sealed; where it lies.

    uri: ``models:/NAME/VERSION``, ``models:/NAME@ALIAS`` or ``models:/m-…``. Raises IntegrityError if it is not what
    was sealed or the ledger ought to know it and does not, ConfigurationError if nothing holds the alias, RegistryError
    or StorageError if it cannot be had.
    """
    uri = _resolved(store, uri)
    with _own_ledger() as ledger:
        expected = _recorded(store, ledger, uri)
    folder.mkdir(parents=True)
    copy = mlflow_store.fetch(store, uri, folder)
    if not expected:
        log.warning("%s: was logged before models were sealed; it is loaded unchecked", uri)
    elif (found := folder_digest(copy)) != expected:
        raise IntegrityError(
            f"{uri}: the folder's SHA-256 is {found[:12]}…, sealed was {expected[:12]}…: it was altered or damaged, "
            "and was not loaded"
        )
    return copy


def checked_copies(tracking_uri: str, uris: Sequence[str], folder: Path) -> list[Path | NocturneError]:
    """``checked_copy`` of each model, or what is wrong with it."""
    store = mlflow_store.open_store(tracking_uri)
    found: list[Path | NocturneError] = []
    for place, uri in enumerate(uris):
        try:
            found.append(checked_copy(store, uri, folder / str(place)))
        except NocturneError as error:
            found.append(error)
    return found


def from_before(ledger: Ledger, name: str, version: str) -> bool:
    """Whether a version may lack a seal: this ledger sealed none of its name, or only later ones."""
    first = first_sealed(ledger, name)
    return first is None or (version.isdecimal() and int(version) < first)


def _resolved(store: Store, uri: str) -> str:
    if not uri.startswith(SCHEME):
        raise ConfigurationError(f"{uri}: not a registered model; say {SCHEME}NAME@champion or {SCHEME}NAME/VERSION")
    name, at, alias = uri.removeprefix(SCHEME).partition("@")
    return f"{SCHEME}{name}/{mlflow_store.holder(store, name, alias)}" if at else uri


@contextlib.contextmanager
def _own_ledger() -> Iterator[Ledger | None]:
    """This machine's ledger, if it has one: who merely predicts makes none."""
    if ledger_url() is None and not ledger_path().exists():
        yield None
        return
    with Ledger.open() as ledger:
        yield ledger


def _recorded(store: Store, ledger: Ledger | None, uri: str) -> str:
    """The digest that a model must have; empty where none was ever taken."""
    name, _, version = uri.removeprefix(SCHEME).partition("/")
    if not version:
        return _fit_recorded(store, ledger, uri)
    tags = mlflow_store.version_tags(store, name, version)
    if tags is None:
        raise ConfigurationError(f"{name} has no version {version} that is ready: see 'nocturne models {name}'")
    known = None if ledger is None else signature_of(ledger, name, version)
    if ledger is not None and known is None and not from_before(ledger, name, version):
        raise _unheard_of(ledger, uri)
    return known.model_sha256 if known else tags.get("model_sha256", "")


def _fit_recorded(store: Store, ledger: Ledger | None, uri: str) -> str:
    fit = uri.removeprefix(SCHEME)
    if ledger is None or not _FIT.fullmatch(fit):
        return ""
    known = fit_sealed(ledger, fit)
    if known is not None or not seals_fits(ledger):
        return known or ""
    owners = mlflow_store.tagged_versions(store, "gated_uri", uri)
    if owners and all(from_before(ledger, *owner) for owner in owners):
        return ""
    raise _unheard_of(ledger, uri)


def _unheard_of(ledger: Ledger, uri: str) -> IntegrityError:
    return IntegrityError(
        f"{uri}: {ledger.chain.where} has sealed models before, and never this one: no night of this house registered "
        "it, and it was not loaded"
    )
