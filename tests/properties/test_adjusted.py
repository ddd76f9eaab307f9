"""Laws of adjusted series: splits change no return, dividends make them total, and what comes later changes nothing."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.bars.actions import CorporateAction
from tasks.bars.adjusted import adjusted, as_quoted, dividends_as_paid, events, factors
from tasks.bars.raw import PRICES

DAYS = pd.bdate_range("2020-01-02", periods=30).as_unit("ns")
RATIOS = (2.0, 3.0, 7.0, 1.5, 0.1, 20.0)
few = settings(max_examples=40, deadline=None)

happened = st.lists(
    st.tuples(
        st.sampled_from("AB"),
        st.integers(0, len(DAYS) + 3),
        st.booleans(),
        st.sampled_from(RATIOS),
        st.floats(0.01, 1.0),
    ),
    max_size=8,
    unique_by=lambda item: (item[0], item[1], item[2]),
)


def actions_of(drawn: list[tuple[str, int, bool, float, float]]) -> list[CorporateAction]:
    """Events on the days drawn; some lie after the last bar."""
    days = [*DAYS.date, date(2030, 1, 2), date(2030, 1, 3), date(2030, 1, 4), date(2030, 1, 7)]
    return [
        CorporateAction(symbol=s, session=days[at], kind="split", value=ratio)
        if split
        else CorporateAction(symbol=s, session=days[at], kind="dividend", value=cash)
        for s, at, split, ratio, cash in drawn
    ]


def quoted(actions: list[CorporateAction], seed: int = 1) -> pd.DataFrame:
    """Two symbols whose quotes fall at every split by its ratio."""
    rng = np.random.default_rng(seed)
    parts = []
    for symbol in "AB":
        price = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, len(DAYS))))
        for action in actions:
            if action.symbol == symbol and action.kind == "split":
                price = np.where(DAYS.date >= action.session, price / action.value, price)
        parts.append(
            pd.DataFrame(
                {"symbol": symbol, "time": (DAYS + pd.Timedelta(hours=21)).tz_localize("UTC"), "session": DAYS}
                | {name: price * share for name, share in zip(PRICES, (1.0, 1.01, 0.99, 1.0), strict=True)}
                | {"volume": 1e6}
            )
        )
    return pd.concat(parts, ignore_index=True)


def returns(frame: pd.DataFrame) -> pd.Series:
    return frame["close"] / frame.groupby("symbol")["close"].shift(1) - 1


@few
@given(happened)
def test_adjusted_returns_are_total_returns(drawn: list[tuple[str, int, bool, float, float]]) -> None:
    actions = actions_of(drawn)
    bars = quoted(actions)
    told = events(bars, actions, "none").set_index(["symbol", "session"])
    keys = pd.MultiIndex.from_frame(bars[["symbol", "session"]])
    cash = told["dividend"].reindex(keys).fillna(0.0).to_numpy()
    split = told["split"].reindex(keys).fillna(1.0).to_numpy()
    before = bars.groupby("symbol")["close"].shift(1)
    total = (bars["close"] + cash) * split / before - 1
    np.testing.assert_allclose(returns(adjusted(bars, actions, how="splits_and_dividends")), total, rtol=0, atol=1e-12)
    price = bars["close"] * split / before - 1
    np.testing.assert_allclose(returns(adjusted(bars, actions, how="splits")), price, rtol=0, atol=1e-12)


@few
@given(happened, st.integers(2, len(DAYS) - 1))
def test_what_comes_after_a_bar_does_not_change_returns_up_to_it(
    drawn: list[tuple[str, int, bool, float, float]], cut: int
) -> None:
    actions = actions_of(drawn)
    bars = quoted(actions)
    early = bars["session"] <= DAYS[cut]
    then = adjusted(bars, actions, as_of=bars["time"][cut], how="splits_and_dividends")
    known = [action for action in actions if action.session <= DAYS[cut].date()]
    pd.testing.assert_frame_equal(then, adjusted(bars[early].reset_index(drop=True), known, how="splits_and_dividends"))
    later = returns(adjusted(bars, actions, how="splits_and_dividends"))[early].reset_index(drop=True)
    np.testing.assert_allclose(later, returns(then), rtol=0, atol=1e-12)


@few
@given(happened, st.randoms(use_true_random=False))
def test_the_order_of_events_does_not_matter(drawn: list[tuple[str, int, bool, float, float]], random: object) -> None:
    actions = actions_of(drawn)
    bars = quoted(actions)
    mixed = list(actions)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    for one, two in zip(factors(bars, actions), factors(bars, mixed), strict=True):
        np.testing.assert_array_equal(one, two)


@few
@given(happened)
def test_each_symbols_last_bar_is_as_quoted_and_the_money_traded_stays(
    drawn: list[tuple[str, int, bool, float, float]],
) -> None:
    actions = actions_of(drawn)
    bars = quoted(actions)
    found = adjusted(bars, actions)
    last = bars.groupby("symbol").tail(1).index
    pd.testing.assert_frame_equal(found.loc[last], bars.loc[last])
    np.testing.assert_allclose(found["close"] * found["volume"], bars["close"] * bars["volume"], rtol=1e-12)


@few
@given(happened)
def test_a_vendors_split_adjusted_bars_are_put_back_to_the_quotes(
    drawn: list[tuple[str, int, bool, float, float]],
) -> None:
    actions = [action for action in actions_of(drawn) if action.session <= DAYS[-1].date()]
    bars = quoted(actions)
    bars[list(PRICES)] = bars[list(PRICES)].round(2).clip(lower=0.01)
    sent = adjusted(bars, actions).astype(dict.fromkeys(PRICES, np.float32)).astype(dict.fromkeys(PRICES, np.float64))
    back = as_quoted(sent, actions)
    np.testing.assert_allclose(back[list(PRICES)], bars[list(PRICES)], rtol=1e-6)
    np.testing.assert_allclose(back["volume"], bars["volume"], rtol=1e-6)


def test_dividends_in_todays_shares_become_what_was_paid() -> None:
    split = CorporateAction(symbol="A", session=date(2014, 6, 9), kind="split", value=7.0)
    paid = [
        CorporateAction(symbol="A", session=day, kind="dividend", value=0.47)
        for day in (date(2014, 5, 8), date(2014, 6, 9), date(2014, 8, 7))
    ]
    assert [action.value for action in dividends_as_paid([split, *paid]) if action.kind == "dividend"] == [
        3.29,
        0.47,
        0.47,
    ]


def test_without_events_the_values_are_the_same_bits() -> None:
    bars = quoted([])
    assert adjusted(bars, [], how="splits_and_dividends") is bars
    ahead = [CorporateAction(symbol="A", session=date(2030, 1, 2), kind="split", value=4.0)]
    pd.testing.assert_frame_equal(adjusted(bars, ahead), bars, check_exact=True)
    assert events(bars, ahead).empty
