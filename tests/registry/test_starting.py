"""What a night's transfer begins with: those its problem may use, those that recipes name, or why there is nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tasks.registry import backbones, starting
from tasks.registry.mlflow_store import Store
from tasks.storage import home
from tests.registry.test_backbones import matrix, problem, registered, rows

__all__ = ["registered"]


def test_the_choice_is_told_and_recipes_bring_their_own(registered: Store) -> None:
    found = starting.for_search(problem(backbone="tiny"), rows(), matrix())
    assert [(each.name, each.version) for each in found.found] == [("tiny", "1")], "version 2 would look ahead"
    assert found.notes[0].startswith("backbones, named by the problem: tiny:1 (")
    hourly = next(each for each in starting.for_search(problem(), rows(), matrix()).found if each.name == "hourly")
    recipe = {"backbone": {"name": "hourly", "version": "1", "sha256": hourly.sha256}}
    with_it = starting.for_search(problem(backbone="tiny"), rows(), matrix(), [recipe, recipe])
    assert [each.name for each in with_it.found] == ["tiny"], "the search chooses among what the problem named"
    assert [each.name for each in with_it.recalled] == ["hourly"]
    again = starting.for_search(
        problem(backbone="tiny"), rows(), matrix(), [{"backbone": {"sha256": found.found[0].sha256}}]
    )
    assert (again.found, again.recalled) == (found.found, ()), "what the problem names too is not recalled besides"
    assert starting.for_jobs([recipe, {"backbone": {}}, {"algorithm": "gbm"}]).recalled == (hourly,)


def test_an_altered_backbone_does_not_take_the_others_along(
    registered: Store, caplog: pytest.LogCaptureFixture
) -> None:
    known = {
        each.backbone.name: each.backbone for each in backbones.versions(registered) if each.backbone.version == "1"
    }
    source = str(registered.client.get_model_version("backbone-hourly", "1").source)
    (Path(source.removeprefix("file://")) / "weights.npz").write_bytes(b"altered")
    recipes = [{"backbone": {"sha256": each.sha256}} for each in known.values()]
    shutil.rmtree(home() / "backbones" / "hourly")
    assert [each.name for each in starting.for_jobs(recipes).recalled] == ["tiny"]
    assert "hourly:1, which a recipe names, cannot be had" in caplog.text


def test_a_refusal_is_words_and_no_error(registered: Store) -> None:
    refused = starting.for_search(problem(), rows(validation="2001-01-02T21:00:00Z"), matrix())
    assert refused.found == ()
    assert "look ahead" in refused.refused
    assert "there are:" in starting.for_search(problem(backbone="other"), rows(), matrix()).refused


def test_a_backbone_that_is_gone_is_left_to_the_engine_to_refuse(registered: Store) -> None:
    assert starting.for_jobs([{"backbone": {"sha256": "f" * 64}}]).recalled == ()
