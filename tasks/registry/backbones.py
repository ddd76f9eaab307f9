"""Pre-trained encoders in the registry: one registered model a name, ``backbone-<name>``, one version a training.

A version's folder is an artifact of its run; its tags say what it saw and until when, so that a night can refuse it
before it pulls anything. What is pulled lies below ``backbones/`` of the state folder and is verified each time.
They serve nobody: no alias, no pyfunc, and ``nocturne models`` does not list them.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import math
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tasks.backbones import MANIFEST, backbone_of, contents, described, first_scored, refusal
from tasks.contracts import Backbone, FeatureMatrix, Rows
from tasks.errors import ConfigurationError, IntegrityError, NocturneError, RegistryError
from tasks.problem import Problem
from tasks.registry import mlflow_store
from tasks.registry.mlflow_place import as_registry_error, shown_uri
from tasks.registry.mlflow_store import BACKBONES, KIND, Store
from tasks.storage import home, not_written

PREFIX = "backbone-"
ARTIFACT = "backbone"
LOCK = ".lock"
MOST = 3
"""So many are handed to a search that may choose: it has one budget for all of them."""

NOTHING_KNOWN = "Nothing is known yet of what it can do: no label of a bar that is new was there when it was made."
log = logging.getLogger("nocturne.registry.backbones")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A registered version: what its tags say (its ``folder`` is empty until it is pulled), when it was registered
    (ISO, UTC), its parent version (empty: trained anew), the device, and its evidence: by task, loss and naive loss.
    """

    backbone: Backbone
    registered: str
    parent: str
    device: str
    evidence: tuple[dict[str, Any], ...]
    run_id: str


def register(store: Store, folder: Path) -> Listed:
    """Log a backbone's folder in a run of its own and register it; the version that has it already, if one does.

    Returns it as pulled back from the registry, verified. Raises RegistryError, or IntegrityError for a bad folder.
    """
    read = contents(folder)
    found, document = backbone_of(folder, read), read.document
    if known := _first_with(store, found):
        return _pulled(store, known)
    _claim(store, found.name)
    run = _log(store, folder, found, document)
    registered = PREFIX + found.name
    with as_registry_error(f"{registered}: the backbone cannot be registered"):
        made = store.client.create_model_version(
            registered,
            source=f"{store.client.get_run(run).info.artifact_uri}/{ARTIFACT}",
            run_id=run,
            tags=_tags(found, document),
            description=f"Saw bars of {found.bar} up to {found.end}; {', '.join(found.tasks)}",
        )
    first = _first_with(store, found)
    assert first is not None, "it was registered just now"
    if first.backbone.version != str(made.version):
        with as_registry_error(f"{registered}: version {made.version} cannot be removed, which is {first.run_id}'s"):
            store.client.delete_model_version(registered, made.version)
    log.info("%s: registered as version %s", registered, first.backbone.version)
    return _pulled(store, first)


def _first_with(store: Store, found: Backbone) -> Listed | None:
    """The earliest version that is this very backbone: of two runs that register it at once, the later gives way."""
    same = [known for known in versions(store, found.name) if known.backbone.sha256 == found.sha256]
    return same[-1] if same else None


def markdown(listed: Listed) -> str:
    """What a version saw and can do, as a page for Prefect."""
    backbone = listed.backbone
    lines = [
        f"# Backbone {backbone.name}, version {backbone.version}",
        "",
        f"Saw bars of {backbone.bar} up to **{backbone.end}**: it may serve problems whose validation window begins "
        "after that, and no other.",
        f"Network: {backbone.architecture}, {backbone.length} bars a window. Trained on {listed.device}"
        + (f", from version {listed.parent}." if listed.parent else ", anew."),
        "",
        *(_table(listed) if listed.evidence else [NOTHING_KNOWN]),
        "",
        "What a backbone is worth elsewhere is measured there, against the same network from scratch.",
    ]
    return "\n".join(lines)


def _table(listed: Listed) -> list[str]:
    return [
        "| task | bars ahead | loss | naive | against | skill | 95 % | windows | from | to |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(_row(each) for each in listed.evidence),
        "",
        f"{_measured_on(listed)} Skill is 1 - loss / naive loss; an interval that holds 0 is no evidence.",
    ]


def _measured_on(listed: Listed) -> str:
    if any(each.get("of", "held out") != "held out" for each in listed.evidence):
        return f"Measured on the bars that are new, by version {listed.parent}, before this one learned of them."
    return "Measured on the latest bars, which nothing was fitted to or chosen by."


