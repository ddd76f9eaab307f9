"""The MLflow side of the registry: the only module, besides the model itself and its verification, that calls MLflow.

One experiment a problem, one parent run a night, a child run a candidate; a registered model under the problem's
name, whose alias ``champion`` is what consumers pull. Everything that a version's history needs is on its tags.

MLflow takes seconds to import: this module imports it inside functions, so that the command line stays quick.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from tasks.errors import ConfigurationError, RegistryError, StorageError
from tasks.registry.mlflow_place import as_registry_error, opening, own_uri, quiet, shown_uri, tracking_uri
from tasks.registry.records import ChampionInfo, Registered, VersionInfo
from tasks.registry.serving.folder import drop_bytecode
from tasks.storage import read_json, sha256_json

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION = "champion"
KIND, BACKBONES = "nocturne.kind", "backbone"
"""The tag that tells a registered model of pre-trained encoders from one that predicts."""

_BATCH = 100  # what MLflow takes of parameters at once
log = logging.getLogger("nocturne.registry")


@dataclass(frozen=True, slots=True)
class Store:
    """An opened store: MLflow's own client, and where it looks."""

    client: MlflowClient
    tracking_uri: str

    @property
    def local(self) -> bool:
        """Whether it is our own SQLite file, whose artifacts lie beside it."""
        return self.tracking_uri.startswith("sqlite:")


def is_own(store: Store) -> bool:
    """Whether it lies in the state folder, beside the ledger, and is nobody else's."""
    return store.tracking_uri == own_uri()


def open_store(uri: str = "") -> Store:
    """MLflow, pointed at this or the configured tracking URI, quiet, without telemetry.

    The first call in a new folder makes the tables. Raises RegistryError if the store cannot be opened.
    """
    uri = uri or tracking_uri()
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING", "false")
    with opening(uri), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations between MLflow and SQLAlchemy, at import and at the first query
        client = _client(uri)
    return Store(client, uri)


def _client(uri: str) -> MlflowClient:
    import mlflow  # noqa: PLC0415

    quiet()
    with as_registry_error(f"{shown_uri()}: MLflow's store cannot be opened"):
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
        client = mlflow.MlflowClient()
        client.search_experiments(max_results=1)
    return client


def experiment(store: Store, name: str) -> str:
    """The id of the experiment of this name, made if there is none.

    In our own SQLite store artifacts go beside the database; MLflow's default would be the working directory.
    """
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 - see above

    location = None
    if store.local:
        location = (Path(store.tracking_uri.removeprefix("sqlite:///")).parent / "artifacts").as_uri()
    with as_registry_error(f"experiment '{name}' cannot be opened"):
        if store.client.get_experiment_by_name(name) is None:
            try:
                return str(store.client.create_experiment(name, artifact_location=location))
            except MlflowException as error:  # another process may have been first
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
        found = store.client.get_experiment_by_name(name)
        assert found is not None, name
        return str(found.experiment_id)


def new_run(store: Store, experiment_id: str, name: str, tags: Mapping[str, str], parent: str = "") -> str:
    """Start a run, a child if there is a parent, and return its id. Empty tags are left out."""
    given = {key: value for key, value in tags.items() if value}
    if parent:
        given["mlflow.parentRunId"] = parent
    with as_registry_error(f"a run '{name}' cannot be made"):
        return str(store.client.create_run(experiment_id, tags=given, run_name=name).info.run_id)


def log_values(store: Store, run_id: str, params: Mapping[str, str], metrics: Mapping[str, float]) -> None:
    """Log parameters and metrics in batches: one by one, each metric would cost fifty times as much.

    A metric that is not finite is left out: it does not exist, and some stores refuse it.
    """
    from mlflow.entities import Metric, Param  # noqa: PLC0415

    now = int(datetime.now(UTC).timestamp() * 1000)
    finite = [Metric(name, float(value), now, 0) for name, value in metrics.items() if math.isfinite(value)]
    given = [Param(name, value) for name, value in params.items()]
    with as_registry_error(f"run {run_id} cannot be written to"):
        for start in range(0, max(len(given), 1), _BATCH):
            store.client.log_batch(run_id, params=given[start : start + _BATCH])
        for start in range(0, len(finite), _BATCH):
            store.client.log_batch(run_id, metrics=finite[start : start + _BATCH])


def log_points(store: Store, run_id: str, points: Sequence[tuple[str, float, int, int]]) -> None:
    """Log metrics over time: name, value, milliseconds since 1970, step."""
    from mlflow.entities import Metric  # noqa: PLC0415

    with as_registry_error(f"run {run_id} cannot be written to"):
        for start in range(0, len(points), _BATCH):
            store.client.log_batch(run_id, metrics=[Metric(*point) for point in points[start : start + _BATCH]])


