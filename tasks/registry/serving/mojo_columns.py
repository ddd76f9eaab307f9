"""Which features a MOJO's trees split on: the others need not be computed for a prediction.

Found from the trees themselves, as the genmodel jar reads them, and never from H2O's list of importances, which rounds.
"""

from __future__ import annotations

from typing import Any

_TREE = "hex.genmodel.algos.tree.SharedTreeNode"


def split_columns(model: Any, loader: Any) -> frozenset[str] | None:
    """The names that trees of a GBM, a forest or XGBoost split on; None for other models, which may use all of theirs.

    Gradient boosting with linear boosters has no trees to ask and counts as another model.
    """
    import jpype  # noqa: PLC0415

    try:
        graph = model.computeGraph(-1) if hasattr(model, "computeGraph") else model.convert(-1, None)
    except (AttributeError, TypeError, jpype.JException):
        return None
    trees = list(graph.subgraphArray)
    name_of = _name_of(loader)
    names = {str(name) for tree in trees for name in tree.nodesArray.stream().map(name_of).distinct().toArray() if name}
    return frozenset(names) if trees else None


def _name_of(loader: Any) -> Any:
    """``node -> node.getColName()`` as a Java function, so that a tree crosses the border once."""
    import jpype  # noqa: PLC0415

    lang = jpype.java.lang
    text = lang.invoke.MethodType.methodType(lang.String.class_)
    node = jpype.JClass(_TREE, loader=loader).class_
    getter = lang.invoke.MethodHandles.publicLookup().findVirtual(node, "getColName", text)
    function = jpype.JClass("java.util.function.Function").class_
    return lang.invoke.MethodHandleProxies.asInterfaceInstance(function, getter)
