"""Backbones in the registry: registered once, pulled whole or not at all, and found for the problems they fit."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.backbones import FILES, MANIFEST, described
from tasks.contracts import Backbone, FeatureMatrix, FeatureSpec, Ref, Rows, Window, WindowName
from tasks.errors import ConfigurationError, IntegrityError, RegistryError, StorageError
from tasks.problem import Problem
from tasks.registry import backbones, mlflow_store
from tasks.registry.mlflow_store import Store
from tasks.search.transfer.channels import CHANNELS
from tasks.storage import home
from tests.search.transfer.folders import evidence, made

NO_FILE = Ref(path="", sha256="", rows=0)
STARTS: tuple[tuple[WindowName, str], ...] = (("train", "2000-01-03T21:00:00Z"), ("validation", "2011-03-01T21:00:00Z"))


def rows(validation: str = STARTS[1][1]) -> Rows:
    """Rows whose validation window begins then."""
    windows = tuple(
        Window(name=name, first=validation if name == "validation" else first, last="2018-12-31", rows=9, dates=9)
        for name, first in STARTS
    )
    return Rows(ref=NO_FILE, target=problem().objective, windows=windows, purged=0, embargo=5, term_start="")


def matrix(*columns: str) -> FeatureMatrix:
    return FeatureMatrix(ref=NO_FILE, spec=FeatureSpec(columns=columns or CHANNELS, tick=0.01), lookback=22)


def problem(**changes: Any) -> Problem:
    return Problem(**{"name": "nasdaq", "source": "builtin:nasdaq", "engines": ("baseline", "transfer"), **changes})


@pytest.fixture
def registered(store: Store, tmp_path: Path) -> Store:
    """Two versions of ``tiny``, the second of which saw more, and one of ``hourly``."""
    for place, told in enumerate(
        ({}, {"end": "2014-12-31T21:00:00+00:00"}, {"name": "hourly", "bar": "1h", "end": "2008-12-31T21:00:00+00:00"})
    ):
        made(tmp_path / f"folder-{place}", **told)
        backbones.register(store, tmp_path / f"folder-{place}")
    return store


def test_a_version_says_what_it_saw_and_can_do(registered: Store) -> None:
    newest, first, hourly = sorted(backbones.versions(registered), key=lambda each: each.backbone.end, reverse=True)
    assert (first.backbone.name, first.backbone.version, newest.backbone.version) == ("tiny", "1", "2")
    assert first.backbone.end == "2009-12-31T21:00:00+00:00"
    assert first.backbone.tasks == ("volatility", "direction")
    assert first.evidence == (evidence(),)
    assert (hourly.backbone.name, hourly.backbone.bar, hourly.device) == ("hourly", "1h", "cpu")
    tags = registered.client.get_model_version("backbone-tiny", "1").tags
    assert {"end", "bar", "tasks", "sha256", "evidence"} <= set(tags)
    run = registered.client.get_run(first.run_id)
    assert run.data.metrics["volatility/loss"] == pytest.approx(0.09)


def test_the_same_backbone_is_registered_once(registered: Store, tmp_path: Path) -> None:
    made(tmp_path / "again")
    assert backbones.register(registered, tmp_path / "again").backbone.version == "1"
    assert len(backbones.versions(registered, "tiny")) == 2


def test_they_are_no_models_that_serve(registered: Store) -> None:
    assert mlflow_store.names(registered) == ()
    registered.client.create_registered_model("nasdaq")
    assert mlflow_store.names(registered) == ("nasdaq",)
    assert mlflow_store.backbone_names(registered, backbones.PREFIX) == ("hourly", "tiny")


def test_a_model_of_that_name_is_not_taken_for_a_backbone(store: Store, tmp_path: Path) -> None:
    store.client.create_registered_model("backbone-tiny")
    made(tmp_path / "folder")
    with pytest.raises(RegistryError, match="a model of another kind"):
        backbones.register(store, tmp_path / "folder")


def test_what_is_pulled_is_verified_each_time_and_mended(registered: Store) -> None:
    known = backbones.versions(registered, "tiny", "1")[0].backbone
    first = backbones.pull(registered, known)
    assert Path(first.folder).is_relative_to(home() / "backbones")
    (Path(first.folder) / "weights.npz").write_bytes(b"altered")
    again = backbones.pull(registered, known)
    assert again == first
    assert (Path(again.folder) / "weights.npz").read_bytes() != b"altered"


@pytest.mark.parametrize("damaged", [False, True])
def test_two_that_pull_at_once_have_the_same_sound_folder(
    damaged: bool, registered: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first that is there stays there, for a search may be reading it by now; what was damaged is set aside."""
    fetch, both = mlflow_store.fetch, threading.Barrier(2, timeout=20)

    def waiting(*given: Any) -> Path:
        found = fetch(*given)
        both.wait()
        return found

    monkeypatch.setattr(mlflow_store, "fetch", waiting)
    known = backbones.versions(registered, "tiny", "1")[0].backbone
    place = home() / "backbones" / "tiny" / f"1-{known.sha256[:12]}"
    if damaged:
        (place / "weights.npz").write_bytes(b"altered")
    else:
        shutil.rmtree(place)
    kept: list[int] = []

    def pulled() -> Backbone:
        found = backbones.pull(registered, known)
        kept.append(Path(found.folder).stat().st_ino)
        return found

    with ThreadPoolExecutor(2) as pool:
        one, other = (each.result() for each in [pool.submit(pulled), pool.submit(pulled)])
    assert one == other == described(place, "1")
    assert set(kept) == {place.stat().st_ino}
    aside = list(place.parent.glob("*.damaged-*"))
    assert len(aside) == damaged
    assert not list(place.parent.glob(".pulling-*"))


