"""A night's refits by what they were fitted on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from tasks.contracts import Candidate, EngineResult
from tasks.documents import digest
from tasks.errors import EngineError

ORIGIN = "fit_origin_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fits:
    """Refitted candidates by name: on everything before the gate, and on all rows; ``failed`` says what is missing.

    ``origins``: by name and then by fit, the refits at origins inside the gate; ``canary``: whether a recipe was fitted
    on shuffled labels.
    """

    gated: dict[str, Candidate]
    all_rows: dict[str, Candidate]
    origins: dict[str, dict[str, Candidate]] = field(default_factory=dict)
    failed: tuple[str, ...] = ()
    canary: bool = True

    @classmethod
    def of(cls, refitted: Iterable[EngineResult]) -> Self:
        """From the engines' answers to their refit jobs. Fits on shuffled labels are no candidates and are left out."""
        results = list(refitted)
        fits = [fit for result in results for fit in result.candidates if not fit.shuffle]
        origins: dict[str, dict[str, Candidate]] = {}
        for fit in fits:
            if fit.rows.startswith(ORIGIN):
                origins.setdefault(fit.name, {})[fit.rows] = fit
        return cls(
            gated={fit.name: fit for fit in fits if fit.rows == "fit_gate"},
            all_rows={fit.name: fit for fit in fits if fit.rows == "fit_all"},
            origins=origins,
            failed=tuple(text for result in results for text in (result.error, *result.notes) if text),
            canary=any(fit.shuffle for result in results for fit in result.candidates),
        )

    def shipped(self, name: str, policy: str) -> Candidate:
        """What consumers would get of a recipe. Raises EngineError if the policy's fit is missing."""
        found = (self.gated if policy == "none" else self.all_rows).get(name)
        if found is None:
            raise EngineError(f"{name} could not be fitted on all rows, so it cannot ship: {'; '.join(self.failed)}")
        return found

    def named(self, recipe_sha256: str) -> str:
        """The name under which a recipe was fitted again tonight, or nothing; a fit before the gate comes first."""
        fits = (*self.gated.items(), *self.all_rows.items())
        return next((name for name, fit in fits if digest(fit.recipe) == recipe_sha256), "")
