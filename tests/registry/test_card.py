"""The model card: every section from the evidence, never too long for the registry, and no way out of its markdown."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from flows import cli
from tasks.contracts import Window
from tasks.errors import ConfigurationError
from tasks.evaluation import Backtest, Decision, Evidence, GateComparison, Leaderboard, Score
from tasks.registry import card_use, cards, mlflow_store
from tasks.registry.bundle import entry_facts
from tasks.registry.card import LONGEST, card, description
from tasks.registry.card_parts import plain
from tasks.registry.records import Entry, Night
from tests.registry.conftest import NAME
from tests.registry.servers import register


def comparison(rival: str, difference: float = 0.01, statistic: float = 2.5) -> GateComparison:
    return GateComparison(
        rival=rival, role="baseline", rival_loss=0.21, challenger_loss=0.2, difference=difference, statistic=statistic,
        p_value=0.007, dates=504, lag=1,
    )  # fmt: skip


def evidence(rivals: tuple[str, ...] = ("lhar", "har"), **changes: object) -> Evidence:
    made = Evidence(
        challenger="ridge-0", challenger_engine="linear", challenger_recipe_sha256="r", best_baseline="lhar",
        comparisons=tuple(map(comparison, rivals)), dates=504, read=2, level=0.0083, term="2018-12-12",
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


def full(night: Night, entry: Entry) -> tuple[Night, Entry]:
    """A night and an entry of which everything is known."""
    fold = Window(name="fold", first="2015-07-01T20:00:00", last="2015-12-31T21:00:00", rows=120, dates=120)
    lhar = Score(rank=2, candidate="lhar", engine="baseline", metric="mse", direction="minimize", score=0.21, skill=0.0)
    own = replace(
        night.leaderboard.scores[0], fold_scores=(0.19, 0.23), skill_interval=(0.02, 0.18), p_values={"lhar": 0.011}
    )
    board = Leaderboard(scores=(own, lhar), rows=240, dates=240, sha256="b")
    night = replace(
        night, leaderboard=board, rows=replace(night.rows, folds=(fold, replace(fold, first="2016-01-01"))),
        importance_of="ridge-0", importance=(("har_1", 0.61), ("return_1", 0.2)),
    )  # fmt: skip
    held = {
        "share": 0.912,
        "low": 0.88,
        "high": 0.94,
        "worst": 0.79,
        "best": 1.0,
        "window": 63,
        "rows": 504,
        "dates": 504,
    }
    coverage = {
        "coverage": 0.9, "fixed": held, "adapted": {**held, "share": 0.9, "low": None}, "width": 1.5,
        "adapted_width": None, "unbounded": 0.0, "gamma": 0.01,
    }  # fmt: skip
    backtest = Backtest(
        candidate="ridge-0", rule="sign", rows="gate", dates=504, annual_return=0.05, excess_return=0.03,
        annual_volatility=0.1, sharpe=0.7, max_drawdown=0.2, turnover=12.0, costs=0.01, break_even_bps=4.0, alpha=0.0,
        beta=0.5, illustrative="no borrow was modelled",
    )  # fmt: skip
    entry = replace(
        entry, evidence=evidence(), score=own, smearing=1.25, coverage=coverage, backtests=(backtest,),
        notes=("trained on 2 threads",),
    )  # fmt: skip
    return night, entry


def test_the_card_has_every_section_with_its_figures(night: Night, entry: Entry) -> None:
    page = card(*full(night, entry))
    titles = [line.removeprefix("## ") for line in page.splitlines() if line.startswith("## ")]
    assert titles == [
        "Model details", "Intended use", "Gate window", "Walk-forward folds", "By stretch of time", "Intervals",
        "After costs", "Leading features", "Data", "Degraded", "What it does not promise", "Ethics",
        "Use, verify, roll back", "Versions",
    ]  # fmt: skip
    assert "| lhar | baseline | 0.21 | 0.2 | +0.01 (0.00216 to 0.0178) | 0.007 | 504 |" in page
    assert "| har | baseline |" in page
    assert "Skill against the best baseline 0.100 (95 %: 0.020 to 0.180)" in page
    assert "| lhar | 0.21 | 0.011 |" in page
    assert "| 2015-07-01 to 2015-12-31 | 120 | 0.19 |" in page
    assert "| as it ships | 91.2% | 88.0% to 94.0% | 79.0% | 1.5 |" in page
    assert "| adapted in service | 90.0% |  | 79.0% |  |" in page
    assert "| gate | sign | 3.00% | 0.70 |" in page
    assert "Illustrative: no borrow was modelled" in page
    assert "| `har_1` | 61.0% |" in page
    assert "1.25 (Duan's smearing factor)" in page
    for command in ("nocturne pull", "nocturne verify", "nocturne rollback", "nocturne models --history"):
        assert f"{command} {NAME}" in page
    assert "Owner: desk." in page
    assert "- trained on 2 threads" in page
    assert "nan" not in page.lower().replace("finance", "")
    assert "None" not in page


def test_a_baseline_is_not_given_the_challengers_tests(night: Night, entry: Entry) -> None:
    losses = {"lhar": 0.203, "ridge-0": 0.212, "har": 0.211}
    page = card(night, replace(entry, evidence=evidence(challenger="other", gate_losses=losses)))
    assert "The tests were of the challenger other, not of this model" in page
    assert "| **ridge-0** | 0.212 | +0 |" in page
    assert "| lhar | 0.203 | -0.009 |" in page
    assert "p (one-sided)" not in page
    best = replace(entry, score=replace(night.leaderboard.scores[0], skill=0.0, skill_interval=(0.0, 0.0)))
    assert "It is the best baseline itself." in card(night, best)


def test_a_linear_model_without_importance_shows_its_coefficients(night: Night, entry: Entry) -> None:
    page = card(night, entry)
    assert "| `har_1` | +0.5 |" in page
    assert page.index("`har_1`") < page.index("`har_5`") < page.index("`har_22`")
    other = replace(night, importance_of="another", importance=(("secret", 1.0),))
    assert "secret" not in card(other, entry)


def test_a_gate_that_was_not_read_says_why(night: Night, entry: Entry) -> None:
    unread = replace(entry, evidence=evidence((), read=0, not_read="behind on the folds"))
    assert "## Gate window\n\nNot read: behind on the folds" in card(night, unread)
    nothing = replace(entry, evidence=evidence((), read=0), score=None)
    assert "## Gate window" not in card(night, nothing)
    flat = replace(entry, evidence=evidence((), comparisons=(comparison("zero", 0.0, math.nan),)))
    assert "| zero | baseline | 0.21 | 0.2 | +0 | 0.007 |" in card(night, flat)
    sure = replace(flat, evidence=evidence((), comparisons=(replace(comparison("zero"), p_value=3e-31),)))
    assert "| <0.0001 | 504 |  |  | 1 |" in card(night, sure)


def test_a_description_is_never_too_long_and_says_what_it_left_out(night: Night, entry: Entry) -> None:
    night, entry = full(night, entry)
    many = replace(entry, notes=tuple(f"note {number} of many that nobody needs" for number in range(60)))
    page, whole = description(night, many), card(night, many)
    assert len(whole) > LONGEST >= len(page)
    assert "Left out here for length: " in page
    assert f"`nocturne card {NAME}` shows the whole" in page
    assert "## Gate window" in page
    assert "## Use, verify, roll back" in page
    assert "## Versions" not in page
    endless = replace(entry, decision=Decision(outcome="kept", promote="", reasons=("x" * 600,) * 20))
    assert len(description(night, endless)) <= LONGEST


def test_foreign_text_stays_in_its_cell(night: Night, entry: Entry) -> None:
    hostile = "a|b <script>alert(1)</script>\n# heading [x](http://y) `z`"
    page = card(
        replace(night, notes=(hostile,), problem=night.problem.model_copy(update={"owner": hostile})),
        replace(entry, title=hostile, evidence=evidence((hostile,))),
    )
    assert "<script>" not in page.replace("\\<script\\>", "")
    assert "\n# heading" not in page
    assert "](http" not in page.replace("\\](http", "")
    (row,) = [line for line in page.splitlines() if line.startswith("| a")]
    assert row.replace("\\|", "").count("|") == 11
    assert plain("x" * 200, 10) == "x" * 9 + "…"


def test_the_card_is_kept_whole_and_shown(
    store: mlflow_store.Store, night: Night, entry: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    night, entry = full(night, entry)
    entry = replace(entry, notes=tuple(f"note {number} of many that nobody needs" for number in range(60)))
    version = register(store, night, entry.shipped, entry_facts(entry, "shipped"), NAME)
    bare = CliRunner().invoke(cli.app, ["card", NAME])
    assert "version 1 was registered without a card" in bare.output
    run = str(store.client.get_model_version(NAME, version).run_id)
    page, tags = cards.keep(store, run, night, entry)
    store.client.update_model_version(NAME, version, page)
    short = cards.read(store, NAME)
    assert (short.version, short.whole, short.text) == (version, False, page)
    for key, value in tags.items():
        store.client.set_model_version_tag(NAME, version, key, value)
    kept = cards.read(store, NAME, version)
    assert kept.whole
    assert kept.text == card(night, entry)
    said = CliRunner().invoke(cli.app, ["card", NAME, "--version", version])
    assert said.stdout.strip() == kept.text
    with pytest.raises(ConfigurationError, match="has no version 9; there are: 1"):
        cards.read(store, NAME, "9")
    with pytest.raises(ConfigurationError, match="no registered model 'other'"):
        cards.read(store, "other")


@pytest.mark.parametrize(("strategy", "java"), [("trees", True), ("embeddings", True), ("features", False)])
def test_a_transfer_that_is_trees_asks_for_a_java(strategy: str, java: bool) -> None:
    told = card_use.use("nasdaq", "transfer", strategy)
    assert ("jpype1" in told) is java
    assert "onnxruntime" in told
