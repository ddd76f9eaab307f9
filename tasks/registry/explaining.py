"""What each feature adds to a registered model's last prediction, as plain values: pulled, checked, asked.

The model explains itself, with the code that travelled in it: see ``serving.contributions``.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd

from tasks import errors
from tasks.errors import ConfigurationError, RegistryError
from tasks.registry.client.loading import Loaded
from tasks.registry.client.pulling import pull

SCHEME = "models:/"


def explain(uri: str, bars: pd.DataFrame, top: int = 10, tracking_uri: str = "", keys: Path | None = None) -> Any:
    """The prediction from each symbol's last bar, taken apart; a document of plain values.

    uri: ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``. ``explained`` holds, for each symbol, ``prediction``,
    ``base``, ``link``, ``method`` and ``contributions`` (feature, value or null, contribution, error), largest first.
    Raises ConfigurationError for another kind of URI, ModelInputError as the model does, RegistryError for a model of
    an age before explanations, IntegrityError for one that is not what was registered.
    """
    name, version, alias = _parts(uri)
    model = Loaded(pull(name, version=version, alias=alias or "champion", tracking_uri=tracking_uri, trusted_keys=keys))
    if not hasattr(model.predictor, "explain"):
        raise RegistryError(f"{uri}: was logged before models explained their predictions; register it again")
    one = len(model.manifest.symbols) < 2 and bars["symbol"].nunique() == 1
    said = _said(model, bars.drop(columns=["session", *(["symbol"] if one else [])], errors="ignore"), top)
    given = said if "symbol" in said else said.assign(symbol="")
    return {
        "model": uri,
        "version": model.version.version,
        "explained": [_row(part) for _, part in given.groupby("symbol", sort=False)],
    }


def _said(model: Loaded, bars: pd.DataFrame, top: int) -> pd.DataFrame:
    try:
        said: pd.DataFrame = model.predictor.explain(bars, top=top)
    except Exception as error:
        # The model raises its own copies of our errors: they travel under another package name.
        mine = getattr(errors, type(error).__name__, None)
        if isinstance(mine, type) and issubclass(mine, errors.NocturneError):
            raise mine(f"{model.version.name} version {model.version.version}: {error}") from error
        raise
    return said


def _parts(uri: str) -> tuple[str, str, str]:
    """Name, version and alias of a model's URI."""
    name, at, alias = uri.removeprefix(SCHEME).partition("@")
    name, slash, version = name.partition("/")
    if not uri.startswith(SCHEME) or not name or bool(at) == bool(slash):
        raise ConfigurationError(
            f"{uri}: only registered models are explained: models:/NAME@ALIAS, models:/NAME/VERSION"
        )
    return name, version, alias


def _row(part: pd.DataFrame) -> dict[str, Any]:
    first = part.iloc[0]
    lines = [
        {
            "feature": str(line["feature"]),
            "value": float(line["value"]) if math.isfinite(line["value"]) else None,
            "contribution": float(line["contribution"]),
            "error": float(line["error"]),
        }
        for line in part.to_dict("records")
    ]
    figures = {name: float(first[name]) for name in ("prediction", "base")}
    words = {name: str(first[name]) for name in ("symbol", "time", "link", "method")}
    return {**words, **figures, "contributions": lines}
