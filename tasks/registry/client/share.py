"""Which requests see the challenger: a stable hash of the request's key.

The key's place in [0, 1) depends on the model's name and the key alone, never on the version, the share or the epoch:
who sees the challenger at 5 % still does at 25 %, on every machine, and after a restart.
"""

from __future__ import annotations

import hashlib

_SALT = "nocturne.share"


def place(name: str, key: str) -> float:
    """The key's place in [0, 1), uniform over keys: the first 53 bits of SHA-256, which a float holds exactly."""
    digest = hashlib.sha256(f"{_SALT}\0{name}\0{key}".encode()).digest()
    return float((int.from_bytes(digest[:8], "big") >> 11) / 2.0**53)


def sees_challenger(name: str, key: str, share: float) -> bool:
    """Whether a request with this key is shown the challenger; without a key none is."""
    return bool(key) and place(name, key) < share
