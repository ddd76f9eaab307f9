"""The 39 kinds of bad input, each given to ingest below a state folder that has a champion, and what was said.

The inputs themselves are those of ``test_bad_input``; a kind that needs more than a file is injected here.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from tasks import storage
from tasks.bars.describe import SourceDescription
from tasks.bars.ingest import ingest_source
from tasks.bars.refusal import BarsRefusedError
from tasks.errors import ConfigurationError
from tasks.problem import Problem
from tasks.splits.sizes import check_horizon, precheck
from tests.bars.files import NOW, check, panel_lines, with_cell, write, year_of
from tests.faults.disks import WRITERS, promoted
from tests.faults.outcome import Outcome
from tests.faults.test_bad_input import LATE, PANEL, QUARANTINED, REFUSED, SAID, Case

KINDS = (
    "empty file", "truncated gzip or Parquet", "wrong encoding, BOM", "missing column", "renamed columns",
    "unknown extra column", "text in a number column", "decimal commas, thousands separators",
    "duplicate timestamp, same values", "duplicate timestamp, other values", "rows out of order",
    "gap against the calendar", "bar on a holiday", "bar after an early close", "unfinished last bar",
    "timestamp in the future", "naive intraday times", "ambiguous or missing hour", "s, ms, us, ns", "NaN", "infinity",
    "zero or negative price", "high below low, close outside", "negative volume; volume past 2^32",
    "hundredfold unit error", "unapplied split", "spike that reverts", "frozen price", "restated history",
    "hostile names", "too little history", "one symbol constant, one all NaN", "a universe of one",
    "two files that disagree", "a horizon longer than a window", "opens that repeat the close", "bars with no range",
    "bars equal to a later session's", "one series under several names",
)  # fmt: skip


def every(only: frozenset[int]) -> Iterator[Outcome]:
    """Each kind in its own scratch folder; the champion is looked at after each."""
    logging.disable()
    try:
        for number, words in enumerate(KINDS, start=1):
            if not only or number in only:
                yield _one(number, words)
    finally:
        logging.disable(logging.NOTSET)


def _one(number: int, words: str) -> Outcome:
    cases = [case for case in (*REFUSED, *QUARANTINED, *LATE, *SAID) if case.kind == str(number)]
    injected = [*(lambda folder, case=case: _given(case, folder) for case in cases), *MORE.get(number, ())]
    assert injected, f"nothing is injected for input {number}"
    try:
        happened = [_survived(inject) for inject in injected]
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told as what happened
        return Outcome(number, words, False, f"{type(error).__name__}: {error}")
    return Outcome(number, words, True, f"{len(happened)} tried: {happened[0]}")


def _survived(inject: Callable[[Path], str]) -> str:
    """What happened, below a state folder of its own."""
    with tempfile.TemporaryDirectory() as scratch, pytest.MonkeyPatch.context() as patch:
        patch.setenv("NOCTURNE_HOME", f"{scratch}/home")
        patch.delenv("NOCTURNE_LEDGER_URL", raising=False)
        next(each for each in WRITERS if each.name == "ledger").write(0)
        (folder := Path(scratch) / "source").mkdir()
        happened = inject(folder)
        if promoted() != "1":
            raise AssertionError("the champion has changed")
    return happened.replace(f"{scratch}/source/", "").replace("\n", " ")


def _given(case: Case, folder: Path) -> str:
    """A case's source, ingested: refused with nothing stored, or stored and said."""
    description = SourceDescription(source=str(case.build(folder)), **case.options)
    if case in REFUSED:
        with pytest.raises(BarsRefusedError) as caught:
            ingest_source(description, case.now)
        assert case.rule in str(caught.value)
        assert all(words in str(caught.value) for words in case.says)
        assert not list((storage.home() / "bars").rglob("*.parquet")), "bars were stored"
        found = next(finding for finding in caught.value.findings if finding.rule == case.rule)
        return f"refused, {case.rule}: {found.detail}"
    snapshot = ingest_source(description, case.now)
    assert snapshot.findings is not None
    findings = [each for each in storage.read_json(Path(snapshot.findings.path)) if each["rule"] == case.rule]
    assert findings, f"nothing was said of {case.rule}"
    if case in SAID:
        return f"said, {case.rule}: {findings[0]['detail']}"
    assert snapshot.quarantined
    return f"{snapshot.quarantined[0]} quarantined, {case.rule}: {findings[0]['detail']}"


def _volume(folder: Path) -> str:
    lines = list(year_of("SP500"))
    lines[99] = with_cell(lines[99], "volume", str(2**53 - 1))
    snapshot = ingest_source(SourceDescription(source=str(write(folder / "p.csv", lines))), NOW)
    assert int(storage.read_parquet(snapshot.bars)["volume"].iloc[99]) == 2**53 - 1
    return f"volume {2**53 - 1} kept exactly"


def _declared(folder: Path) -> str:
    lines = list(year_of("SP500"))
    lines[99] = f"{lines[99][:10]},17.73,17.85,-40.32,-37.63,1000"
    checked = check(write(folder / "wti.csv", lines), negative_prices=True)
    assert checked.frame["close"].iloc[99] == -37.63
    return "a declared instrument's close of -37.63 kept"


def _restated(folder: Path) -> str:
    lines = list(year_of("SP500"))
    description = SourceDescription(source=str(write(folder / "p.csv", lines)))
    ingest_source(description, NOW)
    lines[9] = with_cell(lines[9], "volume", "1")
    write(folder / "p.csv", lines)
    snapshot = ingest_source(description, NOW + pd.Timedelta(days=1))
    assert snapshot.finding_counts["restated"] == 1, "by which the gate promotes nothing"
    return f"said, and nothing is promoted: {snapshot.warnings[-1]}"


def _too_little(_: Path) -> str:
    with pytest.raises(ConfigurationError, match="too few") as caught:
        precheck(100, 60, Problem(name="short", source="builtin:sp500", target="volatility"))
    return f"refused: {caught.value}"


def _alone(folder: Path) -> str:
    source = write(folder / "panel.csv", panel_lines(3), PANEL)
    snapshot = ingest_source(SourceDescription(source=str(source), symbols=("A01",)), NOW)
    assert snapshot.symbols == ("A01",)
    return f"one symbol of three: {len(storage.read_parquet(snapshot.bars))} bars of A01"


def _long_horizon(_: Path) -> str:
    with pytest.raises(ConfigurationError, match="as long as the gate") as caught:
        check_horizon(Problem(name="long", source="builtin:sp500", target="return", horizon=252, gate_sessions=126))
    return f"refused: {caught.value}"


MORE: dict[int, tuple[Callable[[Path], str], ...]] = {
    22: (_declared,), 24: (_volume,), 29: (_restated,), 31: (_too_little,), 33: (_alone,), 35: (_long_horizon,),
}  # fmt: skip
