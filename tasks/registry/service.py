"""Who answered for a place since its present recipe took it, and what they said of sessions that they had not seen.

A champion that is refreshed every night is a new version every night, fitted through the last close: of it alone
nothing is ever out of sample. What is watched is the recipe, from the version that brought it in:

```
promoted |-- 63 sessions --|-- 63 --|-- 63 -- … tonight
         version 2 ------->|18 ---->|81 ----->            each judged on sessions after its own training alone
         (3 … 17 refreshed) (19 … 80)
```

The version that brought the recipe in answers until 63 sessions have passed and a refresh has learned of them, which
then answers, and so on. So every session is judged by a version that was in service and had not seen it, at most a
quarter older than the one that was shown: as the licence's refits are judged inside the gate, and for four models a
year instead of 250. Whoever looks later finds the same versions.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.contracts import Ref, Snapshot
from tasks.errors import RegistryError
from tasks.live import Move
from tasks.registry import mlflow_place, mlflow_store
from tasks.registry.ledger import Ledger
from tasks.registry.mlflow_store import Store
from tasks.registry.parity import Said
from tasks.registry.promotions import champions, history
from tasks.registry.scoring import asked
from tasks.storage import read_parquet, write_parquet

QUARTER = 63
"""Sessions after which another version answers: those between the licence's origins."""