def _row(each: dict[str, Any]) -> str:
    spread = "-" if each["low"] is None else f"{each['low']:.3f} to {each['high']:.3f}"
    return (
        f"| {each['task']} | {each['horizon'] or '-'} | {each['loss']:.4f} | {each['naive']:.4f} | {each['against']} "
        f"| {each['skill']:.3f} | {spread} | {each['rows']:,} | {each['first'][:10]} | {each['last'][:10]} |"
    )


def _pulled(store: Store, listed: Listed) -> Listed:
    return replace(listed, backbone=pull(store, listed.backbone))


def versions(store: Store, name: str = "", version: str = "") -> tuple[Listed, ...]:
    """Registered backbones, by name, the newest version first; of one name or one version where that is given."""
    names = (name,) if name else mlflow_store.backbone_names(store, PREFIX)
    return tuple(
        listed
        for each in names
        for listed in _versions(store, each)
        if not version or listed.backbone.version == version
    )


def pull(store: Store, backbone: Backbone) -> Backbone:
    """The backbone with its verified folder below ``backbones/`` of the state folder; downloaded unless it lies there.

    A sound folder is never touched, for a search may be reading it; a damaged one is set aside. Raises IntegrityError
    if what the registry holds is not what was registered, RegistryError if it cannot be had, StorageError if it cannot
    be written.
    """
    place = home() / "backbones" / backbone.name / f"{backbone.version}-{backbone.sha256[:12]}"
    try:
        if place.is_dir():
            os.utime(place)  # what is old and unused is removed (tasks/retention.py)
            if found := _sound(place, backbone):
                return found
        place.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=place.parent, prefix=".pulling-") as scratch:
            uri = f"models:/{PREFIX}{backbone.name}/{backbone.version}"
            copied = mlflow_store.fetch(store, uri, Path(scratch))
            _same(described(copied, backbone.version), backbone)
            _publish(copied, place, backbone)
    except OSError as error:
        raise not_written(place, error) from error
    return _same(described(place, backbone.version), backbone)


def _sound(place: Path, backbone: Backbone) -> Backbone | None:
    """What lies there if it is this backbone, as its manifest says; None, and a warning, where it is damaged."""
    try:
        return _same(described(place, backbone.version), backbone)
    except IntegrityError as error:
        log.warning("%s version %s cannot be used as it lies there: %s", backbone.name, backbone.version, error)
        return None


def _publish(copied: Path, place: Path, backbone: Backbone) -> None:
    """Give a verified folder its name; where another has it meanwhile, that one stays if it is sound."""
    try:
        copied.rename(place)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        with (place.parent / LOCK).open("w") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)  # between the look and the renaming nobody else may put a sound one there
            if not _sound(place, backbone):
                place.rename(place.with_name(f"{place.name}.damaged-{uuid.uuid4().hex[:8]}"))
                copied.rename(place)


def resolve(problem: Problem, rows: Rows, matrix: FeatureMatrix) -> tuple[Backbone, ...]:
    """The backbones that a problem's transfer may start from, pulled and verified, the preferred first.

    ``problem.backbone`` names one (its newest admissible version) or one version (``name:version``); empty: of each
    name the newest admissible version, those of the problem's own bars first, the later ``end`` first, at most three.
    One that cannot be pulled does not take the others along. Raises ConfigurationError that says of each why it may not
    be used, or that there is none; or why none can be pulled.
    """
    store = mlflow_store.open_store()
    name, _, version = problem.backbone.partition(":")
    known = versions(store, name, version)
    if not known:
        raise _unknown(store, problem.backbone)
    reasons = [_refusal(listed, problem, rows, matrix) for listed in known]
    admissible = [listed.backbone for listed, reason in zip(known, reasons, strict=True) if not reason]
    if not admissible:
        told = "; ".join(reasons[:5])
        raise ConfigurationError(f"{problem.name}: no backbone may be used: {told}")
    chosen = list({each.name: each for each in reversed(admissible)}.values())  # the newest version of a name wins
    chosen.sort(key=lambda each: _preference(each, problem.bar))
    return _sound_ones(store, chosen[:MOST])


def _sound_ones(store: Store, chosen: Sequence[Backbone]) -> tuple[Backbone, ...]:
    """Those that can be pulled, the others told in the log; raises the first's reason where none can."""
    found: list[Backbone] = []
    refused: list[NocturneError] = []
    for each in chosen:
        try:
            found.append(pull(store, each))
        except NocturneError as error:
            log.warning("%s version %s is left out: %s", each.name, each.version, error)
            refused.append(error)
    if refused and not found:
        raise refused[0]
    return tuple(found)


def _preference(backbone: Backbone, bar: str) -> tuple[bool, float, str]:
    return backbone.bar != bar, -datetime.fromisoformat(backbone.end).timestamp(), backbone.name


