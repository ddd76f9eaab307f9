"""One night's reading as a whole: the store grows by what is new, the snapshot says what it is made of."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from prefect.states import Failed

from tasks.bars import task
from tasks.bars.describe import SourceDescription
from tasks.bars.ingest import ingest_source
from tasks.bars.readings import NO_LOOKS
from tasks.bars.store import BarStore
from tasks.errors import DataError, SourceUnavailableError
from tasks.problem import Problem
from tasks.storage import read_parquet
from tests.bars.files import HEADER, NOW, with_cell, write, year_of


def test_the_built_in_index(tmp_path: Path) -> None:
    snapshot = task.ingest.fn(Problem(name="p", source="builtin:sp500"))
    assert (snapshot.first, snapshot.last) == ("1999-01-04T21:00:00Z", "2018-12-31T21:00:00Z")
    assert snapshot.symbols == ("SP500",)
    assert snapshot.bars.rows == 5031
    assert not snapshot.true_opens
    assert snapshot.has_volume
    assert any(warning.startswith("no true opens") for warning in snapshot.warnings)
    assert Path(snapshot.bars.path).is_relative_to(tmp_path / "home")


def test_a_night_that_brings_one_bar_adds_one_part_of_one_row(tmp_path: Path) -> None:
    lines = year_of("SP500")
    description = SourceDescription(source=str(write(tmp_path / "p.csv", lines[:-1])))
    first = ingest_source(description, NOW)
    write(tmp_path / "p.csv", lines)
    second = ingest_source(description, NOW + pd.Timedelta(days=1))
    store = BarStore(description)
    assert [part.rows for part in store.parts()] == [250, 1]
    assert (first.bars.rows, second.bars.rows) == (250, 251)
    assert ingest_source(description, NOW + pd.Timedelta(days=2)) == second
    assert len(store.parts()) == 2


def test_restated_history_is_a_revision_that_is_said_and_the_old_value_stays(tmp_path: Path) -> None:
    lines = list(year_of("SP500"))
    description = SourceDescription(source=str(write(tmp_path / "p.csv", lines)))
    before = ingest_source(description, NOW)
    lines[9] = with_cell(lines[9], "volume", "1")
    del lines[20]
    write(tmp_path / "p.csv", lines)
    after = ingest_source(description, NOW + pd.Timedelta(days=1))
    assert "1 bars differ from what was read before; the new values are used" in after.warnings
    assert "1 bars that were read before are gone from the source" in after.warnings
    store = BarStore(description)
    assert store.read()["volume"].iloc[9] == 1
    assert store.known(NOW, NO_LOOKS).frame["volume"].iloc[9] == read_parquet(before.bars)["volume"].iloc[9]


def test_what_a_later_row_of_the_same_file_replaced_is_kept_as_the_older_revision(tmp_path: Path) -> None:
    lines = list(year_of("SP500"))
    source = write(tmp_path / "p.csv", [*lines, with_cell(lines[9], "volume", "1")])
    description = SourceDescription(source=str(source))
    ingest_source(description, NOW)
    ingest_source(description, NOW + pd.Timedelta(days=1))
    history = BarStore(description).revisions()
    values = history[history["session"] == lines[9][:10]].sort_values("revision")["volume"].tolist()
    assert values == [float(lines[9].split(",")[5]), 1.0]


def test_adjusted_closes_lie_apart(tmp_path: Path) -> None:
    lines = [f"{line},{line.split(',')[4]}" for line in year_of("SP500")]
    description = SourceDescription(source=str(write(tmp_path / "p.csv", lines, f"{HEADER},Adj Close")))
    snapshot = ingest_source(description, NOW)
    assert "adj_close" not in read_parquet(snapshot.bars)
    assert (BarStore(description, "adjusted").read()["factor"] == 1.0).all()


def test_only_what_may_answer_later_is_tried_again() -> None:
    assert task.ingest.retries == 2
    helps = task.ingest.retry_condition_fn
    assert helps is not None
    assert helps(task.ingest, None, Failed(data=SourceUnavailableError("later")))  # type: ignore[arg-type]
    assert not helps(task.ingest, None, Failed(data=DataError("never")))  # type: ignore[arg-type]
    assert not helps(task.ingest, None, Failed(data=ValueError("a bug")))  # type: ignore[arg-type]


def test_a_write_that_fails_leaves_no_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    description = SourceDescription(source=str(write(tmp_path / "p.csv", year_of("SP500"))))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tasks.storage.os.replace", full)
    with pytest.raises(Exception, match="the disk is full"):
        ingest_source(description, NOW)
    assert [path for path in (tmp_path / "home").rglob("*") if path.is_file()] == []
