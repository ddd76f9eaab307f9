"""The truncation test of the live matrix: catches each planted look into the future, and is silent without one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.contracts import CrossSection, FeatureSpec
from tasks.features import catalogue, matrix
from tasks.features.series import Array, Series
from tasks.features.truncation import check_truncation
from tests.features.market import TICK, index_bars, made_bars, panel_bars
from tests.features.test_matrix import frame_of

COLUMNS = ("har_5", "return_1", "willr_14", "weekday", "cdl_doji")
PLANTED = "return_1"
Leak = Callable[[Series], Array]


def shifted(s: Series) -> Array:
    """What ``shift(-1)`` gives."""
    return np.append(clean(s)[1:], np.nan)


def centred(s: Series) -> Array:
    return pd.Series(clean(s)).rolling(5, center=True, min_periods=1).mean().to_numpy(dtype=np.float64)


def over_all_rows(s: Series) -> Array:
    values = clean(s)
    return (values - float(np.nanmean(values))) / float(np.nanstd(values))


def filled_from_beyond_the_gap(s: Series) -> Array:
    """The last bar before a gap is given the value of the first one after it."""
    values, days = clean(s).copy(), np.diff(s.session).astype(int)
    gaps = np.flatnonzero(days > 10)
    values[gaps] = values[gaps + 1]
    return values


def clean(s: Series) -> Array:
    close = s["close"]
    returns: Array = np.append(np.nan, np.log(close[1:] / close[:-1]))
    return returns


LEAKS: dict[str, Leak] = {
    "shift(-1)": shifted,
    "centred rolling mean": centred,
    "statistic over all rows": over_all_rows,
    "fill from beyond a gap": filled_from_beyond_the_gap,
}


def one_symbol() -> pd.DataFrame:
    """Three years of days of which three weeks are missing."""
    bars = {name: np.delete(values, slice(400, 415)) for name, values in made_bars(7, 800).items()}
    return frame_of(("A", bars))


def panel() -> pd.DataFrame:
    """25 symbols, of which one was halted for three weeks."""
    bars = {f"S{number:02d}": made_bars(number, 260) for number in range(25)}
    bars["S11"] = {name: np.delete(values, slice(130, 145)) for name, values in bars["S11"].items()}
    return frame_of(*bars.items())


def stored(frame: pd.DataFrame, spec: FeatureSpec) -> pd.DataFrame:
    return pd.DataFrame(matrix.panel(frame, spec), columns=list(spec.columns))


def spec_of(how: CrossSection = "none") -> FeatureSpec:
    return FeatureSpec(columns=COLUMNS, tick=TICK, cross_section=how)


@pytest.mark.parametrize("how", ["none", "rank", "zscore"])
def test_a_clean_matrix_passes(how: CrossSection) -> None:
    frame = panel()
    for seed in range(5):
        assert check_truncation(frame, spec_of(how), stored(frame, spec_of(how)), 6, seed) == ()


@pytest.mark.parametrize("leak", LEAKS.values(), ids=LEAKS)
@pytest.mark.parametrize(("frame", "how"), [(one_symbol(), "none"), (panel(), "none"), (panel(), "rank")])
def test_planted_leaks_are_caught(
    leak: Leak, frame: pd.DataFrame, how: CrossSection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted in the catalogue, so that it is in the matrix as well as in what is computed again."""
    entry = dataclasses.replace(catalogue.feature(PLANTED), compute=_each_symbol(leak))
    monkeypatch.setitem(catalogue.CATALOGUE, PLANTED, entry)
    spec = spec_of(how)
    for seed in range(3):
        (finding,) = check_truncation(frame, spec, stored(frame, spec), 4, seed)
        assert finding.startswith(f"feature '{PLANTED}' of ")
        assert "the matrix has " in finding
        assert "the bars known then give " in finding


def _each_symbol(leak: Leak) -> Leak:
    """A batch holds several symbols one after the other; the leak looks at each by itself."""

    def compute(s: Series) -> Array:
        edges = [0, *(np.flatnonzero(np.diff(s.session).astype(int) < 0) + 1).tolist(), len(s)]
        base = {name: s[name] for name in ("open", "high", "low", "close", "volume")} | {"session": s.session}
        parts = [leak(Series({name: values[a:b] for name, values in base.items()}, s.tick)) for a, b in pairwise(edges)]
        return np.concatenate(parts)

    return compute


def test_a_value_altered_in_the_stored_matrix_is_named_with_both_values() -> None:
    frame, spec = one_symbol(), spec_of()
    values = stored(frame, spec)
    values["har_5"] += 1e-7 * values["har_5"].std()
    (finding,) = check_truncation(frame, spec, values, 2, 3)
    assert finding.startswith("feature 'har_5' of A at 200")
    assert "(12 such values)" in finding


def test_a_forward_fill_over_the_lookback_is_caught() -> None:
    frame, spec = panel(), spec_of()
    values = stored(frame, spec).ffill()
    (first, *_) = check_truncation(frame, spec, values, 2, 3)
    assert "feature 'har_5' of S01 at 2001-01-01T21:00:00+00:00: the matrix has" in first
    assert "give nan (96 such values)" in first


def test_at_most_five_columns_are_told_and_the_rest_counted() -> None:
    frame = one_symbol()
    spec = FeatureSpec(columns=catalogue.select(True, True, 60), tick=TICK)
    found = check_truncation(frame, spec, stored(frame, spec).shift(-1), 2, 3)
    assert len(found) == 6
    assert found[-1].startswith("and ")


def test_histories_shorter_than_the_longest_lookback_are_checked_for_what_they_have() -> None:
    frame = frame_of(("A", made_bars(1, 60)))
    spec = FeatureSpec(columns=("rsi_14", "har_5"), tick=TICK)
    values = stored(frame, spec)
    assert check_truncation(frame, spec, values, 4, 1) == ()
    (finding,) = check_truncation(frame, spec, values.shift(-1), 4, 1)
    assert "'har_5'" in finding


def test_one_bar_has_nothing_to_cut() -> None:
    frame = frame_of(("A", made_bars(1, 1)))
    assert check_truncation(frame, spec_of(), stored(frame, spec_of()), 4, 1) == ()


def test_other_rows_than_the_bars_are_refused() -> None:
    frame, spec = one_symbol(), spec_of()
    with pytest.raises(ValueError, match="784 rows, the bars 785"):
        check_truncation(frame, spec, stored(frame, spec).iloc[1:], 2, 1)


def test_no_false_alarm_on_an_index_with_the_whole_catalogue() -> None:
    bars = index_bars("sp500")
    frame, spec = frame_of(("SPX", bars)), FeatureSpec(columns=tuple(catalogue.CATALOGUE), tick=TICK)
    values = stored(frame, spec)
    for seed in range(3):
        assert check_truncation(frame, spec, values, 12, seed) == ()


@pytest.mark.needs_data
def test_no_false_alarm_on_a_real_panel(market_data: Path) -> None:
    frame = panel_bars(market_data)
    frame = frame[frame["symbol"].isin(frame["symbol"].unique()[::12])].reset_index(drop=True)
    frame["time"] = frame["session"].dt.tz_localize("UTC") + pd.Timedelta(hours=21)
    spec = FeatureSpec(columns=catalogue.select(True, True, 63), tick=TICK, cross_section="rank")
    assert check_truncation(frame, spec, stored(frame, spec), 4, 1) == ()
