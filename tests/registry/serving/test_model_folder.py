"""A serving folder is whole or refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tasks.errors import IntegrityError, StorageError
from tasks.registry.serving.model_folder import read_document, write_model
from tasks.registry.serving.scorers import load_scorer
from tests.registry.conftest import linear_model

DOCUMENT = {"kind": "linear", "output": "value", "columns": [], "files": {"onnx": "net.onnx"}}


def test_what_is_written_is_read_with_digests(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"network")
    write_model(tmp_path, DOCUMENT)
    document = read_document(tmp_path)
    assert document["files"] == {"onnx": "net.onnx"}
    assert document["history"] == 0
    assert set(document["digests"]) == {"net.onnx"}


def test_any_flipped_bit_of_a_named_file_is_found(tmp_path: Path) -> None:
    data = bytes(range(64))
    (tmp_path / "net.onnx").write_bytes(data)
    write_model(tmp_path, DOCUMENT)
    for position in range(len(data)):
        flipped = bytearray(data)
        flipped[position] ^= 1 << (position % 8)
        (tmp_path / "net.onnx").write_bytes(flipped)
        with pytest.raises(IntegrityError, match=r"net\.onnx: SHA-256 is"):
            read_document(tmp_path)


def test_missing_files_and_documents_are_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"model\.json: cannot be read"):
        read_document(tmp_path)
    with pytest.raises(StorageError, match=r"net\.onnx"):
        write_model(tmp_path, DOCUMENT)
    (tmp_path / "net.onnx").write_bytes(b"network")
    write_model(tmp_path, DOCUMENT)
    (tmp_path / "net.onnx").unlink()
    with pytest.raises(IntegrityError, match=r"net\.onnx: recorded in the model and missing"):
        read_document(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format 2"),
        ({"output": "label"}, "output must be"),
        ({"digests": {}}, "named without a digest"),
        ({"digests": {"../escape": "00"}, "files": {}}, "points out of the model's folder"),
        ({"kind": "pickle"}, "unknown kind of model 'pickle'"),
    ],
)
def test_malformed_documents_are_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    (tmp_path / "net.onnx").write_bytes(b"network")
    write_model(tmp_path, DOCUMENT)
    document = json.loads((tmp_path / "model.json").read_bytes())
    (tmp_path / "model.json").write_text(json.dumps(document | change))
    with pytest.raises(IntegrityError, match=message):
        load_scorer(tmp_path)


def test_parameters_that_do_not_fit_the_columns_are_refused(tmp_path: Path) -> None:
    for change in ({"coefficients": [1.0]}, {"center": [0.0]}, {"scale": [1.0, 0.0, 1.0, 1.0]}, {"clip": "eight"}):
        folder = linear_model(tmp_path / str(len(list(tmp_path.iterdir()))), **change)
        with pytest.raises(IntegrityError):
            load_scorer(folder).predict(np.zeros((1, 4)))


def test_nan_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        linear_model(tmp_path, intercept=float("nan"))
    assert not (tmp_path / "model.json").exists()
