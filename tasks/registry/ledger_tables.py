"""The ledger's tables: their columns, since which version they are there, and what must be unique."""

from __future__ import annotations

from tasks.registry.chain_database import Kind, Schema

VERSION = 3

_LOOK: dict[str, Kind] = {"at": "TEXT", "problem": "TEXT", "predicts": "TEXT", "symbols": "TEXT", "series": "TEXT"}
TABLES: dict[str, dict[str, Kind]] = {
    "nights": _LOOK
    | {
        "term": "TEXT",
        "last": "TEXT",
        "leaderboard": "TEXT",
        "snapshot": "TEXT",
        "predictions": "TEXT",
        "rows": "INTEGER",
        "dates": "INTEGER",
    },
    "trials": {
        "at": "TEXT",
        "night": "INTEGER",
        "candidate": "TEXT",
        "engine": "TEXT",
        "recipe": "TEXT",
        "selection_loss": "REAL",
        "fold_loss": "REAL",
    },
    "reads": _LOOK
    | {
        "term": "TEXT",
        "last": "TEXT",
        "k": "INTEGER",
        "level": "REAL",
        "recipe": "TEXT",
        "evidence": "TEXT",
    },
    "outcomes": {
        "at": "TEXT",
        "read": "INTEGER",
        "problem": "TEXT",
        "recipe": "TEXT",
        "outcome": "TEXT",
        "promote": "TEXT",
        "version": "TEXT",
        "reasons": "TEXT",
    },
    "licences": _LOOK
    | {
        "term": "TEXT",
        "last": "TEXT",
        "recipe": "TEXT",
        "granted": "INTEGER",
        "increase": "REAL",
        "upper": "REAL",
        "permitted": "REAL",
        "origins": "INTEGER",
        "dates": "INTEGER",
    },
    "promotions": {
        "at": "TEXT",
        "name": "TEXT",
        "epoch": "INTEGER",
        "champion": "TEXT",
        "challenger": "TEXT",
        "fallback": "TEXT",
        "share": "REAL",
        "action": "TEXT",
        "why": "TEXT",
        "evidence": "TEXT",
        "by": "TEXT",
    },
    "signatures": {
        "at": "TEXT",
        "name": "TEXT",
        "version": "TEXT",
        "model_sha256": "TEXT",
        "signature": "TEXT",
        "signing_key": "TEXT",
    },
}
"""``last`` is the last gate date (ISO), ``term`` the first session of its canonical term, ``series`` fingerprints.

A row of ``promotions`` is a name's whole standing after a move; see ``standings``."""
REWRITTEN: dict[str, dict[str, Kind]] = {
    "leases": {
        "name": "TEXT",
        "token": "INTEGER",
        "run": "TEXT",
        "holder": "TEXT",
        "beat": "INTEGER",
        "granted": "REAL",
        "renewed": "REAL",
        "term": "REAL",
    },
    "slots": {"problem": "TEXT", "slot": "TEXT", "run": "TEXT", "state": "TEXT", "at": "REAL"},
}
"""Who works on what at this moment (``leases``), and which run did which scheduled night (``slots``)."""
SCHEMA = Schema(
    version=VERSION,
    tables=TABLES,
    since={"promotions": 2, "signatures": 2, "leases": 3, "slots": 3},
    unique={"promotions": ("name", "epoch")},
    rewritten=REWRITTEN,
    keys={"leases": 1, "slots": 2},
)
