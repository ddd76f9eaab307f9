"""Every planted leak is caught, and would not have been without its defence; clean bars raise nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tasks.contracts import RefitJob
from tasks.search.engine import TrainingData
from tests.leaks.clean import canary_of, spoken_of
from tests.leaks.every import LEAKS, forget, plant, scratch
from tests.leaks.night import Floats, night
from tests.leaks.outcome import WIDTH, shown


@pytest.fixture(scope="module")
def state() -> Iterator[Path]:
    """One state folder for all, so that what they share is prepared once."""
    with scratch() as folder:
        yield Path(folder) / "home"
    forget()


@pytest.fixture(autouse=True)
def _below(state: Path, monkeypatch: pytest.MonkeyPatch, _state_below_tmp: None) -> None:
    monkeypatch.setenv("NOCTURNE_HOME", str(state))


@pytest.mark.parametrize("name", LEAKS)
def test_it_is_caught_and_only_by_its_defence(name: str) -> None:
    outcome = plant(name)
    told = shown(1, outcome)
    assert outcome.caught, told
    assert outcome.shown, told
    assert max(len(line) for line in told.splitlines()) <= WIDTH


def test_all_sixteen_are_planted() -> None:
    assert len(LEAKS) == 16


@pytest.mark.parametrize("target", ["return", "direction", "volatility"])
def test_the_clean_catalogue_raises_nothing(target: str) -> None:
    assert spoken_of(target) == []


def test_a_canary_dies_in_a_harness_that_hands_labels_over() -> None:
    """An engine that copies whatever label it is given: blanked by the harness it knows nothing, else everything."""

    def copies(data: TrainingData, job: RefitJob) -> Floats:
        known = data.y[data.job_rows(job.rows)]
        return np.where(np.isfinite(data.y), data.y, known.mean())

    tonight = night("return")
    assert canary_of(tonight, copies) == ()
    assert canary_of(tonight, copies, defended=False)
