"""``nocturne verify``: a registered version's folder, pulled afresh and examined, one finding a line.

Digest, signature and pickles come first; unless they hold, nothing of the folder is parsed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from tasks.errors import ConfigurationError, IntegrityError, NocturneError, RegistryError
from tasks.live import ALIASES
from tasks.registry import mlflow_place, mlflow_store
from tasks.registry.client.signature import TRUSTED, verify
from tasks.registry.ledger import Ledger
from tasks.registry.projection import shown
from tasks.registry.sealed import from_before
from tasks.registry.serving.bundle import read_manifest
from tasks.registry.serving.folder import files_of, folder_digest, names_digest
from tasks.registry.serving.pickles import scan
from tasks.registry.signatures import Signed, first_sealed, record_signature, signature_of
from tasks.registry.signing import KEY, Seal, configured_key, seal_folder, trusted_at_home
from tasks.registry.standings import standing
from tasks.storage import sha256_file, sha256_json

State = Literal["ok", "bad", "none"]
BUNDLE = Path("artifacts") / "bundle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was examined, how it stands (``none``: there is nothing to examine), and that in words."""

    what: str
    state: State
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """All findings about one version."""

    name: str
    version: str
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return all(finding.state != "bad" for finding in self.findings)


def inspect(
    store: mlflow_store.Store, ledger: Ledger, name: str, version: str = "", alias: str = "champion"
) -> Inspection:
    """Pull a version (or what holds the alias) and examine it; whatever is wrong is a finding, not an error.

    Raises ConfigurationError if there is no such version, RegistryError if the registry cannot be read.
    """
    number, tags = find(store, name, version, alias)
    with TemporaryDirectory(prefix="nocturne-inspect-") as scratch:
        (folder := Path(scratch) / "model").mkdir()
        folder = mlflow_store.fetch(store, f"models:/{name}/{number}", folder)
        findings = [
            _finding("digest", lambda: _digest(folder, tags, _known(ledger, name, number))),
            _finding("signature", lambda: _signature(folder, tags, signature_of(ledger, name, number))),
            _finding("pickles", lambda: _pickles(folder)),
        ]
        if any(finding.state == "bad" for finding in findings):
            unread = "not looked at: the folder is not what was registered"
            findings += [Finding(what=what, state="none", said=unread) for what in ("manifest", "code")]
        else:
            findings += [
                _finding("manifest", lambda: _manifest(folder, name)),
                _finding("code", lambda: _code(folder)),
            ]
    findings += [
        _finding("parity", lambda: _parity(store, name, number, tags)),
        _finding("place", lambda: _place(store, ledger, name, number)),
    ]
    return Inspection(name=name, version=number, findings=tuple(findings))


def sign_again(store: mlflow_store.Store, ledger: Ledger, name: str, version: str = "") -> tuple[str, Seal]:
    """Sign a registered version (by default the champion) with the present key; returns the version and its seal.

    For versions registered before there was a key, and for a key's rotation. Raises IntegrityError unless the folder
    has the digest that the ledger holds, ConfigurationError without a key or such a version.
    """
    if configured_key() is None:
        raise ConfigurationError(f"no signing key: set {KEY} to the private key's file (nocturne keys new makes one)")
    number, _ = find(store, name, version, "champion")
    known = signature_of(ledger, name, number)
    with TemporaryDirectory(prefix="nocturne-sign-") as scratch:
        (folder := Path(scratch) / "model").mkdir()
        seal = seal_folder(mlflow_store.fetch(store, f"models:/{name}/{number}", folder))
    if known is None or known.model_sha256 != seal.model_sha256:
        was = "holds none" if known is None else f"holds {known.model_sha256[:12]}…"
        raise IntegrityError(
            f"{name} version {number}: its folder's digest is {seal.model_sha256[:12]}…, the ledger {was}: it is not "
            "known to be what was registered, and is not signed"
        )
    record_signature(ledger, name, number, seal.model_sha256, seal.signature, seal.signing_key)
    for key, value in (("signature", seal.signature), ("signing_key", seal.signing_key)):
        with mlflow_place.as_registry_error(f"{name}: version {number} cannot be tagged"):
            store.client.set_model_version_tag(name, number, key, value)
    return number, seal


def find(store: mlflow_store.Store, name: str, version: str, alias: str) -> tuple[str, dict[str, str]]:
    """Number and tags of a version, or of what holds the alias. Raises ConfigurationError if there is none."""
    model = mlflow_store.registered_model(store, name)
    number = version or str(model.aliases.get(alias, "") if model else "")
    tags = mlflow_store.version_tags(store, name, number) if number else None
    if tags is None:
        what = f"version {version}" if version else f"a version that holds the alias '{alias}'"
        raise ConfigurationError(
            f"no registered model '{name}' with {what} in {mlflow_place.shown_uri()}; nocturne models lists them"
        )
    return number, tags


