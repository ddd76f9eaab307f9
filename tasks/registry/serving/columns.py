"""The catalogue's entries as a document: what each column of a model is made from, for whoever holds only the model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...features.catalogue import feature

CATALOGUE = "catalogue.json"


def described(columns: Iterable[str]) -> list[dict[str, Any]]:
    """One entry a column, in the given order: name, inputs, unit, lookback (bars), formula, TA-Lib functions.

    Raises ConfigurationError for a column that the catalogue does not have.
    """
    return [
        {
            "name": entry.name,
            "description": entry.description,
            "inputs": list(entry.inputs),
            "unit": entry.unit,
            "lookback": entry.lookback,
            "formula": entry.formula,
            "functions": list(entry.functions),
            "parameters": dict(entry.parameters),
        }
        for entry in map(feature, columns)
    ]
