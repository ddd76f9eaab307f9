"""Errors with and without transfer, by regime, symbol and volatility: plain means of the same rows, and no row lost."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.contracts import EngineResult, FeatureMatrix, FeatureSpec, Rows
from tasks.documents import digest
from tasks.evaluation import Leaderboard, TransferWorth
from tasks.leaderboard.carried import BARS, Group, carried, groups
from tasks.leaderboard.shortlist import Shortlist
from tasks.leaderboard.task import score
from tasks.problem import Problem
from tasks.statistics.bootstrap import interval
from tasks.storage import write_parquet
from tests.leaderboard.walks import VOLATILITY, around, candidate, fold_fits, rows_of

SCRATCH: dict[str, Any] = {"strategy": "scratch", "backbone": {}, "architecture": "tcn"}
LINE = TransferWorth(
    candidate="with", control="without", strategy="full", backbone="liquid:1", frozen=0.0, difference=0.0,
    interval=(0.0, 0.0), hurts_p=0.5, helps_p=0.5, verdict="no difference",
)  # fmt: skip


def market(rows: pd.DataFrame, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Log range volatility and return of each bar; the first bars of each symbol have none."""
    rng = np.random.default_rng(seed)
    level, returned = rng.normal(-4.8, 0.5, len(rows)), rng.normal(0.0, 0.01, len(rows))
    first = ~rows["symbol"].duplicated()
    level[first] = returned[first] = np.nan
    return level, returned


def joined(rows: pd.DataFrame) -> pd.DataFrame:
    """Predictions on the fold rows: the transfer errs upwards by a tenth where the label is high."""
    fold = rows[rows["window"] == "fold"].reset_index(drop=True)
    label = fold["label"].to_numpy()
    noise = np.random.default_rng(9).normal(0, 0.3, (2, len(fold)))
    return fold[["symbol", "session", "label"]].assign(
        **{"with": label + noise[0] + 0.5 * (label > -4.8), "without": label + noise[1]}
    )


@pytest.mark.parametrize("symbols", [1, 4, 12])
def test_each_division_holds_every_row_once(symbols: int) -> None:
    rows = rows_of(dates=1000, symbols=symbols)
    found = groups(rows, *market(rows))
    by = {group.by for group in found}
    assert by == {"market's volatility", "market's trend", "volatility quintile", *(["symbols"] if symbols > 1 else [])}
    for each in by:
        assert np.sum([group.rows for group in found if group.by == each], axis=0).tolist() == [1] * int(
            (rows["window"] == "fold").sum()
        )
    quintiles = [group.rows.mean() for group in found if group.by == "volatility quintile"]
    np.testing.assert_allclose(quintiles, 0.2, atol=0.01)
    assert len([group for group in found if group.by == "symbols"]) == {1: 0, 4: 4, 12: 3}[symbols]


def test_groups_know_no_later_bar() -> None:
    """A row's own group may turn on nothing but its symbol's last bars; the cuts are told to be the rows' own."""
    rows = rows_of(dates=1000)
    level, returned = market(rows)
    fold = np.flatnonzero(rows["window"] == "fold")
    last = groups(rows, level, returned)
    changed = returned.copy()
    changed[fold[-1]] = -10.0
    other = groups(rows, level, changed)
    trend = [next(g.rows for g in each if (g.by, g.name) == ("market's trend", "up")) for each in (last, other)]
    assert (trend[0][:-1] == trend[1][:-1]).all()
    assert not trend[1][-1]


def test_the_trend_is_that_of_the_last_22_bars() -> None:
    rows = rows_of(dates=1000)
    level, returned = market(rows)
    fold = np.flatnonzero(rows["window"] == "fold")
    mean = np.array([returned[at - BARS + 1 : at + 1].mean() for at in fold])
    (up,) = (group.rows for group in groups(rows, level, returned) if group.name == "up")
    assert (up == (mean > 0)).all()


def test_thirds_are_symbols_by_their_volatility() -> None:
    rows = rows_of(dates=1000, symbols=12)
    level, returned = market(rows)
    level += 0.3 * rows["symbol"].str[1:].astype(int).to_numpy()
    fold = rows[rows["window"] == "fold"]
    third = {g.name: sorted(set(fold["symbol"].to_numpy()[g.rows])) for g in groups(rows, level, returned)}
    assert third["calm third"] == ["S000", "S001", "S002", "S003"]
    assert third["lively third"] == ["S008", "S009", "S010", "S011"]


