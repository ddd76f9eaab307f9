"""Canaries: they live in a clean night, and die of every way by which labels can reach a fit."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from tasks.contracts import Target
from tasks.leaderboard import canaries
from tasks.statistics.shuffle import shuffled_labels

Floats = npt.NDArray[np.float64]
DATES = 1500
VOLATILITY = Target(name="volatility", horizon=1, kind="regression", loss="mse")
DIRECTION = Target(name="direction", horizon=1, kind="classification", loss="log_loss")


def market(target: Target, seed: int, symbols: int = 1) -> tuple[pd.DataFrame, Floats]:
    """Rows and labels: log volatility that persists about each symbol's own level, or sides of a coin."""
    random = np.random.default_rng(seed)
    sessions = pd.bdate_range("2010-01-04", periods=DATES).to_numpy()
    labels = []
    for symbol in range(symbols):
        state = np.zeros(DATES)
        shocks = random.standard_normal(DATES)
        for t in range(1, DATES):
            state[t] = 0.95 * state[t - 1] + 0.15 * shocks[t]
        labels.append(symbol + state if target is VOLATILITY else (shocks > 0).astype(float))
    frame = pd.DataFrame(
        {"symbol": np.repeat([f"S{i}" for i in range(symbols)], DATES), "session": np.tile(sessions, symbols)}
    )
    return frame, np.concatenate(labels)


def split(frame: pd.DataFrame) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    place = frame.groupby("symbol").cumcount().to_numpy()
    return place < 1000, place >= 1010


def permuted(frame: pd.DataFrame, label: Floats) -> Floats:
    return shuffled_labels(label, frame["session"].to_numpy(), frame["symbol"].to_numpy(), seed=7)


def own_level(frame: pd.DataFrame, label: Floats) -> Floats:
    """What an honest fit could learn of shuffled labels: each symbol's level, with a persistent feature's error."""
    before = pd.Series(label).groupby(frame["symbol"]).shift(1).fillna(0.0)
    mean = pd.Series(label).groupby(frame["symbol"]).transform(lambda values: values[:1000].mean())
    return (mean + 0.01 * (before - mean)).to_numpy()


@pytest.mark.parametrize("symbols", [1, 12])
@pytest.mark.parametrize("seed", range(5))
def test_it_lives_where_a_fit_knows_no_more_than_levels(seed: int, symbols: int) -> None:
    frame, label = market(VOLATILITY, seed, symbols)
    shuffled, (fit, scored) = permuted(frame, label), split(frame)
    rows = canaries.scored_rows(frame, shuffled, own_level(frame, label), fit, scored)
    assert canaries.canary_alarms(rows, VOLATILITY) == ()


def test_it_dies_of_labels_that_were_not_blanked() -> None:
    """An engine that looks a row's label up, as one could if the harness handed all of them over."""
    for target in (VOLATILITY, DIRECTION):
        frame, label = market(target, 3)
        shuffled, (fit, scored) = permuted(frame, label), split(frame)
        nosy = 0.8 * shuffled + 0.2 * shuffled.mean()
        (text,) = canaries.canary_alarms(canaries.scored_rows(frame, shuffled, nosy, fit, scored), target)
        assert "fitted on shuffled labels" in text
        assert "above 1%" in text
        blanked = np.where(fit, nosy, shuffled[fit].mean())
        assert canaries.canary_alarms(canaries.scored_rows(frame, shuffled, blanked, fit, scored), target) == ()


def test_it_dies_of_a_neighbour_across_an_unpurged_edge() -> None:
    """Labels over 60 bars in shuffled blocks of 21: a fit that learns the row before knows most of this one."""
    frame, label = market(VOLATILITY, 4)
    shuffled, (fit, scored) = permuted(frame, label), split(frame)
    neighbour = np.concatenate([[shuffled[0]], shuffled[:-1]])
    rows = canaries.scored_rows(frame, shuffled, neighbour, fit, scored)
    assert canaries.skill_over_mean(rows, VOLATILITY).lower > 0.3


def test_a_name_s_level_is_no_leak() -> None:
    """Against the mean of all names, knowing each name's level would look like skill."""
    frame, label = market(VOLATILITY, 5, symbols=12)
    shuffled, (fit, scored) = permuted(frame, label), split(frame)
    rows = canaries.scored_rows(frame, shuffled, own_level(frame, label), fit, scored)
    pooled = rows.assign(mean=shuffled[fit].mean())
    assert canaries.skill_over_mean(pooled, VOLATILITY).lower > 0.5
    assert canaries.skill_over_mean(rows, VOLATILITY).lower < 0.01


def test_rows_without_label_or_prediction_are_left_out_and_new_symbols_get_the_overall_mean() -> None:
    frame = pd.DataFrame({"symbol": ["A"] * 4 + ["B"] * 2, "session": pd.bdate_range("2020-01-01", periods=6)})
    shuffled = np.array([1.0, 3.0, 5.0, np.nan, 7.0, 9.0])
    prediction = np.array([0.0, 0.0, 2.0, 2.0, np.nan, 4.0])
    fit = np.array([True, True, False, False, False, False])
    rows = canaries.scored_rows(frame, shuffled, prediction, fit, ~fit)
    assert rows["label"].tolist() == [5.0, 9.0]
    assert rows["canary"].tolist() == [2.0, 4.0]
    assert rows["mean"].tolist() == [2.0, 2.0]


def test_its_bounds_are_draws_of_the_null() -> None:
    frame, label = market(VOLATILITY, 6)
    shuffled, (fit, scored) = permuted(frame, label), split(frame)
    drawn = canaries.null_bounds(
        canaries.scored_rows(frame, shuffled, own_level(frame, label), fit, scored), VOLATILITY
    )
    assert set(drawn) == {"r2", "skill"}
    assert all(value < 0.05 for value in drawn.values())
