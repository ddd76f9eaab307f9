"""The MLflow face of a promoted model: raw bars in, predictions out. The only serving module that imports mlflow.

The input columns are declared with MLflow's ``any`` type on purpose. A ``double`` column would refuse integer prices
and 64-bit volumes, a ``datetime`` column zoned stamps and date strings, before this model could look at them; what
really cannot be predicted from is refused by ``bars`` in words. It has a price: MLflow looks at every value of such a
column by itself, about 4 µs a bar, so 3 ms for a model that takes 756 of them. Whoever is in a hurry takes
``unwrap_python_model().predictor``, which MLflow does not stand before.

MLflow's signatures hold names and types but no words. That a model takes the whole cross-section of a date stands in
three places: ``symbol`` is required, the parameter ``cross_section`` has ``whole`` as its only value, and the model's
metadata say under ``takes`` what is meant. The errors say which names are missing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import ModelSignature
from mlflow.pyfunc.model import PythonModel
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec
from mlflow.types.schema import AnyType

from ...contracts import FeatureSpec
from ...errors import ModelInputError
from .bars import NUMBERS
from .panel import PRESENT
from .predictor import Predictor

ARTIFACT = "bundle"
WHOLE = "whole"
"""The only cross-section of a date that a model which compares names can be asked for."""


class BarsModel(PythonModel):
    """``predict(bars, params={"rows": "last" or "all", "interval": 0.9})``; see ``Predictor.predict``."""

    def load_context(self, context: Any) -> None:
        """Verify and load the bundle that was logged with this model."""
        self._predictor = Predictor(Path(context.artifacts[ARTIFACT]))

    def predict(
        self,
        context: Any,  # noqa: ARG002 - MLflow's signature
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Raw OHLCV bars to ``[symbol], time, prediction, [lower, upper]``. Raises ModelInputError, never gives NaN."""
        asked = dict(params or {})
        part = asked.pop("cross_section", WHOLE)
        if part != WHOLE:
            raise ModelInputError(
                f"cross_section must be '{WHOLE}', got {part!r}: the model compares the names of a date with each other"
            )
        return self._predictor.predict(model_input, **asked)

    @property
    def predictor(self) -> Predictor:
        """The native class, for callers that want its manifest or its speed (``unwrap_python_model()``)."""
        return self._predictor


def signature(*, has_volume: bool, many_symbols: bool, compares: bool = False) -> ModelSignature:
    """The explicit signature: ``symbol`` is optional for a model of one symbol, ``volume`` where it was not used.

    compares: whether the model takes the whole cross-section of a date. ``lower`` and ``upper`` come if asked for.
    """
    anything = AnyType()  # type: ignore[no-untyped-call]
    inputs: list[ColSpec | TensorSpec] = [ColSpec(anything, "symbol", required=many_symbols), ColSpec(anything, "time")]
    inputs += [ColSpec(anything, name, required=has_volume or name != "volume") for name in NUMBERS]
    outputs: list[ColSpec | TensorSpec] = [
        ColSpec(DataType.string, "symbol", required=many_symbols),
        ColSpec(anything, "time"),
        ColSpec(DataType.double, "prediction"),
        ColSpec(DataType.double, "lower", required=False),
        ColSpec(DataType.double, "upper", required=False),
    ]
    params = [ParamSpec("rows", DataType.string, "last"), ParamSpec("interval", DataType.double, 0.0)]
    if compares:
        params.append(ParamSpec("cross_section", DataType.string, WHOLE))
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs), params=ParamSchema(params))


def takes(spec: FeatureSpec, symbols: int, needed: int) -> str:
    """What a model must be given, in a sentence, for its metadata. needed: bars of a symbol for one prediction."""
    bars = f"raw {spec.bar} bars in time order, at least {needed} of each symbol"
    if spec.cross_section == "none":
        return f"{bars}, of any of the {symbols} symbols trained on" if symbols > 1 else bars
    return (
        f"{bars}; the whole cross-section of a date at once, at least {PRESENT:.0%} of the "
        f"{len(spec.universe)} symbols of its universe: the model compares names within a date"
    )
