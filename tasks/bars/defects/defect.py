"""What a check of the history gives back."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.contracts import Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Defect:
    """One thing wrong with a history: the row that shows it (position in the frame), and what to say.

    ``rows`` counts the wrong bars that begin there. ``severity``, where not empty, replaces the rule's own. ``shared``:
    it concerns the whole source, not the row's symbol.
    """

    at: int
    detail: str
    rows: int = 1
    severity: Severity | None = None
    shared: bool = False
