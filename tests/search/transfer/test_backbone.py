"""A backbone's folder is read as it was written, or not at all; and where it may be used is said in words."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.backbones import FILES, MANIFEST, SCALE_FREE, Contents, contents, described
from tasks.contracts import Backbone, Rows, Window
from tasks.errors import IntegrityError
from tasks.search.transfer import backbone
from tasks.search.transfer.channels import CHANNELS
from tasks.storage import sha256_file
from tests.search.transfer.folders import Sizes, arrays, made

pytestmark = pytest.mark.filterwarnings(
    # keras 3.15 takes its variables to NumPy in a way that NumPy 2 warns of
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)
WINDOW: dict[str, Any] = {"last": "2018-12-31T21:00:00Z", "rows": 1, "dates": 1}


def test_what_was_written_is_what_is_read(tmp_path: Path) -> None:
    written = made(tmp_path)
    found = backbone.read(written)
    assert (written.end, written.bar, written.length) == ("2009-12-31T21:00:00+00:00", "1d", 24)
    assert written.channels == CHANNELS
    assert found.spec.width == 4
    for kind, expected in arrays().items():
        parts = getattr(found, kind)
        assert list(parts) == sorted(expected)
        for name, array in expected.items():
            np.testing.assert_array_equal(parts[name], array)
            assert parts[name].dtype == array.dtype


def test_the_same_arrays_give_the_same_digest(tmp_path: Path) -> None:
    assert made(tmp_path / "one").sha256 == made(tmp_path / "two").sha256
    assert made(tmp_path / "three", end="2009-12-30T21:00:00+00:00").sha256 != made(tmp_path / "four").sha256


@pytest.mark.parametrize("name", [MANIFEST, *FILES])
def test_a_flipped_byte_in_any_file_is_refused_by_its_name(name: str, tmp_path: Path) -> None:
    written = made(tmp_path)
    content = bytearray((tmp_path / name).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / name).write_bytes(content)
    with pytest.raises(IntegrityError, match=name):
        backbone.read(written)


@pytest.mark.parametrize("name", [MANIFEST, *FILES])
def test_a_missing_file_is_refused_by_its_name(name: str, tmp_path: Path) -> None:
    written = made(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(IntegrityError, match=name):
        backbone.read(written)


def test_what_is_parsed_are_the_bytes_that_were_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever alters the files once they are verified is too late."""
    written = made(tmp_path)

    def then_altered(*given: Any) -> Contents:
        found = contents(*given)
        for name in (MANIFEST, *FILES):
            (tmp_path / name).write_bytes(b"altered")
        return found

    monkeypatch.setattr(backbone, "contents", then_altered)
    found = backbone.read(written)
    assert found.manifest["end"] == written.end
    np.testing.assert_array_equal(found.weights["stem/bias"], np.ones(2))


class Mark:
    """Leaves a file behind if anyone unpickles it."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path(self.path),))


def with_digests(folder: Path) -> Backbone:
    """The folder again with the digests of what lies there now, as someone who alters it on purpose would."""
    document = json.loads((folder / MANIFEST).read_bytes())
    document["digests"] = {name: sha256_file(folder / name) for name in FILES}
    (folder / MANIFEST).write_text(json.dumps(document))
    return described(folder)


def test_a_pickle_inside_is_never_opened(tmp_path: Path) -> None:
    made(tmp_path)
    ran = tmp_path / "ran"
    content = np.empty(1, dtype=object)
    content[0] = Mark(str(ran))
    np.savez(tmp_path / "weights.npz", kernel=content)
    with pytest.raises(IntegrityError, match=r"weights\.npz: not an archive of plain arrays"):
        backbone.read(with_digests(tmp_path))
    (tmp_path / "heads.npz").write_bytes(pickle.dumps(Mark(str(ran))))
    (tmp_path / "weights.npz").write_bytes((tmp_path / "fisher.npz").read_bytes())
    with pytest.raises(IntegrityError, match=r"heads\.npz"):
        backbone.read(with_digests(tmp_path))
    assert not ran.exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 1}, "format is 1, this version reads 2"),
        ({"digests": {"weights.npz": "0"}}, "must name the digests"),
        ({"spec": {"architecture": "tcn"}}, "not a backbone's manifest"),
        ({"spec": {"length": 24, "architecture": "forest"}}, "no network that is known"),
    ],
)
def test_a_manifest_that_is_not_understood_is_refused(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    written = made(tmp_path)
    document = {**json.loads((tmp_path / MANIFEST).read_bytes()), **change}
    (tmp_path / MANIFEST).write_text(json.dumps(document))
    with pytest.raises(IntegrityError, match=words):
        both(replace(written, sha256=sha256_file(tmp_path / MANIFEST)))


def both(altered: Backbone) -> None:
    """Described, as the registry does, and read, as the search does."""
    described(Path(altered.folder))
    backbone.read(altered)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    from tasks.search.auto_keras import use_jax  # noqa: PLC0415

    use_jax(1)
    from tasks.search.transfer import networks  # noqa: PLC0415

    small, large = (networks.Spec(architecture="tcn", length=24, width=width, depth=1, embedding=3) for width in (4, 8))
    parts = {**arrays(), "weights": networks.weights(networks.encoder(small, 1))}
    document = {**manifest_of(tmp_path / "other"), "name": "small"}
    found = backbone.read(backbone.write(tmp_path / "small", document, spec=small, **parts))
    networks.load_weights(networks.encoder(small, 2), found.weights)
    with pytest.raises(IntegrityError, match="weights that do not match"):
        networks.load_weights(networks.encoder(large, 1), found.weights)


def manifest_of(folder: Path) -> dict[str, Any]:
    """What a made-up folder's manifest says."""
    made(folder)
    return contents(folder).document


