"""The house's side of signatures: keys, and the seal on what was logged.

A seal is made after logging, from a copy that the registry gives back, over the whole folder but MLflow's own
``registered_model_meta``. It lies outside the folder: in the ledger, and on the version's tags for consumers.
``client.signature`` checks it. Without a key a seal holds the folder's digest alone.
"""

from __future__ import annotations

import logging
import os
import stat
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from tasks.errors import ConfigurationError, IntegrityError
from tasks.registry import mlflow_place, mlflow_store
from tasks.registry.client.signature import EXTRA, TRUSTED, fingerprint
from tasks.registry.serving.folder import NOT_THE_MODELS, files_of, folder_digest
from tasks.registry.serving.pickles import scan
from tasks.storage import PROJECT, home

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

KEY = "NOCTURNE_SIGNING_KEY"
PASSWORD = "NOCTURNE_SIGNING_KEY_PASSWORD"  # noqa: S105 - the variable's name
log = logging.getLogger("nocturne.registry")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """What a logged folder was when it was sealed; ``signature`` and ``signing_key`` are empty without a key.

    model_sha256: ``folder_digest``. signature: model-signing's JSON document. signing_key: the key's fingerprint.
    """

    model_sha256: str
    signature: str = ""
    signing_key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """Where the two halves of a key lie, and the fingerprint by which signatures name it."""

    private: Path
    public: Path
    fingerprint: str


def seal(store: mlflow_store.Store, uri: str) -> Seal:
    """Digest and signature of a model as the registry gives it back (``models:/m-…`` or ``models:/name/version``).

    Called once after ``log_model``, before the version is registered; put the fields on the version as the tags
    ``model_sha256``, ``signature``, ``signing_key`` (empty ones left out) and into the ledger's ``signatures``. Raises
    RegistryError if the folder cannot be had, IntegrityError if it holds a pickle or anything but plain files,
    ConfigurationError for a signing key that cannot be used.
    """
    with TemporaryDirectory(prefix="nocturne-seal-") as scratch:
        (folder := Path(scratch) / "model").mkdir()
        return seal_folder(mlflow_store.fetch(store, uri, folder))


def seal_folder(folder: Path) -> Seal:
    """The seal of a folder at hand: scanned for pickles, digested, and signed where a key is configured."""
    scan(folder)
    found, key = folder_digest(folder), configured_key()
    if key is None:
        log.info("no signing key (%s): the model is registered with its digest alone", KEY)
        return Seal(model_sha256=found)
    _, print_of_key = public_half(key, os.environ.get(PASSWORD, ""))
    signature = sign(folder, key, os.environ.get(PASSWORD, ""))
    return Seal(model_sha256=found, signature=signature, signing_key=print_of_key)


def sign(folder: Path, key: Path, password: str = "") -> str:
    """model-signing's JSON document over every file of the folder but MLflow's ``registered_model_meta``.

    Raises IntegrityError for links in the folder, ConfigurationError if the key cannot be used or model-signing is
    not installed.
    """
    _read_private(key, password)  # for its errors: the library's are less clear
    if not any(True for _ in files_of(folder)) or (folder / NOT_THE_MODELS[0]).is_dir():
        raise IntegrityError(f"{folder}: not a model's folder")
    hashing, signing = _model_signing()
    with TemporaryDirectory(prefix="nocturne-sign-") as scratch:
        out = Path(scratch) / "signature.json"
        whole = hashing.Config().set_ignored_paths(paths=NOT_THE_MODELS, ignore_git_paths=False)
        # The library passes the password on to cryptography, which wants bytes.
        secret: Any = password.encode() or None
        signer = signing.Config().set_hashing_config(whole).use_elliptic_key_signer(private_key=key, password=secret)
        signer.sign(folder, out)
        return out.read_text(encoding="utf-8")


def create_key(folder: Path, password: str = "") -> KeyPair:
    """Make a key (ECDSA, P-256): ``private.pem`` (mode 0600), and its public half below ``trusted/``.

    Raises ConfigurationError where there is a key already, and for a folder inside the project or MLflow's store.
    """
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    folder = folder.expanduser().resolve()
    require_apart(folder)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = ec.generate_private_key(ec.SECP256R1())
    lock: Any = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    pem = made.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)
    private = folder / "private.pem"
    _write_secret(private, pem)
    public_pem, name = _public(made)
    public = folder / "trusted" / f"{name[:16]}.pem"
    public.parent.mkdir(exist_ok=True)
    public.write_bytes(public_pem)
    return KeyPair(private=private, public=public, fingerprint=name)


