"""The tasks: every candidate and buy-and-hold on the same rows, stored once; checks that never fail a night."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.backtest import checks
from tasks.backtest.candidates import HOLD, check_rule, evaluate, setting
from tasks.backtest.market import market_of
from tasks.backtest.task import backtest, backtest_gate, draw_tear_sheet, zipline_check
from tasks.documents import from_json, to_json
from tasks.errors import ConfigurationError, DataError, IntegrityError
from tasks.evaluation import Backtest
from tasks.problem import Problem
from tasks.statistics.sharpe import deflated_sharpe, sharpe_ratio
from tasks.storage import StageStore, read_parquet, write_parquet
from tests.backtest.nights import NAMES, Night, night


def told(given: Night, trials: int = 7) -> tuple[Backtest, ...]:
    return backtest.fn(given.problem, given.snapshot, given.rows, given.board, trials)


def test_every_candidate_and_buy_and_hold_on_the_same_sessions(tmp_path: Path) -> None:
    results = told(night(tmp_path))
    assert [each.candidate for each in results] == [*NAMES, HOLD]
    assert {each.dates for each in results} == {100}
    good, noise, hold = results
    assert good.sharpe > noise.sharpe
    assert hold.rule == "hold"
    assert hold.beta == pytest.approx(1.0)
    assert all(each.illustrative == "" for each in results)
    for each in results:
        assert each.equity is not None
        equity = read_parquet(each.equity)
        assert list(equity.columns) == ["session", "net", "gross", "hold"]
        assert len(equity) == each.dates
        assert equity["net"].iloc[-1] ** (252 / 100) - 1.0 == pytest.approx(each.annual_return)
        assert from_json(Backtest, to_json(each)) == each or math.isnan(each.capacity)


def test_it_is_decided_at_a_close_and_filled_at_the_next_open(tmp_path: Path) -> None:
    """One name, all long from the first prediction: bought at the next bar's open, whatever came before it."""
    given = night(tmp_path, symbols=1, commission_bps=0.0, spread_bps=0.0, impact=0.0, borrow_bps=0.0)
    hold = told(given)[-1]
    bars, first = given.bars, int((given.bars["window"] == "fold").to_numpy().argmax())
    assert hold.equity is not None
    equity = read_parquet(hold.equity)
    assert equity["session"].iloc[0] == bars["session"].iloc[first + 1]
    assert equity["net"].iloc[-1] == pytest.approx(bars["close"].iloc[first + 100] / bars["open"].iloc[first + 1])


def test_who_holds_on_the_ex_session_is_paid_the_dividend(tmp_path: Path) -> None:
    given = night(tmp_path, symbols=1, commission_bps=0.0, spread_bps=0.0, impact=0.0, borrow_bps=0.0)
    first = int((given.bars["window"] == "fold").to_numpy().argmax())
    row = given.bars.iloc[first + 10]
    paid = pd.DataFrame({"symbol": row["symbol"], "session": [row["session"]], "dividend": 0.5, "split": 1.0})
    events = write_parquet(tmp_path / "events.parquet", paid)
    without, snapshot = told(given)[-1], dataclasses.replace(given.snapshot, events=events)
    held = backtest.fn(given.problem, snapshot, given.rows, given.board, 7)[-1]
    assert held.equity is not None
    assert without.equity is not None
    gain = read_parquet(held.equity)["net"] / read_parquet(without.equity)["net"]
    before = given.bars["close"].iloc[first + 9]
    assert gain.iloc[:9].to_numpy() == pytest.approx(1.0)
    opened = given.bars["open"].iloc[first + 10]
    assert gain.iloc[9:].to_numpy() == pytest.approx((opened + 0.5) / before / (opened / before))


