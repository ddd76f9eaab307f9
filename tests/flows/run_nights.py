"""Run several problems' nights one after the other in one process, under one Prefect server of its own.

``python -m tests.flows.run_nights problems.json out.json``: a list of problems in, a list of documents out; where a
night was refused, its error's type and text.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from flows import settings

settings.apply()

from flows.nightly import run as nightly  # noqa: E402 - Prefect reads its settings when it is imported
from tasks.errors import NocturneError  # noqa: E402
from tasks.problem import build  # noqa: E402
from tasks.report.document import document  # noqa: E402


def night(values: dict[str, Any]) -> dict[str, Any]:
    """The document of one night, or why it was refused."""
    try:
        return document(nightly(build({"engines": ["baseline", "linear"], **values}, "demo", {}, "test")))
    except NocturneError as error:
        return {"refused": type(error).__name__, "text": str(error)}


if __name__ == "__main__":
    problems = json.loads(Path(sys.argv[1]).read_text())
    Path(sys.argv[2]).write_text(json.dumps([night(values) for values in problems]))
