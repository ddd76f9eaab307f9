"""The engine that the guide shows: the same text, and it works."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from tasks.contracts import RefitJob, WarmRecipe
from tasks.search import process, training
from tasks.storage import PROJECT, read_predictions
from tests.search import mean_engine
from tests.search.conftest import Ask, execute


def test_the_guide_shows_it_to_the_letter() -> None:
    shown = (PROJECT / "tasks" / "search" / "README.md").read_text().split("```python\n")[1].split("```")[0]
    written = inspect.getsource(mean_engine.Mean)
    assert shown.split("\n\n\nif")[0].strip() == written.strip()


@pytest.fixture
def mean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(process.MODULES, "mean", "tests.search.mean_engine")


@pytest.mark.usefixtures("mean")
def test_it_searches_is_refitted_and_starts_warm_like_any_other(ask: Ask, tmp_path: Path) -> None:
    data = training.load(ask("mean"))
    warm = (WarmRecipe(name="older", recipe={"algorithm": "mean", "since": 1}, night="2014-06-30"),)
    found = execute(ask("mean", warm=warm), tmp_path / "search")
    assert [item.name for item in found.candidates] == ["mean"]  # its refit gives the recipe that it found itself
    expected = data.y[data.rows("train", "validation", "blending")].mean()
    assert read_predictions(found.candidates[0].predictions)[-1] == pytest.approx(expected)
    jobs = (RefitJob(name="mean", recipe={"algorithm": "mean"}, rows="fit_fold_1"),)
    (refitted,) = execute(ask("mean", "refit", jobs=jobs), tmp_path / "refit").candidates
    assert read_predictions(refitted.predictions)[-1] == pytest.approx(data.y[data.job_rows("fit_fold_1")].mean())