Place = Literal["champion", "fallback"]
Floats = npt.NDArray[np.float64]
log = logging.getLogger("nocturne.registry")


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A version that held a place: its models and, ISO UTC, the close of the last bar that each had learned from."""

    version: str
    model_uri: str
    gated_uri: str
    recipe_sha256: str
    training_end: str
    gated_training_end: str
    symbols: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InService:
    """Who answers for champion and fallback, oldest first, and what they said of every row of a snapshot.

    predictions: one column ``prediction``, aligned with the snapshot, by ``champion``, ``gated`` (the gated fit of the
    version that brought the champion's recipe in) and ``fallback``. On rows that the first of them was fitted on, the
    first answers.
    """

    champion: tuple[Served, ...]
    fallback: tuple[Served, ...]
    predictions: dict[str, Ref]


def tenure(store: Store, ledger: Ledger, name: str, place: Place, version: str) -> tuple[Served, ...]:
    """Versions of one recipe that held the place up to the present holder, oldest first, the present one last.

    Versions that were deleted are left out. Where the ledger knows nothing of the present holder (it is another
    machine's), it stands alone. Raises RegistryError if the registry has lost the present holder.
    """
    stack = _held(history(ledger, name), place)
    found: list[Served] = []
    for each in reversed(stack if stack and stack[-1] == version else [version]):
        tags = mlflow_store.version_tags(store, name, each)
        if tags is None and not found:
            raise RegistryError(f"{name}: the {place}, version {each}, is not in {mlflow_place.shown_uri()}")
        if tags is None:
            continue
        one = _served(name, each, tags)
        if found and not _before(one, found[-1]):
            break
        found.append(one)
    return tuple(reversed(found))


def answering(held: Sequence[Served], closes: pd.DatetimeIndex) -> tuple[Served, ...]:
    """Those of a tenure that answer for its sessions. closes: of every session (UTC), ascending."""
    chosen = list(held[:1])
    for each in held[1:]:
        if _learned(each, closes) - _learned(chosen[-1], closes) >= QUARTER:
            chosen.append(each)
    return tuple(chosen)


def joined(answers: Sequence[tuple[Served, Floats]], times: pd.DatetimeIndex) -> Floats:
    """Each row's prediction by the last version that had not learned from it; the first's on what it was fitted on.

    answers: oldest first, float64 (rows,) each. times: closes (UTC) of the rows.
    """
    said = answers[0][1].copy()
    for served, predictions in answers[1:]:
        later = np.asarray(times > pd.Timestamp(served.training_end))
        said[later] = predictions[later]
    return said


def predictions_in_service(
    store: Store, ledger: Ledger, name: str, *, champion: str, fallback: str, snapshot: Snapshot, folder: Path
) -> InService:
    """What champion and fallback said, each by versions that had not seen the rows, loaded in a clean process.

    champion, fallback: the versions that hold these places now; no fallback is empty. A version of the past that cannot
    be scored is left out, and so is a fallback; the log says so. Raises RegistryError if no version of the champion's
    recipe can be scored, or the gated fit of the first that can.
    """
    rows = read_parquet(snapshot.bars, ["time", "session"])
    closes = pd.DatetimeIndex(rows.groupby("session")["time"].max().sort_values())
    mine = answering(tenure(store, ledger, name, "champion", champion), closes)
    theirs = answering(tenure(store, ledger, name, "fallback", fallback), closes) if fallback else ()
    said = _asked(store, mine, theirs, snapshot, folder)
    mine = _answered(name, "champion", mine, said)
    theirs = _answered(name, "fallback", theirs, said)
    if not mine:
        raise RegistryError(f"{name}: the champion, version {champion}, cannot be scored: see the log")
    files = {"champion": _joined(mine, said, rows), "gated": _gated(name, mine[0], said)}
    if theirs:
        files["fallback"] = _joined(theirs, said, rows)
    return InService(
        champion=mine,
        fallback=theirs,
        predictions={role: _kept(folder, role, told) for role, told in files.items()},
    )


def _held(moves: tuple[Move, ...], place: Place) -> list[str]:
    """Versions that held the place, oldest first, the present one last."""
    if place == "champion":
        return champions(moves)
    return list(dict.fromkeys(step.standing.fallback for step in moves if step.standing.fallback))[::-1]


def _served(name: str, version: str, tags: Mapping[str, str]) -> Served:
    uri = f"models:/{name}/{version}"
    return Served(
        version=version,
        model_uri=uri,
        gated_uri=tags.get("gated_uri") or uri,
        recipe_sha256=tags.get("recipe_sha256", ""),
        training_end=tags.get("training_end", ""),
        gated_training_end=tags.get("gated_training_end", ""),
        symbols=tuple(json.loads(tags.get("symbols", "[]"))),
    )


def _before(one: Served, following: Served) -> bool:
    """Whether a version is of the following one's recipe, and learned from no later bar."""
    if not one.recipe_sha256 or one.recipe_sha256 != following.recipe_sha256 or not one.training_end:
        return False
    return pd.Timestamp(one.training_end) <= pd.Timestamp(following.training_end)


def _learned(served: Served, closes: pd.DatetimeIndex) -> int:
    """How many sessions had closed when the version had learned its last bar."""
    return int(closes.searchsorted(pd.Timestamp(served.training_end), side="right"))


def _asked(
    store: Store, mine: Sequence[Served], theirs: Sequence[Served], snapshot: Snapshot, folder: Path
) -> dict[str, Said]:
    """By model URI; every version's own, and the gated fit of the champion's first."""
    symbols = {each.model_uri: each.symbols for each in (*mine, *theirs)} | {mine[0].gated_uri: mine[0].symbols}
    return asked(store, symbols, snapshot, folder)


def _answered(name: str, place: Place, served: Iterable[Served], said: Mapping[str, Said]) -> tuple[Served, ...]:
    found = []
    for each in served:
        answer = said[each.model_uri]
        if not answer.error and np.isfinite(answer.predictions).any():
            found.append(each)
            continue
        why = answer.error or "no row predicted"
        log.warning("%s: the %s's version %s cannot be scored and is left out: %s", name, place, each.version, why)
    return tuple(found)


def _gated(name: str, first: Served, said: Mapping[str, Said]) -> Floats:
    answer = said.get(first.gated_uri)
    if answer is None or answer.error or not np.isfinite(answer.predictions).any():
        why = "the version that brought its recipe in cannot be" if answer is None else answer.error
        raise RegistryError(f"{name}: the gated fit of version {first.version} cannot be scored: {why}")
    return answer.predictions


def _joined(served: Sequence[Served], said: Mapping[str, Said], rows: pd.DataFrame) -> Floats:
    answers = [(each, said[each.model_uri].predictions) for each in served]
    return joined(answers, pd.DatetimeIndex(rows["time"]))


def _kept(folder: Path, file: str, predictions: Floats) -> Ref:
    return write_parquet(folder / f"{file}.parquet", pd.DataFrame({"prediction": predictions}))
