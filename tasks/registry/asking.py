"""``nocturne predict``: a registered model, loaded as any client of MLflow would, from a checked copy of its own.

The model's code runs in this process. Its folder is compared with its seal first, and MLflow loads the copy and not
the store's own folder, in which it would leave bytecode.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from tasks.errors import ModelInputError
from tasks.registry.mlflow_store import Store, load_pyfunc
from tasks.registry.sealed import checked_copy

if TYPE_CHECKING:
    import pandas as pd

REFUSAL = "MlflowException"
"""What MLflow itself raises for columns or types that the model's signature does not have."""


def predict(store: Store, uri: str, bars: pd.DataFrame, rows: str) -> list[dict[str, Any]]:
    """Ask a registered model for the ``last`` bar's prediction or for ``all``.

    ``bars`` are canonical; a model of one symbol is given no symbol. Raises as ``sealed.checked_copy``, RegistryError
    if the model cannot be loaded, ModelInputError if it refuses the bars.
    """
    with TemporaryDirectory(prefix="nocturne-predict-") as scratch:
        said = _said(uri, checked_copy(store, uri, Path(scratch) / "model"), bars, rows)
    said["time"] = said["time"].astype(str)
    return [{str(name): value for name, value in row.items()} for row in said.to_dict("records")]


def _said(uri: str, folder: Path, bars: pd.DataFrame, rows: str) -> pd.DataFrame:
    model = load_pyfunc(uri, folder)
    schema = model.metadata.get_input_schema()
    one_symbol = "symbol" not in schema.required_input_names() and bars["symbol"].nunique() == 1
    wanted = [name for name in schema.input_names() if name in bars.columns and not (one_symbol and name == "symbol")]
    try:
        said: pd.DataFrame = model.predict(bars[wanted], params={"rows": rows})
    except Exception as error:
        # The model raises its own copy of our error: it travels under another package name.
        if type(error).__name__ in {ModelInputError.__name__, REFUSAL}:
            raise ModelInputError(f"{uri}: {error}") from error
        raise
    return said
