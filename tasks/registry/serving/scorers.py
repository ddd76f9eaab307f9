"""From feature columns to predictions: linear and GARCH models in NumPy, MOJO through JPype, ONNX through onnxruntime.

``load_scorer(folder)`` verifies the folder and gives the scorer for its kind. Engines use the same scorers to score
what they export, so that what was evaluated is what will serve. Neither h2o nor keras is needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ...errors import IntegrityError, ModelInputError
from .model_folder import read_document

Floats = npt.NDArray[np.float64]


class Scorer(Protocol):
    """A loaded model. ``history`` earlier rows of the same symbol must come before the first row that counts."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Feature columns, in the order in which ``predict`` wants them."""

    @property
    def history(self) -> int:
        """How many earlier rows a prediction depends on; 0 for models that look at one row alone."""

    @property
    def output(self) -> str:
        """``value`` (regression) or ``probability`` (of class "1")."""

    def predict(self, X: Floats) -> Floats:
        """float64 (n, len(columns)), rows of one symbol in time order, to float64 (n,).

        Raises ModelInputError for another shape and for rows whose prediction is not finite (NaN going in, or a
        model that overflows): never NaN in silence.
        """


class BaseScorer:
    """Shape and finiteness checks around a kind's ``_score``."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.columns: tuple[str, ...] = tuple(document["columns"])
        self.history = int(document["history"])
        self.output: str = document["output"]

    @property
    def used(self) -> tuple[str, ...]:
        """The columns that predictions depend on; any finite number in the others gives the same, bit for bit."""
        return self.columns

    def predict(self, X: Floats) -> Floats:
        """See ``Scorer.predict``."""
        X = np.ascontiguousarray(X, dtype=np.float64)
        if X.ndim != 2 or X.shape[1] != len(self.columns):
            raise ModelInputError(f"the model takes {len(self.columns)} feature columns, got an array of {X.shape}")
        values = self._score(X) if len(X) else np.empty(0)
        if not np.isfinite(values).all():
            raise ModelInputError(_not_finite(X, values, self.columns))
        return values

    def _score(self, X: Floats) -> Floats:
        raise NotImplementedError


def _not_finite(X: Floats, values: Floats, columns: tuple[str, ...]) -> str:
    rows = np.flatnonzero(~np.isfinite(values))
    broken = np.flatnonzero(~np.isfinite(X[rows]).all(axis=0))
    bad = [columns[i] for i in broken]
    cause = f"features not finite there: {', '.join(bad[:5])}" if bad else "although every feature is finite"
    return f"{len(rows)} of {len(values)} predictions are not finite (first: row {rows[0]}), {cause}"


class Standardizer:
    """z = (x - center) / scale, clipped to ±clip if there is one. All float64."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._center = np.asarray(document["center"], dtype=np.float64)
        self._scale = np.asarray(document["scale"], dtype=np.float64)
        self._clip = None if document.get("clip") is None else float(document["clip"])
        if not self._center.shape == self._scale.shape == (len(document["columns"]),):
            raise IntegrityError("center and scale must have one number a column")
        if not (self._scale > 0).all():
            raise IntegrityError("scale must be positive for every column")

    def __call__(self, X: Floats) -> Floats:
        """float64 (n, columns) to float64 of the same shape; NaN stays NaN."""
        z: Floats = (X - self._center) / self._scale
        return z if self._clip is None else np.clip(z, -self._clip, self._clip)


class LinearScorer(BaseScorer):
    """intercept + z · coefficients, through the logistic function where the link says so. No columns: a constant."""

    def __init__(self, document: dict[str, Any]) -> None:
        super().__init__(document)
        self._standardize = Standardizer(document)
        self.intercept = float(document["intercept"])
        self._coefficients = np.asarray(document["coefficients"], dtype=np.float64)
        self._logistic = document["link"] == "logistic"
        if self._coefficients.shape != (len(self.columns),):
            raise IntegrityError("coefficients must have one number a column")

    @property
    def used(self) -> tuple[str, ...]:
        """The columns whose coefficient is not zero."""
        return tuple(name for name, weight in zip(self.columns, self._coefficients, strict=True) if weight)

    def terms(self, X: Floats) -> Floats:
        """What each column adds to the intercept, before the link: float64 (n, columns) to the same shape."""
        return np.asarray(self._standardize(X) * self._coefficients, dtype=np.float64)

    def _score(self, X: Floats) -> Floats:
        # Summed over an axis rather than by BLAS: a row's prediction must not depend on how many rows come with it.
        # What overflows is not finite, and ``predict`` refuses it.
        with np.errstate(over="ignore", invalid="ignore"):
            f: Floats = self.intercept + self.terms(X).sum(axis=1)
        return _logistic(f) if self._logistic else f


