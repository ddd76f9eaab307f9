"""What makes a night another night."""

from __future__ import annotations

from pathlib import Path

from flows.unchanged import fingerprint, is_fetched
from tasks.problem import Problem


def test_another_membership_is_another_night_and_a_missing_file_is_told_by_the_night(tmp_path: Path) -> None:
    file = tmp_path / "members.csv"
    problem = Problem(name="made", source="builtin:sp500", membership=str(file))
    missing = fingerprint(problem)
    file.write_text("symbol,from,to\nSPX,1990-01-01,\n")
    first = fingerprint(problem)
    assert fingerprint(problem) == first != missing
    file.write_text("symbol,from,to\nSPX,1991-01-01,\n")
    assert fingerprint(problem) != first


def test_what_is_fetched_is_known_by_its_source() -> None:
    local, fetched = ("builtin:sp500", "/data/bars.csv"), ("yfinance:SPY", "ccxt:coinbaseexchange/BTC-USD", "duckdb:x")
    assert [is_fetched(Problem(name="made", source=source)) for source in (*local, *fetched)] == [False] * 2 + [
        True
    ] * 3