def configured_key() -> Path | None:
    """The private key that this house signs with (``NOCTURNE_SIGNING_KEY``), or None. Raises as ``require_apart``."""
    named = os.environ.get(KEY, "")
    if not named:
        return None
    path = Path(named).expanduser().resolve()
    require_apart(path)
    return path


def keys_folder() -> Path:
    """Where a new key goes if no folder is named: ``nocturne/keys`` among the user's configuration."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "nocturne" / "keys"


def public_half(key: Path, password: str = "") -> tuple[bytes, str]:
    """The public key (PEM) of a private one, and its fingerprint. Raises ConfigurationError if it cannot be read."""
    return _public(_read_private(key, password))


def trusted_at_home() -> dict[str, bytes]:
    """The keys whose signatures count here: those of ``NOCTURNE_TRUSTED_KEYS``, and our own."""
    from tasks.registry.client.signature import read_trusted  # noqa: PLC0415

    trusted = read_trusted()
    key = configured_key()
    if key is not None:
        pem, name = public_half(key, os.environ.get(PASSWORD, ""))
        trusted[name] = pem
    return trusted


def require_apart(path: Path) -> None:
    """Raises ConfigurationError for a private key inside the project, its state, or the store that models lie in."""
    for place in (PROJECT, home(), *_local_stores(mlflow_place.tracking_uri())):
        if path.is_relative_to(place):
            raise ConfigurationError(
                f"{path}: a private key must not lie below {place}, where models and code are kept and copied; "
                f"choose a folder of its own, such as {keys_folder()}"
            )


def _local_stores(uri: str) -> tuple[Path, ...]:
    """Where a tracking URI keeps models on this machine: a folder of files, or those beside a SQLite database."""
    scheme, separator, rest = uri.partition(":")
    if scheme == "sqlite":
        beside = Path(rest.removeprefix("///").partition("?")[0]).resolve().parent
        return tuple(beside / folder for folder in ("artifacts", "mlruns", "mlartifacts"))
    if scheme == "file":
        return (Path(urllib.parse.unquote(urllib.parse.urlsplit(uri).path)).resolve(),)
    return () if separator else (Path(uri).resolve(),)


def _read_private(key: Path, password: str) -> EllipticCurvePrivateKey:
    try:
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError(f"a signing key is configured ({KEY}), but: {error}. {EXTRA}") from error
    try:
        mode = stat.S_IMODE(key.stat().st_mode)
        found = serialization.load_pem_private_key(key.read_bytes(), password.encode() or None)
    except OSError as error:
        raise ConfigurationError(f"{key}: the signing key cannot be read: {error.strerror}; see {KEY}") from error
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"{key}: not a private key, or {PASSWORD} does not open it: {error}") from error
    if mode & 0o077:
        raise ConfigurationError(f"{key}: others may read the signing key (mode {mode:o}): chmod 600 {key}")
    if not isinstance(found, ec.EllipticCurvePrivateKey) or found.curve.name != "secp256r1":
        raise ConfigurationError(f"{key}: not an elliptic curve key on P-256; make one with: nocturne keys new")
    return found


def _public(key: EllipticCurvePrivateKey) -> tuple[bytes, str]:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    pem = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return pem, fingerprint(pem)


def _write_secret(path: Path, data: bytes) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise ConfigurationError(
            f"{path}: there is a key already, and models signed with it; a new one goes into a folder of its own, and "
            f"both public halves are trusted ({TRUSTED}) until the old models are gone"
        ) from error
    with os.fdopen(handle, "wb") as stream:
        stream.write(data)


def _model_signing() -> tuple[Any, Any]:
    try:
        from model_signing import hashing, signing  # noqa: PLC0415 - heavy, and an extra
    except ImportError as error:
        raise ConfigurationError(f"a signing key is configured ({KEY}), but: {error}. {EXTRA}") from error
    return hashing, signing