def log_pyfunc(run_id: str, name: str, **model: Any) -> str:
    """Log a pyfunc model of this run, which is the thread's active run meanwhile; returns its ``models:/…`` URI.

    ``model`` is what ``mlflow.pyfunc.log_model`` takes; nothing is inferred from it. Raises RegistryError.
    """
    import mlflow  # noqa: PLC0415

    with warnings.catch_warnings(), as_registry_error(f"the model '{name}' cannot be logged"):
        warnings.simplefilter("ignore")  # hints about integers in examples; the signature is explicit
        with mlflow.start_run(run_id=run_id):
            return str(mlflow.pyfunc.log_model(name=name, **model).model_uri)


def fetch(store: Store, uri: str, folder: Path) -> Path:
    """A logged or registered model's whole folder, copied below ``folder``; returns where it lies. Nothing is loaded.

    The copy has no bytecode: who loads a model from a shared disk leaves some there. Raises RegistryError if the folder
    cannot be had whole.
    """
    import mlflow  # noqa: PLC0415

    with as_registry_error(f"{uri}: cannot be downloaded from {shown_uri()}"):
        found = mlflow.artifacts.download_artifacts(
            artifact_uri=uri, dst_path=str(folder), tracking_uri=store.tracking_uri, registry_uri=store.tracking_uri
        )
        copied = Path(found)
        if not copied.resolve().is_relative_to(folder.resolve()):
            raise RegistryError(f"{uri}: MLflow gave {copied} and no copy below {folder}")
        drop_bytecode(copied)
    return copied


def load_pyfunc(uri: str, folder: Path) -> Any:
    """MLflow's model in a folder at hand, which is a copy of ``uri``. Raises RegistryError if it does not load."""
    import mlflow  # noqa: PLC0415

    with as_registry_error(f"{uri}: the model cannot be loaded from {shown_uri()}"):
        return mlflow.pyfunc.load_model(str(folder))


def finish(store: Store, run_id: str) -> None:
    """End a run as finished."""
    with as_registry_error(f"run {run_id} cannot be ended"):
        store.client.set_terminated(run_id)


def champion(store: Store, name: str) -> ChampionInfo | None:
    """What holds the alias ``champion`` of this name, or None if nothing does."""
    version = _aliased(store, name, CHAMPION)
    if version is None:
        return None
    tags = version.tags
    return ChampionInfo(
        name=name,
        version=str(version.version),
        model_uri=f"models:/{name}/{version.version}",
        gated_uri=tags.get("gated_uri", ""),
        candidate=tags.get("candidate", ""),
        engine=tags.get("engine", ""),
        recipe_sha256=tags.get("recipe_sha256", ""),
        training_end=tags.get("training_end", ""),
        gated_training_end=tags.get("gated_training_end", ""),
        tracking_uri=store.tracking_uri,
        bars_needed=int(tags.get("bars_needed", 0)),
        predicts=tags.get("predicts", ""),
        symbols=tuple(json.loads(tags.get("symbols", "[]"))),
        recipe=_recipe(store, version),
        smearing=float(tags.get("smearing", "nan")),
    )


def log_document(store: Store, run_id: str, path: str, document: dict[str, Any]) -> None:
    """Keep a JSON document as an artifact of a run."""
    with as_registry_error(f"run {run_id}: {path} cannot be kept"):
        store.client.log_text(run_id, json.dumps(document, sort_keys=True), path)


def _recipe(store: Store, version: Any) -> dict[str, Any]:
    """The recipe behind a version, from its run; empty, with a warning, if it is not there or not what was recorded."""
    path = version.tags.get("recipe_file", "")
    if not path or not version.run_id:
        return {}
    try:
        with as_registry_error(f"{path} of run {version.run_id} cannot be read"), TemporaryDirectory() as scratch:
            found = read_json(Path(store.client.download_artifacts(version.run_id, path, scratch)))
    except (RegistryError, StorageError) as error:
        log.warning("%s version %s: its recipe is lost: %s", version.name, version.version, error)
        return {}
    if sha256_json(found) != version.tags.get("recipe_sha256"):
        log.warning("%s version %s: %s is not the recipe that was registered", version.name, version.version, path)
        return {}
    recipe: dict[str, Any] = found
    return recipe


def create_version(
    store: Store, name: str, *, source: str, run_id: str, tags: Mapping[str, str], description: str
) -> str:
    """Register a logged model as the next version of this name; it gets no alias. Returns the version."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    with as_registry_error(f"{name}: the model cannot be registered"):
        with contextlib.suppress(MlflowException):  # it exists: what counts is that the version can be made
            store.client.create_registered_model(name)
        model_id = source.removeprefix("models:/")
        made = store.client.create_model_version(
            name, source=source, run_id=run_id, tags=dict(tags), description=description, model_id=model_id
        )
    return str(made.version)


def registered_model(store: Store, name: str) -> Any:
    """MLflow's own record of a registered model, with aliases and tags; None if there is none of this name."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415
    from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode  # noqa: PLC0415

    try:
        return store.client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code == ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            return None
        raise RegistryError(f"{name}: the registry cannot be read: {error}") from error


