"""Print each kind of bad input and the message that a user sees: ``python -m tests.faults.show_bad_input``."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from tasks.bars.refusal import BarsRefusedError, sentence
from tests.faults.test_bad_input import QUARANTINED, REFUSED, SAID, Case, run


def message(case: Case) -> str:
    """The error's text, or the finding of an accepted source."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            checked = run(case, Path(folder))
        except BarsRefusedError as error:
            return str(error).replace(f"{folder}/", "")
        return next(sentence(finding) for finding in checked.findings if finding.rule == case.rule)


def main() -> None:
    """One block a kind."""
    logging.disable()
    lists = (("refused", REFUSED), ("symbol quarantined", QUARANTINED), ("accepted, and said", SAID))
    for outcome, cases in lists:
        for case in sorted(cases, key=lambda case: (not case.kind.isdigit(), case.kind.zfill(2))):
            print(f"{case.kind:>2} {case.title} [{outcome}]\n     " + message(case).replace("\n", "\n     "))


if __name__ == "__main__":
    main()
