"""The tasks read what the engines left behind, verified, hand it to the rules, and keep what they say."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.contracts import Candidate, EngineName, EngineResult, Rows
from tasks.errors import EngineError, IntegrityError
from tasks.evaluation import Leaderboard
from tasks.leaderboard.shortlist import Shortlist, recipe_sha256
from tasks.leaderboard.task import score, shortlist
from tasks.problem import Problem
from tasks.storage import read_parquet, write_parquet
from tests.leaderboard.walks import VOLATILITY, FloatArray, around, candidate, fold_fits, rows_of

PROBLEM = Problem(name="test", source="builtin:sp500", leaders=1)
ENGINES: dict[str, EngineName] = {"har": "baseline", "last": "baseline", "gbm": "h2o", "net": "autokeras"}
SPREADS = {"har": 0.4, "last": 0.5, "gbm": 0.3, "net": 0.35}


@dataclasses.dataclass(frozen=True)
class Night:
    """What the stages before the leaderboard leave."""

    rows: Rows
    frame: pd.DataFrame
    results: tuple[EngineResult, ...]
    walked: tuple[EngineResult, ...]
    fit: Callable[..., Candidate]

    def shortlist(self, **changes: str) -> Shortlist:
        return shortlist.fn(PROBLEM, self.rows, self.results, **changes)

    def score(self) -> Leaderboard:
        return score.fn(PROBLEM, self.rows, self.results, self.walked, self.shortlist())


def by_engine(candidates: list[Candidate]) -> tuple[EngineResult, ...]:
    engines = sorted({c.engine for c in candidates})
    return tuple(EngineResult(engine=e, candidates=tuple(c for c in candidates if c.engine == e)) for e in engines)


@pytest.fixture
def night(tmp_path: Path) -> Night:
    frame = rows_of()
    ref = write_parquet(tmp_path / "rows.parquet", frame)
    rows = Rows(
        ref=ref, target=VOLATILITY, windows=(), purged=0, embargo=5, term_start="",
        fits=tuple(name for name in frame.columns if name.startswith("fit_")),
    )  # fmt: skip

    count = itertools.count()

    def fit(name: str, values: FloatArray, engine: EngineName, fitted: str = "", shuffle: int = 0) -> Candidate:
        path = tmp_path / f"{name}-{fitted}-{next(count)}.parquet"
        stored = write_parquet(path, pd.DataFrame({"prediction": values}))
        return candidate(name, engine, predictions=stored, rows=fitted, shuffle=shuffle)

    searched = [fit(name, around(frame, SPREADS[name], i), e) for i, (name, e) in enumerate(ENGINES.items())]
    walked = [
        fit(name, around(frame, SPREADS[name], 10 * k + i), ENGINES[name], fitted)
        for i, name in enumerate(("har", "last", "gbm"))
        for k, fitted in enumerate(fold_fits(frame), start=1)
    ]
    return Night(rows=rows, frame=frame, results=by_engine(searched), walked=by_engine(walked), fit=fit)


def test_the_shortlist_is_walked_and_ranked_and_the_rest_is_named(night: Night) -> None:
    chosen = night.shortlist()
    assert chosen.names == ("gbm", "har", "last")
    board = night.score()
    assert [item.candidate for item in board.scores] == ["gbm", "har", "last"]
    assert board.not_refitted == {"net": chosen.losses["net"]}
    assert board.scores[0].selection_score == chosen.losses["gbm"]
    assert len(board.scores[0].fold_scores) == 5


def test_the_joined_predictions_are_kept_and_give_the_scores(night: Night) -> None:
    board = night.score()
    assert board.predictions is not None
    table = read_parquet(board.predictions)
    assert list(table.columns) == ["symbol", "time", "session", "label", "label_end", "fold", "gbm", "har", "last"]
    assert len(table) == board.predictions.rows == board.rows
    for item in board.scores:
        losses = (table["label"] - table[item.candidate]) ** 2
        assert item.score == pytest.approx(losses.mean(), rel=1e-12)
        np.testing.assert_allclose(item.fold_scores, losses.groupby(table["fold"]).mean(), rtol=1e-12)


def test_an_unchanged_night_is_read_back(night: Night, caplog: pytest.LogCaptureFixture) -> None:
    first = night.score()
    with caplog.at_level("INFO", logger="nocturne.leaderboard"):
        again = night.score()
    assert repr(again) == repr(first)
    assert "leaderboard: reused" in caplog.text


def test_the_order_in_which_engines_and_candidates_come_changes_nothing(
    night: Night, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = night.score()
    monkeypatch.setenv("NOCTURNE_HOME", str(tmp_path / "another"))
    results, walked = (
        tuple(dataclasses.replace(r, candidates=r.candidates[::-1]) for r in each[::-1])
        for each in (night.results, night.walked)
    )
    again = dataclasses.replace(night, results=results, walked=walked).score()
    assert again.sha256 == first.sha256
    assert again.scores == first.scores


def test_an_altered_refit_or_seed_is_another_board(night: Night) -> None:
    first = night.score()
    other = night.fit("gbm", around(night.frame, 0.3, 77), "h2o", "fit_fold_2")
    walked = tuple(
        dataclasses.replace(
            r, candidates=tuple(other if (c.name, c.rows) == ("gbm", "fit_fold_2") else c for c in r.candidates)
        )
        for r in night.walked
    )
    assert dataclasses.replace(night, walked=walked).score().sha256 != first.sha256
    seeded = PROBLEM.model_copy(update={"seed": 2})
    again = score.fn(seeded, night.rows, night.results, night.walked, night.shortlist())
    assert again.scores[0].score == first.scores[0].score
    assert again.scores[0].skill_interval != first.scores[0].skill_interval


def test_an_engine_that_failed_on_the_walk_costs_its_own_candidates(night: Night) -> None:
    walked = (*(r for r in night.walked if r.engine != "h2o"), EngineResult(engine="h2o", error="no Java\ntrace"))
    board = dataclasses.replace(night, walked=walked).score()
    assert [item.candidate for item in board.scores] == ["har", "last"]
    assert board.refused == {"gbm": "it was not fitted for fold 1, 2, 3, 4, 5 of 5 (h2o: no Java)"}


def test_a_fold_that_could_not_be_fitted_says_why(night: Night) -> None:
    walked = tuple(
        dataclasses.replace(
            r,
            candidates=tuple(c for c in r.candidates if (c.name, c.rows) != ("gbm", "fit_fold_4")),
            notes=("gbm (fit_fold_4): its predictions are not those of the engine",) if r.engine == "h2o" else (),
        )
        for r in night.walked
    )
    board = dataclasses.replace(night, walked=walked).score()
    expected = "it was not fitted for fold 4 of 5 (its predictions are not those of the engine)"
    assert board.refused == {"gbm": expected}


def test_canaries_and_fits_on_other_rows_are_no_refits(night: Night) -> None:
    first = night.score()
    label = night.frame["label"].fillna(0.0).to_numpy()
    others = (
        night.fit("gbm", label, "h2o", "fit_fold_5", shuffle=7),
        night.fit("gbm", label, "h2o", "fit_gate"),
    )
    walked = (*night.walked, EngineResult(engine="h2o", candidates=others))
    assert dataclasses.replace(night, walked=walked).score().scores == first.scores


def test_the_champion_is_walked_under_its_name(night: Night) -> None:
    values = around(night.frame, 0.2, 99)
    champion = tuple(night.fit("champion", values, "autokeras", fitted) for fitted in fold_fits(night.frame))
    board = dataclasses.replace(
        night, walked=(*night.walked, EngineResult(engine="autokeras", candidates=champion))
    ).score()
    assert board.scores[0].candidate == "champion"
    assert "champion" in board.scores[1].p_values
    assert np.isnan(board.scores[0].selection_score)


def test_the_champions_own_recipe_is_on_the_shortlist(night: Night) -> None:
    digest = recipe_sha256({"algorithm": "net"})
    assert night.shortlist(champion_recipe_sha256=digest).names == ("gbm", "net", "har", "last")


def test_a_refit_that_came_twice_is_an_error(night: Night) -> None:
    with pytest.raises(EngineError, match="refitted twice on fit_fold_1"):
        dataclasses.replace(night, walked=(*night.walked, night.walked[0])).score()


def test_no_candidate_at_all_names_every_engine(night: Night) -> None:
    nothing = (EngineResult(engine="h2o", error="no Java"), EngineResult(engine="baseline"))
    with pytest.raises(EngineError, match=r"h2o: no Java; baseline: no candidate"):
        shortlist.fn(PROBLEM, night.rows, nothing)


@pytest.mark.parametrize("which", ["results", "walked"])
def test_altered_predictions_are_never_scored(night: Night, which: str) -> None:
    chosen = night.shortlist()
    result = next(r for r in getattr(night, which) if r.engine == "baseline")
    path = Path(result.candidates[0].predictions.path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(IntegrityError, match=path.name):
        score.fn(PROBLEM, night.rows, night.results, night.walked, chosen)
