"""What is removed from a state folder: what nobody has used for long and nobody needs, and nothing else."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.observed import Observed
from flows.resources import Meter
from tasks import retention
from tasks.journal import Journal
from tasks.retention import DAY, Kept, prune, superfluous
from tasks.storage import StageStore, home

LONG_AGO = time.time() - 40 * DAY


def output(key: str, used: float = LONG_AGO) -> Path:
    """A stage's output, last used then."""
    store = StageStore()
    with store.put("features", key) as folder:
        (folder / "features.bin").write_bytes(bytes(1000))
    path = store.folder("features", key)
    os.utime(path / "manifest.json", (used, used))
    return path


def night(run: str, key: str, end: str = "done") -> None:
    """A night's journal that names an output."""
    journal = Journal.begin("spx", run)
    journal.write("features", "computed", key)
    if end:
        journal.end(end)  # type: ignore[arg-type]


def test_what_nobody_used_for_long_goes_and_what_was_used_stays() -> None:
    old, used, new = output("a" * 64), output("b" * 64), output("c" * 64, time.time())
    assert StageStore().get("features", "b" * 64) == used
    freed = prune()
    assert (freed.folders, old.exists(), used.exists(), new.exists()) == (1, False, True, True)
    assert freed.bytes > 1000
    assert prune().folders == 0


def test_a_backbone_that_nobody_pulled_for_long_goes() -> None:
    for name, used in (("1-old", LONG_AGO), ("2-new", time.time())):
        folder = home() / "backbones" / "tiny" / name
        folder.mkdir(parents=True)
        (folder / "backbone.json").write_bytes(bytes(10))
        os.utime(folder, (used, used))
    assert prune().folders == 1
    assert [path.name for path in (home() / "backbones" / "tiny").iterdir()] == ["2-new"]


def test_what_the_last_whole_night_and_unfinished_runs_name_stays_however_old() -> None:
    paths = {name: output(name * 64) for name in "1234"}
    night("before", "1" * 64)
    night("died", "2" * 64, "interrupted")
    night("whole", "3" * 64)
    night("alive", "4" * 64, "")
    for seconds, run in enumerate(("before", "died", "whole", "alive")):
        os.utime(home() / "runs" / "spx" / "journal" / f"{run}.jsonl", (LONG_AGO + seconds, LONG_AGO + seconds))
    assert prune().folders == 1
    assert [name for name, path in paths.items() if not path.exists()] == ["1"]


def test_an_old_market_of_noise_goes_whole_and_a_living_one_stays() -> None:
    state = home() / "canaries" / "state"
    for market, used in (("spx-202601", LONG_AGO), ("spx-202647", time.time())):
        (state / market / "ledger").mkdir(parents=True)
        (state / market / "ledger" / "ledger.db").write_bytes(bytes(500))
        for path in (state / market / "ledger" / "ledger.db", state / market / "ledger", state / market):
            os.utime(path, (LONG_AGO, LONG_AGO))
        os.utime(state / market / "ledger" / "ledger.db", (used, used))
    assert prune().folders == 1
    assert [path.name for path in state.iterdir()] == ["spx-202647"]


def test_nothing_else_of_the_state_is_touched() -> None:
    for place in (
        "snapshots/x",
        "bars/x",
        "ledger",
        "mlflow/artifacts",
        "reports/spx",
        "runs/spx",
        "recipes/x",
        "live/x",
    ):
        (home() / place).mkdir(parents=True, exist_ok=True)
        (home() / place / "file").write_text("x")
        os.utime(home() / place / "file", (1.0, 1.0))
        os.utime(home() / place, (1.0, 1.0))
    before = sorted(home().rglob("*"))
    assert prune(now=time.time() + 10_000 * DAY).folders == 0
    assert sorted(home().rglob("*")) == before


@pytest.mark.parametrize(("given", "days"), [("", 30.0), ("7", 7.0), ("0", 0.0)])
def test_how_long_is_the_operators_word(given: str, days: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(retention.SETTING, given)
    assert retention.keep_days() == days


@pytest.mark.parametrize("given", ["soon", "-1", "nan", "inf"])
def test_a_word_that_is_none_keeps_everything_and_says_so(
    given: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = output("a" * 64)
    monkeypatch.setenv(retention.SETTING, given)
    retention.prune_safely()
    assert path.exists()
    assert "NOCTURNE_KEEP_DAYS must be a number of days" in caplog.text


def test_the_night_says_how_much_it_freed(caplog: pytest.LogCaptureFixture) -> None:
    output("a" * 64)
    with caplog.at_level("INFO", logger="nocturne.retention"):
        retention.prune_safely()
    assert "1 old folders of stages and canaries were removed: 0.0 MB" in caplog.text


@given(
    ages=st.lists(st.floats(0, 100), max_size=20),
    days=st.floats(0, 60),
    needed=st.frozensets(st.integers(0, 19).map(str)),
)
def test_the_rule_takes_what_is_older_and_not_needed(ages: list[float], days: float, needed: frozenset[str]) -> None:
    found = [Kept(Path(str(place)), 1e9 - age * DAY) for place, age in enumerate(ages)]
    gone = {path.name for path in superfluous(found, needed, 1e9, days)}
    assert gone.isdisjoint(needed)
    if days == 0:
        assert gone == set()
    for place, age in enumerate(ages):
        if days > 0 and abs(age - days) > 1e-6 and str(place) not in needed:
            assert (str(place) in gone) == (age > days)


def test_a_night_without_work_does_not_measure_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[Path] = []

    def measure(folder: Path) -> float:
        measured.append(folder)
        return 1.0

    monkeypatch.setattr("flows.observed.folder_mb", measure)
    meter = Meter()
    try:
        clock = Observed(meter)
        assert clock.grown_mb() == 0.0
        assert measured == []
        with clock.stage("ingest"):
            assert measured == [home()]
        assert clock.grown_mb() == 0.0
    finally:
        meter.close()