def test_objects_and_infinities_are_not_written(tmp_path: Path) -> None:
    told = manifest_of(tmp_path / "other")
    for kind, array in (("weights", np.array([None])), ("fisher", np.array([np.inf]))):
        with pytest.raises(ValueError, match=kind):
            backbone.write(tmp_path / kind, told, spec=Sizes(), **{**arrays(), kind: {"a": array}})  # type: ignore[arg-type]


ADMISSIBLE: dict[str, Any] = {
    "bar": "1d",
    "columns": (*CHANNELS, "rsi_14"),
    "first_scored": "2011-03-01T21:00:00Z",
    "cross_section": "none",
}


def test_a_backbone_is_admissible_where_it_ends_before_the_first_scored_row(tmp_path: Path) -> None:
    assert backbone.refusal(made(tmp_path), **ADMISSIBLE) == ""


@pytest.mark.parametrize("lacking", [("relative_volume_20",), ("bop",), ("bop", "relative_volume_20")])
def test_volume_and_opens_may_be_lacking_because_masks_say_so(lacking: tuple[str, ...], tmp_path: Path) -> None:
    columns = tuple(name for name in CHANNELS if name not in lacking)
    assert backbone.refusal(made(tmp_path), **{**ADMISSIBLE, "columns": columns}) == ""


@pytest.mark.parametrize("first", ["2009-12-31T21:00:00Z", "2009-12-31T20:00:00Z", "2004-01-02T21:00:00Z"])
def test_a_backbone_that_saw_what_is_scored_is_refused_with_both_dates(first: str, tmp_path: Path) -> None:
    words = backbone.refusal(replace(made(tmp_path), version="3"), **{**ADMISSIBLE, "first_scored": first})
    assert "2009-12-31T21:00:00+00:00" in words
    assert first in words
    assert "look ahead" in words
    assert "backbone tiny version 3" in words


def test_bars_of_another_size_need_a_rule(tmp_path: Path) -> None:
    hourly = {**ADMISSIBLE, "bar": "1h"}
    known = made(tmp_path)
    assert known.other_bars == SCALE_FREE
    assert backbone.refusal(known, **hourly) == ""
    words = backbone.refusal(replace(known, other_bars=""), **hourly)
    assert "1d" in words
    assert "1h" in words


def test_a_missing_channel_and_a_cross_section_are_refused_in_words(tmp_path: Path) -> None:
    known = made(tmp_path)
    assert "medprice" in backbone.refusal(known, **{**ADMISSIBLE, "columns": ("return_1", "har_1")})
    assert "cross_section is 'rank'" in backbone.refusal(known, **{**ADMISSIBLE, "cross_section": "rank"})


def test_the_first_scored_row_is_where_the_validation_window_begins() -> None:
    windows = (
        Window(name="train", first="2000-01-03", **WINDOW),
        Window(name="validation", first="2011-03-01", **WINDOW),
        Window(name="selection", first="2013-01-02", **WINDOW),
    )
    rows = Rows(
        ref=None, target=None, windows=windows, purged=0, embargo=5, term_start="",  # type: ignore[arg-type]
    )  # fmt: skip
    assert backbone.first_scored(rows) == "2011-03-01"