def _refusal(listed: Listed, problem: Problem, rows: Rows, matrix: FeatureMatrix) -> str:
    return refusal(
        listed.backbone,
        bar=problem.bar,
        columns=matrix.spec.columns,
        first_scored=first_scored(rows),
        cross_section=problem.cross_section,
    )


def _unknown(store: Store, asked: str) -> ConfigurationError:
    known = ", ".join(f"{each.backbone.name}:{each.backbone.version}" for each in versions(store)) or "none"
    wanted = f"no backbone '{asked}'" if asked else "no backbone"
    return ConfigurationError(
        f"{wanted} in {shown_uri()}; there are: {known}. Make one with: nocturne pretrain NAME (or start the "
        "deployment of the flow pretrain)"
    )


def _same(found: Backbone, wanted: Backbone) -> Backbone:
    if found.sha256 != wanted.sha256:
        raise IntegrityError(
            f"{found.folder}: SHA-256 of {MANIFEST} is {found.sha256[:12]}…, registered was {wanted.sha256[:12]}…: the "
            "backbone was altered; pre-train it anew"
        )
    return found


def _claim(store: Store, name: str) -> None:
    """Make the registered model, or find that it is one of backbones."""
    registered = PREFIX + name
    found = mlflow_store.registered_model(store, registered)
    if found is None:
        try:
            with as_registry_error(f"{registered}: cannot be registered"):
                store.client.create_registered_model(registered, tags={KIND: BACKBONES})
        except RegistryError:  # another run may have been faster
            if (found := mlflow_store.registered_model(store, registered)) is None:
                raise
    if found is not None and found.tags.get(KIND) != BACKBONES:
        raise RegistryError(f"'{registered}' is a model of another kind in {shown_uri()}: name the backbone otherwise")


def _log(store: Store, folder: Path, found: Backbone, document: Mapping[str, Any]) -> str:
    """The run with the folder as an artifact, its settings as parameters and its evidence as metrics."""
    experiment = mlflow_store.experiment(store, "backbones")
    run = mlflow_store.new_run(store, experiment, found.name, {KIND: BACKBONES, "end": found.end, "bar": found.bar})
    settings = {f"spec.{name}": str(value) for name, value in document["spec"].items()}
    evidence = {
        f"{each['task']}/{which}": float(each[which])
        for each in document.get("evidence", ())
        for which in ("loss", "naive")
        if each.get(which) is not None and math.isfinite(each[which])
    }
    mlflow_store.log_values(store, run, settings, {**evidence, "seconds": float(document.get("seconds", math.nan))})
    with as_registry_error(f"{found.name}: {folder} cannot be logged"):
        store.client.log_artifacts(run, str(folder), ARTIFACT)
    mlflow_store.finish(store, run)
    return run


def _tags(found: Backbone, document: Mapping[str, Any]) -> dict[str, str]:
    return {
        KIND: BACKBONES,
        "sha256": found.sha256,
        "end": found.end,
        "bar": found.bar,
        "other_bars": found.other_bars,
        "tasks": ",".join(found.tasks),
        "channels": ",".join(found.channels),
        "length": str(found.length),
        "architecture": found.architecture,
        "parent": str(document.get("parent", "")),
        "device": str(document.get("device", "")),
        "evidence": json.dumps(document.get("evidence", ())),
    }


def _versions(store: Store, name: str) -> tuple[Listed, ...]:
    with as_registry_error(f"{PREFIX}{name}: its versions cannot be read"):
        found = store.client.search_model_versions(f"name='{PREFIX}{name}'")
    ready = [each for each in found if each.status == "READY" and each.tags.get(KIND) == BACKBONES]
    return tuple(_listed(name, each) for each in sorted(ready, key=lambda item: -int(item.version)))


def _listed(name: str, version: Any) -> Listed:
    tags = version.tags
    backbone = Backbone(
        name=name,
        version=str(version.version),
        sha256=tags["sha256"],
        folder="",
        end=tags["end"],
        bar=tags["bar"],
        channels=tuple(tags["channels"].split(",")),
        length=int(tags["length"]),
        tasks=tuple(tags["tasks"].split(",")),
        architecture=tags["architecture"],
        other_bars=tags.get("other_bars", ""),
    )
    return Listed(
        backbone=backbone,
        registered=datetime.fromtimestamp(version.creation_timestamp / 1000, UTC).isoformat(timespec="seconds"),
        parent=tags.get("parent", ""),
        device=tags.get("device", ""),
        evidence=tuple(json.loads(tags.get("evidence", "[]"))),
        run_id=version.run_id or "",
    )