def version_tags(store: Store, name: str, version: str) -> dict[str, str] | None:
    """The tags of a registered version that is ready; None if there is no such version.

    ``03`` is none, though MLflow takes it for 3: a version is named as MLflow itself names it.
    """
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    try:
        found = store.client.get_model_version(name, version)
    except MlflowException:
        return None
    return dict(found.tags) if found.status == "READY" and str(found.version) == version else None


def holder(store: Store, name: str, alias: str) -> str:
    """The version that holds an alias. Raises ConfigurationError if none does."""
    found = _aliased(store, name, alias)
    if found is None:
        raise _unknown(store, name, alias)
    return str(found.version)


def tagged_versions(store: Store, tag: str, value: str) -> tuple[tuple[str, str], ...]:
    """Name and version of each registered version with this tag of this value, which holds no quote."""
    with as_registry_error(f"versions with {tag} {value} cannot be looked up"):
        found = store.client.search_model_versions(f"tags.{tag} = '{value}'")
    return tuple((str(version.name), str(version.version)) for version in found)


def is_deleted(store: Store, name: str, version: str) -> bool:
    """Whether the registry says that it has no such version. Raises RegistryError if it says nothing."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415
    from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode  # noqa: PLC0415

    try:
        store.client.get_model_version(name, version)
    except MlflowException as error:
        if error.error_code == ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            return True
        raise RegistryError(f"{name}: version {version} cannot be read: {error}") from error
    return False


def version_run(store: Store, registered: Registered) -> str:
    """The run that a registered version came from."""
    with as_registry_error(f"{registered.name}: version {registered.version} cannot be read"):
        return str(store.client.get_model_version(registered.name, registered.version).run_id)


def set_version_tags(store: Store, registered: Registered, tags: Mapping[str, str]) -> None:
    """Add tags to a registered version."""
    with as_registry_error(f"{registered.name}: version {registered.version} cannot be tagged"):
        for key, value in tags.items():
            store.client.set_model_version_tag(registered.name, registered.version, key, value)


def names(store: Store) -> tuple[str, ...]:
    """Every registered model's name; backbones, which serve nobody, are not among them."""
    return tuple(sorted(model.name for model in _registered(store) if model.tags.get(KIND) != BACKBONES))


def backbone_names(store: Store, prefix: str) -> tuple[str, ...]:
    """What follows the prefix in the name of every registered backbone."""
    found = (model.name for model in _registered(store) if model.tags.get(KIND) == BACKBONES)
    return tuple(sorted(name.removeprefix(prefix) for name in found))


def _registered(store: Store) -> list[Any]:
    with as_registry_error("the registry cannot be read"):
        found = store.client.search_registered_models()
        known = [*found]
        while found.token:
            found = store.client.search_registered_models(page_token=found.token)
            known += found
    return known


def _unknown(store: Store, name: str, alias: str = "") -> ConfigurationError:
    known = ", ".join(names(store)) or "none"
    held = f" that holds the alias '{alias}'" if alias else ""
    return ConfigurationError(f"no registered model '{name}'{held} in {shown_uri()}; there are: {known}")


def history(store: Store, name: str) -> tuple[VersionInfo, ...]:
    """Every version of a registered model, newest first, with aliases, when and why it was promoted or not."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    try:
        aliases = store.client.get_registered_model(name).aliases
    except MlflowException as error:
        raise _unknown(store, name) from error
    with as_registry_error(f"{name}: its versions cannot be read"):
        versions = store.client.search_model_versions(f"name='{name}'")
    holders: dict[str, list[str]] = {}
    for alias, version in aliases.items():
        holders.setdefault(str(version), []).append(alias)
    ordered = sorted(versions, key=lambda item: -int(item.version))
    return tuple(VersionInfo.of(item, tuple(sorted(holders.get(str(item.version), ())))) for item in ordered)


def newest(store: Store, name: str) -> tuple[str, str, dict[str, str]] | None:
    """Name, version and tags of the latest version of a registered model, or None if there is none."""
    with as_registry_error(f"{name}: its versions cannot be read"):
        order = ["version_number DESC"]
        found = store.client.search_model_versions(f"name='{name}'", max_results=1, order_by=order)
    return (name, str(found[0].version), dict(found[0].tags)) if found else None


def _aliased(store: Store, name: str, alias: str) -> Any:
    from mlflow.exceptions import MlflowException  # noqa: PLC0415
    from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode  # noqa: PLC0415

    absent = (ErrorCode.Name(RESOURCE_DOES_NOT_EXIST), "INVALID_PARAMETER_VALUE")
    try:
        return store.client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        # A name without the alias is reported as an invalid parameter, an unknown name as a missing resource.
        if error.error_code in absent:
            return None
        raise RegistryError(f"{name}: the alias '{alias}' cannot be read: {error}") from error
