"""MLflow's aliases as the ledger's projection: what consumers read, put right whenever somebody looks.

Each name shows its present standing as the aliases ``champion``, ``challenger`` and ``fallback`` and as two tags of the
registered model, ``nocturne.epoch`` and ``nocturne.share``. They are written by one at a time for each name, from the
standing that is the last one once it is that one's turn: who was stopped between the ledger's commit and here writes
the standing that others have reached meanwhile, and never an older one over it. The ledger itself is not locked while
MLflow is asked: one that answers slowly keeps no other problem's night waiting. A kill on the way is repaired by
whoever looks next.

Where somebody deleted a version that holds a place, the place is given up: that is a move of the ledger, ``dropped``.
"""

from __future__ import annotations

import contextlib
import logging
import math
from dataclasses import replace
from typing import Any

from tasks.errors import RegistryError
from tasks.live import ALIASES, Standing
from tasks.registry import continuity, mlflow_place, mlflow_store
from tasks.registry.chain_postgres import ledger_url
from tasks.registry.ledger import ALIASED, Ledger
from tasks.registry.ledger_place import ledger_path
from tasks.registry.mlflow_place import as_registry_error
from tasks.registry.mlflow_store import Store
from tasks.registry.standings import StaleEpochError, history, standing, swap

EPOCH, SHARE = "nocturne.epoch", "nocturne.share"
ADOPTER, DROPPER = "adoption", "repair"
log = logging.getLogger("nocturne.registry")


def shown(store: Store, name: str) -> Standing | None:
    """What MLflow shows of a name; None if it has no such registered model. Epoch and share 0 where no tag tells."""
    model = mlflow_store.registered_model(store, name)
    if model is None:
        return None
    held = {alias: str(version) for alias, version in model.aliases.items() if alias in ALIASES}
    return Standing(name=name, epoch=int(_number(model.tags, EPOCH)), share=_number(model.tags, SHARE), **held)


def project(store: Store, ledger: Ledger, name: str) -> tuple[str, ...]:
    """Make MLflow show the ledger's present standing; in words, what it showed else.

    A name that is in nobody's service needs no registered model. Raises RegistryError, naming the cure, if MLflow
    refuses or has lost what the ledger names.
    """
    with ledger.chain.alone(f"projection {name}"):
        wanted, seen = standing(ledger, name), shown(store, name)
        if seen is None and not _held(wanted):
            return ()
        if seen is None:
            raise RegistryError(
                f"{name}: the ledger says that version {wanted.champion or 'none'} is champion, and "
                f"{mlflow_place.shown_uri()} knows no model of this name. Point NOCTURNE_TRACKING_URI at the registry "
                f"that has it; if it is gone for good: nocturne rollback {name} --to none"
            )
        changes = _differences(seen, wanted)
        if changes:
            at = next((move.at for move in history(ledger, name) if move.standing == wanted), "")
            _write(store, seen, wanted, at)
    return changes


def repair(store: Store, ledger: Ledger, name: str) -> tuple[str, ...]:
    """Put back what somebody moved by hand, or a kill left undone; what was mended, in words, which are logged too.

    A name with a champion and without a standing was promoted before standings were kept: it is adopted as epoch 1.
    A place whose version was deleted is given up. Nothing is done for a name that neither side knows. Raises
    RegistryError as ``project``.
    """
    if standing(ledger, name).epoch == 0:
        said = _adopt(store, ledger, name)
    elif standing(ledger, name) == shown(store, name):
        return ()
    else:
        dropped = drop_deleted(store, ledger, name)
        said = (*dropped, *(f"{name}: {change}" for change in project(store, ledger, name)))
    for words in said:
        log.warning("%s", words)
    return said


def drop_deleted(store: Store, ledger: Ledger, name: str) -> tuple[str, ...]:
    """Give up the places of versions that MLflow no longer has, as a move of the ledger; in words, which.

    Nothing is done where the registered model is gone as a whole: that may be another registry. MLflow is not written
    to. Raises RegistryError if it cannot be read.
    """
    now = standing(ledger, name)
    if not _held(now) or mlflow_store.registered_model(store, name) is None:
        return ()
    lost = {alias: held for alias, held in _held(now).items() if mlflow_store.is_deleted(store, name, held)}
    if not lost:
        return ()
    why = tuple(f"version {held}, the {alias}, was deleted from the registry" for alias, held in lost.items())
    share = now.share if set(lost) <= {"fallback"} else 0.0
    with contextlib.suppress(StaleEpochError):  # whoever was faster has another standing shown
        given_up: dict[str, Any] = dict.fromkeys(lost, "")
        swap(ledger, now, replace(now, share=share, **given_up), "dropped", why, "", DROPPER)
    back = f"; nocturne rollback {name} puts an earlier one in its place" if "champion" in lost else ""
    return tuple(f"{name}: {words}: nothing holds that place now{back}" for words in why)


