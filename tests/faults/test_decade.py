"""Six weeks of the simulated decade, with each of its troubles many times as often as there.

They hold a clock change, Thanksgiving, a day of mourning and an early close; the whole decade is
``python -m tests.faults.decade``.
"""

from __future__ import annotations

from datetime import date

import pytest

from tests.faults import decade

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
