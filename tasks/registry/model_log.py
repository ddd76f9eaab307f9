"""Logging one model with MLflow: its bundle, the code that travels, an explicit signature, a short list of needs."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.contracts import Candidate
from tasks.registry import mlflow_store
from tasks.registry.bundle import write_bundle
from tasks.registry.example import example_bars, needed
from tasks.registry.needs import installed_for
from tasks.registry.records import Night
from tasks.registry.serving.model_folder import read_document
from tasks.registry.travel import write_package, write_script


def log_model(run_id: str, name: str, night: Night, candidate: Candidate, facts: dict[str, Any]) -> str:
    """Log a candidate as a pyfunc model of this run and return its ``models:/…`` URI.

    ``facts`` as for ``write_bundle``. Raises RegistryError if MLflow refuses, IntegrityError for a damaged folder.
    """
    document = read_document(Path(candidate.model))
    with tempfile.TemporaryDirectory(prefix="nocturne-model-") as scratch:
        folder = Path(scratch)
        bundle = folder / "bundle"
        manifest = write_bundle(bundle, night, candidate, facts)
        package = write_package(folder / "code")
        with _importable(package):
            return mlflow_store.log_pyfunc(
                run_id,
                name,
                python_model=str(write_script(folder, package.name)),
                code_paths=[str(package)],
                artifacts={"bundle": str(bundle)},
                signature=_face().signature(
                    has_volume=night.snapshot.has_volume,
                    many_symbols=len(night.snapshot.symbols) > 1,
                    compares=manifest.spec.cross_section != "none",
                ),
                input_example=example_bars(night, candidate),
                pip_requirements=installed_for(document["kind"]),
                metadata={
                    "candidate": candidate.name,
                    "engine": candidate.engine,
                    "package": package.name,
                    "takes": _face().takes(manifest.spec, len(manifest.symbols), needed(document)),
                },
            )


def _face() -> Any:
    """The module that MLflow calls: imported only where a model is logged, and without what MLflow warns of then."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MLflow's own type hints
        from tasks.registry.serving import pyfunc  # noqa: PLC0415

    return pyfunc


@contextlib.contextmanager
def _importable(package: Path) -> Iterator[None]:
    """MLflow runs the model script once when it logs; the package lies in a scratch folder that will be gone.

    No bytecode is written meanwhile: it would be logged with the model.
    """
    before, bytecode = list(sys.path), sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(package.parent))
    try:
        yield
    finally:
        sys.dont_write_bytecode = bytecode
        # MLflow adds a scratch folder of its own and leaves it there.
        sys.path[:] = [entry for entry in sys.path if entry in before]
        for loaded in [key for key in sys.modules if key.split(".")[0] == package.name]:
            del sys.modules[loaded]
