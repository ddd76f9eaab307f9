"""Six weeks of the simulated decade, with each of its troubles many times as often as there.

They hold a clock change, Thanksgiving, a day of mourning and an early close; the whole decade is
``python -m tests.faults.decade``.
"""

from __future__ import annotations

from collections import Counter
from datetime import date
from itertools import pairwise
from typing import Any

import pytest

from tasks import storage
from tests.faults import decade, decade_night

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decade, "OFTEN", {name: 6 * share for name, share in decade.OFTEN.items()})
    monkeypatch.setattr(decade, "HISTORY", date(2018, 3, 1))


@pytest.mark.usefixtures("often")
def test_no_session_is_missed_or_doubled() -> None:
    lived, found = decade.lived(date(2018, 10, 29), date(2018, 12, 7), seed=4)
    assert found.wrong == (), f"seed {lived.seed}"
    told = dict(found.lines)
    assert told["sessions"] == "28, of them 1 that closed early"
    assert told["holidays skipped"] == "2"
    assert told["clock changes"] == "1"
    assert (told["sessions missed"], told["sessions doubled"]) == ("0", "0")
    happened = {name: lived.told[name] for name in ("double", "killed, by SIGKILL", "value", "late")}
    assert sum(map(bool, happened.values())) >= 3, happened


def test_a_night_opens_each_file_of_stored_bars_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fingerprint, ingest and fingerprint: what was read for one is not read for the next, but by the next night."""
    monkeypatch.setattr(decade, "OFTEN", dict.fromkeys(decade.OFTEN, 0.0))
    monkeypatch.setattr(decade, "HISTORY", date(2018, 9, 4))
    nights: list[Counter[str]] = []
    run, read = decade_night.run, storage.read_parquet

    def night(*given: Any) -> str:
        nights.append(Counter())
        return run(*given)

    def noted(ref: Any, columns: list[str] | None = None) -> Any:
        if nights and "/bars/" in ref.path:
            nights[-1][ref.path] += 1
        return read(ref, columns)

    monkeypatch.setattr(decade_night, "run", night)
    monkeypatch.setattr(storage, "read_parquet", noted)
    _, found = decade.lived(date(2018, 11, 26), date(2018, 12, 12), seed=1)
    assert found.wrong == ()
    read_by = [opened for opened in nights if opened][
        :-1
    ]  # a holiday's night reads nothing, the account follows the last
    assert len(read_by) >= 10
    assert all(set(opened.values()) == {1} for opened in read_by)
    assert any(set(one) & set(other) for one, other in pairwise(read_by))
