"""Which candidates are walked: chosen on the selection rows alone, whatever the order they come in."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.contracts import Candidate, EngineName
from tasks.documents import from_json, to_json
from tasks.errors import DataError, EngineError
from tasks.leaderboard.shortlist import Shortlist, choose, recipe_sha256
from tests.leaderboard.walks import DIRECTION, VOLATILITY, FloatArray, around, candidate, rows_of

POOL: list[tuple[str, EngineName, float]] = [
    ("har", "baseline", 0.5),
    ("last", "baseline", 0.9),
    ("ridge", "linear", 0.8),
    ("gbm_1", "h2o", 0.30),
    ("gbm_2", "h2o", 0.45),
    ("net_1", "autokeras", 0.35),
    ("net_2", "autokeras", 0.55),
]


def pool(rows: pd.DataFrame) -> tuple[list[Candidate], dict[str, FloatArray]]:
    """Losses in the order of the spreads: the same noise, scaled."""
    label = rows["label"].fillna(-4.8).to_numpy()
    noise = around(rows, 1.0) - label
    return [candidate(name, engine) for name, engine, _ in POOL], {n: label + s * noise for n, _, s in POOL}


def chosen(rows: pd.DataFrame, candidates: list[Candidate], predictions: dict[str, FloatArray], **kw: Any) -> Shortlist:
    return choose(candidates, predictions, rows, VOLATILITY, **{"leaders": 2, "ensembles": False, **kw})


def test_baselines_and_linear_models_all_walk_and_of_the_rest_the_leading_few(rows: pd.DataFrame) -> None:
    found = chosen(rows, *pool(rows))
    assert found.names == ("gbm_1", "net_1", "har", "ridge", "last")
    assert set(found.left) == {"gbm_2", "net_2"}
    place = (rows["window"] == "selection").to_numpy()
    _, predictions = pool(rows)
    for name, loss in found.losses.items():
        assert loss == pytest.approx(np.mean((rows["label"] - predictions[name])[place] ** 2), rel=1e-12)


def test_the_order_of_candidates_changes_nothing(rows: pd.DataFrame) -> None:
    candidates, predictions = pool(rows)
    boards = {
        repr(chosen(rows, list(order), predictions))
        for order in itertools.islice(itertools.permutations(candidates), 0, 5040, 97)
    }
    assert len(boards) == 1


def test_only_selection_rows_are_looked_at(rows: pd.DataFrame) -> None:
    candidates, predictions = pool(rows)
    elsewhere = (rows["window"] != "selection").to_numpy()
    other = {name: np.where(elsewhere, np.nan, values) for name, values in predictions.items()}
    assert chosen(rows, candidates, predictions) == chosen(rows, candidates, other)


def test_ensembles_take_a_place_only_if_the_problem_says_so(rows: pd.DataFrame) -> None:
    candidates, predictions = pool(rows)
    stacked = candidate("stack", "h2o", {"algorithm": "stackedensemble"})
    predictions = {**predictions, "stack": rows["label"].fillna(0.0).to_numpy()}
    without, with_it = (chosen(rows, [*candidates, stacked], predictions, ensembles=may) for may in (False, True))
    assert "stack" in without.left
    assert without.names == chosen(rows, *pool(rows)).names
    assert with_it.names[:2] == ("stack", "net_1"), "each engine's best"
    assert "gbm_1" in with_it.left


def test_ties_go_to_the_simpler_engine_and_then_to_the_name(rows: pd.DataFrame) -> None:
    same = around(rows, 0.3)
    closer = same + (rows["label"].fillna(-4.8).to_numpy() - same) * 1e-14
    engines: list[tuple[str, EngineName]] = [("a", "autokeras"), ("z", "h2o"), ("y", "h2o"), ("base", "baseline")]
    predictions = {"a": closer, "z": same, "y": same, "base": same}
    found = chosen(rows, [candidate(*each) for each in engines], predictions)
    assert found.names == ("base", "y", "a"), "of one engine the first name, and each engine's best"
    assert chosen(rows, [candidate(*each) for each in engines], predictions, leaders=1).names == ("base", "y")
    assert found.losses["a"] < found.losses["z"]


def test_of_identical_recipes_the_simpler_engines_walks(rows: pd.DataFrame) -> None:
    recipe = {"algorithm": "glm", "lambda": 0.1}
    twins = [candidate("glm_b", "h2o", recipe), candidate("glm_a", "linear", {**recipe}), candidate("har")]
    predictions = {"glm_a": around(rows, 0.4), "glm_b": around(rows, 0.3), "har": around(rows, 0.5)}
    found = chosen(rows, twins, predictions)
    assert found.names == ("glm_a", "har")
    assert list(found.left) == ["glm_b"]


def test_the_champions_recipe_walks_wherever_it_stands(rows: pd.DataFrame) -> None:
    candidates, predictions = pool(rows)
    last = next(c for c in candidates if c.name == "net_2")
    digest = recipe_sha256(last.recipe)
    found = chosen(rows, candidates, predictions, champion_recipe_sha256=digest)
    assert found.champion == "net_2"
    assert found.names == ("gbm_1", "net_1", "har", "net_2", "ridge", "last")
    stranger = chosen(rows, candidates, predictions, champion_recipe_sha256="0" * 64)
    assert (stranger.champion, stranger.names) == ("", chosen(rows, candidates, predictions).names)


def test_what_cannot_be_scored_is_refused_by_name(rows: pd.DataFrame) -> None:
    place = np.flatnonzero(rows["window"] == "selection")
    holes, diverged = around(rows, 0.3), around(rows, 0.3)
    holes[place[:3]] = [np.nan, np.inf, -np.inf]
    diverged[place[0]] = 1e200
    predictions = {
        "har": around(rows, 0.3), "holes": holes, "short": holes[:10], "diverged": diverged,
        "champion": around(rows, 0.1), "label": around(rows, 0.1),
    }  # fmt: skip
    names = ["har", "holes", "short", "diverged", "absent", "champion", "label"]
    found = chosen(rows, [candidate(name) for name in names], predictions)
    assert found.names == ("har",)
    assert found.refused["holes"] == f"3 of {len(place)} predictions on the selection rows are not finite"
    assert found.refused["short"] == f"it has 10 predictions for {len(rows):,} rows"
    assert "1e+200" in found.refused["diverged"]
    assert found.refused["absent"] == "it has no predictions"
    assert "is reserved" in found.refused["champion"]
    assert "is reserved" in found.refused["label"]


def test_what_is_no_probability_is_refused(rows: pd.DataFrame) -> None:
    up = rows.assign(label=(rows["label"] > -4.8).astype(float))
    predictions = {"base": np.full(len(rows), 0.5), "odd": np.full(len(rows), 1.2)}
    found = choose([candidate("base"), candidate("odd")], predictions, up, DIRECTION, leaders=1, ensembles=False)
    n = int((rows["window"] == "selection").sum())
    assert found.refused == {"odd": f"{n} of {n} predictions on the selection rows are no probabilities"}
    assert found.losses["base"] == pytest.approx(np.log(2))


def test_two_candidates_of_one_name_are_refused(rows: pd.DataFrame) -> None:
    with pytest.raises(EngineError, match="share a name: har"):
        chosen(rows, [candidate("har"), candidate("har", "linear")], {"har": around(rows, 0.3)})


def test_a_search_that_reaches_into_the_selection_rows_is_no_evidence() -> None:
    rows = rows_of(embargo=0)
    first = rows.index[rows["window"] == "selection"][0]
    rows.loc[first - 20, "window"] = "blending"
    rows.loc[first - 20, "label_end"] = rows["time"].iloc[first]
    with pytest.raises(DataError, match="the search learns from 1 labels that end at or after its first scored row"):
        chosen(rows, [candidate("har")], {"har": around(rows, 0.3)})


def test_without_selection_rows_nothing_is_chosen(rows: pd.DataFrame) -> None:
    with pytest.raises(EngineError, match="no selection rows"):
        chosen(rows.assign(window="fold"), [candidate("har")], {"har": around(rows, 0.3)})


def test_it_survives_json(rows: pd.DataFrame) -> None:
    found = chosen(rows, *pool(rows))
    assert from_json(Shortlist, to_json(found)) == found


def test_a_transfer_is_walked_with_its_control_which_takes_no_place(rows: pd.DataFrame) -> None:
    candidates, predictions = pool(rows)
    control = {"strategy": "scratch", "control": ""}
    tuned = {"strategy": "full", "control": recipe_sha256(control)}
    candidates = [*candidates, candidate("tuned", "transfer", tuned), candidate("scratch", "transfer", control)]
    label = rows["label"].fillna(-4.8).to_numpy()
    noise = around(rows, 1.0) - label
    predictions = predictions | {"tuned": label + 0.2 * noise, "scratch": label + 2.0 * noise}
    found = chosen(rows, candidates, predictions, leaders=3)
    assert {"tuned", "scratch", "gbm_1", "net_1"} <= set(found.names), "each engine's best, and the control besides"
    del predictions["tuned"]
    assert "scratch" not in chosen(rows, candidates[:-2] + candidates[-1:], predictions, leaders=2).names
