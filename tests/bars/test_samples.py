"""The committed samples are what their README says."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from tasks.bars.describe import SourceDescription
from tasks.bars.inspection import inspect
from tests.bars.files import NOW, check

SAMPLES = Path(__file__).resolve().parents[2] / "data" / "samples"


def test_the_indices_are_those_of_the_built_in_sources() -> None:
    frame = check(SAMPLES / "indices-2017-2018.csv").frame
    for symbol in ("SP500", "NASDAQ"):
        built_in = check(f"builtin:{symbol.lower()}").frame
        expected = built_in[built_in["session"] >= "2017-01-01"].reset_index(drop=True)
        pd.testing.assert_frame_equal(frame[frame["symbol"] == symbol].reset_index(drop=True), expected)


def test_the_parquet_sample_is_the_same_series() -> None:
    panel = check(SAMPLES / "indices-2017-2018.csv", symbols=("SP500",)).frame
    pd.testing.assert_frame_equal(check(SAMPLES / "SP500.parquet").frame, panel)


def test_the_broken_sample_breaks_five_rules() -> None:
    report = inspect(SourceDescription(source=str(SAMPLES / "SP500-broken.csv")), NOW)
    refused = {finding["rule"] for finding in report["findings"] if finding["severity"] == "refused"}
    assert refused == {
        *("inconsistent-prices", "thousands-separator", "missing-value", "negative-volume", "off-session"),
    }
    assert report["accepted"] == 0


def test_the_samples_stay_small() -> None:
    assert sum(file.stat().st_size for file in SAMPLES.iterdir()) < 200_000
