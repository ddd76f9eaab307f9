"""History that a vendor changed after it was read: told apart from rounding and splits, and readable as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks import storage
from tasks.bars.describe import SourceDescription
from tasks.bars.ingest import ingest_source
from tasks.bars.parts import Parts
from tasks.bars.readings import NO_LOOKS
from tasks.bars.restated import restatements, told
from tasks.bars.store import BarStore
from tasks.contracts import Snapshot
from tests.bars.files import NOW, with_cell, write, year_of

NIGHT = pd.Timedelta(days=1)


def _night(folder: Path, lines: list[str], night: int) -> Snapshot:
    return ingest_source(SourceDescription(source=str(write(folder / "p.csv", lines))), NOW + night * NIGHT)


def _scaled(line: str, factor: float, volume: float = 1.0) -> str:
    day, *prices, traded = line.split(",")
    return ",".join([day, *(f"{float(price) * factor:.2f}" for price in prices), f"{float(traded) * volume:.0f}"])


def _close(line: str, by: float) -> str:
    """The close moved within its bar, by a share of the price."""
    day, opened, high, low, close, volume = line.split(",")
    moved = float(close) * (1 + by)
    return f"{day},{opened},{max(float(high), moved)},{min(float(low), moved)},{moved},{volume}"


class OnlyOnce:
    """Lets another night write its part while the first one is about to write its own."""

    def __init__(self, other: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
        self.other: Callable[[], object] | None = other
        plain = Parts.add

        def add(parts: Parts, part: pd.DataFrame) -> str:
            other, self.other = self.other, None
            if other:
                other()
            return plain(parts, part)

        monkeypatch.setattr(Parts, "add", add)


def test_two_nights_that_restate_a_bar_at_once_both_see_it(monkeypatch: pytest.MonkeyPatch) -> None:
    times = pd.date_range("2024-01-01T21:00:00Z", periods=30).as_unit("ns")
    prices = {name: 100.0 + np.arange(30) for name in ("open", "high", "low", "close")}
    sessions = times.tz_localize(None).normalize()
    bars = pd.DataFrame({"symbol": "A", "time": times, "session": sessions, **prices, "volume": 1e6})
    restated = bars.assign(**{name: bars[name].where(bars.index != 3, 90.0) for name in prices})
    description = SourceDescription(source="p.csv")
    one, other = (BarStore(description, keeps=True) for _ in range(2))
    BarStore(description).append(bars, NOW, covers=())
    at, later = NOW + NIGHT, NOW + NIGHT + pd.Timedelta(seconds=1)
    OnlyOnce(lambda: other.append(restated, later, covers=()), monkeypatch)
    one.append(restated, at, covers=())
    revisions = BarStore(description).revisions()
    assert revisions["revision"].tolist().count(1) == 2
    for now in (at, later, later + pd.Timedelta(hours=3)):
        assert [(f.rule, f.time[:10]) for f in restatements(revisions, now)] == [("restated", "2024-01-04")]
    assert restatements(revisions, later + NIGHT) == []


@pytest.mark.parametrize(
    ("row", "change", "expected"),
    [
        (9, lambda line: _close(line, 0.02), 1),
        (9, lambda line: _close(line, -0.0011), 1),
        (9, lambda line: _close(line, 0.0005), 0),
        (9, lambda line: with_cell(line, "volume", "1"), 1),
        (9, lambda line: with_cell(line, "volume", str(int(int(line.split(",")[5]) * 1.3))), 0),
        (-1, lambda line: with_cell(line, "volume", "1"), 0),
        (-1, lambda line: _close(line, 0.02), 1),
    ],
)
def test_what_is_beyond_the_tolerance(row: int, change: object, expected: int, tmp_path: Path) -> None:
    lines = list(year_of("SP500"))
    _night(tmp_path, lines, 0)
    lines[row] = change(lines[row])  # type: ignore[operator]
    after = _night(tmp_path, lines, 1)
    assert after.finding_counts.get("restated", 0) == expected
    assert any(warning.startswith("restated") for warning in after.warnings) == bool(expected)
    assert "1 bars differ from what was read before; the new values are used" in after.warnings


def test_the_rows_are_named_with_their_old_and_new_values(tmp_path: Path) -> None:
    lines = list(year_of("SP500"))
    _night(tmp_path, lines, 0)
    lines[9] = with_cell(lines[9], "volume", "1")
    after = _night(tmp_path, lines, 1)
    assert after.findings is not None
    found = [f for f in storage.read_json(Path(after.findings.path)) if f["rule"] == "restated"]
    assert [(f["severity"], f["symbol"], f["time"]) for f in found] == [("warning", "p", f"{lines[9][:10]}T21:00:00Z")]
    assert f"volume {int(year_of('SP500')[9].split(',')[5])} became 1" in found[0]["detail"]
    assert f"p {lines[9][:10]}" in next(w for w in after.warnings if w.startswith("restated"))


def test_a_night_that_is_run_again_sees_it_still_and_the_next_does_not(tmp_path: Path) -> None:
    lines = list(year_of("SP500"))
    _night(tmp_path, lines, 0)
    lines[9] = _close(lines[9], 0.02)
    first = _night(tmp_path, lines, 1)
    again = ingest_source(SourceDescription(source=str(tmp_path / "p.csv")), NOW + NIGHT + pd.Timedelta(hours=3))
    assert again.finding_counts == first.finding_counts
    assert again.findings == first.findings
    assert first.finding_counts["restated"] == 1
    assert "restated" not in _night(tmp_path, lines, 2).finding_counts


def test_a_split_applied_to_the_whole_history_is_no_restatement(tmp_path: Path) -> None:
    lines = list(year_of("SP500"))
    _night(tmp_path, lines, 0)
    after = _night(tmp_path, [_scaled(line, 0.25, 4) for line in lines], 1)
    assert "restated" not in after.finding_counts
    assert after.finding_counts["rescaled"] == 1
    # One bar that was not multiplied as the others were spoils it.
    mixed = [_scaled(line, 0.125, 8) for line in lines]
    mixed[100] = _scaled(lines[100], 0.127, 8)
    assert _night(tmp_path, mixed, 2).finding_counts["restated"] == 251


def test_rows_that_one_file_holds_twice_are_not_restated_history(tmp_path: Path) -> None:
    lines = list(year_of("SP500"))
    assert "restated" not in _night(tmp_path, [*lines, with_cell(lines[9], "volume", "1")], 0).finding_counts


def test_the_old_revision_stays_readable_as_of_its_time(tmp_path: Path) -> None:
    lines = list(year_of("SP500"))
    description = SourceDescription(source=str(tmp_path / "p.csv"))
    volumes = [float(lines[9].split(",")[5]), 7.0, 9.0]
    for night, volume in enumerate(volumes):
        lines[9] = with_cell(lines[9], "volume", str(int(volume)))
        _night(tmp_path, lines, night)
    store = BarStore(description)
    for night, volume in enumerate(volumes):
        known = store.known(NOW + night * NIGHT + pd.Timedelta(hours=1), NO_LOOKS).frame
        assert known["volume"].iloc[9] == volume
        assert len(known) == 251
    assert store.read()["volume"].iloc[9] == 9.0


def test_a_panel_names_the_symbols(tmp_path: Path) -> None:
    bars = [f"{symbol},{line}" for symbol in ("A", "B") for line in year_of("SP500" if symbol == "A" else "NASDAQ")]
    header = "symbol,date,open,high,low,close,volume"
    description = SourceDescription(source=str(write(tmp_path / "p.csv", bars, header)))
    ingest_source(description, NOW)
    for at in range(0, 251, 40):
        bars[at] = "A," + _close(bars[at].removeprefix("A,"), 0.01)
    write(tmp_path / "p.csv", bars, header)
    ingest_source(description, NOW + NIGHT)
    found = restatements(BarStore(description).revisions(), NOW + NIGHT)
    assert {finding.symbol for finding in found} == {"A"}
    assert len(found) == 7
    assert "and 2 more" in told(found)


def test_an_empty_or_new_store_has_no_restated_history(tmp_path: Path) -> None:
    description = SourceDescription(source=str(write(tmp_path / "p.csv", year_of("SP500"))))
    assert restatements(BarStore(description).revisions(), NOW) == []
    ingest_source(description, NOW)
    assert restatements(BarStore(description).revisions(), NOW) == []