def test_sharpe_ratios_are_deflated_by_the_trials(tmp_path: Path) -> None:
    results = told(night(tmp_path), trials=50)
    ratios = []
    for each in results[:2]:
        assert each.equity is not None
        net = read_parquet(each.equity)["net"].to_numpy(float)
        ratios.append(sharpe_ratio(net / np.append(1.0, net[:-1]) - 1.0))
    spread = float(np.var([ratio.value for ratio in ratios], ddof=1))
    for each, ratio in zip(results[:2], ratios, strict=True):
        assert each.deflated_sharpe == pytest.approx(deflated_sharpe(ratio, 50, spread))
    fewer = told(night(tmp_path / "again"), trials=1)
    assert fewer[0].deflated_sharpe > results[0].deflated_sharpe


def test_volatility_has_no_backtest(tmp_path: Path) -> None:
    given = night(tmp_path)
    problem = given.problem.model_copy(update={"target": "volatility"})
    assert backtest.fn(problem, given.snapshot, given.rows, given.board, 1) == ()
    assert backtest_gate.fn(problem, given.snapshot, given.rows, given.gated, 1) == ()
    assert zipline_check.fn(problem, given.snapshot, given.rows, given.board, NAMES) == ()


@pytest.mark.parametrize("target", ["direction", "triple_barrier"])
def test_probabilities_are_traded_by_what_exceeds_the_base_rate(tmp_path: Path, target: str) -> None:
    """A candidate that always says the base rate of the day has no edge, and so no position."""
    given = night(tmp_path, target=target, symbols=1)
    frame = read_parquet(given.board.predictions) if given.board.predictions else pd.DataFrame()
    where = setting(given.problem, given.snapshot, market_of(given.bars), given.bars, frame["time"])
    ended = given.bars["label_end"].to_numpy(dtype="datetime64[ns]")
    label = given.bars["label"].to_numpy(float)
    rate = np.array([label[ended <= now].mean() for now in frame["time"].to_numpy(dtype="datetime64[ns]")])
    keys = frame[["symbol", "time"]]
    flat, up = evaluate(where, keys, {"base": rate, "up": rate + 0.01}, "folds", 1)[:2]
    assert not flat.weights.any()
    assert flat.figures.turnover == 0
    assert (up.weights[:100] == 1.0).all()


def test_the_gate_is_traded_on_its_own_rows(tmp_path: Path) -> None:
    given = night(tmp_path)
    results = backtest_gate.fn(given.problem, given.snapshot, given.rows, given.gated, 3)
    assert [each.candidate for each in results] == [*NAMES, HOLD]
    assert {(each.rows, each.dates) for each in results} == {("gate", 79)}
    assert backtest_gate.fn(given.problem, given.snapshot, given.rows, (), 3) == ()


def test_the_same_night_is_read_from_the_store(tmp_path: Path) -> None:
    given = night(tmp_path)
    first = told(given)
    assert to_json(told(given)) == to_json(first)
    assert len(list((StageStore().root / "backtest").iterdir())) == 1
    dearer = dataclasses.replace(given, problem=given.problem.model_copy(update={"spread_bps": 20.0}))
    assert told(dearer)[0].costs > first[0].costs


def test_an_altered_file_is_refused(tmp_path: Path) -> None:
    given = night(tmp_path)
    path = Path(given.snapshot.bars.path)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError, match=r"bars\.parquet"):
        told(given)


def test_what_nobody_could_have_had_is_marked(tmp_path: Path) -> None:
    given = night(tmp_path)
    closes = dataclasses.replace(given, snapshot=dataclasses.replace(given.snapshot, true_opens=False))
    assert {each.illustrative for each in told(closes)} == {"no true opens, so filled at the next close"}
    index = dataclasses.replace(given, problem=given.problem.model_copy(update={"source": "builtin:sp500"}))
    marked = told(index)
    assert {each.illustrative for each in marked} == {"an index cannot be bought"}
    assert all(np.isnan(each.capacity) for each in marked), "an index's volume is not money"


def test_a_prediction_without_a_bar_is_refused(tmp_path: Path) -> None:
    given = night(tmp_path)
    keys = given.bars.loc[given.bars["window"] == "fold", ["symbol", "time"]]
    where = setting(given.problem, given.snapshot, market_of(given.bars), given.bars, keys["time"])
    other = keys.assign(symbol="GONE")
    with pytest.raises(DataError, match="200 predictions are for bars that the snapshot does not have"):
        evaluate(where, other, {"a": np.zeros(len(keys))}, "folds", 1)