def test_a_place_that_cannot_be_written_is_said_in_words(registered: Store) -> None:
    known = backbones.versions(registered, "tiny", "1")[0].backbone
    shutil.rmtree(home() / "backbones")
    (home() / "backbones").write_text("not a folder")
    with pytest.raises(StorageError, match="cannot be written"):
        backbones.pull(registered, known)


def test_of_two_that_register_the_same_at_once_one_version_is_left(
    registered: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path / "folder", end="2016-12-30T21:00:00+00:00")
    tags, both = backbones._tags, threading.Barrier(2, timeout=20)

    def waiting(*given: Any) -> dict[str, str]:
        both.wait()
        return tags(*given)

    monkeypatch.setattr(backbones, "_tags", waiting)
    with ThreadPoolExecutor(2) as pool:
        found = [pool.submit(backbones.register, registered, tmp_path / "folder") for _ in range(2)]
        versions = {each.result().backbone.version for each in found}
    assert versions == {"3"}
    assert [each.backbone.version for each in backbones.versions(registered, "tiny")] == ["3", "2", "1"]


@pytest.mark.parametrize("name", [MANIFEST, *FILES])
def test_a_registry_whose_files_were_altered_is_refused(name: str, registered: Store) -> None:
    known = backbones.versions(registered, "tiny", "1")[0]
    shutil.rmtree(home() / "backbones")
    artifacts = Path(registered.client.get_run(known.run_id).info.artifact_uri.removeprefix("file://"))
    content = bytearray((artifacts / backbones.ARTIFACT / name).read_bytes())
    content[-20] ^= 1
    (artifacts / backbones.ARTIFACT / name).write_bytes(content)
    with pytest.raises(IntegrityError, match=name):
        backbones.pull(registered, known.backbone)
    assert not list((home() / "backbones").glob("tiny/1-*"))


def test_a_problem_gets_of_each_name_the_newest_that_may_be_used_its_own_bars_first(registered: Store) -> None:
    found = backbones.resolve(problem(), rows(), matrix())
    assert [(each.name, each.version) for each in found] == [("tiny", "1"), ("hourly", "1")]
    assert all(Path(each.folder, MANIFEST).is_file() for each in found)
    later = backbones.resolve(problem(), rows("2016-01-04T21:00:00Z"), matrix())
    assert [(each.name, each.version) for each in later] == [("tiny", "2"), ("hourly", "1")]
    hourly = backbones.resolve(problem(bar="1h"), rows(), matrix())
    assert [each.name for each in hourly] == ["hourly", "tiny"]


def test_one_that_was_altered_takes_no_other_along(registered: Store) -> None:
    shutil.rmtree(home() / "backbones")
    known = backbones.versions(registered, "tiny", "1")[0]
    artifacts = Path(registered.client.get_run(known.run_id).info.artifact_uri.removeprefix("file://"))
    (artifacts / backbones.ARTIFACT / "weights.npz").write_bytes(b"altered")
    assert [each.name for each in backbones.resolve(problem(), rows(), matrix())] == ["hourly"]
    with pytest.raises(IntegrityError, match=r"weights\.npz"):
        backbones.resolve(problem(backbone="tiny:1"), rows(), matrix())


def test_a_problem_names_a_backbone_or_a_version(registered: Store) -> None:
    (found,) = backbones.resolve(problem(backbone="tiny"), rows(), matrix())
    assert found.version == "1", "the newest admissible one, not the newest"
    (found,) = backbones.resolve(problem(backbone="tiny:1"), rows(), matrix())
    assert found.version == "1"


def test_a_named_version_that_saw_the_window_is_refused_with_both_dates(registered: Store) -> None:
    with pytest.raises(ConfigurationError) as refused:
        backbones.resolve(problem(backbone="tiny:2"), rows(), matrix())
    assert "2014-12-31T21:00:00+00:00" in str(refused.value)
    assert "2011-03-01T21:00:00Z" in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "columns", "words"),
    [
        ({"backbone": "huge"}, CHANNELS, "no backbone 'huge'.*there are: hourly:1, tiny:2, tiny:1"),
        ({"backbone": "tiny:7"}, CHANNELS, "no backbone 'tiny:7'"),
        ({}, ("har_1", "return_1"), "needs the features medprice, which"),
        ({"cross_section": "rank"}, CHANNELS, "cross_section is 'rank'"),
    ],
)
def test_where_none_fits_the_reason_is_said(
    changes: dict[str, Any], columns: tuple[str, ...], words: str, registered: Store
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        backbones.resolve(problem(**changes), rows(), matrix(*columns))


def test_without_any_backbone_the_way_to_one_is_said(store: Store) -> None:
    assert backbones.versions(store) == ()
    with pytest.raises(ConfigurationError, match=r"there are: none.*nocturne pretrain"):
        backbones.resolve(problem(), rows(), matrix())


def test_a_page_tells_the_evidence(registered: Store) -> None:
    listed = backbones.versions(registered, "tiny", "1")[0]
    page = backbones.markdown(replace(listed, evidence=(evidence(), evidence(low=None, high=None, horizon=0))))
    assert "| volatility | 5 | 0.0900 | 0.1000 | HAR | 0.100 | 0.020 to 0.170 | 300 | 2008-06-20 | 2009-11-27 |" in page
    assert "| volatility | - | 0.0900 | 0.1000 | HAR | 0.100 | - | 300 |" in page
    assert "2009-12-31T21:00:00+00:00**: it may serve problems whose validation window begins after that" in page
    assert backbones.NOTHING_KNOWN not in page


def test_a_page_says_where_nothing_is_known_yet(registered: Store) -> None:
    page = backbones.markdown(replace(backbones.versions(registered, "tiny", "1")[0], evidence=()))
    assert backbones.NOTHING_KNOWN in page
    assert "| task |" not in page
