"""Which reads count together: by target, symbols and series, whatever problems and symbols are called."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import ConfigurationError
from tasks.problem import Problem
from tasks.registry.families import TERM_SESSIONS, Family, Term, counted_as, fingerprints, jaccard, term_of
from tasks.splits.sessions import calendar_sessions

TERM = Term(first="2018-12-12", next="2019-12-12", before="2017-12-11")


def family(symbols: str = "A", predicts: str = "return", series: Any = ()) -> Family:
    return Family(predicts=predicts, symbols=frozenset(symbols), series=frozenset(series), term=TERM)


@pytest.mark.parametrize("calendar", ["XNYS", "24/7", "XHKG"])
@pytest.mark.parametrize("day", ["2004-02-29", "2018-12-11", "2018-12-12", "2018-12-31", "2024-06-14"])
def test_terms_are_every_252nd_session_of_the_calendar(calendar: str, day: str) -> None:
    """The same boundaries as the windows draw, with a term of 252."""
    session = pd.Timestamp(day)
    drawn = [str(s.date()) for s in calendar_sessions(calendar, pd.Timestamp("2027-06-30"))[::TERM_SESSIONS]]
    term = term_of(calendar, session)
    assert term.first == max(boundary for boundary in drawn if boundary <= day)
    assert term.next == min(boundary for boundary in drawn if boundary > day)
    assert term.before == max(boundary for boundary in drawn if boundary < term.first)


def test_an_unknown_calendar_is_named() -> None:
    with pytest.raises(ConfigurationError, match="calendar 'XXXX'"):
        term_of("XXXX", pd.Timestamp("2020-01-02"))


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


def rows(symbols: str = "A", sessions: int = 600, seed: int = 1, end: str = "2018-12-31") -> pd.DataFrame:
    days = calendar_sessions("XNYS", pd.Timestamp(end))[-sessions:]
    label = {name: np.random.default_rng([seed, ord(name)]).normal(size=sessions) for name in symbols}
    return pd.concat(
        [pd.DataFrame({"symbol": name, "session": days, "label": label[name]}) for name in symbols], ignore_index=True
    )


def test_a_series_is_known_under_any_name_and_whatever_came_before_or_after() -> None:
    base = rows("AB")
    renamed = base.assign(symbol=base["symbol"].map({"A": "copy", "B": "A"}))
    found = fingerprints(base, TERM)
    assert len(found) == 2
    assert fingerprints(renamed, TERM) == found
    assert fingerprints(base.sample(frac=1, random_state=1), TERM) == found
    assert fingerprints(base.assign(label=base["label"] + 1e-13), TERM) == found, "a rescaled price differs by rounding"
    assert fingerprints(base[base["session"] >= TERM.before], TERM) == found, "a shorter history is the same bars"
    assert fingerprints(base[base["session"] < TERM.first], TERM) == found, "a later night is the same bars"
    assert not fingerprints(base.assign(label=base["label"] * 1.001), TERM) & found
    mine = Family(predicts="return", symbols=frozenset("AB"), series=found, term=TERM)
    assert mine.holds("another tick", {"copy", "other"}, fingerprints(renamed, TERM))
    assert not mine.holds("return", {"copy", "other"}, fingerprints(rows("AB", seed=2), TERM))


def test_too_few_labels_are_no_fingerprint() -> None:
    base = rows()
    few = base[base["session"].between(pd.Timestamp("2018-01-02"), pd.Timestamp("2018-03-01"))]
    assert fingerprints(few, TERM) == frozenset()
    assert fingerprints(rows().assign(label=np.nan), TERM) == frozenset()
