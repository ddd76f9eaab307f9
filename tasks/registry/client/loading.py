"""A checked model, loaded: its own code, its own ``Predictor``, its health, and its errors in the client's words.

Nothing goes through MLflow's loader. While a model loads, looking up a global out of a pickle is refused in that
thread, whoever asks for it.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ... import errors
from ...errors import ModelInputError, NocturneError, RegistryError
from ..serving.pickles import forbid_pickles
from .importing import import_module
from .pulling import BUNDLE, Pulled
from .records import Version

EXAMPLE = "input_example.json"
HEALTH = "health.json"
"""In a bundle, where it is recorded what the model said of its input example: ``{"predictions": [...]}``."""
TOLERANCE = 1e-6


class Loaded:
    """One version, ready to predict; may be used from several threads.

    ``predictor`` is the model's native class, ``manifest`` what its bundle says of it.
    """

    def __init__(self, pulled: Pulled) -> None:
        """Raises IntegrityError or RegistryError if it cannot be loaded, ConfigurationError if a package is missing."""
        self.version: Version = pulled.version
        self.signed = pulled.signed
        with forbid_pickles(), self._in_words("cannot be loaded"):
            module = import_module(pulled.model, "registry.serving.predictor", pulled.files)
            self.predictor: Any = module.Predictor(pulled.model / BUNDLE)
        self.manifest: Any = self.predictor.manifest
        self._options = tuple(inspect.signature(self.predictor.predict).parameters)[1:]
        self._example = pulled.model / EXAMPLE
        self._recorded = pulled.model / BUNDLE / HEALTH

    def predict(self, bars: pd.DataFrame, **options: Any) -> pd.DataFrame:
        """The model's own answer, every prediction finite.

        Raises ModelInputError for bars or options that the model does not take, RegistryError for whatever else it
        raises: then the model is at fault, not the bars.
        """
        unknown = sorted(set(options) - set(self._options))
        if unknown:
            raise ModelInputError(
                f"version {self.version.version} of {self.version.name} takes no option {', '.join(unknown)}; it "
                f"takes {', '.join(self._options)}"
            )
        with self._in_words("failed"):
            said: pd.DataFrame = self.predictor.predict(bars, **options)
        if not np.isfinite(said["prediction"].to_numpy(np.float64)).all():
            raise RegistryError(f"version {self.version.version} of {self.version.name} gave a prediction of NaN")
        return said

    def takes(self, option: str) -> bool:
        """Whether ``predict`` has this option."""
        return option in self._options

    def require_healthy(self) -> None:
        """Ask for the input example's prediction. Raises RegistryError if there is none, or another than recorded."""
        what = f"version {self.version.version} of {self.version.name}"
        if not self._example.is_file():
            return
        try:
            said = self.predict(read_example(self._example))["prediction"].tolist()
        except ModelInputError as error:
            raise RegistryError(f"{what} fails its health check: it refuses its own example: {error}") from error
        if not said:
            raise RegistryError(f"{what} fails its health check: no prediction for its own example")
        expected = _recorded(self._recorded)
        if expected is not None and not _equal(said, expected):
            raise RegistryError(f"{what} fails its health check: it says {said[:5]}, recorded was {expected[:5]}")

    @contextlib.contextmanager
    def _in_words(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            # The model raises its own copies of our errors, and a foreign one may raise anything.
            raise _translated(error, f"version {self.version.version} of {self.version.name} {what}") from error


def read_example(path: Path) -> pd.DataFrame:
    """The raw bars that were logged with a model, as its frame."""
    document = json.loads(path.read_bytes())
    return pd.DataFrame(document["data"], columns=document["columns"])


def _translated(error: Exception, what: str) -> NocturneError:
    """The same named error of this package, if it is one of its copies; else a RegistryError."""
    for kind in type(error).__mro__:
        mine = getattr(errors, kind.__name__, None)
        if isinstance(mine, type) and issubclass(mine, NocturneError):
            return mine(str(error)) if mine is ModelInputError else mine(f"{what}: {error}")
    return RegistryError(f"{what}: {type(error).__name__}: {error}")


def _recorded(path: Path) -> list[float] | None:
    if not path.is_file():
        return None
    return [float(value) for value in json.loads(path.read_bytes())["predictions"]]


def _equal(said: list[float], expected: list[float]) -> bool:
    return len(said) == len(expected) and all(
        math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=1e-12) for one, other in zip(said, expected, strict=True)
    )
