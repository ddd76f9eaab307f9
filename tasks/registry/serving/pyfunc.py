"""The MLflow face of a promoted model: raw bars in, predictions out. The only serving module that imports mlflow.

The input columns are declared with MLflow's ``any`` type on purpose. A ``double`` column would refuse integer prices
and 64-bit volumes, a ``datetime`` column zoned stamps and date strings, before this model could look at them; what
really cannot be predicted from is refused by ``bars`` in words.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import ModelSignature
from mlflow.pyfunc.model import PythonModel
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec
from mlflow.types.schema import AnyType

from .bars import NUMBERS
from .predictor import Predictor

ARTIFACT = "bundle"


class BarsModel(PythonModel):
    """``predict(bars, params={"rows": "last" or "all"})``; see ``Predictor.predict``."""

    def load_context(self, context: Any) -> None:
        """Verify and load the bundle that was logged with this model."""
        self._predictor = Predictor(Path(context.artifacts[ARTIFACT]))

    def predict(
        self,
        context: Any,  # noqa: ARG002 - MLflow's signature
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Raw OHLCV bars to ``[symbol], time, prediction``. Raises ModelInputError, never returns NaN."""
        return self._predictor.predict(model_input, **(params or {}))

    @property
    def predictor(self) -> Predictor:
        """The native class, for callers that want its manifest or its speed (``unwrap_python_model()``)."""
        return self._predictor


def signature(*, has_volume: bool, many_symbols: bool) -> ModelSignature:
    """The explicit signature: ``symbol`` is optional for a model of one symbol, ``volume`` where it was not used."""
    anything = AnyType()  # type: ignore[no-untyped-call]
    inputs: list[ColSpec | TensorSpec] = [ColSpec(anything, "symbol", required=many_symbols), ColSpec(anything, "time")]
    inputs += [ColSpec(anything, name, required=has_volume or name != "volume") for name in NUMBERS]
    outputs: list[ColSpec | TensorSpec] = [
        ColSpec(DataType.string, "symbol", required=many_symbols),
        ColSpec(anything, "time"),
        ColSpec(DataType.double, "prediction"),
    ]
    rows = ParamSpec("rows", DataType.string, "last")
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs), params=ParamSchema([rows]))
