"""The transfers' table: what may be looked at, which labels are kept, what is said of them, and a run that goes on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.search.auto_keras import use_jax
from tasks.search.transfer.channels import BODY, BODY_KNOWN
from tasks.search.transfer.panel import LEAST_EFFECTIVE
from tests.benchmarks import bench_transfer, transfer_claims, transfer_table
from tests.benchmarks.bench_transfer import QUICK
from tests.benchmarks.scarcity import Field, channels, field, kept
from tests.benchmarks.transfer_lines import Lines
from tests.benchmarks.transfers import BARS, TRANSFERS, Market, Transfer, volatility

pytestmark = pytest.mark.filterwarnings(
    # keras 3.15 takes its variables to NumPy in a way that NumPy 2 warns of
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)
LENGTH = QUICK.length
CROSSES = next(each for each in TRANSFERS if each.name == "majors-crosses")


@pytest.fixture(scope="module")
def market() -> Market:
    """Three of the crosses' years, no more."""
    return CROSSES.target().only(["EURGBP", "EURJPY"]).between(first="2017-06-01")


@pytest.fixture(scope="module")
def crosses(market: Market) -> Field:
    return field(CROSSES, market, LENGTH)


@pytest.mark.needs_data
def test_no_source_reaches_into_the_window_that_is_scored(market_data: Path) -> None:
    assert {each.kind for each in TRANSFERS} == {"timeframes", "markets", "tasks"}
    for transfer in (CROSSES, next(each for each in TRANSFERS if each.name == "hours-days-fx")):
        source, target = transfer.sides()
        scored = target.bars.loc[target.bars["session"] >= transfer.evaluation, "time"]
        assert source.bars["time"].max() < scored.min()
        assert not set(source.symbols) & set(target.symbols)


@pytest.mark.needs_data
def test_what_is_learnt_from_does_not_hang_on_the_window_that_is_scored(
    market_data: Path, market: Market, crosses: Field
) -> None:
    later = (market.bars["session"] >= CROSSES.evaluation).to_numpy()
    bars = market.bars.copy()
    bars.loc[later, list(BARS[:4])] *= 1.5
    other = field(CROSSES, dataclasses.replace(market, bars=bars), LENGTH)
    rows = crosses.training
    np.testing.assert_array_equal(rows, other.training)
    np.testing.assert_array_equal(crosses.data.X[rows], other.data.X[rows])
    np.testing.assert_array_equal(crosses.data.y[rows], other.data.y[rows])
    np.testing.assert_array_equal(crosses.bars.values[rows], other.bars.values[rows])
    assert not np.array_equal(crosses.bars.values[crosses.scored], other.bars.values[other.scored])


@pytest.mark.needs_data
def test_the_labels_kept_are_the_latest_and_at_least_fifty(market_data: Path, crosses: Field) -> None:
    shares = kept(crosses)
    assert [each.share for each in shares] == [0.01, 0.03, 0.1, 0.3, 1.0]
    assert all(each.effective >= LEAST_EFFECTIVE for each in shares)
    assert "impossible" in shares[1].words
    assert not shares[0].words
    sessions, training = crosses.data.sessions, np.unique(crosses.data.sessions[crosses.training])
    for each in shares:
        np.testing.assert_array_equal(np.unique(sessions[each.rows]), training[-each.dates :])
        # Labels of the first part are known before the second part's first bar closes.
        assert crosses.until[each.first].max() < crosses.data.times[each.last].min()
        assert set(each.first) | set(each.last) <= set(each.rows)
        seen = crosses.seen(each)
        assert set(np.flatnonzero(np.isfinite(seen.y))) == set(each.rows)
    assert not set(shares[-1].rows) & set(crosses.scored)


@pytest.mark.needs_data
def test_labels_over_several_bars_are_cut_where_they_really_end(market_data: Path, market: Market) -> None:
    weekly = dataclasses.replace(CROSSES, label=volatility(5))
    given = field(weekly, market, LENGTH)
    (each,) = kept(given, (1.0,))
    before = np.unique(given.data.sessions[each.first])
    between = np.unique(given.data.sessions[given.training])
    # Of the dates before the second part the last five have a label that reaches into it.
    assert np.searchsorted(between, given.data.sessions[each.last].min()) - len(before) == 5


