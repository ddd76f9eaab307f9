"""The tasks: what they read is verified, the page lies where it should, artifacts arrive."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pandas as pd
import pytest

from tasks.contracts import Ref
from tasks.errors import ConfigurationError, IntegrityError
from tasks.report import task
from tasks.report.facts import Facts, Forecast
from tasks.report.page import render
from tasks.storage import home, write_parquet
from tests.report import nights


def stored(folder: Path) -> Facts:
    """A night whose bars, labels and predictions lie in files."""
    made = nights.night("volatility")
    bars = write_parquet(folder / "bars.parquet", made.bars.assign(open=1.0))
    rows = write_parquet(folder / "rows.parquet", made.labels)
    refs: list[Ref] = [
        write_parquet(folder / f"{item.role}.parquet", pd.DataFrame({"prediction": item.gate}))
        for item in made.predictions
    ]
    scored = (made.labels["window"] == "fold").to_numpy()
    columns = {item.candidate: item.folds[scored] for item in made.predictions if item.folds is not None}
    joined = made.labels.loc[scored, ["symbol", "time"]].assign(**columns)
    return dataclasses.replace(
        made.facts,
        snapshot=dataclasses.replace(made.facts.snapshot, bars=bars),
        rows=dataclasses.replace(made.facts.rows, ref=rows),
        leaderboard=dataclasses.replace(
            made.facts.leaderboard, predictions=write_parquet(folder / "joined.parquet", joined.iloc[::-1])
        ),
        forecasts=tuple(
            Forecast(candidate=item.candidate, role=item.role, gate=ref)
            for item, ref in zip(made.predictions, refs, strict=True)
        ),
    )


def test_a_night_read_from_files_gives_the_same_page(tmp_path: Path) -> None:
    facts = stored(tmp_path)
    made = nights.night("volatility")
    assert render(task.night_of(facts)) == render(dataclasses.replace(made, facts=facts))


def test_an_altered_file_is_refused(tmp_path: Path) -> None:
    facts = stored(tmp_path)
    path = Path(facts.snapshot.bars.path)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError, match=r"bars\.parquet"):
        task.night_of(facts)


def test_the_page_lies_below_the_state_folder() -> None:
    facts = nights.night("volatility").facts
    assert task.page_path(facts) == home() / "reports" / "spx-volatility" / f"{facts.run_id}.html"


@pytest.mark.parametrize("name", ["", "..", "a/b", "/etc", "a\0b"])
def test_a_name_cannot_leave_the_state_folder(name: str) -> None:
    facts = nights.night("volatility").facts
    with pytest.raises(ConfigurationError, match="cannot name a folder or file"):
        task.page_path(dataclasses.replace(facts, run_id=name))
    with pytest.raises(ConfigurationError, match="cannot name a folder or file"):
        task.page_path(dataclasses.replace(facts, problem={"name": name}))
