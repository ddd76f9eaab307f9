"""Was this folder signed by a key that I trust? The consumer's side; nothing of the folder is parsed here.

A signature is a document of model-signing: a DSSE envelope over the relative name and SHA-256 of every file, signed
with an elliptic curve key. It lies outside the folder. model-signing is needed only where trusted keys are configured.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

from ...errors import ConfigurationError, IntegrityError
from ..serving.folder import NOT_THE_MODELS, files_of

TRUSTED = "NOCTURNE_TRUSTED_KEYS"
EXTRA = "pip install 'model-signing>=1.1.1,<2' 'pyOpenSSL>=25' (the extra 'signing')"
LARGEST_SIGNATURE = 4_000_000

_PEM = re.compile(rb"-----BEGIN ([A-Z ]+)-----\s+([A-Za-z0-9+/=\s]+?)\s*-----END \1-----")


def read_trusted(place: str | Path = "") -> dict[str, bytes]:
    """Public keys by fingerprint, from a PEM file or from the ``*.pem`` files of a folder; several keys may be in one.

    place: empty means ``NOCTURNE_TRUSTED_KEYS``; where that is not set either, no key is trusted and the result is
    empty. Raises ConfigurationError for a place that cannot be read, holds no public key, or holds a private one.
    """
    chosen = str(place) or os.environ.get(TRUSTED, "")
    if not chosen:
        return {}
    path = Path(chosen).expanduser()
    files = sorted(path.glob("*.pem")) if path.is_dir() else [path]
    found = {fingerprint(pem): pem for file in files for pem in _public_keys(file)}
    if not found:
        raise ConfigurationError(f"{path}: holds no public key (PEM), so no model could be trusted; see {TRUSTED}")
    return found


def fingerprint(pem: bytes) -> str:
    """SHA-256 of a public key's PEM text as OpenSSL writes it: what a signature names its key by."""
    return hashlib.sha256(pem).hexdigest()


def verify(folder: Path, signature: str, trusted: Mapping[str, bytes], files: Mapping[str, str] | None = None) -> str:
    """The fingerprint of the trusted key that signed exactly these files; nothing of them is parsed.

    files: the SHA-256 of each as it was read before; the signature must be over exactly these too, so that what is
    parsed later can be compared with them. Every file counts but MLflow's own ``registered_model_meta``. Raises
    IntegrityError for a folder that is unsigned, signed by another key, or differs from what was signed in a byte, a
    file more or less, a name or a link; ConfigurationError if model-signing is not installed.
    """
    if not signature:
        raise IntegrityError(f"{folder}: the model is not signed, and trusted keys are configured")
    _require_plain(folder)
    named = signer_of(signature)
    if named not in trusted:
        known = ", ".join(sorted(key[:12] for key in trusted))
        raise IntegrityError(f"{folder}: signed by key {named[:12]}…, which is not trusted; trusted are {known}")
    verifying, hashing = _model_signing()
    with TemporaryDirectory(prefix="nocturne-signature-") as scratch:
        key, document = Path(scratch) / "key.pem", Path(scratch) / "signature.json"
        key.write_bytes(trusted[named])
        document.write_text(signature, encoding="utf-8")
        whole = hashing.Config().set_ignored_paths(paths=NOT_THE_MODELS, ignore_git_paths=False)
        try:
            config = verifying.Config().use_elliptic_key_verifier(public_key=key).set_hashing_config(whole)
            config.verify(folder, document)
        except Exception as error:  # a foreign document in a foreign parser: whatever it raises means "not verified"
            raise IntegrityError(
                f"{folder}: {_words(error)}; the model is not what was signed. Pull it again."
            ) from error
    if files is not None and _signed_files(signature) != dict(files):
        raise IntegrityError(f"{folder}: its files changed while they were checked; pull it again")
    return named


def _signed_files(signature: str) -> dict[str, str]:
    """Each file's SHA-256 in a document that was verified."""
    payload = json.loads(base64.b64decode(json.loads(signature)["dsseEnvelope"]["payload"]))
    return {item["name"]: item["digest"] for item in payload["predicate"]["resources"]}


def signer_of(signature: str) -> str:
    """The fingerprint of the key that a signature says it was made with. Raises IntegrityError if it says none."""
    try:
        if len(signature) > LARGEST_SIGNATURE:
            raise ValueError(f"{len(signature):,} characters long")
        hint = json.loads(signature)["verificationMaterial"]["publicKey"]["hint"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise IntegrityError(f"not a signature of a model: {type(error).__name__}: {error}") from error
    if not isinstance(hint, str) or not re.fullmatch("[0-9a-f]{64}", hint):
        raise IntegrityError("not a signature of a model: it does not name its key")
    return hint


def _require_plain(folder: Path) -> None:
    for _ in files_of(folder):  # refuses links and devices
        pass
    for name in NOT_THE_MODELS:  # left out of the signature as a file, so it may not be a folder full of them
        if (folder / name).is_dir():
            raise IntegrityError(f"{folder / name}: must be MLflow's file, and is a folder")


def _public_keys(file: Path) -> list[bytes]:
    try:
        blocks = _PEM.findall(file.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{file}: the trusted keys cannot be read: {error.strerror}; see {TRUSTED}") from error
    if any(b"PRIVATE" in label for label, _ in blocks):
        raise ConfigurationError(f"{file}: holds a private key; who only verifies must not have it")
    try:
        return [_canonical(body) for label, body in blocks if label == b"PUBLIC KEY"]
    except ValueError as error:
        raise ConfigurationError(f"{file}: not a PEM file: {error}") from error


def _canonical(body: bytes) -> bytes:
    """The PEM text with lines of 64 characters: fingerprints are of it, and editors rewrap lines."""
    text = base64.b64encode(base64.b64decode(b"".join(body.split()), validate=True))
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return b"\n".join([b"-----BEGIN PUBLIC KEY-----", *lines, b"-----END PUBLIC KEY-----", b""])


def _model_signing() -> tuple[ModuleType, ModuleType]:
    try:
        from model_signing import hashing, verifying  # noqa: PLC0415 - heavy, and an extra
    except ImportError as error:
        raise ConfigurationError(
            f"trusted keys are configured ({TRUSTED}), but signatures cannot be checked: {error}. {EXTRA}"
        ) from error
    return verifying, hashing


def _words(error: Exception) -> str:
    return (str(error) or f"the signature is not one of the key ({type(error).__name__})")[:300]