@pytest.mark.needs_data
def test_a_market_without_true_opens_has_no_body(market_data: Path, market: Market) -> None:
    masked = dataclasses.replace(market, true_opens=False)
    given, (steps, _) = field(CROSSES, masked, LENGTH), channels(masked)
    assert "bop" not in given.data.columns
    for bars in (given.bars, steps):
        assert not bars.values[:, BODY].any()
        assert not bars.values[:, BODY_KNOWN].any()
    assert len(given.scored)


@pytest.mark.slow
@pytest.mark.needs_data
def test_a_run_is_whole_and_is_not_run_again(
    market_data: Path, market: Market, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    transfer: Transfer = dataclasses.replace(CROSSES, target=lambda: market)
    settings, out = dataclasses.replace(QUICK, shares=(0.1,)), tmp_path / "lines.jsonl"
    use_jax(1)
    bench_transfer.run(transfer, settings, 1, Lines(out, settings), tmp_path / "backbones")
    size = out.stat().st_size
    with out.open("a", encoding="utf-8") as stream:
        stream.write('{"settings": "cut sho')
    again = Lines(out, settings)
    bench_transfer.run(transfer, settings, 1, again, tmp_path / "backbones")
    assert out.stat().st_size == size + len('{"settings": "cut sho') + 1
    assert Lines(out, dataclasses.replace(settings, epochs=3)).all == []
    (table,) = transfer_table.tables(again.all)
    assert {method for _, method in table.cells} == set(transfer_table.METHODS)
    # Nothing that was fitted does worse than the mean of all labels by much, and HAR does better.
    assert all(cell.loss < 1.3 * table.mean.mean() for cell in table.cells.values())
    assert table.cells[0.1, "baseline"].loss < table.mean.mean()
    bench_transfer.show(again.all)
    printed = capsys.readouterr().out
    assert "Pre-training, by seed:" in printed
    assert "with embeddings at hand" in printed
    assert not any(line.get("compiled", 0) for line in again.all), "seconds hold no compilation"


def lines(skilled: float, whole: float = 0.5) -> list[dict[str, object]]:
    """Losses around 1 for the mean, ``whole`` with all labels and ``skilled`` with a tenth, on 200 dates."""
    noise = np.random.default_rng(1).normal(0.0, 0.05, 200)
    losses = {"mean": 1.0 + noise, "har": 0.6 + noise}
    cells = [(1.0, "scratch", whole), (0.1, "scratch", skilled), (0.1, "features", 0.5), (1.0, "features", 0.5)]
    made: list[dict[str, object]] = [
        {
            "transfer": "t", "method": "target", "kind": "timeframes", "words": "a to b", "source": "", "target": "",
            "scored": "", "shares": {}, "references": {name: list(values) for name, values in losses.items()},
        }
    ]  # fmt: skip
    for share, method, loss in cells:
        made += [
            {
                "transfer": "t", "method": method, "share": share, "seed": seed, "losses": list(loss + noise + shift),
                "seconds": 20.0 if method == "scratch" else 1.0, "cpu": 20.0 if method == "scratch" else 1.0,
                "watched": [0.9, 0.8, 0.7, 0.7] if method == "scratch" else [],
            }
            for seed, shift in ((1, 0.1), (2, -0.1))
        ]  # fmt: skip
    return made


def test_what_is_kept_is_told_where_there_is_skill_with_all_labels() -> None:
    (table,) = transfer_table.tables(lines(0.6))
    assert table.best_name == "har"
    assert table.cells[0.1, "scratch"].seeds == 2
    noise = float(np.random.default_rng(1).normal(0.0, 0.05, 200).mean())
    assert table.cells[0.1, "scratch"].loss == pytest.approx(0.6 + noise)
    assert transfer_table.kept(table, 0.1, "scratch", table.mean) == pytest.approx(0.4 / 0.5, abs=0.02)
    (none,) = transfer_table.tables(lines(0.9, whole=1.0))
    assert np.isnan(transfer_table.kept(none, 0.1, "scratch", none.mean))


def test_claims_are_told_as_measured() -> None:
    (table,) = transfer_table.tables(lines(0.6))
    told = {(each.claim, each.method): each for each in transfer_claims.verdicts(table)}
    assert told[transfer_claims.KEEPS, "scratch, R²"].found == "80%"
    assert told[transfer_claims.KEEPS, "scratch, R²"].held is False
    assert told[transfer_claims.KEEPS, "features, R²"].held is True
    for claim in (transfer_claims.FASTER, transfer_claims.PATH):
        quick = told[claim, "features, 10% of labels"]
        assert quick.held is True
        assert quick.found.startswith("20.0 times")
    (slow,) = transfer_table.tables(lines(0.4))
    worse = [each for each in transfer_claims.verdicts(slow) if each.method == "features, 10% of labels"]
    assert [each.held for each in worse] == [False, False], "ten times faster at a higher loss is not what is claimed"


def test_seconds_that_hold_a_compilation_give_no_verdict() -> None:
    made = lines(0.6)
    for line in made:
        if line["method"] == "scratch" and line["seed"] == 2:
            line["compiled"] = 3
    (table,) = transfer_table.tables(made)
    assert {each.held for each in transfer_claims.verdicts(table) if each.claim == transfer_claims.FASTER} == {None}
    assert sum("20.00* |" in row for row in transfer_table.rows(table)) == 2


def test_what_is_printed_is_grouped_by_kind_and_holds_no_transfer_without_a_network() -> None:
    other = [
        {**line, "transfer": "o"} | ({"kind": "markets"} if "kind" in line else {})
        for line in lines(0.6)
        if line["method"] == "target" or line["method"] == "baseline"
    ]
    other.append({**lines(0.6)[1], "transfer": "o", "method": "baseline"})
    machine = {"transfer": "", "method": "machine", "device": "cpu", "threads": 1, "architecture": "tcn", "length": 64}
    machine |= {"width": 32, "depth": 4, "steps": 1000}
    told = transfer_claims.document([machine, *lines(0.6), *other])
    assert told[2].startswith("Device: cpu, 1 threads.")
    assert [line for line in told if line.startswith("#")] == [
        "# Transfers, measured", "## In short", "## Published claims as goals", "## Across timeframes", "### t: a to b",
    ]  # fmt: skip
    assert sum(line.startswith("| labels |") for line in told) == 1
    goal = transfer_claims.GOALS[transfer_claims.FASTER]
    assert f"| {transfer_claims.FASTER} | {goal} | features, 10% of labels | 1 of 1 | – | – |" in told
    loss = 0.5 + float(np.random.default_rng(1).normal(0.0, 0.05, 200).mean())
    assert f"| t | 10% | {loss + 0.1:.4f} | {loss:.4f} + | – | – | – | – |" in told


def test_intervals_are_wider_where_labels_overlap() -> None:
    made = lines(0.6)
    (table,) = transfer_table.tables(made)
    made[0]["horizon"] = 22
    (long,) = transfer_table.tables(made)
    assert (table.overlap, long.overlap) == (0, 21)
    assert transfer_table.rows(table) != transfer_table.rows(long)


def test_a_fit_is_told_apart_from_its_scoring() -> None:
    made = lines(0.6)
    for line in made:
        if line["method"] == "scratch":
            line["fit_seconds"] = line["fit_cpu"] = 5.0
    (table,) = transfer_table.tables(made)
    found = {each.claim: each for each in transfer_claims.verdicts(table) if each.method == "features, 10% of labels"}
    assert found[transfer_claims.FASTER].held is False
    assert found[transfer_claims.PATH].held is True


def test_sooner_counts_the_epochs_to_the_controls_best() -> None:
    made = lines(0.6)
    for line in made:
        if line["method"] == "features":
            line["method"], line["watched"] = "full", [0.8, 0.6]
    (table,) = transfer_table.tables(made)
    assert transfer_claims.sooner(table, 0.1, "full") == pytest.approx(1.0 - 2.0 / 3.0)
    for line in made:
        if line["method"] == "full":
            line["watched"] = [0.95, 0.9]
    (never,) = transfer_table.tables(made)
    assert transfer_claims.sooner(never, 0.1, "full") == 0.0


def test_a_share_that_fifty_labels_make_no_other_is_told() -> None:
    made = lines(0.6)
    words = "impossible: 50 effective labels are more"
    made.append(
        {"transfer": "t", "method": "trees", "share": 0.01, "losses": [], "seconds": 0.0, "cpu": 0.0, "words": words}
    )
    (table,) = transfer_table.tables(made)
    assert any(words in row for row in transfer_table.rows(table))
    assert not any(pd.isna(cell.loss) for key, cell in table.cells.items() if key[0] != 0.01)
