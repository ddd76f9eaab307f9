"""The proof that a registered model is what was evaluated, kept as evidence in the registry.

1. Both fits, pulled afresh into a clean process, repeat on every row of the snapshot what was evaluated; no gate row is
   missing (``parity``; the tolerance is by engine).
2. The shipped model's own code makes the same features of the same bars: bit for bit where both ran on processors of
   one kind; a difference is counted and told, and refused above 1e-9 of the column's standard deviation.
3. Fed only the ``bars_needed`` bars that it asks for, it predicts on a sample of gate dates what it predicts from the
   full history, within 1e-9 of the predictions' root mean square (1e-6 for what computes in single precision).
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.documents import to_json
from tasks.errors import RegistryError
from tasks.registry import mlflow_store
from tasks.registry.parity import TOLERANCE, Closer, Said, ask, require_parity
from tasks.registry.records import Entry, Night, Registered, Role
from tasks.registry.serving.model_folder import read_document
from tasks.storage import read_matrix, read_parquet, read_predictions, sha256_json

DATES = 60
SYMBOLS = 3
MOST_VALUES = 5_000_000
"""Feature values that are compared: of a large panel some columns only, the night has seconds for this."""
TAIL_SECONDS = 3.0
SMALL = 1e-9
log = logging.getLogger("nocturne.registry")

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What was compared of one model, and the largest differences found; zeros where nothing was compared.

    difference: of predictions, relative (see ``require_parity``), with what is allowed for the engine. unequal: feature
    values that are not equal bit for bit, of so many; feature_difference: the largest, in standard deviations of its
    column. tail_difference: of predictions from tails, of the predictions' root mean square.
    """

    uri: str
    role: Role
    engine: str
    rows: int
    difference: float
    tolerance: float
    seconds: float
    columns: int = 0
    values: int = 0
    unequal: int = 0
    feature_difference: float = 0.0
    tail_rows: int = 0
    tail_dates: int = 0
    tail_difference: float = 0.0
    tail_tolerance: float = 0.0


Proofs = tuple[Proof, ...]
Subject = tuple[Registered, Entry]
"""A registered version, and the entry that it must turn out to be."""


def prove_all(subjects: Sequence[Subject], night: Night) -> tuple[Proofs | RegistryError, ...]:
    """By version: the shipped model's proof and, if it is another model, the gated fit's; or what is wrong with it.

    All are loaded in one clean process. Wrong is a model that does not load, misses a gate row that was evaluated, or
    says anything else than what was evaluated; whose features or predictions from tails differ by more than is allowed.
    """
    if not subjects:
        return ()
    rows = read_parquet(night.rows.ref, columns=["symbol", "time", "window"])
    looks = [_closer(entry, night, rows, len(subjects)) for _, entry in subjects]
    asked = [
        (fit, look)
        for (registered, entry), look in zip(subjects, looks, strict=True)
        for fit in _fits(registered, entry)
    ]
    closer = [more if role == "shipped" else None for (_, role), more in asked]
    try:
        said = iter(ask(subjects[0][0].tracking_uri, [uri for (uri, _), _ in asked], night.snapshot, closer))
    except RegistryError as error:
        return tuple(error for _ in subjects)
    return tuple(
        _judged(entry, [(next(said), role) for _, role in _fits(registered, entry)], look, night, rows)
        for (registered, entry), look in zip(subjects, looks, strict=True)
    )


def largest(proofs: Sequence[Proof]) -> float:
    """The largest relative difference between predictions and what was evaluated."""
    return max(proof.difference for proof in proofs)


def document(proofs: Sequence[Proof]) -> dict[str, Any]:
    """The evidence as it is kept."""
    return {"format": 1, "models": [to_json(proof) for proof in proofs]}


def record(store: mlflow_store.Store, registered: Registered, run_id: str, proofs: Sequence[Proof]) -> dict[str, str]:
    """Keep the evidence as a file of the version's run, and put where it is, its digest and its gist on the version.

    Returns the tags (``parity``, ``parity_file``, ``parity_sha256``). Raises RegistryError if it cannot be written.
    """
    kept, path = document(proofs), f"parity/{registered.name}-{registered.version}.json"
    mlflow_store.log_document(store, run_id, path, kept)
    tags = {"parity": gist(proofs), "parity_file": path, "parity_sha256": sha256_json(kept)}
    mlflow_store.set_version_tags(store, registered, tags)
    return tags


def gist(proofs: Sequence[Proof]) -> str:
    """The evidence in a sentence, for the registry entry."""
    said = [
        f"{proof.role}: {proof.rows:,} rows within {proof.difference:.2g} relative ({proof.tolerance:.0e} allowed)"
        for proof in proofs
    ]
    first = proofs[0]
    if first.values:
        equal = "equal bit for bit" if not first.unequal else f"{first.unequal:,} not equal bit for bit"
        said.append(f"{first.values:,} feature values {equal}")
    if first.tail_rows:
        said.append(
            f"{first.tail_rows} predictions from tails on {first.tail_dates} gate dates within "
            f"{first.tail_difference:.2g} ({first.tail_tolerance:.0e} allowed)"
        )
    return "; ".join(said) + f"; {sum(proof.seconds for proof in proofs):.1f} s in a clean process"


def _fits(registered: Registered, entry: Entry) -> list[tuple[str, Role]]:
    """The version's one or two models, by where they are loaded from."""
    shipped: tuple[str, Role] = (registered.model_uri, "shipped")
    return [shipped] if entry.one_fit else [shipped, (registered.gated_uri, "gated")]


