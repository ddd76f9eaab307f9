"""What the faults' tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.nights import Nights, nights_under_a_server


@pytest.fixture(scope="session")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nights]:
    """Runs nights in forked children, killed where that is asked for."""
    with nights_under_a_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="session")
def undisturbed(nights: Nights, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A state folder with one night in it that nobody disturbed, and what came of it."""
    home = tmp_path_factory.mktemp("undisturbed")
    return home, nights.one(home)
