"""A pre-trained encoder as a folder: written once, read back only as it was written (format: ``tasks.backbones``).

Arrays lie in ``.npz`` files without pickles. A manifest's digests are checked before anything is parsed; whether the
weights are those of the network that the manifest describes, ``networks.load_weights`` says when they are put into it.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tasks.backbones import FILES, FORMAT, MANIFEST, SCALE_FREE, contents, described, first_scored, refusal
from tasks.contracts import Backbone
from tasks.errors import ConfigurationError, IntegrityError
from tasks.storage import sha256_file, write_json

if TYPE_CHECKING:
    from tasks.search.transfer.networks import Spec

__all__ = ["SCALE_FREE", "Arrays", "Loaded", "described", "first_scored", "read", "refusal", "write"]
Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A backbone's verified parts.

    weights: of the encoder, by name. heads: of what was trained on top of it, ``<task>/kernel`` (embedding, outputs)
    and ``<task>/bias``. source: a sample of what it saw (``objectives.Sample``). fisher: by the names of ``weights``,
    the mean squared gradient of its supervised loss there.
    """

    backbone: Backbone
    spec: Spec
    weights: dict[str, npt.NDArray[Any]]
    heads: dict[str, npt.NDArray[Any]]
    source: dict[str, npt.NDArray[Any]]
    fisher: dict[str, npt.NDArray[Any]]
    manifest: dict[str, Any]


def write(folder: Path, document: Mapping[str, Any], *, spec: Spec, **arrays: Arrays) -> Backbone:
    """Write a backbone's folder; ``arrays`` are ``weights``, ``heads``, ``source`` and ``fisher``, by name.

    document: what ``described`` reads besides (name, channels, bar, end, tasks, other_bars), and whatever else is to be
    known of it. Raises ValueError if an array cannot be written without a pickle or is not finite where it must be.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for file in FILES:
        _save(folder / file, arrays[file.removesuffix(".npz")])
    digests = {file: sha256_file(folder / file) for file in FILES}
    write_json(folder / MANIFEST, {**document, "format": FORMAT, "spec": asdict(spec), "digests": digests})
    return described(folder)


def read(backbone: Backbone) -> Loaded:
    """A backbone's parts: each file is read once, verified, and parsed from the bytes that were verified.

    Raises IntegrityError that names the file which is missing, altered, pickled or not understood.
    """
    os.environ.setdefault("KERAS_BACKEND", "jax")
    from tasks.search.transfer.networks import Spec  # noqa: PLC0415 - it imports keras, whose backend comes first

    folder = Path(backbone.folder)
    found = contents(folder, backbone.sha256)
    try:
        spec = Spec(**found.document["spec"])
    except (TypeError, ValueError, ConfigurationError) as error:
        raise IntegrityError(f"{folder / MANIFEST}: describes no network that is known here: {error}") from error
    parts = {file.removesuffix(".npz"): _parsed(folder / file, data) for file, data in found.files.items()}
    return Loaded(backbone=backbone, spec=spec, manifest=found.document, **parts)


def _save(path: Path, arrays: Arrays) -> None:
    """Sorted names and no time stamps that differ: the same arrays give the same bytes."""
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise ValueError(f"{path.name}: {name} holds objects, which only a pickle could keep")
        if path.name != "source.npz" and not np.isfinite(array).all():
            raise ValueError(f"{path.name}: {name} holds values that are not finite")
    np.savez(path, allow_pickle=False, **{name: arrays[name] for name in sorted(arrays)})


def _parsed(path: Path, data: bytes) -> dict[str, npt.NDArray[Any]]:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise IntegrityError(f"{path}: not an archive of plain arrays (pickles are never read): {error}") from error
