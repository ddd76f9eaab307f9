"""Registered models asked about a snapshot's rows, each as it is pulled, in a clean process."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.contracts import Ref, Snapshot
from tasks.errors import RegistryError
from tasks.live import ALIASES, Alias, Standing
from tasks.registry import mlflow_store
from tasks.registry.mlflow_store import Store
from tasks.registry.parity import Said, ask
from tasks.registry.records import ChampionInfo
from tasks.storage import read_parquet, write_parquet

log = logging.getLogger("nocturne.registry")


def champion_predictions(info: ChampionInfo, snapshot: Snapshot, out: Path) -> Ref:
    """The champion's gated fit on every row of tonight's snapshot, aligned with it, as one column ``prediction``.

    It is loaded in a clean process from the registry: it may have other features than tonight's code. NaN stands in
    its lookback and for symbols that it does not know. Raises RegistryError if it does not load or predict.
    """
    said = _ask(info.tracking_uri, [info.gated_uri or info.model_uri], info.symbols, snapshot, out)[0]
    if said.error or not np.isfinite(said.predictions).any():
        raise RegistryError(f"the champion {info.name} version {info.version} cannot be scored: {said.error}")
    return write_parquet(out, pd.DataFrame({"prediction": said.predictions}))


def live_predictions(store: Store, now: Standing, snapshot: Snapshot, folder: Path) -> dict[Alias, Ref]:
    """What each version in service says of every row of the snapshot, as consumers pull it, by the alias that it holds.

    A file by version below ``folder``, aligned with the snapshot: one column ``prediction``, NaN in the lookback and
    for symbols that the model does not know. A challenger or fallback that does not load or predict is left out, and
    the log says so. Raises RegistryError if the champion does not.
    """
    held: dict[Alias, str] = {alias: version for alias in ALIASES if (version := getattr(now, alias))}
    said = _said_by(store, now.name, sorted(set(held.values()), key=int), snapshot, folder)
    refs: dict[Alias, Ref] = {}
    for alias, version in held.items():
        answer = said[version]
        if not answer.error and np.isfinite(answer.predictions).any():
            file = folder / f"{version}-{snapshot.sha256[:16]}.parquet"
            refs[alias] = write_parquet(file, pd.DataFrame({"prediction": answer.predictions}))
            continue
        what = f"{now.name}: the {alias}, version {version}, cannot be scored: {answer.error or 'no row predicted'}"
        if alias == "champion":
            raise RegistryError(what)
        log.warning("%s", what)
    return refs


def asked(store: Store, symbols: Mapping[str, tuple[str, ...]], snapshot: Snapshot, folder: Path) -> dict[str, Said]:
    """What each model says of every row of the snapshot, by its URI; models that know the same symbols share a process.

    symbols: by URI, those that a model knows. Files that have to be made lie below ``folder``.
    """
    alike: dict[tuple[str, ...], list[str]] = {}
    for uri, known in symbols.items():
        alike.setdefault(known, []).append(uri)
    said: dict[str, Said] = {}
    for place, (known, uris) in enumerate(alike.items()):
        out = folder / f"part-{place}.parquet"
        said |= zip(uris, _ask(store.tracking_uri, uris, known, snapshot, out), strict=True)
    return said


def _said_by(store: Store, name: str, versions: Sequence[str], snapshot: Snapshot, folder: Path) -> dict[str, Said]:
    symbols = {}
    for version in versions:
        tags = mlflow_store.version_tags(store, name, version) or {}
        symbols[f"models:/{name}/{version}"] = tuple(json.loads(tags.get("symbols", "[]")))
    return {uri.rpartition("/")[2]: answer for uri, answer in asked(store, symbols, snapshot, folder).items()}


def _ask(
    tracking_uri: str, uris: Sequence[str], symbols: Sequence[str], snapshot: Snapshot, out: Path
) -> tuple[Said, ...]:
    """``parity.ask``, of rows whose symbols the models know; aligned with all of the snapshot's."""
    rows = read_parquet(snapshot.bars)
    known = _known_rows(symbols, rows)
    answers = ask(tracking_uri, uris, snapshot if known.all() else _part(snapshot, rows[known], out))
    return tuple(dataclasses.replace(answer, predictions=_spread(answer.predictions, known)) for answer in answers)


def _spread(predictions: npt.NDArray[np.float64], known: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Predictions of the known rows, among all rows. A model that failed has none."""
    if known.all():
        return predictions
    everywhere = np.full(len(known), np.nan)
    everywhere[known] = predictions
    return everywhere


def _known_rows(symbols: Sequence[str], rows: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """A model of many symbols is asked for those that it knows; one of a single symbol is given no names."""
    if len(symbols) < 2:
        return np.ones(len(rows), dtype=bool)
    return rows["symbol"].isin(symbols).to_numpy(bool)


def _part(snapshot: Snapshot, rows: pd.DataFrame, out: Path) -> Snapshot:
    bars = write_parquet(out.with_suffix(".bars.parquet"), rows)
    return dataclasses.replace(snapshot, bars=bars, symbols=tuple(rows["symbol"].unique()))
