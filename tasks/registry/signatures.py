"""What was signed at home, kept in the ledger: the authority on a version's digest, which its tags merely repeat.

A version's gated fit, which no consumer is shown, has a row of its own: under MLflow's id of the logged model, ``m-…``.
"""

from __future__ import annotations

from dataclasses import dataclass

from tasks.registry.ledger import Ledger

TABLE = "signatures"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A version's digest (``folder_digest``), when it was noted (ISO UTC), and its signature if there was a key.

    ``signature`` is the text of the signature, ``signing_key`` the fingerprint of the public key; both empty without.
    """

    name: str
    version: str
    model_sha256: str
    signature: str
    signing_key: str
    at: str


def record_signature(  # noqa: PLR0917 - the parts of a row, as the table keeps them
    ledger: Ledger, name: str, version: str, model_sha256: str, signature: str, signing_key: str
) -> None:
    """Note a version's digest and signature; a later one (a rotated key) stands in place of an earlier one."""
    row = {
        "name": name, "version": version, "model_sha256": model_sha256, "signature": signature,
        "signing_key": signing_key,
    }  # fmt: skip
    with ledger.chain.transaction():
        ledger.chain.append(TABLE, row)


def signature_of(ledger: Ledger, name: str, version: str) -> Signed | None:
    """What was noted of a version last; None if nothing was."""
    found = ledger.chain.rows(TABLE, "name = ? AND version = ?", (name, version))
    return Signed(**{field: found[-1][field] for field in Signed.__slots__}) if found else None


def fit_sealed(ledger: Ledger, fit: str) -> str | None:
    """The digest of a gated fit by its id (``m-…``); None if it was never sealed."""
    found = ledger.chain.rows(TABLE, "version = ?", (fit,))
    return str(found[-1]["model_sha256"]) if found else None


def seals_fits(ledger: Ledger) -> bool:
    """Whether this ledger ever sealed a gated fit."""
    return any(not row["version"].isdecimal() for row in ledger.chain.rows(TABLE))


def first_sealed(ledger: Ledger, name: str) -> int | None:
    """The lowest version of a name that has a digest here; None if none has."""
    rows = ledger.chain.rows(TABLE, "name = ?", (name,))
    return min((int(row["version"]) for row in rows if row["version"].isdecimal()), default=None)