def test_figures_are_means_by_date_of_the_same_rows() -> None:
    rows = rows_of(dates=900, symbols=3)
    frame = joined(rows)
    mask = np.random.default_rng(1).random(len(frame)) < 0.6
    (found,) = carried((LINE,), frame, (Group(by="symbols", name="some", rows=mask),), VOLATILITY, 1)
    part = frame[mask]
    mine, theirs = (((part["label"] - part[name]) ** 2).groupby(part["session"]).mean() for name in ("with", "without"))
    assert found.rows == mask.sum()
    assert found.dates == part["session"].nunique()
    assert found.candidate_loss == pytest.approx(mine.mean(), rel=1e-12)
    assert found.control_loss == pytest.approx(theirs.mean(), rel=1e-12)
    assert found.difference == pytest.approx((theirs - mine).mean(), rel=1e-9)
    assert found.interval == interval((theirs - mine).to_numpy(), seed=1)
    assert found.candidate_bias == pytest.approx((part["with"] - part["label"]).mean(), rel=1e-9)
    assert found.control_bias == pytest.approx((part["without"] - part["label"]).mean(), abs=1e-12)


def test_a_bias_that_came_along_shows_where_it_is() -> None:
    rows = rows_of(dates=1200)
    frame = joined(rows)
    high = frame["label"].to_numpy() > -4.8
    drawn = (Group(by="symbols", name="high", rows=high), Group(by="symbols", name="low", rows=~high))
    there, elsewhere = carried((LINE,), frame, drawn, VOLATILITY, 1)
    assert there.interval[1] < 0
    assert there.candidate_bias == pytest.approx(0.5, abs=0.05)
    assert elsewhere.interval[0] < 0 < elsewhere.interval[1]
    assert elsewhere.candidate_bias == pytest.approx(0.0, abs=0.05)


@pytest.fixture
def night(tmp_path: Path) -> tuple[Rows, FeatureMatrix, tuple[EngineResult, ...], tuple[EngineResult, ...]]:
    frame = rows_of(dates=1000)
    level, returned = market(frame)
    matrix = frame[["symbol", "time", "session"]].assign(har_1=level, return_1=returned)
    features = FeatureMatrix(
        ref=write_parquet(tmp_path / "features.parquet", matrix),
        spec=FeatureSpec(columns=("har_1", "return_1"), tick=0.01),
        lookback=1,
    )
    rows = Rows(
        ref=write_parquet(tmp_path / "rows.parquet", frame), target=VOLATILITY, windows=(), purged=0, embargo=5,
        term_start="", fits=tuple(name for name in frame.columns if name.startswith("fit_")),
    )  # fmt: skip
    recipes: dict[str, dict[str, Any]] = {
        "har": {"algorithm": "har"},
        "transfer-scratch-tcn": SCRATCH,
        "transfer-full-1": {
            "strategy": "full", "control": digest(SCRATCH), "backbone": {"name": "liquid", "version": "1"}
        },
    }  # fmt: skip

    def fitted(fit: str) -> tuple[EngineResult, ...]:
        made = []
        for seed, (name, recipe) in enumerate(recipes.items()):
            path = tmp_path / f"{name}-{fit}.parquet"
            ref = write_parquet(path, pd.DataFrame({"prediction": around(frame, 0.2 + 0.1 * seed, 7 + seed)}))
            engine: Any = "transfer" if name != "har" else "baseline"
            made.append(EngineResult(engine=engine, candidates=(
                candidate(name, engine, recipe, predictions=ref, rows=fit),)))  # fmt: skip
        return tuple(made)

    refits = tuple(result for fit in fold_fits(frame) for result in fitted(fit))
    return rows, features, fitted(""), refits


def ranked(night: Any, **changes: Any) -> Leaderboard:
    rows, _, results, refits = night
    names = ("har", "transfer-full-1", "transfer-scratch-tcn")
    problem = Problem(name="test", source="builtin:sp500")
    return score.fn(problem, rows, results, refits, Shortlist(names=names), **changes)


def test_the_board_keeps_errors_by_group_where_it_is_given_the_features(night: Any) -> None:
    found = ranked(night, features=night[1])
    assert {item.candidate for item in found.carried} == {"transfer-full-1"}
    assert {item.control for item in found.carried} == {"transfer-scratch-tcn"}
    assert len(found.carried) == 9
    assert found.transfers[0].verdict == "hurts"
    assert repr(ranked(night, features=night[1])) == repr(found)
    bare = ranked(night)
    assert bare.carried == ()
    assert bare.sha256 == found.sha256
    assert bare.transfers == found.transfers


def test_a_catalogue_without_the_columns_leaves_the_groups_out(night: Any) -> None:
    other = dataclasses.replace(night[1], spec=FeatureSpec(columns=("har_1",), tick=0.01))
    assert ranked(night, features=other).carried == ()
