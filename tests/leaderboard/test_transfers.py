"""What a transfer was worth: the verdict is the paired test's, and nothing is said without a control."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.documents import digest, from_json, to_json
from tasks.evaluation import CHAMPION, Leaderboard, TransferWorth
from tasks.leaderboard import ranking
from tasks.leaderboard.joined import Walked
from tasks.leaderboard.transfers import LEAST_DATES, frozen_share, verdict, worth
from tasks.statistics.diebold_mariano import diebold_mariano
from tests.leaderboard.walks import FloatArray, around, board, rows_of, walked

SCRATCH: dict[str, Any] = {"strategy": "scratch", "backbone": {}, "architecture": "tcn"}
CONTROL = digest(SCRATCH)
BACKBONE = {"name": "liquid", "version": "3", "sha256": "b" * 64}


def transferred(strategy: str = "features", **changes: Any) -> dict[str, Any]:
    return {"strategy": strategy, "backbone": BACKBONE, "control": CONTROL, **changes}


def losses_of(gain: float, dates: int = 400, seed: int = 1) -> dict[str, FloatArray]:
    """A candidate whose loss is ``gain`` below its control's on average; the days' surprises are shared."""
    rng = np.random.default_rng(seed)
    shared = rng.exponential(size=dates)
    own = shared - gain + 0.3 * rng.normal(size=dates)
    return {"transfer-features-1": own, "transfer-scratch-tcn": shared, "har": 2.0 * shared}


def lines(losses: Mapping[str, FloatArray], recipe: dict[str, Any], overlap: int = 0) -> tuple[TransferWorth, ...]:
    return worth(losses, {"transfer-features-1": recipe, "transfer-scratch-tcn": SCRATCH}, overlap, 1)


@pytest.mark.parametrize(("gain", "said"), [(0.1, "helps"), (-0.1, "hurts"), (0.0, "no difference")])
def test_the_verdict_is_that_of_the_paired_test(gain: float, said: str) -> None:
    losses = losses_of(gain)
    (line,) = lines(losses, transferred())
    difference = losses["transfer-scratch-tcn"] - losses["transfer-features-1"]
    assert line.verdict == said
    assert line.difference == pytest.approx(difference.mean(), rel=1e-12)
    assert line.helps_p == diebold_mariano(difference, 0).p_value
    assert line.hurts_p == pytest.approx(1.0 - line.helps_p, abs=1e-12)
    assert line.interval[0] < line.difference < line.interval[1]
    assert (line.interval[0] > 0) == (said == "helps")
    assert (line.interval[1] < 0) == (said == "hurts")
    assert (line.control, line.strategy, line.backbone) == ("transfer-scratch-tcn", "features", "liquid:3")
    assert (line.frozen, line.dates, line.note) == (1.0, 400, "")


def test_the_test_counts_pairs_and_not_the_days_own_surprise() -> None:
    """Unpaired, the shared surprise would drown a difference a tenth its size."""
    losses = losses_of(0.1)
    mine, theirs = losses["transfer-features-1"], losses["transfer-scratch-tcn"]
    unpaired = (theirs.mean() - mine.mean()) / np.sqrt((mine.var() + theirs.var()) / len(mine))
    assert unpaired < 1.65
    assert lines(losses, transferred())[0].helps_p < 1e-6


@pytest.mark.parametrize("flaw", ["no control named", "control not ranked", "another control"])
def test_without_a_control_on_the_same_rows_there_is_no_line(flaw: str) -> None:
    losses, recipe = losses_of(0.1), transferred()
    if flaw == "no control named":
        del recipe["control"]
    elif flaw == "control not ranked":
        del losses["transfer-scratch-tcn"]
    else:
        recipe["control"] = digest({**SCRATCH, "architecture": "patches"})
    assert lines(losses, recipe) == ()


@pytest.mark.parametrize(("gain", "said"), [(0.1, "not known"), (0.0, "not known"), (-0.1, "hurts")])
def test_beside_a_control_that_the_clock_ended_nothing_is_known_but_that_it_hurts(gain: float, said: str) -> None:
    cut = {**SCRATCH, "late": True}
    recipes = {"transfer-features-1": transferred(control=digest(cut)), "transfer-scratch-tcn": cut}
    (line,) = worth(losses_of(gain), recipes, 0, 1)
    assert line.verdict == said
    assert line.note == "the clock ended the training of its control, transfer-scratch-tcn"


def test_each_is_compared_with_its_own_control() -> None:
    """Trees on embeddings with the trees, a network with the network; what names no backbone is a control."""
    trees = {"strategy": "trees", "backbone": {}}
    recipes = {
        "transfer-embeddings-1": transferred("embeddings", control=digest(trees)), "transfer-trees-1": trees,
        "transfer-features-1": transferred(), "transfer-scratch-tcn": SCRATCH,
    }  # fmt: skip
    losses = losses_of(0.1) | {"transfer-trees-1": np.zeros(400), "transfer-embeddings-1": np.ones(400)}
    losses["transfer-embeddings-1"][::2] = 1.5
    found = {line.candidate: (line.control, line.verdict) for line in worth(losses, recipes, 0, 1)}
    assert found == {
        "transfer-embeddings-1": ("transfer-trees-1", "hurts"), "transfer-features-1": ("transfer-scratch-tcn", "helps")
    }  # fmt: skip


def test_a_control_has_no_line_of_its_own() -> None:
    assert [line.candidate for line in lines(losses_of(0.1), transferred())] == ["transfer-features-1"]


@pytest.mark.parametrize(
    ("dates", "overlap", "enough"), [(50, 0, True), (49, 0, False), (499, 9, False), (10, 0, False)]
)
def test_too_few_dates_keep_from_saying_that_it_helps_and_the_line_says_so(
    dates: int, overlap: int, enough: bool
) -> None:
    (line,) = lines(losses_of(2.0, dates), transferred(), overlap)
    assert line.helps_p < 0.05
    assert line.verdict == ("helps" if enough else "no difference")
    assert bool(line.note) is not enough
    if not enough:
        assert f"{dates} dates are worth {dates / (1 + overlap):.0f} that share no bar" in line.note
        assert f"not said below {LEAST_DATES:.0f}" in line.note
    assert np.isfinite(line.interval).all() == (dates >= 20)


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 700), st.integers(0, 44), st.integers(0, 2**32 - 1), st.floats(-1.0, 1.0))
def test_what_hurts_significantly_always_stands(dates: int, overlap: int, seed: int, gain: float) -> None:
    """However few dates there are, and however many of them share bars."""
    (line,) = lines(losses_of(gain, dates, seed), transferred(), overlap)
    assert (line.verdict == "hurts") is (line.hurts_p < 0.05)
    assert (line.verdict == "helps") is (line.helps_p < 0.05 and dates / (1 + overlap) >= LEAST_DATES)


def test_a_long_horizon_does_not_hide_that_a_transfer_hurts() -> None:
    """Five hundred dates of labels over 22 bars are worth 23 that share none, and the loss is a multiple."""
    (line,) = lines(losses_of(-2.0, 500), transferred(), 21)
    assert (line.verdict, bool(line.note)) == ("hurts", True)


def test_a_test_without_a_figure_is_not_known() -> None:
    assert verdict(float("nan"), 0.5) == verdict(0.5, float("nan")) == "not known"


def test_fewer_dates_have_a_wider_interval() -> None:
    many, few = (lines(losses_of(0.1, dates), transferred())[0].interval for dates in (400, 25))
    assert few[1] - few[0] > 2 * (many[1] - many[0])


def test_equal_losses_are_no_difference() -> None:
    losses = losses_of(0.1)
    losses["transfer-features-1"] = losses["transfer-scratch-tcn"]
    (line,) = lines(losses, transferred())
    assert (line.verdict, line.difference, line.helps_p, line.hurts_p) == ("no difference", 0.0, 1.0, 1.0)


@pytest.mark.parametrize("overlap", [0, 5])
def test_the_level_is_five_per_cent_each_way(overlap: int) -> None:
    """Where nothing is transferred, one verdict in twenty hurts, whatever the lag."""
    assert verdict(0.5, 0.0499) == "hurts"
    assert verdict(0.0499, 0.5) == "helps"
    assert verdict(0.05, 0.05) == "no difference"
    random = np.random.default_rng(5)
    said = []
    for _ in range(300):
        losses = {"transfer-features-1": random.normal(size=400), "transfer-scratch-tcn": np.zeros(400)}
        said.append(lines(losses, transferred(), overlap)[0].verdict)
    assert 3 <= said.count("hurts") <= 30, "binomial(300, 0.05) lies there with a probability of 99.9 %"
    assert 3 <= said.count("helps") <= 30


@pytest.mark.parametrize(
    ("recipe", "share"),
    [
        (transferred("features"), 1.0),
        (transferred("embeddings"), 1.0),
        (transferred("partial"), 0.8),
        (transferred("partial", frozen=0.6), 0.6),
        (transferred("partial", hyperparameters={"frozen": 0.5}), 0.5),
        (transferred("full"), 0.0),
        (transferred("multitask"), 0.0),
    ],
)
def test_the_frozen_share_is_the_recipes(recipe: dict[str, Any], share: float) -> None:
    assert frozen_share(recipe) == share


def ranked(recipe: Mapping[str, Any], spread: float = 0.2) -> Leaderboard:
    rows = rows_of()

    def transfer(name: str, noise: float, seed: int, recipe: Mapping[str, Any]) -> Walked:
        return walked(rows, name, around(rows, noise, seed), "transfer", recipe=recipe)

    return board(
        rows,
        [
            walked(rows, "har", around(rows, 0.5, 4)),
            transfer("transfer-features-1", spread, 5, recipe),
            transfer("transfer-scratch-tcn", 0.4, 6, SCRATCH),
        ],
    )


def test_the_board_tells_what_each_transfer_was_worth() -> None:
    found = ranked(transferred())
    (line,) = found.transfers
    scores = {score.candidate: score.score for score in found.scores}
    assert line.verdict == "helps"
    assert line.difference == pytest.approx(scores["transfer-scratch-tcn"] - scores["transfer-features-1"], rel=1e-9)
    assert line.dates == found.dates
    assert from_json(Leaderboard, json.loads(json.dumps(to_json(found)))).transfers == found.transfers
    assert ranked(transferred(), 0.7).transfers[0].verdict == "hurts"


def test_the_champions_transfer_has_a_line_beside_the_control_that_it_brought_along() -> None:
    rows = rows_of()
    control = f"{CHAMPION}-control"
    found = board(
        rows,
        [
            walked(rows, "har", around(rows, 0.5, 4)),
            walked(rows, CHAMPION, around(rows, 0.7, 5), "transfer", recipe=transferred()),
            walked(rows, control, around(rows, 0.4, 6), "transfer", recipe=SCRATCH),
        ],
    )
    (line,) = found.transfers
    assert (line.candidate, line.control, line.verdict) == (CHAMPION, control, "hurts")
    assert control in {score.candidate for score in found.scores}


def test_the_digest_covers_what_was_transferred_and_is_untouched_where_nothing_was() -> None:
    found = ranked(transferred())
    other = ranked(transferred(backbone={**BACKBONE, "version": "4"}))
    assert ranking.digest(found) == found.sha256 == ranked(transferred()).sha256 != other.sha256
    document = to_json(found)
    assert document["transfers"]
    without = dataclasses.replace(found, transfers=())
    assert ranking.digest(without) != found.sha256
    rows = rows_of()
    plain = board(rows, [walked(rows, "har", around(rows, 0.5))])
    assert ranking.digest(plain) == plain.sha256
    assert plain.transfers == ()


def test_the_order_of_candidates_changes_no_line() -> None:
    losses = losses_of(0.1)
    losses["transfer-full-2"] = losses["transfer-features-1"] + 0.05
    recipes = {
        "transfer-full-2": transferred("full"), "transfer-scratch-tcn": SCRATCH, "transfer-features-1": transferred()
    }  # fmt: skip
    found = worth(losses, recipes, 0, 1)
    assert [line.candidate for line in found] == ["transfer-features-1", "transfer-full-2"]
    turned = {name: losses[name] for name in reversed(losses)}
    assert worth(turned, dict(reversed(recipes.items())), 0, 1) == found


def test_rows_of_a_panel_are_dates() -> None:
    """Fifty names on forty days are forty days."""
    rows = rows_of(dates=700, symbols=3)
    made = [
        walked(rows, "har", around(rows, 0.5)),
        walked(rows, "transfer-features-1", around(rows, 0.2, 5), "transfer", recipe=transferred()),
        walked(rows, "transfer-scratch-tcn", around(rows, 0.4, 6), "transfer", recipe=SCRATCH),
    ]
    found = board(rows, made)
    fold = rows[rows["window"] == "fold"]
    assert found.transfers[0].dates == fold["session"].nunique() < len(fold)
    assert isinstance(fold, pd.DataFrame)
