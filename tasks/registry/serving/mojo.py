"""Scores an H2O MOJO inside the process, through JPype and the genmodel jar that came with it.

``MojoModel.score0(double[], double[])`` is called directly: the jar's EasyPredict wrapper boxes every value and is many
times slower. Rows go into arrays that are kept and lent to one thread at a time; from ``BATCH_ROWS`` rows on the loop
itself runs in Java.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import IntegrityError
from .jvm import class_loader, detach_at_end
from .mojo_columns import split_columns
from .scorers import BaseScorer, Floats

BATCH_ROWS = 32


class MojoScorer(BaseScorer):
    """A regression's value, or the probability of class "1". float64 throughout, NaN refused by ``predict``."""

    def __init__(self, folder: Path, document: dict[str, Any]) -> None:
        super().__init__(document)
        files = document["files"]
        loader = class_loader(folder / files["genmodel"])
        self._model = _load(folder / files["mojo"], loader)
        self._order = _column_order(self._model, self.columns, folder)
        self._index = _output_index(self._model, self.output, folder)
        self._used = _used(self._model, loader, tuple(self.columns[place] for place in self._order))
        self._free: list[tuple[Any, Any]] = []
        self._trees: Any = None
        self._batch_lock = threading.Lock()
        self._batch = _java_loop(self._model, loader, self._new_arrays()[1], self._index)

    @property
    def used(self) -> tuple[str, ...]:
        """The columns that a tree splits on; of a model without trees those that the MOJO takes."""
        return self._used

    def __del__(self) -> None:
        """Whoever lets go of it lets go of Java objects."""
        detach_at_end()

    def contributions(self, row: Floats) -> tuple[Floats, float, str] | None:
        """TreeSHAP of a row (columns,): contributions, base and link. None where that is no boosted model."""
        from .tree_shap import TreeShap  # noqa: PLC0415 - not needed to predict

        detach_at_end()
        if self._trees is None:
            try:
                self._trees = TreeShap(self._model, self.columns, self._order, self.output)
            except TypeError:
                self._trees = ()
        return (*self._trees(row), self._trees.link) if self._trees else None

    def _score(self, X: Floats) -> Floats:
        detach_at_end()
        ordered = X[:, self._order]
        return self._in_java(ordered) if len(X) >= BATCH_ROWS else self._row_by_row(ordered)

    def _row_by_row(self, X: Floats) -> Floats:
        # Not a thread's own: what a thread that ended leaves behind would tie it to the JVM again.
        try:
            row, outputs = pair = self._free.pop()
        except IndexError:
            row, outputs = pair = self._new_arrays()
        values = np.empty(len(X))
        for i, features in enumerate(X):
            row[:] = features
            self._model.score0(row, outputs)
            values[i] = outputs[self._index]
        self._free.append(pair)
        return values

    def _in_java(self, X: Floats) -> Floats:
        import jpype  # noqa: PLC0415

        rows = jpype.JArray.of(np.ascontiguousarray(X), jpype.JDouble)
        with self._batch_lock:  # the Java loop writes every row's outputs into the same array
            values = jpype.java.util.Arrays.stream(rows).mapToDouble(self._batch).toArray()
        return np.array(values, dtype=np.float64)

    def _new_arrays(self) -> tuple[Any, Any]:
        import jpype  # noqa: PLC0415

        doubles = jpype.JArray(jpype.JDouble)
        return doubles(len(self._order)), doubles(int(self._model.getPredsSize()))


def _load(path: Path, loader: Any) -> Any:
    import jpype  # noqa: PLC0415

    try:
        return jpype.JClass("hex.genmodel.MojoModel", loader=loader).load(str(path))
    except jpype.JException as error:
        raise IntegrityError(f"{path}: the genmodel jar cannot read this MOJO: {error}") from error


def _column_order(model: Any, columns: tuple[str, ...], folder: Path) -> list[int]:
    """Where each of the MOJO's features lies among our columns. The MOJO leaves out columns that were constant."""
    names = [str(name) for name in model.getNames()][: int(model.nfeatures())]
    unknown = [name for name in names if name not in columns]
    if unknown:
        raise IntegrityError(f"{folder}: the MOJO wants columns that model.json does not list: {unknown[:5]}")
    categorical = [name for i, name in enumerate(names) if model.getDomainValues(i) is not None]
    if categorical:
        raise IntegrityError(f"{folder}: the MOJO has categorical features, which bars do not give: {categorical[:5]}")
    return [columns.index(name) for name in names]


def _used(model: Any, loader: Any, taken: tuple[str, ...]) -> tuple[str, ...]:
    split = split_columns(model, loader)
    return taken if split is None or not split <= set(taken) else tuple(name for name in taken if name in split)


def _output_index(model: Any, output: str, folder: Path) -> int:
    """Where score0 leaves the prediction: first for regression, after the class label for a classifier."""
    if bool(model.isClassifier()) != (output == "probability"):
        raise IntegrityError(f"{folder}: output is '{output}', the MOJO is a {model.getModelCategory()} model")
    if output == "value":
        return 0
    classes = [str(name) for name in model.getDomainValues(model.getResponseIdx())]
    if "1" not in classes:
        raise IntegrityError(f"{folder}: the MOJO's classes are {classes}, none of them is '1'")
    return 1 + classes.index("1")


def _java_loop(model: Any, loader: Any, outputs: Any, index: int) -> Any:
    """``row -> score0(row, outputs)[index]`` as a Java function, so that a batch crosses the border once."""
    import jpype  # noqa: PLC0415

    handles = jpype.java.lang.invoke.MethodHandles
    doubles = jpype.JArray(jpype.JDouble).class_
    signature = jpype.java.lang.invoke.MethodType.methodType(doubles, doubles, doubles)
    owner = jpype.JClass("hex.genmodel.MojoModel", loader=loader).class_
    score = handles.publicLookup().findVirtual(owner, "score0", signature).bindTo(model)
    element = handles.insertArguments(handles.arrayElementGetter(doubles), 1, jpype.java.lang.Integer(index))
    value = handles.filterReturnValue(handles.insertArguments(score, 1, outputs), element)
    to_double = jpype.JClass("java.util.function.ToDoubleFunction").class_
    return jpype.java.lang.invoke.MethodHandleProxies.asInterfaceInstance(to_double, value)
