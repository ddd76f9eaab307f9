"""The container files against the schemas of those who read them, and against what is promised of them.

No container engine runs here: what these tests cannot say is whether the images build and the parts come up.
``compose_spec.json`` is the Compose specification's schema as docker-compose 1.29.2 carries it (Apache-2.0). It is
older than the newest engines, which take more; what it refuses they would not understand either.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from flows import dask_cluster
from flows.services import container
from tasks import stages_remote

PROJECT = Path(__file__).resolve().parents[2]
FOLDER = PROJECT / "deployments"
KUBERNETES = "1.36"
MANIFESTS = sorted((FOLDER / "kubernetes").glob("*.yaml"))
SECRETS = {"database", "prefect", "mlflow", "mlflow-forms", "environment"}
VERSIONED = re.compile(r"nocturne:1|[a-z]+:\d+\.\d+[\w.-]*")
SECRET_NAME = re.compile(r"PASSWORD|SECRET|TOKEN|AUTH_STRING|KEY", re.IGNORECASE)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def manifests() -> list[dict[str, Any]]:
    return [each for path in MANIFESTS for each in yaml.safe_load_all(path.read_text(encoding="utf-8"))]


@pytest.fixture(scope="module")
def pods(manifests: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of each workload, by its name."""
    return {
        each["metadata"]["name"]: each["spec"]["template"]["spec"]
        for each in manifests
        if "template" in each.get("spec", {})
    }


def containers(pod: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from (*pod.get("initContainers", ()), *pod["containers"])


def test_compose_is_what_its_specification_says(compose: dict[str, Any]) -> None:
    schema = json.loads((Path(__file__).parent / "compose_spec.json").read_text(encoding="utf-8"))
    newer = ("name",)  # of the project: came into the specification later
    jsonschema.Draft7Validator(schema).validate({key: each for key, each in compose.items() if key not in newer})
    assert set(compose["services"]) == {"postgres", "prefect", "mlflow", "register", "worker"}


def test_the_schema_refuses_what_is_misspelled(compose: dict[str, Any]) -> None:
    schema = json.loads((Path(__file__).parent / "compose_spec.json").read_text(encoding="utf-8"))
    broken = {"services": {"postgres": {**compose["services"]["postgres"], "read-only": True}}}
    with pytest.raises(jsonschema.ValidationError, match="read-only"):
        jsonschema.Draft7Validator(schema).validate(broken)


def test_compose_publishes_on_the_loopback_alone(compose: dict[str, Any]) -> None:
    published = {name: each["ports"] for name, each in compose["services"].items() if each.get("ports")}
    assert set(published) == {"prefect", "mlflow"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)
    assert compose["services"]["postgres"]["networks"] == ["inside"]
    assert compose["networks"]["inside"] == {"internal": True}
    assert not [name for name, each in compose["services"].items() if "network_mode" in each]


def test_compose_confines_every_service(compose: dict[str, Any]) -> None:
    for name, each in compose["services"].items():
        assert each["user"].split(":")[0] not in ("0", "root"), name
        assert (each["read_only"], each["cap_drop"]) == (True, ["ALL"]), name
        assert each["security_opt"] == ["no-new-privileges:true"], name
        assert VERSIONED.fullmatch(each["image"]), name
        assert "healthcheck" in each, name
        assert not each.get("privileged"), name


def test_compose_has_no_secret_in_it_and_names_every_variable(compose: dict[str, Any]) -> None:
    text = (FOLDER / "compose.yaml").read_text(encoding="utf-8")
    head, _, body = text.partition("\nname: nocturne")
    assert set(re.findall(r"\$\{(\w+)", body)) == set(re.findall(r"NOCTURNE_\w+(?=[ ;(]*\()", head))
    assert set(compose["secrets"]) == SECRETS
    for each in compose["services"].values():
        assert set(each.get("secrets", ())) <= SECRETS
        for variable, value in each.get("environment", {}).items():
            assert variable in container.SETTINGS or variable.startswith("POSTGRES_")
            assert not SECRET_NAME.search(variable) or value == "/run/secrets/database"


PAST_ONE_MACHINE = {stages_remote.SETTING: "", dask_cluster.ADDRESS: "", dask_cluster.WORKERS: "2"}


def test_the_worker_is_told_what_lies_past_one_machine_and_by_default_nothing_does(
    compose: dict[str, Any], pods: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = compose["services"]["worker"]["environment"]
    assert {name: given[name] for name in PAST_ONE_MACHINE} == {
        name: f"${{{name}:-{value}}}" for name, value in PAST_ONE_MACHINE.items()
    }
    (worker,) = pods["worker"]["containers"]
    there = {each["name"]: each["value"] for each in worker["env"]}
    assert {name: there[name] for name in PAST_ONE_MACHINE} == PAST_ONE_MACHINE
    assert {name: container.SETTINGS[name] for name in PAST_ONE_MACHINE} == PAST_ONE_MACHINE
    for name, value in PAST_ONE_MACHINE.items():
        monkeypatch.setenv(name, value)
    assert (dask_cluster.address(), dask_cluster.workers(), stages_remote.mirror()) == ("", 2, None)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_kubernetes_knows_every_field(path: Path) -> None:
    for each in yaml.safe_load_all(path.read_text(encoding="utf-8")):
        kubernetes_validate.validate(each, KUBERNETES, strict=True)
        assert each["kind"] == "Namespace" or each["metadata"]["namespace"] == "nocturne"


def test_kubernetes_would_refuse_what_is_misspelled(manifests: list[dict[str, Any]]) -> None:
    service = next(each for each in manifests if each["kind"] == "Service")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**service, "spec": {**service["spec"], "prots": []}}, KUBERNETES, strict=True)