def test_a_prediction_on_the_last_bar_alone_is_refused(tmp_path: Path) -> None:
    given = night(tmp_path)
    with pytest.raises(DataError, match="no bar after the first prediction"):
        setting(given.problem, given.snapshot, market_of(given.bars), given.bars, given.bars["time"].iloc[-1:])


@pytest.mark.parametrize("true_opens", [True, False])
@pytest.mark.parametrize("horizon", [1, 5])
def test_folds_are_traded_no_further_than_their_labels_look(tmp_path: Path, horizon: int, true_opens: bool) -> None:
    """Bars that only the gate knows change nothing: from the first after the last fold label's end."""
    given = night(tmp_path, horizon=horizon)
    snapshot = dataclasses.replace(given.snapshot, true_opens=true_opens)
    keys = given.bars.loc[given.bars["window"] == "fold", ["symbol", "time", "good", "label_end"]]
    spoiled = given.bars.copy()
    spoiled.loc[spoiled["time"] > keys["label_end"].max(), ["open", "close", "volume", "label"]] = 9.0
    told = []
    for bars in (given.bars, spoiled):
        where = setting(given.problem, snapshot, market_of(bars), bars, keys["time"])
        told.append(evaluate(where, keys, {"good": keys["good"].to_numpy(float)}, "folds", 1)[0])
    pd.testing.assert_frame_equal(told[0].equity, told[1].equity)
    assert told[0].figures.dates == 99 + horizon


def test_deciles_of_too_few_names_are_refused_before_the_night() -> None:
    problem = Problem(name="test", source="x.csv", target="return", positions="decile")
    with pytest.raises(ConfigurationError, match="positions 'decile' needs at least 20 symbols, there are 19"):
        check_rule(problem, 19)
    check_rule(problem, 20)
    check_rule(problem.model_copy(update={"target": "volatility"}), 1)


def test_zipline_agrees_and_the_difference_to_the_economic_mode_is_shown(tmp_path: Path) -> None:
    given = night(tmp_path)
    first = zipline_check.fn(given.problem, given.snapshot, given.rows, given.board, ("noise", "noise", "not ranked"))
    assert len(first) == 1
    check = first[0]
    assert (check.candidate, check.error, check.unmatched) == ("noise", "", 0)
    assert (check.sessions, check.equity_difference < 1e-9) == (101, True)
    assert check.trades > 50
    assert 0 < abs(check.annual_return - check.economic_return) < 0.2
    assert zipline_check.fn(given.problem, given.snapshot, given.rows, given.board, ("noise",)) == first


@pytest.mark.parametrize(
    ("values", "word"), [({"bar": "1h"}, "not on 1h of XNYS"), ({"calendar": "24/7"}, "not on 1d of 24/7")]
)
def test_zipline_says_what_it_cannot_check(tmp_path: Path, values: dict[str, Any], word: str) -> None:
    given = night(tmp_path, **values)
    check = zipline_check.fn(given.problem, given.snapshot, given.rows, given.board, ("noise",))[0]
    assert check.candidate == "noise"
    assert check.error == f"Zipline is run on daily bars of XNYS only, {word}"
    assert np.isnan(check.equity_difference)


def test_a_zipline_that_fails_fails_no_night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks.check, "__defaults__", (0.2,))
    given = night(tmp_path)
    check = zipline_check.fn(given.problem, given.snapshot, given.rows, given.board, ("good",))[0]
    assert check.error == "zipline_child took longer than 0 s and was ended"
    assert not (StageStore().root / "zipline").exists(), "it is tried again the next time"


def test_a_tear_sheet_that_fails_fails_no_night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.backtest.tear_sheet.render.__defaults__", (252, 0.2))
    given = night(tmp_path)
    assert draw_tear_sheet.fn(given.problem, told(given)[0]) is None
    assert draw_tear_sheet.fn(given.problem, dataclasses.replace(told(given)[0], equity=None)) is None
