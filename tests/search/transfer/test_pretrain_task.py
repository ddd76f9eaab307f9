"""What is stored of a pre-training is used again if it ended by itself."""

from __future__ import annotations

from typing import Any

from tasks.search.transfer.pretrainer import FOLDER
from tasks.search.transfer.task import STAGE, _kept
from tasks.storage import StageStore
from tests.search.transfer.folders import made

INPUTS: dict[str, Any] = {"features": "0", "weights": ""}


def stored(store: StageStore, key: str, *, reproducible: bool) -> None:
    with store.put(STAGE, key) as staging:
        made(staging / FOLDER, reproducible=reproducible)


def test_what_the_clock_ended_is_trained_again_and_what_ended_by_itself_is_not() -> None:
    store = StageStore()
    first, nothing = _kept(store, INPUTS)
    assert nothing is None
    stored(store, first, reproducible=False)
    second, still_nothing = _kept(store, INPUTS)
    assert still_nothing is None
    assert second != first
    assert store.get(STAGE, first) is not None, "whoever refers to it finds it"
    stored(store, second, reproducible=True)
    key, found = _kept(store, INPUTS)
    assert key == second
    assert found is not None
    assert found.folder == str(store.folder(STAGE, second) / FOLDER)
    assert _kept(store, {**INPUTS, "weights": "1"})[1] is None
