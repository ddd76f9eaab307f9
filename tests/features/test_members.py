"""Where it is known who belonged when, members alone are compared: nothing that comes later is in an earlier rank."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.contracts import CrossSection, FeatureSpec, Spell
from tasks.features import matrix, parallel
from tasks.features.cross_section import standardise
from tasks.features.series import Array
from tasks.features.truncation import check_truncation
from tasks.membership import known_by
from tests.features.market import TICK, cut, made_bars
from tests.features.test_cross_section import ragged
from tests.features.test_matrix import frame_of

COLUMNS = ("har_5", "return_5", "weekday", "cdl_doji")
COMPARED = [0, 1, 3]
HOWS: list[CrossSection] = ["rank", "zscore"]
NAMES = tuple(f"S{number:02d}" for number in range(28))
BARS = 60
DAYS = [str(day) for day in made_bars(1, BARS)["session"]]
JOINS = DAYS[40]


def spec_of(how: CrossSection, spells: tuple[Spell, ...]) -> FeatureSpec:
    return FeatureSpec(columns=COLUMNS, tick=TICK, cross_section=how, spells=spells)


def panel(winners: float = 0.0) -> pd.DataFrame:
    """28 names, of which the last four rise by so much a day; they join the index when they have risen long enough."""
    bars = {name: made_bars(number, BARS) for number, name in enumerate(NAMES)}
    rise = np.exp(winners * np.arange(BARS))
    for name in NAMES[24:]:
        bars[name] |= {price: bars[name][price] * rise for price in ("open", "high", "low", "close")}
    return frame_of(*bars.items())


def index(joins: str = JOINS) -> tuple[Spell, ...]:
    """24 names from the first day on, one of which leaves, and four that join."""
    stay = [Spell(symbol=name, first="1990-01-01", last=DAYS[50] if name == "S03" else "") for name in NAMES[:24]]
    return (*stay, *(Spell(symbol=name, first=joins) for name in NAMES[24:]))


@pytest.mark.parametrize("how", HOWS)
def test_winners_of_later_are_in_no_rank_before_they_join(how: CrossSection) -> None:
    calm, risen = panel(), panel(0.05)
    early = (calm["session"] < JOINS).to_numpy() & calm["symbol"].isin(NAMES[:24]).to_numpy()
    leaking = [matrix.panel(frame, spec_of(how, ()))[early] for frame in (calm, risen)]
    assert (leaking[0] != leaking[1]).any()  # what is planted: their bars move the others' ranks
    assert np.nanmean(leaking[1][:, 1]) < np.nanmean(leaking[0][:, 1])
    members = [matrix.panel(frame, spec_of(how, index())) for frame in (calm, risen)]
    np.testing.assert_array_equal(members[0][early], members[1][early])
    later = ~early & (calm["session"] >= JOINS).to_numpy()
    assert (members[0][later] != members[1][later]).any()


@pytest.mark.parametrize("how", HOWS)
def test_who_is_no_member_has_no_rank_and_every_date_is_that_of_its_members(how: CrossSection) -> None:
    frame, spec = panel(0.05), spec_of(how, index())
    found = matrix.panel(frame, spec)
    joined, left = frame["symbol"].isin(NAMES[24:]).to_numpy(), (frame["symbol"] == "S03").to_numpy()
    day = frame["session"].to_numpy()
    outside = (joined & (day < np.datetime64(JOINS))) | (left & (day > np.datetime64(DAYS[50])))
    assert np.isnan(found[outside][:, COMPARED]).all()
    assert np.isfinite(found[:, 2]).all()  # a weekday is compared with nobody's
    for when in (DAYS[30], DAYS[45], DAYS[55]):
        on = (day == np.datetime64(when)) & ~outside
        those = frame[frame["symbol"].isin(frame["symbol"][on])].reset_index(drop=True)
        alone = matrix.panel(those, spec_of(how, ()))[(those["session"] == when).to_numpy()]
        np.testing.assert_allclose(found[on], alone, atol=1e-12)
        assert np.isfinite(alone).all()


def test_a_date_with_fewer_than_twenty_members_has_no_cross_section_however_many_bars_it_has() -> None:
    spells = tuple(Spell(symbol=name, first=DAYS[0], last="" if name > "S08" else DAYS[29]) for name in NAMES)
    frame, found = panel(), matrix.panel(panel(), spec_of("rank", spells))
    late = (frame["session"] > DAYS[29]).to_numpy()
    assert np.isnan(found[late][:, COMPARED]).all()  # 19 of 28
    assert np.isfinite(found[(frame["session"] == DAYS[29]).to_numpy()]).all()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.sampled_from(HOWS), st.floats(0.3, 1.0))
def test_a_mask_is_the_panel_without_those_rows(seed: int, how: CrossSection, share: float) -> None:
    X, keys = ragged(seed, dates=25, most=70)
    member = np.random.default_rng(seed).random(len(keys)) < share
    names = ("har_1", "weekday", "rsi_14")
    masked, alone = X.copy(order="F"), np.asfortranarray(X[member])
    standardise(masked, names, keys, how, member=member)
    standardise(alone, names, keys[member], how)
    np.testing.assert_allclose(masked[member], alone, atol=1e-12)
    assert np.isnan(masked[~member][:, [0, 2]]).all()
    np.testing.assert_array_equal(masked[:, 1], X[:, 1])


@st.composite
def stays(draw: st.DrawFn) -> tuple[Spell, ...]:
    """Most names from the start on, some that come, go, or come back."""
    found = []
    for number, name in enumerate(NAMES):
        if number < 12:
            found.append(Spell(symbol=name, first="1990-01-01"))
            continue
        cuts = sorted(draw(st.sets(st.integers(0, BARS - 1), min_size=2, max_size=4)))
        for first, last in zip(cuts[::2], cuts[1::2], strict=False):
            still = last == cuts[-1] and draw(st.booleans())
            found.append(Spell(symbol=name, first=DAYS[first], last="" if still else DAYS[last - 1]))
    return tuple(found)


WHOLE = panel(0.02)


@settings(deadline=None, max_examples=25)
@given(stays(), st.sampled_from(HOWS), st.integers(10, BARS - 1))
def test_no_column_changes_when_later_bars_or_later_spells_are_added(
    spells: tuple[Spell, ...], how: CrossSection, day: int
) -> None:
    full = matrix.panel(WHOLE, spec_of(how, spells))
    then = (WHOLE["session"] <= DAYS[day]).to_numpy()
    bars = WHOLE[then].reset_index(drop=True)
    for known in (spells, known_by(np.datetime64(DAYS[day]), NAMES, spells)):
        np.testing.assert_allclose(matrix.panel(bars, spec_of(how, known)), full[then], atol=1e-12)


def test_several_processes_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "WORTH_A_PROCESS", 800)
    monkeypatch.setattr(matrix, "BATCH_ROWS", 300)
    spec = spec_of("rank", index())
    np.testing.assert_array_equal(parallel.panel(WHOLE, spec, workers=2), matrix.panel(WHOLE, spec))


def _stored(values: Array) -> pd.DataFrame:
    return pd.DataFrame(values, columns=list(COLUMNS))


@pytest.mark.parametrize("how", HOWS)
def test_the_truncation_test_compares_the_same_members(how: CrossSection) -> None:
    spec = spec_of(how, index())
    members, everybody = _stored(matrix.panel(WHOLE, spec)), _stored(matrix.panel(WHOLE, replace(spec, spells=())))
    for seed in range(4):
        assert check_truncation(WHOLE, spec, members, 6, seed) == ()
        found = check_truncation(WHOLE, spec, everybody, 6, seed)
        assert {line.split("'")[1] for line in found} == {"har_5", "return_5", "cdl_doji"}
    late = members.copy()
    late["har_5"] = late.groupby(WHOLE["symbol"])["har_5"].shift(-1)
    (finding,) = check_truncation(WHOLE, spec, late, 6, 1)
    assert finding.startswith("feature 'har_5' of S")


def test_a_member_whose_bars_begin_late_counts_from_its_first_value() -> None:
    """Spells speak of who may be compared, bars of who can."""
    bars = {name: made_bars(number, BARS) for number, name in enumerate(NAMES)}
    bars["S00"] = cut(bars["S00"], 30)
    frame = frame_of(*bars.items())
    found = matrix.panel(frame, spec_of("rank", index()))
    first = frame.index[frame["symbol"] == "S00"][0]
    assert np.isnan(found[first : first + 4, 0]).all()
    assert np.isfinite(found[first + 4 :, 0][:20]).all()
