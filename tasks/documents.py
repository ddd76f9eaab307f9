"""Frozen dataclasses to JSON and back. Travels inside promoted models: standard library only."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import types
import typing
from typing import Any


def digest(document: Any) -> str:
    """SHA-256 of a JSON document in canonical form (sorted keys, no spaces). NaN is refused with ValueError."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def to_json(value: Any) -> Any:
    """A JSON-ready copy of a contract value: dataclasses become dictionaries, tuples lists, NaN null."""
    if isinstance(value, float) and value != value:  # noqa: PLR0124 - the test for NaN
        return None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    return value


def from_json(kind: Any, document: Any) -> Any:
    """Rebuild a contract value of type ``kind`` from what ``to_json`` gave.

    Raises TypeError if the document holds a field that the type does not have, or lacks one that it needs.
    """
    origin = typing.get_origin(kind)
    if kind is float and document is None:
        return float("nan")
    if origin is dict:
        of = typing.get_args(kind)[1]
        return {name: from_json(of, item) for name, item in document.items()}
    if origin in (typing.Union, types.UnionType):
        inner = next(arg for arg in typing.get_args(kind) if arg is not type(None))
        return None if document is None else from_json(inner, document)
    if origin is tuple:
        return _tuple(typing.get_args(kind), document)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _dataclass(kind, document)
    return document


def _tuple(kinds: tuple[Any, ...], document: Any) -> tuple[Any, ...]:
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        if kinds[0] in (str, int):
            return tuple(document)
        return tuple(from_json(kinds[0], item) for item in document)
    return tuple(from_json(kind, item) for kind, item in zip(kinds, document, strict=True))


def _dataclass(kind: type, document: Any) -> Any:
    hints = _hints(kind)
    unknown = set(document) - set(hints)
    if unknown:
        raise TypeError(f"{kind.__name__} has no field {sorted(unknown)}")
    return kind(**{name: from_json(hints[name], item) for name, item in document.items()})


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)
