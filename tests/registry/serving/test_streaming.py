"""Bar by bar: the batch's predictions from the same start, and the batch's refusals in the batch's words."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.contracts import FeatureSpec
from tasks.errors import ModelInputError
from tasks.registry.serving.predictor import Predictor
from tasks.registry.serving.streaming import Streaming
from tests.registry.conftest import COLUMNS, linear_model, make_bars, raw
from tests.registry.serving.bundles import bare_bundle
from tests.registry.serving.test_scorers import garch

MANY = (*COLUMNS, "ema_20", "adx_14", "ht_dcperiod", "bbands_20_width", "obv_10", "support_10", "days_since_previous")
START = 900
Bar = tuple[Any, ...]


@pytest.fixture(scope="module")
def history() -> pd.DataFrame:
    """1,100 raw daily bars of one symbol, with zoned closes."""
    return raw(make_bars(sessions=1100))


def predictor_of(folder: Path, columns: tuple[str, ...] = COLUMNS, **changes: Any) -> Predictor:
    return Predictor(bare_bundle(folder / "bundle", linear_model(folder / "model", columns), **changes))


def rows_of(bars: pd.DataFrame) -> list[Bar]:
    return list(bars[["time", "open", "high", "low", "close", "volume"]].itertuples(index=False, name=None))


def test_every_prediction_is_that_of_the_batch(tmp_path: Path, history: pd.DataFrame) -> None:
    predictor = predictor_of(tmp_path, MANY)
    expected = predictor.predict(history, rows="all").set_index("time")["prediction"]
    stream = Streaming(predictor)
    stream.warm(history.iloc[:START])
    assert stream.predict() == pytest.approx(expected.loc[history["time"].iloc[START - 1]], rel=1e-9)
    for bar in rows_of(history.iloc[START:]):
        stream.update(bar)
        assert stream.predict() == pytest.approx(expected.loc[bar[0]], rel=1e-9)
    assert stream.bars == len(history)


@pytest.mark.parametrize("kind", ["mapping", "datetime64", "iso text", "datetime", "integers"])
def test_bars_come_in_any_reasonable_form(tmp_path: Path, history: pd.DataFrame, kind: str) -> None:
    predictor = predictor_of(tmp_path)
    stream = Streaming(predictor.bundle)
    stream.warm(history.iloc[:-1])
    time, *numbers = rows_of(history)[-1]
    numbers = [math.floor(numbers[0]), math.ceil(numbers[1]) + 1, math.floor(numbers[2]) - 1, *numbers[3:]]
    bar: Any = (time, *numbers)
    if kind == "mapping":
        bar = dict(zip(("time", "open", "high", "low", "close", "volume"), bar, strict=True))
    elif kind == "datetime64":
        bar = (time.tz_convert(None).to_datetime64(), *numbers)
    elif kind == "iso text":
        bar = (time.isoformat(), *numbers)
    elif kind == "datetime":
        bar = (time.to_pydatetime(), *numbers)
    stream.update(bar)
    whole = history.copy()
    whole.loc[len(whole) - 1, ["open", "high", "low"]] = np.array(numbers[:3], dtype=float)
    assert stream.predict() == pytest.approx(predictor.predict(whole)["prediction"].iloc[0], rel=1e-12)


def test_a_loaded_model_gives_a_stream_of_itself(tmp_path: Path, history: pd.DataFrame) -> None:
    predictor = predictor_of(tmp_path)
    stream = predictor.streaming()
    stream.warm(history)
    assert stream.predictor is predictor
    assert stream.predict() == pytest.approx(predictor.predict(history)["prediction"].iloc[0], rel=1e-9)


def test_too_few_bars_says_how_many_are_needed(tmp_path: Path, history: pd.DataFrame) -> None:
    predictor = predictor_of(tmp_path)
    stream = Streaming(predictor)
    for seen, bar in enumerate(rows_of(history.iloc[: predictor.bars_needed])):
        with pytest.raises(ModelInputError, match=f"needs at least {predictor.bars_needed} bars of SPX, got {seen}"):
            stream.predict()
        stream.update(bar)
    batch = predictor.predict(history.iloc[: predictor.bars_needed])["prediction"].iloc[0]
    assert stream.predict() == pytest.approx(batch, rel=1e-12)


def _changed(bar: Bar, **changes: Any) -> Bar:
    fields = dict(zip(("time", "open", "high", "low", "close", "volume"), bar, strict=True))
    return tuple((fields | changes).values())


BAD: dict[str, dict[str, Any]] = {
    "a missing close": {"close": math.nan},
    "an infinite volume": {"volume": math.inf},
    "a price of zero": {"low": 0.0},
    "a negative price": {"open": -1.0},
    "a high below the bar": {"high": 1.0},
    "a low above the bar": {"low": 1e6, "high": 2e6},
    "a negative volume": {"volume": -1.0},
}


@pytest.mark.parametrize("fault", sorted(BAD))
def test_bad_bars_are_refused_in_the_words_of_the_batch(tmp_path: Path, history: pd.DataFrame, fault: str) -> None:
    predictor = predictor_of(tmp_path)
    stream = Streaming(predictor)
    stream.warm(history.iloc[:-1])
    before, bad = stream.predict(), _changed(rows_of(history)[-1], **BAD[fault])
    frame = pd.concat([history.iloc[:-1], pd.DataFrame([bad], columns=history.columns)], ignore_index=True)
    with pytest.raises(ModelInputError) as batch:
        predictor.predict(frame)
    with pytest.raises(ModelInputError) as streamed:
        stream.update(bad)
    assert str(streamed.value).split(", at ")[0] == str(batch.value).split(", at ")[0]
    assert stream.predict() == before
    stream.update(rows_of(history)[-1])
    assert stream.predict() == pytest.approx(predictor.predict(history)["prediction"].iloc[0], rel=1e-12)


@pytest.mark.parametrize(
    ("days", "message"),
    [(0, "given twice"), (-1, "out of time order"), (0.1, "sessions with more than one bar")],
)
def test_times_must_go_on(tmp_path: Path, history: pd.DataFrame, days: float, message: str) -> None:
    stream = Streaming(predictor_of(tmp_path))
    stream.warm(history.iloc[:START])
    last = rows_of(history)[START - 1]
    with pytest.raises(ModelInputError, match=message):
        stream.update(_changed(last, time=last[0] + pd.Timedelta(days=days)))
    stream.update(rows_of(history)[START])


def test_another_bar_size_is_refused_once_it_is_the_usual_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    predictor = predictor_of(tmp_path, bar="1h")
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.001, 400)))
    hourly = pd.date_range("2024-03-04", periods=200, freq="h", tz="UTC")
    halves = pd.date_range(hourly[-1], periods=201, freq="30min", tz="UTC")[1:]
    stream, refused = Streaming(predictor), None
    for at, (time, price) in enumerate(zip([*hourly, *halves], close, strict=True)):
        try:
            stream.update((time, price, price * 1.001, price * 0.999, price, 5.0))
        except ModelInputError as error:
            refused = (at, str(error))
            break
    assert refused is not None
    frame = pd.DataFrame({"time": [*hourly, *halves], "close": close, "volume": 5.0})
    frame = frame.assign(open=close, high=close * 1.001, low=close * 0.999)
    predictor.predict(frame.iloc[: refused[0]])
    with pytest.raises(ModelInputError, match="takes bars of 1h"):
        predictor.predict(frame.iloc[: refused[0] + 1])
    assert "takes bars of 1h" in refused[1]


@pytest.mark.parametrize("time", [17, None, "yesterday-ish", float("nan")])
def test_what_is_no_time_is_refused(tmp_path: Path, history: pd.DataFrame, time: Any) -> None:
    stream = Streaming(predictor_of(tmp_path))
    stream.warm(history.iloc[:-1])
    with pytest.raises(ModelInputError, match="no date or time"):
        stream.update(_changed(rows_of(history)[-1], time=time))


@pytest.mark.parametrize("value", ["12.5", None, True, object(), 10**400])
def test_what_is_no_number_is_refused(tmp_path: Path, history: pd.DataFrame, value: Any) -> None:
    stream = Streaming(predictor_of(tmp_path))
    stream.warm(history.iloc[:-1])
    with pytest.raises(ModelInputError, match="'close' must be a number"):
        stream.update(_changed(rows_of(history)[-1], close=value))


def test_zoned_and_naive_times_do_not_mix(tmp_path: Path, history: pd.DataFrame) -> None:
    stream = Streaming(predictor_of(tmp_path))
    stream.warm(history.iloc[:-1])
    last = rows_of(history)[-1]
    with pytest.raises(ModelInputError, match="with and without a zone"):
        stream.update(_changed(last, time=last[0].tz_convert(None)))


def test_session_labels_are_dates(tmp_path: Path, history: pd.DataFrame) -> None:
    labels = history.assign(time=history["time"].dt.tz_convert(None).dt.normalize())
    predictor = predictor_of(tmp_path, (*COLUMNS, "weekday", "year_sin"))
    stream = Streaming(predictor)
    stream.warm(labels.iloc[:START])
    for bar in rows_of(labels.iloc[START : START + 10]):
        stream.update(bar)
    assert stream.predict() == pytest.approx(predictor.predict(labels[: START + 10])["prediction"].iloc[0], rel=1e-12)


@pytest.mark.parametrize("labelled", [False, True])
def test_days_that_close_at_midnight_utc_have_one_session_however_they_come(tmp_path: Path, labelled: bool) -> None:
    """Bars of every day, whose closes are the next midnight; features of the calendar tell one day from the next."""
    days = make_bars(sessions=START)
    dates = pd.date_range("2021-01-01", periods=len(days), freq="D")
    closes = dates + pd.Timedelta(days=1)
    numbers = {name: days[name].to_numpy() for name in ("open", "high", "low", "close", "volume")}
    predictor = predictor_of(tmp_path, (*COLUMNS, "weekday", "year_sin"), tz="UTC")
    frame = pd.DataFrame({"time": dates if labelled else closes.tz_localize("UTC"), **numbers})
    time = dates.to_numpy().astype("datetime64[D]") if labelled else closes.to_numpy()
    expected = predictor.predict(frame)["prediction"].iloc[0]
    stream = Streaming(predictor)
    for bar in zip(time, *numbers.values(), strict=True):
        stream.update(bar)
    assert predictor.predict_last({"time": time, **numbers}) == pytest.approx(expected, rel=1e-9)
    assert stream.predict() == pytest.approx(expected, rel=1e-9)
    moved = predictor.predict(frame.assign(time=frame["time"] + pd.Timedelta(days=1)))["prediction"].iloc[0]
    assert abs(moved - expected) > 1e-6 * abs(expected), "the day counts"


def test_a_model_with_a_history_filters_its_own(tmp_path: Path, history: pd.DataFrame) -> None:
    (tmp_path / "garch").mkdir()
    predictor = Predictor(bare_bundle(tmp_path / "bundle", garch(tmp_path / "garch", history=200, beta=0.85)))
    stream = Streaming(predictor)
    stream.warm(history.iloc[:START])
    for at, bar in enumerate(rows_of(history.iloc[START : START + 5]), start=START + 1):
        stream.update(bar)
        batch = predictor.predict(history.iloc[:at])["prediction"].iloc[0]
        assert stream.predict() == pytest.approx(batch, rel=1e-12)


def test_a_symbol_is_named_where_there_are_several(tmp_path: Path, history: pd.DataFrame) -> None:
    predictor = predictor_of(tmp_path, symbols=("AAA", "BBB"))
    with pytest.raises(ModelInputError, match="say which symbol"):
        Streaming(predictor)
    with pytest.raises(ModelInputError, match="not trained on CCC"):
        Streaming(predictor, "CCC")
    stream = Streaming(predictor, "BBB")
    with pytest.raises(ModelInputError, match="the history holds AAA"):
        stream.warm(history.assign(symbol="AAA"))
    stream.warm(history.assign(symbol="BBB"))
    alone = predictor.predict(history.assign(symbol="BBB"))["prediction"].iloc[0]
    assert stream.predict() == pytest.approx(alone, rel=1e-12)


def test_a_cross_section_cannot_be_streamed(tmp_path: Path) -> None:
    spec = FeatureSpec(columns=COLUMNS, tick=0.01, cross_section="rank", universe=("AAA", "BBB"))
    predictor = predictor_of(tmp_path, spec=spec, symbols=("AAA", "BBB"))
    with pytest.raises(ModelInputError, match="compares names within a date"):
        Streaming(predictor, "AAA")
