"""A model that compares names within each date: the same through its bundle as in the matrix, or refused in words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from tasks.contracts import CrossSection, FeatureSpec
from tasks.errors import IntegrityError, ModelInputError
from tasks.features import matrix
from tasks.registry.bundle import entry_facts, write_bundle
from tasks.registry.serving.predictor import Predictor
from tasks.registry.serving.scorers import load_scorer
from tests.registry.conftest import linear_model, make_bars, make_entry, make_night
from tests.registry.serving.test_scorers import garch

SYMBOLS = tuple(f"S{number:02d}" for number in range(30))
COLUMNS = ("har_5", "return_22", "weekday", "rsi_14")
SESSIONS = 420
LOOKBACK = matrix.lookback(COLUMNS)


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    """Thirty names; one listed late, one gone early."""
    frame = make_bars(SYMBOLS, sessions=SESSIONS)
    day = frame.groupby("symbol").cumcount()
    late, gone = (frame["symbol"] == "S28") & (day < 15), (frame["symbol"] == "S29") & (day >= 410)
    return frame[~late & ~gone].reset_index(drop=True)


def spec_of(how: CrossSection = "rank", universe: tuple[str, ...] = SYMBOLS[:-1]) -> FeatureSpec:
    return FeatureSpec(columns=COLUMNS, tick=0.01, cross_section=how, universe=universe)


def bundle(folder: Path, bars: pd.DataFrame, spec: FeatureSpec, model: Path | None = None) -> Path:
    """A bundle made as the registry makes it, from a night whose matrix has more columns than the model reads."""
    folder.mkdir(parents=True, exist_ok=True)
    night = make_night(folder, bars)
    entry = make_entry(night)
    night = replace(
        night, features=replace(night.features, spec=replace(spec, columns=(*COLUMNS, "har_1", "return_1")))
    )
    model = model or linear_model(folder / "linear", columns=COLUMNS, center=[0.0] * 4, scale=[1.0] * 4)
    write_bundle(folder / "bundle", night, replace(entry.gated, model=str(model)), entry_facts(entry, "gated"))
    return folder / "bundle"


@pytest.fixture
def ranked(tmp_path: Path, bars: pd.DataFrame) -> Predictor:
    return Predictor(bundle(tmp_path / "ranked", bars, spec_of()))


def expected(folder: Path, bars: pd.DataFrame, spec: FeatureSpec) -> npt.NDArray[np.float64]:
    """What the matrix of the whole panel says through the scorer; NaN inside the lookback."""
    X = matrix.panel(bars, spec)
    known = np.isfinite(X).all(axis=1)
    out = np.full(len(bars), np.nan)
    out[known] = load_scorer(folder / "bundle" / "model").predict(X[known])
    return out


def raw(bars: pd.DataFrame) -> pd.DataFrame:
    return bars.drop(columns="session")


@pytest.mark.parametrize("how", ["rank", "zscore"])
def test_every_bar_is_predicted_as_in_the_matrix(tmp_path: Path, bars: pd.DataFrame, how: CrossSection) -> None:
    spec = spec_of(how)
    predictor = Predictor(bundle(tmp_path, bars, spec))
    said = predictor.predict(raw(bars), rows="all")
    told = bars[["symbol", "time"]].merge(said, how="left", on=["symbol", "time"])["prediction"].to_numpy()
    wanted = expected(tmp_path, bars, spec)
    covered = ~np.isnan(told)
    np.testing.assert_array_equal(told[covered], wanted[covered])
    dates = bars["time"].to_numpy()
    assert set(dates[covered]) == set(np.unique(dates)[LOOKBACK - 1 :])
    assert not (np.isfinite(wanted) & ~covered).any()


def test_the_last_date_from_the_shortest_tails_equals_the_matrix(bars: pd.DataFrame, ranked: Predictor) -> None:
    everything = ranked.predict(raw(bars), rows="all")
    on_last = everything[everything["time"] == bars["time"].max()].reset_index(drop=True)
    tails = bars.groupby("symbol", sort=False).tail(ranked.bars_needed)
    last = ranked.predict(raw(tails))
    pd.testing.assert_frame_equal(last, on_last, check_exact=False, rtol=1e-12)
    assert len(last) == 29
    assert "S29" not in set(last["symbol"])


def test_neither_the_order_of_symbols_nor_stamps_change_a_prediction(bars: pd.DataFrame, ranked: Predictor) -> None:
    sound = ranked.predict(raw(bars)).set_index("symbol")["prediction"]
    mixed = raw(bars).iloc[::-1].sort_values("time", kind="stable")
    mixed["time"] = mixed["time"].dt.strftime("%Y-%m-%d")
    said = ranked.predict(mixed)
    assert said["symbol"].tolist() == [name for name in dict.fromkeys(mixed["symbol"]) if name != "S29"]
    np.testing.assert_array_equal(said.set_index("symbol")["prediction"].loc[sound.index], sound)


def test_a_tenth_of_the_universe_may_be_missing_and_no_more(bars: pd.DataFrame, ranked: Predictor) -> None:
    there = bars[bars["symbol"].isin(SYMBOLS[2:])]
    assert len(ranked.predict(raw(there))) == 27
    fewer = bars[bars["symbol"].isin(SYMBOLS[3:])]
    words = r"3 of the model's 29 symbols are missing on 2016-08-11: S00, S01, S02\. .*at least 90%"
    for rows in ("last", "all"):
        with pytest.raises(ModelInputError, match=words):
            ranked.predict(raw(fewer), rows=rows)


def test_names_that_stop_a_day_early_are_missing_on_the_last_date(bars: pd.DataFrame, ranked: Predictor) -> None:
    last = bars["time"] == bars["time"].max()
    stale = bars[~(last & bars["symbol"].isin(SYMBOLS[:6]))]
    with pytest.raises(ModelInputError, match=r"6 of the model's 29 symbols .*: S00, S01, S02, S03, S04, …"):
        ranked.predict(raw(stale))
    said = ranked.predict(raw(stale), rows="all")
    assert said["time"].max() == bars.loc[~last, "time"].max()


def test_short_histories_are_told_apart_from_missing_ones(bars: pd.DataFrame, ranked: Predictor) -> None:
    short = bars.groupby("symbol", sort=False).tail(LOOKBACK - 1)
    words = rf"29 of the model's 29 symbols .*\(29 of them have bars, but fewer than the {LOOKBACK} that features need"
    with pytest.raises(ModelInputError, match=words):
        ranked.predict(raw(short))


def test_one_symbol_alone_is_refused(bars: pd.DataFrame, ranked: Predictor) -> None:
    with pytest.raises(ModelInputError, match=r"28 of the model's 29 symbols are missing"):
        ranked.predict(raw(bars[bars["symbol"] == "S05"]))


def test_too_few_names_for_a_rank_are_refused(tmp_path: Path, bars: pd.DataFrame) -> None:
    predictor = Predictor(bundle(tmp_path, bars, spec_of(universe=SYMBOLS[:20])))
    with pytest.raises(ModelInputError, match=r"19 symbols can be compared .* at least 20"):
        predictor.predict(raw(bars[bars["symbol"].isin(SYMBOLS[:19])]))


def test_a_manifest_without_a_universe_is_refused(tmp_path: Path, bars: pd.DataFrame) -> None:
    with pytest.raises(IntegrityError, match="lists no names"):
        Predictor(bundle(tmp_path, bars, spec_of(universe=())))


def test_a_filter_is_given_its_history(tmp_path: Path, bars: pd.DataFrame) -> None:
    (tmp_path / "garch").mkdir()
    model = garch(tmp_path / "garch", history=30, beta=0.85)
    predictor = Predictor(bundle(tmp_path, bars, spec_of(), model))
    everything = predictor.predict(raw(bars), rows="all")
    last = predictor.predict(raw(bars))
    on_last = everything[everything["time"] == bars["time"].max()].reset_index(drop=True)
    pd.testing.assert_frame_equal(last, on_last)
    assert len(last) == 29
    X = matrix.panel(bars, replace(spec_of(), columns=("return_1",)))
    one = X[(bars["symbol"] == "S05").to_numpy()][1:]
    wanted = load_scorer(model).predict(one)[-1]
    assert last.loc[last["symbol"] == "S05", "prediction"].iloc[0] == pytest.approx(wanted, rel=1e-12)