def _finding(what: str, examine: Callable[[], tuple[State, str]]) -> Finding:
    try:
        state, said = examine()
    except NocturneError as error:
        state, said = "bad", str(error)
    return Finding(what=what, state=state, said=said)


def _known(ledger: Ledger, name: str, version: str) -> Signed | None:
    """What the ledger sealed. Raises IntegrityError where it would know the version, had a night registered it."""
    known = signature_of(ledger, name, version)
    if known is None and not from_before(ledger, name, version):
        raise IntegrityError(
            f"{ledger.chain.where} has sealed versions of {name} before, and never this one: no night registered it"
        )
    return known


def _digest(folder: Path, tags: dict[str, str], known: Signed | None) -> tuple[State, str]:
    found, tagged = folder_digest(folder), tags.get("model_sha256", "")
    recorded = known.model_sha256 if known else tagged
    if not recorded:
        return "none", f"{found[:12]}…; none was recorded when the version was registered"
    if found != recorded:
        return "bad", f"{found[:12]}…, recorded was {recorded[:12]}…: the folder was altered"
    if tagged != recorded:
        return (
            "bad",
            f"the version's tag says {tagged[:12] or 'nothing'}, the ledger {recorded[:12]}…: the tag was altered",
        )
    return "ok", f"{found[:12]}… over {sum(1 for _ in files_of(folder))} files, as recorded" + (
        " in the ledger" if known else " on the version; the ledger knows nothing of it"
    )


def _signature(folder: Path, tags: dict[str, str], known: Signed | None) -> tuple[State, str]:
    trusted, signature = trusted_at_home(), tags.get("signature", "")
    if known is not None and known.signature != signature:
        return "bad", "the version's tag is not the signature in the ledger: consumers see an altered one"
    if not trusted:
        there = "there is one, " if signature else ""
        return "none", f"{there}not checked: no trusted keys are configured ({TRUSTED})"
    return "ok", f"by trusted key {verify(folder, signature, trusted)[:16]}"


def _pickles(folder: Path) -> tuple[State, str]:
    scan(folder)
    return "ok", "none in any file or archive member"


def _manifest(folder: Path, name: str) -> tuple[State, str]:
    manifest = read_manifest(folder / BUNDLE)
    if manifest.problem != name:
        return "bad", f"it is a model of '{manifest.problem}', registered as '{name}'"
    return "ok", (
        f"format {manifest.format}, {len(manifest.files)} files; {manifest.candidate} ({manifest.engine}), "
        f"{manifest.role}, fitted through {manifest.training_end}, seed {manifest.seed}, "
        f"code {manifest.code_version[:12]}"
    )


def _code(folder: Path) -> tuple[State, str]:
    """Whether the package is the one that the manifest names: the digest is over all of its files."""
    recorded = read_manifest(folder / BUNDLE).code_sha256
    packages = [path for path in (folder / "code").iterdir() if path.is_dir()]
    if len(packages) != 1:
        return "bad", f"one package travels with a model, found {sorted(path.name for path in packages)}"
    files = {path.relative_to(packages[0]).as_posix(): sha256_file(path) for path in files_of(packages[0])}
    if names_digest(files) != recorded:
        return "bad", f"{packages[0].name} is not the code that the manifest names ({recorded[:12]}…)"
    return "ok", f"{packages[0].name}, {len(files)} files, as the manifest says"


def _parity(store: mlflow_store.Store, name: str, version: str, tags: dict[str, str]) -> tuple[State, str]:
    path = tags.get("parity_file", "")
    if not path:
        return "none", "no evidence is kept with this version" + (f"; {tags['verified']}" if "verified" in tags else "")
    run_id = str(store.client.get_model_version(name, version).run_id)
    with mlflow_place.as_registry_error(f"{path} of run {run_id} cannot be read"), TemporaryDirectory() as scratch:
        kept = _json(Path(store.client.download_artifacts(run_id, path, scratch)))
    if sha256_json(kept) != tags.get("parity_sha256"):
        return "bad", f"{path} of run {run_id} is not the evidence that was recorded"
    return "ok", tags.get("parity", path)


def _place(store: mlflow_store.Store, ledger: Ledger, name: str, version: str) -> tuple[State, str]:
    """Whether MLflow shows the places that the ledger gave."""
    right, seen = standing(ledger, name), shown(store, name)
    if right.epoch == 0 and first_sealed(ledger, name) is None:
        return "none", "this ledger knows nothing of the name"
    moved = [
        f"{alias} is version {getattr(seen, alias) or 'none'}, in the ledger {getattr(right, alias) or 'none'}"
        for alias in ALIASES
        if getattr(seen, alias) != getattr(right, alias)
    ]
    if moved:
        return "bad", f"{'; '.join(moved)}: somebody moved the alias (nocturne models {name} puts it back)"
    held = [alias for alias in ALIASES if getattr(right, alias) == version]
    return "ok", f"{' and '.join(held) or 'no place'} in epoch {right.epoch}, as the ledger says"


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise RegistryError(f"{path.name}: not a JSON document: {error}") from error
