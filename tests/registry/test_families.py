"""Which reads count together: by target, symbols and series, whatever problems and symbols are called."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.problem import Problem
from tasks.registry.families import TERM_SESSIONS, Family, Term, counted_as, fingerprints, jaccard, term_of
from tasks.splits.sessions import calendar_sessions

TERM = Term(first="2018-12-12", next="2019-12-12", before="2017-12-11")


def family(symbols: str = "A", predicts: str = "return", series: Any = ()) -> Family:
    return Family(predicts=predicts, symbols=frozenset(symbols), series=frozenset(series), term=TERM)


@pytest.mark.parametrize("day", ["2004-02-29", "2018-12-11", "2018-12-12", "2018-12-31", "2024-06-14"])
def test_terms_are_every_252nd_session_of_new_york(day: str) -> None:
    """The same boundaries as the windows of its problems draw, with a term of 252."""
    drawn = [str(s.date()) for s in calendar_sessions("XNYS", pd.Timestamp("2027-06-30"))[::TERM_SESSIONS]]
    term = term_of(pd.Timestamp(day))
    assert term.first == max(boundary for boundary in drawn if boundary <= day)
    assert term.next == min(boundary for boundary in drawn if boundary > day)
    assert term.before == max(boundary for boundary in drawn if boundary < term.first)


@pytest.mark.parametrize(
    ("mine", "theirs", "alike"),
    [
        ("A", "A", True),
        ("A", "AB", True),
        ("AB", "A", True),
        ("AB", "BC", False),
        ("ABC", "BCD", True),
        ("A", "B", False),
    ],
)
def test_symbols_overlap_by_half_of_their_union(mine: str, theirs: str, alike: bool) -> None:
    assert family(mine).holds("return", theirs, ()) is alike
    assert not family(mine).holds("direction", theirs, ())


@pytest.mark.parametrize(
    ("one", "other", "counts"),
    [
        ({"target": "triple_barrier", "horizon": 5}, {"target": "triple_barrier", "horizon": 6}, True),
        ({"target": "triple_barrier", "profit": 2.0}, {"target": "triple_barrier", "profit": 2.05, "stop": 1.5}, True),
        ({"target": "return"}, {"target": "return", "neutral": True}, True),
        ({"target": "volatility"}, {"target": "volatility", "variance": "total", "tick": 0.011}, True),
        ({"target": "direction"}, {"target": "direction", "calendar": "XNAS"}, True),
        ({"target": "return"}, {"target": "direction"}, False),
        ({"target": "return"}, {"target": "return", "bar": "1h"}, False),
    ],
)
def test_a_targets_parameters_buy_no_budget_and_make_another_quantity(one: Any, other: Any, counts: bool) -> None:
    mine, theirs = (Problem(name="x", source="builtin:sp500", **given).predicts for given in (one, other))
    assert family("A", mine).holds(theirs, "A", ()) is counts
    assert family("A", theirs).holds(mine, "A", ()) is counts
    assert not family("A", mine).alike(theirs, "A", ())
    assert family("A", mine).alike(mine, "A", ())


def test_words_of_no_problem_stand_for_themselves() -> None:
    assert counted_as("triple_barrier (profit 2, stop 2) over 5 x 1d on XNYS") == "triple_barrier of 1d"
    assert counted_as("return over 1 x 30min on 24/7") == "return of 30min"
    assert counted_as("what somebody wrote") == "what somebody wrote"


@given(st.sets(st.integers(0, 50), min_size=1), st.integers(51, 60))
def test_one_symbol_more_buys_no_new_budget(symbols: set[int], added: int) -> None:
    names = frozenset(map(str, symbols))
    mine = Family(predicts="return", symbols=names, series=frozenset(), term=TERM)
    assert mine.holds("return", names | {str(added)}, ())


@given(st.sets(st.integers(0, 20)), st.sets(st.integers(0, 20)))
def test_jaccard_is_symmetric_and_one_only_for_equals(one: set[int], other: set[int]) -> None:
    a, b = map(str, one), map(str, other)
    mine, theirs = set(a), set(b)
    assert jaccard(mine, theirs) == jaccard(theirs, mine)
    assert (jaccard(mine, theirs) == 1.0) is (mine == theirs and bool(mine))


def bars(symbols: str = "A", sessions: int = 600, seed: int = 1, end: str = "2018-12-31") -> pd.DataFrame:
    days = calendar_sessions("XNYS", pd.Timestamp(end))[-sessions:]
    walks = {name: np.random.default_rng([seed, ord(name)]).normal(0, 0.01, sessions).cumsum() for name in symbols}
    parts = [pd.DataFrame({"symbol": name, "session": days, "close": 50 * np.exp(walks[name])}) for name in symbols]
    return pd.concat(parts, ignore_index=True)


def test_a_series_is_known_under_any_name_and_whatever_came_before_or_after() -> None:
    base = bars("AB")
    renamed = base.assign(symbol=base["symbol"].map({"A": "copy", "B": "A"}))
    found = fingerprints(base, TERM)
    assert len(found) == 2 * 13, "two symbols, and the term before touches thirteen months"
    assert fingerprints(renamed, TERM) == found
    assert fingerprints(base.sample(frac=1, random_state=1), TERM) == found
    assert fingerprints(base.assign(close=base["close"] * 100), TERM) == found, "prices in cents are the same prices"
    assert fingerprints(base[base["session"] >= TERM.before], TERM) == found, "a shorter history is the same bars"
    assert fingerprints(base[base["session"] < TERM.first], TERM) == found, "a later night is the same bars"
    mine = Family(predicts="return", symbols=frozenset("AB"), series=found, term=TERM)
    assert mine.holds("return", {"copy", "other"}, fingerprints(renamed, TERM))
    assert not mine.holds("direction", {"copy", "other"}, fingerprints(renamed, TERM))
    assert not mine.holds("return", {"copy", "other"}, fingerprints(bars("AB", seed=2), TERM))


def test_a_bar_that_was_changed_does_not_make_another_series() -> None:
    base = bars()
    changed = base.assign(close=base["close"].where(base["session"] != "2018-03-14", base["close"] * 1.001))
    mine = Family(predicts="return", symbols=frozenset("A"), series=fingerprints(base, TERM), term=TERM)
    found = fingerprints(changed, TERM)
    assert found != mine.series
    assert mine.holds("return", {"copy"}, found)


def test_hours_of_a_day_and_the_day_are_the_same_series() -> None:
    base = bars()
    hours = base.loc[base.index.repeat(3)].assign(close=lambda f: f["close"] * np.tile([0.99, 1.01, 1.0], len(base)))
    assert fingerprints(hours, TERM) == fingerprints(base, TERM)


def test_a_panel_has_one_digest_a_symbol() -> None:
    names = "ABCDEFGHIJKLMNOPQRSTU"
    assert len(fingerprints(bars(names), TERM)) == len(names)


def test_too_few_returns_are_no_fingerprint() -> None:
    base = bars()
    few = base[base["session"].between(pd.Timestamp("2018-01-02"), pd.Timestamp("2018-03-01"))]
    assert fingerprints(few, TERM) == frozenset()
    assert fingerprints(bars().assign(close=np.nan), TERM) == frozenset()


def test_the_problems_name_counts_whatever_its_universe_is() -> None:
    mine = Family(predicts="return", symbols=frozenset("AB"), series=frozenset(), term=TERM, problem="x")
    assert mine.holds("return", "YZ", (), "x")
    assert not mine.holds("return", "YZ", (), "y")
    assert not mine.holds("direction", "YZ", (), "x")


def test_random_halves_of_a_panel_are_no_other_panels() -> None:
    names = [f"S{number:03d}" for number in range(505)]
    rng = np.random.default_rng(7)
    counted = 0
    for _ in range(50):
        one, other = (frozenset(rng.choice(names, 300, replace=False)) for _ in range(2))
        assert jaccard(one, other) < 0.5
        counted += Family(predicts="return", symbols=one, series=frozenset(), term=TERM).holds("return", other, ())
    assert counted == 50
    single = Family(predicts="return", symbols=frozenset(["S001"]), series=frozenset(), term=TERM)
    assert not single.holds("return", names, ()), "a single name and the panel that holds it are different looks"
