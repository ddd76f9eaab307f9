"""What a night that died left in the registry, and the next night of the problem sees to.

1. Its runs that were never ended are ended as KILLED, and stay: they tell how far it came.
2. A version that it registered is deleted, if it never held a place: no standing that there ever was names it, no
   outcome in the ledger, no rollout, no alias. Its digest stays in the ledger.
3. A model that it logged is deleted, if none of the versions that are left rests on it.

Only nights that the journals of this state folder know to have ended without a last line are asked for, by the tag that
every run of theirs carries, and only by a night that holds the problem's lease. MLflow hides what is deleted; ``mlflow
gc`` frees the disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tasks.live import ALIASES
from tasks.registry import mlflow_store
from tasks.registry.ledger import Ledger
from tasks.registry.mlflow_place import as_registry_error
from tasks.registry.mlflow_store import Store
from tasks.registry.standings import history

NIGHT_TAG = "nocturne.night"
"""On every run that a night makes: the run of the flow."""


def collect(store: Store, ledger: Ledger, name: str, dead: Iterable[str]) -> tuple[str, ...]:
    """See to what these runs of a problem's flow left; in words, what was done. Raises RegistryError."""
    with as_registry_error(f"{name}: what a night that died has left cannot be seen to"):
        experiment = store.client.get_experiment_by_name(name)
        if experiment is None:
            return ()
        said = []
        for flow_run in dead:
            where = f"tags.`{NIGHT_TAG}` = '{flow_run}'"
            runs = list(store.client.search_runs([experiment.experiment_id], where))
            if runs:
                said.append(_seen_to(store, ledger, name, runs))
    return tuple(words for words in said if words)


def _seen_to(store: Store, ledger: Ledger, name: str, runs: Sequence[Any]) -> str:
    open_runs = [run.info.run_id for run in runs if run.info.status == "RUNNING"]
    for run_id in open_runs:
        store.client.set_terminated(run_id, status="KILLED")
    versions = _versions(store, name)
    mine, served = {run.info.run_id for run in runs}, _served(store, ledger, name)
    gone = [version for version in versions if version.run_id in mine and str(version.version) not in served]
    for version in gone:
        store.client.delete_model_version(name, version.version)
    models = _delete_models(store, runs, [version for version in versions if version not in gone])
    done = (
        (open_runs, f"{len(open_runs)} runs ended as killed"),
        (gone, f"version {', '.join(str(version.version) for version in gone)}, which never held a place, deleted"),
        (models, f"{models} models that no version rests on deleted"),
    )
    words = ", ".join(text for some, text in done if some)
    return f"{name}: of the night {runs[0].data.tags[NIGHT_TAG]}, which died: {words}" if words else ""


def _versions(store: Store, name: str) -> list[Any]:
    found = store.client.search_model_versions(f"name = '{name}'")
    versions = list(found)
    while found.token:
        found = store.client.search_model_versions(f"name = '{name}'", page_token=found.token)
        versions += found
    return versions


def _delete_models(store: Store, runs: Sequence[Any], kept: Iterable[Any]) -> int:
    """How many of the models that these runs logged were deleted: those that no version of ``kept`` rests on."""
    used = {uri.removeprefix("models:/") for version in kept for uri in _rests_on(version)}
    experiment, deleted = runs[0].info.experiment_id, 0
    for run in runs:
        for model in store.client.search_logged_models([experiment], f"source_run_id = '{run.info.run_id}'"):
            if model.model_id not in used:
                store.client.delete_logged_model(model.model_id)
                deleted += 1
    return deleted


def _rests_on(version: Any) -> tuple[str, str]:
    return str(version.source), str(version.tags.get("gated_uri", ""))


def _served(store: Store, ledger: Ledger, name: str) -> set[str]:
    """Every version that ever had a place, that the ledger speaks of, or that an alias is on."""
    places = {getattr(move.standing, alias) for move in history(ledger, name) for alias in ALIASES}
    noted = {row["version"] for row in ledger.chain.rows("outcomes", "problem = ?", (name,))}
    model = mlflow_store.registered_model(store, name)
    return places | noted | {str(version) for version in (model.aliases.values() if model is not None else ())}
