"""One bit flipped in what a night stored: found by its digest before it is parsed; computed again, or refused.

A cached stage is computed again; a bar store's part, a snapshot's file, a MOJO and an ONNX network are refused (a
snapshot that is made anew is put right). The bits are drawn; NOCTURNE_FAULTS_SEED replays them.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pandas as pd
import pytest

from tasks import storage
from tasks.bars.describe import SourceDescription
from tasks.bars.ingest import ingest_source
from tasks.bars.store import BarStore
from tasks.errors import IntegrityError
from tasks.registry.serving.scorers import load_scorer
from tests.bars.files import NOW, write, year_of
from tests.faults.disks import WRITERS, promoted
from tests.registry.conftest import Mojos, mojo_model, mojos
from tests.registry.serving.test_scorers import onnx_model

__all__ = ["mojos"]
SEED = int(os.environ.get("NOCTURNE_FAULTS_SEED") or random.SystemRandom().randrange(10**6))
FLIPS = 40
Tell = Callable[[str, object], None]


def flipped(path: Path, draw: random.Random) -> Iterator[str]:
    """So many times another bit of the file, which is put back; yields which."""
    whole = path.read_bytes()
    for _ in range(FLIPS):
        place, bit = draw.randrange(len(whole)), draw.randrange(8)
        altered = bytearray(whole)
        altered[place] ^= 1 << bit
        path.write_bytes(altered)
        yield f"seed {SEED}: {path.name}, byte {place}, bit {bit}"
    path.write_bytes(whole)


@pytest.fixture(autouse=True)
def _champion() -> Iterator[None]:
    next(each for each in WRITERS if each.name == "ledger").write(0)
    yield
    assert promoted() == "1"


def test_a_cached_stage_is_computed_again(record_property: Tell) -> None:
    store, draw = storage.StageStore(), random.Random(SEED)
    frame = pd.DataFrame({"x": range(500)})
    for turn in range(FLIPS // 4):
        key = store.key("flipped", {"turn": turn}, ("tasks/errors.py",))
        with store.put("flipped", key) as folder:
            storage.write_parquet(folder / "matrix.parquet", frame)
            storage.write_json(folder / "facts.json", {"rows": 500})
        victim = draw.choice(sorted(store.folder("flipped", key).iterdir()))
        next(flipped(victim, draw))
        assert store.get("flipped", key) is None, f"seed {SEED}: {victim.name}"
        with store.put("flipped", key) as folder:
            storage.write_parquet(folder / "matrix.parquet", frame)
        assert store.get("flipped", key) is not None
    record_property("happened", f"stage: {FLIPS // 4} of {FLIPS // 4} computed again")


def test_bars_are_refused_and_a_snapshot_is_put_right(tmp_path: Path, record_property: Tell) -> None:
    draw = random.Random(SEED)
    description = SourceDescription(source=str(write(tmp_path / "prices.csv", year_of("SP500"))))
    snapshot = ingest_source(description, NOW)
    (part,) = (Path(ref.path) for ref in BarStore(description).parts())
    for which in flipped(part, draw):
        with mock.patch("pandas.read_parquet", side_effect=AssertionError("parsed")), pytest.raises(IntegrityError):
            BarStore(description).read()
        assert which
    path, whole = Path(snapshot.bars.path), storage.read_parquet(snapshot.bars)
    for which in flipped(path, draw):
        with mock.patch("pandas.read_parquet", side_effect=AssertionError("parsed")), pytest.raises(IntegrityError):
            storage.read_parquet(snapshot.bars)
        assert which
    next(flipped(path, draw))
    again = ingest_source(description, NOW)
    assert storage.read_parquet(again.bars).equals(whole)
    record_property("happened", f"Parquet: {2 * FLIPS} of {2 * FLIPS} refused unparsed, the snapshot made anew")


def test_an_onnx_network_is_refused_before_it_is_parsed(tmp_path: Path, record_property: Tell) -> None:
    folder, _ = onnx_model(tmp_path)
    for which in flipped(folder / "model.onnx", random.Random(SEED)):
        parsed = mock.patch("onnxruntime.InferenceSession", side_effect=AssertionError(which))
        with parsed, pytest.raises(IntegrityError, match="SHA-256"):
            load_scorer(folder)
    load_scorer(folder)
    record_property("happened", f"ONNX: {FLIPS} of {FLIPS} refused unparsed")


@pytest.mark.needs_java
def test_a_mojo_and_its_jar_are_refused_before_java_sees_them(
    tmp_path: Path, mojos: Mojos, record_property: Tell
) -> None:
    folder = mojo_model(tmp_path, mojos)
    for name in ("model.zip", "h2o-genmodel.jar"):
        for which in flipped(folder / name, random.Random(SEED)):
            parsed = mock.patch("jpype.startJVM", side_effect=AssertionError(which))
            with parsed, pytest.raises(IntegrityError, match="SHA-256"):
                load_scorer(folder)
    record_property("happened", f"MOJO and jar: {2 * FLIPS} of {2 * FLIPS} refused unparsed")