def _judged(
    entry: Entry, said: list[tuple[Said, Role]], look: Closer, night: Night, rows: pd.DataFrame
) -> Proofs | RegistryError:
    gate = rows["window"].to_numpy() == "gate"
    try:
        proofs = [_proof(answer, role, entry, gate) for answer, role in said]
        shipped, _ = said[0]
        more = {**_features(shipped, look, night), **_tails(shipped, rows, proofs[0].engine)}
    except RegistryError as error:
        return error
    return (dataclasses.replace(proofs[0], **more), *proofs[1:])


def _closer(entry: Entry, night: Night, rows: pd.DataFrame, shared_by: int) -> Closer:
    """What a version's shipped model is asked besides; so many versions share a night's time for it."""
    gate = rows[rows["window"] == "gate"]
    columns = tuple(read_document(Path(entry.shipped.model))["columns"])
    most = max(1, MOST_VALUES // (shared_by * max(night.features.ref.rows, 1)))
    step = max(1, -(-len(columns) // most))
    dates = np.unique(pd.DatetimeIndex(gate["time"]).as_unit("ns").astype("int64").to_numpy())
    sample = dates[np.unique(np.linspace(0, len(dates) - 1, min(DATES, len(dates))).astype(int))]
    # Spread over the window in any prefix: a slow model is asked for fewer.
    sample = np.random.default_rng(0).permutation(sample)
    names = () if night.features.spec.cross_section != "none" else _some(tuple(dict.fromkeys(gate["symbol"])))
    return Closer(
        columns=columns[::step], times=tuple(sample.tolist()), symbols=names, seconds=TAIL_SECONDS / shared_by
    )


def _some(symbols: tuple[str, ...]) -> tuple[str, ...]:
    places = np.unique(np.linspace(0, len(symbols) - 1, min(SYMBOLS, len(symbols))).astype(int))
    return tuple(symbols[place] for place in places)


def _proof(said: Said, role: Role, entry: Entry, gate: npt.NDArray[np.bool_]) -> Proof:
    candidate = entry.shipped if role == "shipped" else entry.gated
    expected, tolerance = read_predictions(candidate.predictions), TOLERANCE[candidate.engine]
    return Proof(
        uri=said.uri,
        role=role,
        engine=candidate.engine,
        difference=require_parity(said, expected, gate, tolerance),
        rows=int((np.isfinite(expected) & np.isfinite(said.predictions)).sum()),
        tolerance=tolerance,
        seconds=round(said.seconds, 3),
    )


def _features(said: Said, asked: Closer, night: Night) -> dict[str, Any]:
    """Compare bit for bit. Raises RegistryError for a difference above SMALL standard deviations of its column."""
    if not asked.columns:
        return {}
    expected = read_matrix(night.features.ref, asked.columns)
    if said.features.shape != expected.shape:
        raise RegistryError(f"{said.uri}: its code gives features of shape {said.features.shape}, not {expected.shape}")
    unequal, worst = 0, 0.0
    for place, name in enumerate(asked.columns):
        ours, theirs = np.ascontiguousarray(expected[:, place]), np.ascontiguousarray(said.features[:, place])
        differs = (ours.view(np.int64) != theirs.view(np.int64)) & ~(np.isnan(ours) & np.isnan(theirs))
        if differs.any():
            unequal += int(differs.sum())
            worst = max(worst, _distance(said.uri, name, ours, theirs, differs))
    if unequal:
        log.warning("%s: %d feature values are not equal bit for bit, by %.2g at most", said.uri, unequal, worst)
    return {"columns": len(asked.columns), "values": expected.size, "unequal": unequal, "feature_difference": worst}


def _distance(uri: str, name: str, ours: Floats, theirs: Floats, differs: npt.NDArray[np.bool_]) -> float:
    scale = max(float(np.nanstd(ours)), float(np.finfo(np.float64).tiny))
    worst = float(np.max(np.abs(ours[differs] - theirs[differs]))) / scale
    if not worst <= SMALL:  # also where one of them is NaN
        row = int(np.flatnonzero(differs)[0])
        raise RegistryError(
            f"{uri}: its own code makes another feature '{name}' of the same bars, first in row {row}: "
            f"{theirs[row]!r}, evaluated was {ours[row]!r}"
        )
    return worst


def _tails(said: Said, rows: pd.DataFrame, engine: str) -> dict[str, Any]:
    """Compare predictions from tails with those from the full history. Raises RegistryError above the tolerance."""
    told = np.isfinite(said.tails)
    if not told.any():
        raise RegistryError(f"{said.uri}: predicts on no gate date from its last bars alone")
    scale = float(np.sqrt(np.nanmean(said.predictions**2)))
    difference = np.abs(said.tails[told] - said.predictions[told]) / max(scale, float(np.finfo(np.float64).tiny))
    tolerance = max(SMALL, TOLERANCE[engine])
    if not difference.max() <= tolerance:
        when = rows["time"][told].iloc[int(np.argmax(difference))]
        raise RegistryError(
            f"{said.uri}: from its last bars alone it predicts otherwise than from the full history, by "
            f"{difference.max():.3g} of the predictions' size at {when} ({tolerance:.0e} is allowed): its lookback is "
            "too short"
        )
    return {
        "tail_rows": int(told.sum()),
        "tail_dates": int(rows["time"][told].nunique()),
        "tail_difference": float(difference.max()),
        "tail_tolerance": tolerance,
    }
