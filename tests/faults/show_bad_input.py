"""Print each kind of bad input and the message that a user sees: ``python -m tests.faults.show_bad_input``."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

import pandas as pd

from tasks.bars.describe import SourceDescription
from tasks.bars.ingest import ingest_source
from tasks.bars.refusal import BarsRefusedError, sentence
from tests.bars.files import NOW, with_cell, write, year_of
from tests.faults.test_bad_input import LATE, QUARANTINED, REFUSED, SAID, Case, run


def message(case: Case) -> str:
    """The error's text, or the finding of an accepted source."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            checked = run(case, Path(folder))
        except BarsRefusedError as error:
            return str(error).replace(f"{folder}/", "")
        return next(sentence(finding) for finding in checked.findings if finding.rule == case.rule)


def restated() -> str:
    """What a night says that finds a bar changed since the night before."""
    lines = list(year_of("SP500"))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NOCTURNE_HOME"] = folder
        description = SourceDescription(source=str(write(Path(folder) / "prices.csv", lines)))
        ingest_source(description, NOW)
        lines[9] = with_cell(lines[9], "volume", "1")
        write(Path(folder) / "prices.csv", lines)
        return ingest_source(description, NOW + pd.Timedelta(days=1)).warnings[-1]


def main() -> None:
    """One block a kind."""
    logging.disable()
    lists = (
        ("refused", REFUSED),
        ("symbol quarantined", QUARANTINED),
        ("symbol quarantined from then on", LATE),
        ("accepted, and said", SAID),
    )
    for outcome, cases in lists:
        for case in sorted(cases, key=lambda case: (not case.kind.isdigit(), case.kind.zfill(2))):
            print(f"{case.kind:>2} {case.title} [{outcome}]\n     " + message(case).replace("\n", "\n     "))
    print(f"29 restated history [accepted, and said; nothing is promoted]\n     {restated()}")


if __name__ == "__main__":
    main()
