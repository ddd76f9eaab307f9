"""The description of a pre-training: what is refused, in which words, and the bars it stands for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks import pretraining
from tasks.errors import ConfigurationError
from tasks.pretraining import GROUPS, Pretraining, Task
from tasks.problem import Problem
from tasks.storage import PROJECT, sha256_file

GIVEN: dict[str, Any] = {"name": "tiny", "source": "builtin:nasdaq"}
SHIPPED = sorted((PROJECT / "deployments" / "pretraining").glob("*.yaml"))


def test_its_bars_are_a_problem_of_their_own_that_reads_nothing_later() -> None:
    found = Pretraining(**GIVEN, until="2009-12-31", bar="1h", tick=0.05, symbols=("A",)).problem()
    assert isinstance(found, Problem)
    assert (found.as_of, found.bar, found.tick, found.symbols) == ("2009-12-31", "1h", 0.05, ("A",))
    assert found.engines == ("baseline",)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "Tiny"}, "field 'name'"),
        ({"sauce": "x"}, "unknown field 'sauce'; known fields: name, source"),
        ({"tasks": ()}, "at least one of masked"),
        ({"tasks": ("masked", "masked")}, "none twice"),
        ({"tasks": ("fortune",)}, "field 'tasks.0'"),
        ({"horizons": (5, 1)}, "ascending"),
        ({"horizons": (0, 1)}, "between 1 and 260"),
        ({"seconds": 1}, "field 'seconds'"),
        ({"length": 8}, "field 'length'"),
        ({"architecture": "patches", "length": 30}, "multiples of 4"),
        ({"held_out": 0.5, "watched": 0.3}, "less than 40 %"),
        ({"update": "sometimes"}, "field 'update'"),
        ({"body": "autokeras"}, "of the architecture image, and it is tcn"),
        ({"weights_from": "x.h5"}, "of the architecture image"),
        ({"architecture": "image", "body": "VGG16"}, "field 'body'"),
        ({"architecture": "image", "body": "autokeras", "weights_from": "x.h5"}, "needs an application of keras"),
        ({"architecture": "image", "body": "Xception", "pixels": 64}, "from 71 pixels a side, not 64"),
        ({"architecture": "image", "body": "Xception", "pixels": 299}, "field 'pixels'"),
        ({"elastic": -1}, "field 'elastic'"),
    ],
)
def test_what_breaks_a_rule_is_refused_by_field_and_origin(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as refused:
        pretraining.build(GIVEN, changes, "tiny.yaml")
    assert str(refused.value).startswith("tiny.yaml: ")


def test_a_missing_field_is_named() -> None:
    with pytest.raises(ConfigurationError, match="field 'source' is missing"):
        pretraining.build({"name": "tiny"}, {}, "tiny.yaml")


@pytest.mark.parametrize("until", ["soon", "2009-13-01", (datetime.now(UTC) + timedelta(days=2)).date().isoformat()])
def test_a_time_that_is_none_or_has_not_come_is_refused(until: str) -> None:
    with pytest.raises(ConfigurationError, match=until):
        Pretraining(**GIVEN, until=until).refuse_the_future()


@pytest.mark.parametrize("until", ["", "2009-12-31", "2009-12-31T21:00:00+00:00"])
def test_a_time_that_is_over_is_not(until: str) -> None:
    Pretraining(**GIVEN, until=until).refuse_the_future()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_description_is_one(path: Path) -> None:
    found = pretraining.load(path, {})
    assert found.name == path.stem
    found.refuse_the_future()
    found.problem()


@pytest.mark.parametrize(
    ("changes", "looks"),
    [
        ({}, ""),
        ({"architecture": "image", "body": "autokeras"}, "autokeras"),
        ({"architecture": "image", "body": "MobileNetV2", "pixels": 128}, "MobileNetV2@128"),
    ],
)
def test_a_body_is_told_as_a_network_is_described(changes: dict[str, Any], looks: str) -> None:
    assert Pretraining(**GIVEN, **changes).looks == looks


def test_a_file_of_weights_is_told_by_its_digest_or_missed_in_words(tmp_path: Path) -> None:
    path = tmp_path / "imagenet.h5"
    plan = Pretraining(**GIVEN, architecture="image", body="MobileNet", weights_from=str(path))
    with pytest.raises(ConfigurationError, match=r"from: .*imagenet\.h5: cannot be read.*nothing is downloaded"):
        plan.weights_sha256()
    path.write_bytes(b"weights")
    assert plan.weights_sha256() == sha256_file(path)
    assert Pretraining(**GIVEN).weights_sha256() == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bar": "1h"}, "bar was '1d' and is '1h'"),
        ({"calendar": "24/7"}, "calendar was 'XNYS' and is '24/7'"),
        ({"adjust": "none"}, "adjust was 'splits' and is 'none'"),
        ({"tick": 0.05}, "tick was 0.01 and is 0.05"),
        ({"tasks": ("direction",)}, "tasks was"),
        ({"horizons": (1, 5)}, "horizons was"),
        ({"length": 32, "width": 8}, "length was 64 and is 32; width was 32 and is 8"),
        ({"architecture": "image", "body": "MobileNet", "weights_from": "/x.h5"}, "weights_from was '' and is '/x.h5'"),
    ],
)
def test_an_update_of_another_backbone_than_its_parent_is_refused_field_by_field(
    changes: dict[str, Any], words: str
) -> None:
    parent = {"pretraining": Pretraining(**GIVEN).model_dump(mode="json")}
    with pytest.raises(ConfigurationError, match=words) as refused:
        Pretraining(**GIVEN, **changes, update="incremental").refuse_another(parent, "version 3")
    assert "version 3 cannot be gone on from" in str(refused.value)


def test_what_may_differ_from_one_version_to_the_next_is_not_refused() -> None:
    parent = {"pretraining": {**Pretraining(**GIVEN, until="2009-12-31").model_dump(mode="json"), "steps": 300}}
    tasks: tuple[Task, ...] = ("volatility", "masked", "direction")
    again = Pretraining(**GIVEN, tasks=tasks, update="incremental", steps=500, seed=3, threads=1, symbols=("A",))
    again.refuse_another(parent, "version 3")
    again.refuse_another({}, "version 3")


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such file"):
        pretraining.load(tmp_path / "x.yaml", {})
    for content, words in ((b"- a\n", "must hold a mapping"), (b"a: [", "not readable as YAML")):
        (tmp_path / "y.yaml").write_bytes(content)
        with pytest.raises(ConfigurationError, match=words):
            pretraining.load(tmp_path / "y.yaml", {})


def test_its_form_is_flat_and_in_order() -> None:
    schema = Pretraining.model_json_schema()["properties"]
    assert [field["position"] for field in schema.values()] == sorted(field["position"] for field in schema.values())
    assert {field["title"].split(":")[0] for field in schema.values()} == {"Name", *GROUPS.values()}
    assert "$defs" not in Pretraining.model_json_schema()
