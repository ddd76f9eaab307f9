"""A model that knows who belonged when: the same through its bundle as in the matrix, on every date; after that, its
last members."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.contracts import FeatureSpec, Spell
from tasks.errors import ModelInputError
from tasks.membership import belongs, known_by
from tasks.registry.serving.predictor import Predictor
from tests.registry.conftest import make_bars
from tests.registry.serving.test_panel import COLUMNS, SESSIONS, SYMBOLS, bundle, expected, raw
from tests.registry.serving.test_scorers import garch

LONGER = SESSIONS + 20
DAYS = [str(day.date()) for day in pd.bdate_range("2015-01-02", periods=LONGER)]
END = DAYS[SESSIONS - 1]
LEAVES, JOINS, LATER = "S29", "S28", "S27"
IN_FILE = (
    *(Spell(symbol=symbol, first="1990-01-01") for symbol in SYMBOLS[:27]),
    Spell(symbol=LEAVES, first="1990-01-01", last=DAYS[404]),
    Spell(symbol=JOINS, first=DAYS[410]),
    Spell(symbol=LATER, first=DAYS[SESSIONS + 5]),
)
"""What the file says twenty days after the model was fitted."""
UNIVERSE = (*SYMBOLS[:27], JOINS)
SPEC = FeatureSpec(
    columns=COLUMNS,
    tick=0.01,
    cross_section="rank",
    universe=UNIVERSE,
    spells=known_by(np.datetime64(END), SYMBOLS, IN_FILE),
)


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    """Thirty names with bars on every day, members or not, twenty days longer than the model knows."""
    return make_bars(SYMBOLS, sessions=LONGER)


@pytest.fixture(scope="module")
def known(bars: pd.DataFrame) -> pd.DataFrame:
    """The bars that the model was fitted on."""
    return bars[bars["session"] <= END].reset_index(drop=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, known: pd.DataFrame) -> Path:
    folder = tmp_path_factory.mktemp("members")
    bundle(folder, known, SPEC)
    return folder


@pytest.fixture
def model(folder: Path) -> Predictor:
    return Predictor(folder / "bundle")


def days_of(frame: pd.DataFrame) -> np.ndarray:
    return frame["session"].to_numpy().astype("datetime64[D]")


def test_on_every_date_the_members_of_the_date_are_predicted_as_in_the_matrix(
    folder: Path, known: pd.DataFrame, model: Predictor
) -> None:
    """Before one leaves, between, and after another has joined."""
    said = model.predict(raw(known), rows="all")
    told = known[["symbol", "time"]].merge(said, how="left", on=["symbol", "time"])["prediction"].to_numpy()
    np.testing.assert_array_equal(told, expected(folder, known, SPEC))
    member = belongs(known["symbol"].to_numpy(object), days_of(known), IN_FILE)
    assert np.isnan(told[~member]).all()
    late = days_of(known) >= np.datetime64(DAYS[395])
    assert np.isfinite(told[member & late]).all()


def test_a_name_that_was_no_member_yet_changes_no_prediction_of_the_dates_before(
    known: pd.DataFrame, model: Predictor
) -> None:
    risen = known.copy()
    rise = np.exp(0.006 * risen.groupby("symbol").cumcount().to_numpy()) * (risen["symbol"] == JOINS)
    for price in ("open", "high", "low", "close"):
        risen[price] *= np.where(rise > 0, rise, 1.0)
    calm, moved = (model.predict(raw(frame), rows="all").set_index(["symbol", "time"]) for frame in (known, risen))
    before = calm.index.get_level_values("time") < pd.Timestamp(DAYS[410], tz="UTC")
    pd.testing.assert_frame_equal(calm[before], moved[before])
    assert (calm[~before] != moved[~before]).any(axis=None)


def test_after_the_training_the_model_knows_its_last_members(
    bars: pd.DataFrame, model: Predictor, caplog: pytest.LogCaptureFixture
) -> None:
    """A name that the index took in meanwhile is neither predicted nor in anybody's rank: until the next refresh."""
    said = model.predict(raw(bars))
    assert set(said["symbol"]) == set(UNIVERSE)
    assert "2 of the symbols given are no members and are left out: S27, S29" in caplog.text
    caplog.clear()
    without = model.predict(raw(bars[bars["symbol"].isin(UNIVERSE)]))
    pd.testing.assert_frame_equal(without, said)
    assert not caplog.records


def test_names_that_never_belonged_are_told_where_all_rows_are_asked_for(
    known: pd.DataFrame, model: Predictor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="nocturne.serving")
    model.predict(raw(known), rows="all")
    assert caplog.messages == ["1 of the symbols given are no members and are left out: S27"]


def test_nine_tenths_of_the_universe_are_enough_and_other_names_make_up_for_none(
    bars: pd.DataFrame, model: Predictor
) -> None:
    assert len(model.predict(raw(bars[~bars["symbol"].isin(SYMBOLS[:2])]))) == 26
    fewer = bars[~bars["symbol"].isin(SYMBOLS[:3])]
    with pytest.raises(ModelInputError, match=r"3 of the model's 28 symbols are missing on .*: S00, S01, S02\."):
        model.predict(raw(fewer))


def test_the_universe_of_an_earlier_date_is_who_belonged_then(known: pd.DataFrame, model: Predictor) -> None:
    early = known[days_of(known) < np.datetime64(DAYS[405])]
    said = model.predict(raw(early))
    assert set(said["symbol"]) == {*SYMBOLS[:27], LEAVES}
    with pytest.raises(ModelInputError, match=r"4 of the model's 27 symbols are missing on .*: S00, S01, S02, S03\."):
        model.predict(raw(early[~early["symbol"].isin(SYMBOLS[:4])]))


def test_the_manifest_says_who_belonged_when(folder: Path, model: Predictor) -> None:
    assert model.manifest.spec.spells == SPEC.spells
    document = json.loads((folder / "bundle" / "manifest.json").read_text())
    assert {"symbol": LEAVES, "first": "1990-01-01", "last": DAYS[404]} in document["spec"]["spells"]
    assert LATER not in {spell["symbol"] for spell in document["spec"]["spells"]}


def test_a_filter_begins_when_its_name_joins(tmp_path: Path, known: pd.DataFrame) -> None:
    (tmp_path / "garch").mkdir()
    predictor = Predictor(bundle(tmp_path, known, SPEC, garch(tmp_path / "garch", history=5, beta=0.85)))
    said = predictor.predict(raw(known), rows="all")
    assert said.loc[said["symbol"] == JOINS, "time"].min() == pd.Timestamp(f"{DAYS[415]} 21:00", tz="UTC")
