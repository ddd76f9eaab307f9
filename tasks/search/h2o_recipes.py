"""From a model that AutoML found to a recipe in JSON, and from the recipe to a fitted model again.

A recipe holds what early stopping and the search over penalties settled (trees, alpha, lambda), so that fitting it
again needs no validation rows. An ensemble's recipe holds its base recipes: they are fitted on the earlier part of
the rows, the metalearner on what they predict for a later part that none of them saw.

A seed is part of a recipe where it changes the model: of trees, which draw rows and columns. A linear model draws
nothing, so that the same one found with another seed is the same recipe. Recipes that were kept with a seed are fitted
with it, as ever.
"""

from __future__ import annotations

from typing import Any

import h2o
from h2o.estimators import (
    H2OGeneralizedLinearEstimator,
    H2OGradientBoostingEstimator,
    H2ORandomForestEstimator,
    H2OStackedEnsembleEstimator,
)

from tasks.errors import EngineError
from tasks.search.h2o_frames import LABEL, Sample

ENSEMBLE = "stackedensemble"
_TREES = [
    *("ntrees", "max_depth", "min_rows", "nbins", "sample_rate", "col_sample_rate_per_tree"),
    *("col_sample_rate_change_per_level", "min_split_improvement", "histogram_type", "seed"),
]
_KEPT = {
    "gbm": [*_TREES, "learn_rate", "learn_rate_annealing", "col_sample_rate", "distribution"],
    "drf": [*_TREES, "mtries"],
    "glm": ["family", "link", "solver", "standardize", "non_negative", "max_iterations", "objective_epsilon"],
}
_ANY_SEED = 1
"""H2O draws one by the clock where it is given none, and writes it into the model."""

_ESTIMATORS = {
    "gbm": H2OGradientBoostingEstimator,
    "drf": H2ORandomForestEstimator,
    "glm": H2OGeneralizedLinearEstimator,
}


def recipe_of(model: Any) -> dict[str, Any]:
    """The recipe of a trained model. Raises EngineError for an algorithm that has none here, or a constant ensemble."""
    if model.algo != ENSEMBLE:
        return {"algorithm": model.algo, "params": _params(model)}
    meta = h2o.get_model(model.metalearner().model_id)
    weights = meta.coef()
    base = [name for name in model.base_models if weights.get(name, 1.0) != 0.0]
    if not base:
        raise EngineError("every model's weight in the ensemble is zero: it predicts a constant")
    return {
        "algorithm": ENSEMBLE,
        "base": [recipe_of(h2o.get_model(name)) for name in base],
        "metalearner": {"algorithm": meta.algo, "params": _params(meta)},
    }


def fit(recipe: dict[str, Any], sample: Sample) -> tuple[Any, float]:
    """A fitted model and the seconds that H2O spent on it."""
    if recipe["algorithm"] != ENSEMBLE:
        return _fit_one(recipe, sample, sample.every)
    fitted = [_fit_one(part, sample, sample.earlier) for part in recipe["base"]]
    meta = recipe["metalearner"]
    # One number a list: H2O reads these as the values of a grid.
    settings = {name: value if name in ("alpha", "lambda") else [value] for name, value in meta["params"].items()}
    ensemble = H2OStackedEnsembleEstimator(
        base_models=[model.model_id for model, _ in fitted],
        metalearner_algorithm=meta["algorithm"],
        metalearner_params=settings,
        seed=meta["params"].get("seed", _ANY_SEED),
        weights_column=sample.weights,
        model_id=sample.name("model"),
    )
    ensemble.train(x=list(sample.columns), y=LABEL, training_frame=sample.earlier, blending_frame=sample.later)
    return ensemble, run_seconds(ensemble) + sum(seconds for _, seconds in fitted)


def run_seconds(model: Any) -> float:
    """Seconds that H2O says it spent on a model."""
    return float(model._model_json["output"]["run_time"]) / 1000


def _fit_one(recipe: dict[str, Any], sample: Sample, frame: Any) -> tuple[Any, float]:
    named = {"lambda_" if name == "lambda" else name: value for name, value in recipe["params"].items()}
    params = {"seed": _ANY_SEED, **named}
    model = _estimator(recipe["algorithm"])(**params, weights_column=sample.weights, model_id=sample.name("model"))
    model.train(x=list(sample.columns), y=LABEL, training_frame=frame)
    return model, run_seconds(model)


def _estimator(algorithm: str) -> Any:
    if algorithm not in _ESTIMATORS:
        raise EngineError(f"no recipe is known for H2O's {algorithm}; there are {', '.join(_ESTIMATORS)}")
    return _ESTIMATORS[algorithm]


def _params(model: Any) -> dict[str, Any]:
    _estimator(model.algo)
    params = {name: model.params[name]["actual"] for name in _KEPT[model.algo]}
    if model.algo == "glm":
        output = model._model_json["output"]
        params |= {"alpha": [output["alpha_best"]], "lambda": [output["lambda_best"]]}
    return params