class GarchScorer(BaseScorer):
    """GARCH(1,1) or GJR: filter the conditional variance of one symbol's returns, forecast its mean, recalibrate.

    s²(t+1) = omega + (alpha + gamma·[e(t) < 0])·e(t)² + beta·s²(t), e = scale·return - mu; beyond one bar ahead the
    expectation with P(e < 0) = 1/2 (Glosten, Jagannathan, Runkle 1993). The prediction is
    intercept + slope · ½·ln(mean of the next ``horizon`` variances). The filter starts at ``initial_variance`` on the
    first row; what is left of that start after ``history`` rows is beta to that power.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        super().__init__(document)
        number = {name: float(document[name]) for name in ("mu", "omega", "alpha", "gamma", "beta")}
        self._mu, self._omega, self._beta = number["mu"], number["omega"], number["beta"]
        self._alpha, self._gamma = number["alpha"], number["gamma"]
        self._scale = float(document.get("scale", 1.0))
        self._horizon = int(document["horizon"])
        self._intercept, self._slope = float(document["intercept"]), float(document["slope"])
        self._initial = float(document["initial_variance"])

    def _score(self, X: Floats) -> Floats:
        mean = self._mean_forecast(self._filter(self._scale * X[:, 0] - self._mu))
        # Zero or negative variance gives a prediction that is not finite, which ``predict`` refuses with its row.
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self._intercept + self._slope * 0.5 * np.log(mean), dtype=np.float64)

    def _filter(self, e: Floats) -> Floats:
        """The variance of the bar after each row, (n,)."""
        shocks = self._omega + (self._alpha + self._gamma * (e < 0)) * e**2
        variances = np.empty(len(e))
        variance = self._initial
        for t, shock in enumerate(shocks.tolist()):
            variance = shock + self._beta * variance
            variances[t] = variance
        return variances

    def _mean_forecast(self, first: Floats) -> Floats:
        """The mean of the next ``horizon`` expected variances, given the first of them."""
        persistence = self._alpha + self._gamma / 2 + self._beta
        total, ahead = first.copy(), first
        for _ in range(self._horizon - 1):
            ahead = self._omega + persistence * ahead
            total += ahead
        return total / self._horizon


def load_scorer(folder: Path) -> Scorer:
    """The scorer of a serving folder, whose files are verified before any of them is parsed.

    Raises IntegrityError for a damaged or malformed folder, ConfigurationError if this kind needs something that is
    not installed (jpype1 and a Java runtime, or onnxruntime).
    """
    document = read_document(folder)
    try:
        return _scorer(folder, document)
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError(f"{folder}: malformed {document['kind']} model: {error!r}") from error


def _scorer(folder: Path, document: dict[str, Any]) -> Scorer:
    match document["kind"]:
        case "linear":
            return LinearScorer(document)
        case "garch":
            return GarchScorer(document)
        case "mojo":
            from .mojo import MojoScorer  # noqa: PLC0415

            return MojoScorer(folder, document)
        case "onnx":
            from .onnx import OnnxScorer  # noqa: PLC0415

            return OnnxScorer(folder, document)
        case "sequence":
            from .sequence import SequenceScorer  # noqa: PLC0415

            return SequenceScorer(folder, document)
        case "embedded":
            from .embedded import EmbeddedScorer  # noqa: PLC0415

            return EmbeddedScorer(folder, document)
        case unknown:
            raise IntegrityError(f"{folder}: unknown kind of model {unknown!r}")


def _logistic(f: Floats) -> Floats:
    # The two branches of tanh's argument never overflow, unlike 1/(1+exp(-f)).
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * f)), dtype=np.float64)