def mend(store: Store, name: str) -> tuple[str, ...]:
    """``repair`` for a command that merely looks; what was mended, or why nothing was.

    Nothing is touched where this machine has no ledger, where the ledger knows nothing of the name, or where it is not
    the one that the registry's entries rest on: then the aliases are somebody else's projection.
    """
    if ledger_url() is None and not ledger_path().exists():
        return ()
    with Ledger.open() as ledger:
        if standing(ledger, name).epoch == 0:
            return ()
        if continuity.lost(ledger, continuity.told_by(store, name)):
            return (f"{name}: {ledger.chain.where} is not the ledger of this registry's entries; aliases left alone",)
        try:
            return repair(store, ledger, name)
        except RegistryError as error:
            return (str(error),)


def _adopt(store: Store, ledger: Ledger, name: str) -> tuple[str, ...]:
    found = shown(store, name)
    if found is None or not found.champion:
        return ()
    noted = "problem = ? AND version = ? AND outcome = ?"
    known = ledger.chain.rows("outcomes", noted, (name, found.champion, ALIASED))
    why = "it held the alias before standings were kept" + (
        "" if known else "; this ledger knows of no promotion of it"
    )
    sound = replace(found, challenger="" if found.challenger == found.champion else found.challenger, share=0.0)
    swap(ledger, Standing(name=name), sound, "adopted", (why,), "", ADOPTER)
    project(store, ledger, name)
    return (f"{name}: version {found.champion} is adopted as champion, epoch 1: {why}",)


def _held(now: Standing) -> dict[str, str]:
    """The versions in service by their aliases."""
    return {alias: version for alias in ALIASES if (version := getattr(now, alias))}


def _differences(seen: Standing, wanted: Standing) -> tuple[str, ...]:
    changes = []
    for alias in ALIASES:
        there, right = getattr(seen, alias), getattr(wanted, alias)
        if there != right:
            put = f"put back to version {right}" if right else "taken away"
            changes.append(f"the alias {alias} was on {f'version {there}' if there else 'none'}; {put}")
    if seen.share != wanted.share:
        changes.append(f"the challenger's share was {seen.share:g}; put back to {wanted.share:g}")
    if seen.epoch != wanted.epoch:
        changes.append(f"the epoch was {seen.epoch or 'missing'}; put right to {wanted.epoch}")
    return tuple(changes)


def _write(store: Store, seen: Standing, wanted: Standing, at: str) -> None:
    """Only what differs; nobody is shown a challenger's share before its alias, and the epoch comes last."""
    name, client = wanted.name, store.client
    with as_registry_error(
        f"{name}: MLflow's aliases could not all be set to epoch {wanted.epoch}, which stands in the ledger; the next "
        f"night, or 'nocturne models {name}', puts them right"
    ):
        if wanted.share < seen.share:
            client.set_registered_model_tag(name, SHARE, _text(wanted.share))
        for alias in ALIASES:
            version = getattr(wanted, alias)
            if version and version != getattr(seen, alias):
                client.set_registered_model_alias(name, alias, version)
            elif getattr(seen, alias) and not version:
                client.delete_registered_model_alias(name, alias)
        if wanted.share != seen.share or not seen.epoch:
            client.set_registered_model_tag(name, SHARE, _text(wanted.share))
        if wanted.champion and wanted.champion != seen.champion:
            _note_promotion(client, wanted, at)
        client.set_registered_model_tag(name, EPOCH, str(wanted.epoch))


def _note_promotion(client: Any, wanted: Standing, at: str) -> None:
    version = client.get_model_version(wanted.name, wanted.champion)
    if "promoted" not in version.tags:
        client.set_model_version_tag(wanted.name, wanted.champion, "promoted", at)


def _text(share: float) -> str:
    return repr(float(share))


def _number(tags: dict[str, str], name: str) -> float:
    """A tag's number; 0 for one that is missing, or that somebody has spoiled by hand."""
    try:
        found = float(tags.get(name, 0))
    except ValueError:
        return 0.0
    return found if math.isfinite(found) else 0.0