def test_nothing_of_kubernetes_is_reached_from_outside(manifests: list[dict[str, Any]]) -> None:
    assert {each["spec"]["type"] for each in manifests if each["kind"] == "Service"} == {"ClusterIP"}
    assert {each["kind"] for each in manifests}.isdisjoint({"Ingress", "ClusterRole", "ClusterRoleBinding"})
    policies = {each["metadata"]["name"]: each["spec"] for each in manifests if each["kind"] == "NetworkPolicy"}
    assert policies["nobody"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert {policy for policy, spec in policies.items() if "ingress" in spec} == {"postgres", "servers"}


def test_kubernetes_confines_every_container(pods: dict[str, dict[str, Any]]) -> None:
    assert set(pods) == {"postgres", "prefect", "mlflow", "worker"}
    for name, pod in pods.items():
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not pod.get("hostNetwork"), name
        for each in containers(pod):
            locked = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True}
            assert each["securityContext"] == {**locked, "capabilities": {"drop": ["ALL"]}}, name
            assert VERSIONED.fullmatch(each["image"]), name
            assert "memory" in each["resources"]["limits"], name


def test_kubernetes_secrets_are_files_that_come_from_elsewhere(
    manifests: list[dict[str, Any]], pods: dict[str, dict[str, Any]]
) -> None:
    (template,) = (each for each in manifests if each["kind"] == "Secret")
    assert template["stringData"] == dict.fromkeys(SECRETS, "")
    for pod in pods.values():
        for each in containers(pod):
            assert not [entry for entry in each.get("env", ()) if "valueFrom" in entry]
            assert not [
                entry
                for entry in each.get("env", ())
                if SECRET_NAME.search(entry["name"]) and not entry["value"].startswith("/run/secrets/")
            ]


@pytest.mark.parametrize(
    "path", [FOLDER / "compose.yaml", FOLDER / "Dockerfile", *MANIFESTS], ids=lambda path: path.name
)
def test_every_file_says_that_it_is_untried(path: Path) -> None:
    assert path.read_text(encoding="utf-8").startswith("# Untried: no c")


def test_the_image_is_hash_checked_and_runs_as_nobody_in_particular() -> None:
    text = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert "pip install --require-hashes --requirement requirements.lock" in text
    assert re.fullmatch(r"FROM python:3\.11\.\d+-slim-\w+", lines[0])
    last_user = [line.split()[1] for line in lines if line.startswith("USER")][-1]
    assert last_user == "10001:10001"
    assert not [line for line in lines if line.startswith(("ARG", "ADD")) or SECRET_NAME.search(line)]
    for line in lines:
        if line.startswith("COPY"):
            assert all((PROJECT / name).exists() for name in line.split()[1:-1]), line


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    container.make_secrets(tmp_path / "secrets")
    (tmp_path / "secrets" / "environment").chmod(0o644)
    (tmp_path / "secrets" / "environment").write_text("# of vendors\nVENDOR_API_KEY=geheim=1\n")
    return {"NOCTURNE_SECRETS": str(tmp_path / "secrets")}


@pytest.mark.parametrize("role", ["prefect", "mlflow", "worker", "register"])
def test_a_container_takes_its_secrets_from_files_into_the_environment_alone(
    role: str, settings: dict[str, str]
) -> None:
    found = container.plan(role, settings)
    values = {path.name: path.read_text() for path in Path(settings["NOCTURNE_SECRETS"]).iterdir()}
    shown = [*(part for command in found.commands for part in command), *found.files.values()]
    assert not [text for text in shown for name, value in values.items() if name != "environment" and value in text]
    assert any(values["database"] in value for value in found.environment.values())
    assert found.environment.get("VENDOR_API_KEY") == {"worker": "geheim=1", "register": "geheim=1"}.get(role)


def test_the_secrets_that_are_made_are_long_new_and_in_a_folder_of_ones_own(tmp_path: Path) -> None:
    for name in ("a", "b"):
        container.make_secrets(tmp_path / name)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700
    first, second = ({path.name: path.read_text() for path in (tmp_path / name).iterdir()} for name in ("a", "b"))
    assert set(first) == SECRETS
    assert not [name for name in SECRETS - {"environment"} if first[name] == second[name] or len(first[name]) < 30]
    with pytest.raises(FileExistsError):
        container.make_secrets(tmp_path / "a")


def test_a_secret_that_is_not_there_is_named(settings: dict[str, str]) -> None:
    (Path(settings["NOCTURNE_SECRETS"]) / "mlflow").unlink()
    with pytest.raises(SystemExit, match="secrets/mlflow: the secret cannot be read: No such file"):
        container.plan("worker", settings)
    with pytest.raises(SystemExit, match="a role must be one of prefect, mlflow, worker, register, got 'x'"):
        container.plan("x", settings)
