"""What can be said of engines' results together: a candidate by name, what degraded, what the work took."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from tasks.contracts import Candidate, EngineResult
from tasks.errors import EngineError


def named(results: Iterable[EngineResult], name: str) -> Candidate:
    """The candidate of this name, as the search fitted it, else as a fold did. Raises EngineError if there is none."""
    found = [c for result in results for c in result.candidates if c.name == name and not c.shuffle]
    if not found:
        raise EngineError(f"no engine left a candidate called {name!r}")
    return next((c for c in found if not c.rows), found[-1])


def with_failures(results: Iterable[EngineResult], walked: Iterable[EngineResult]) -> tuple[EngineResult, ...]:
    """The search's results, each with the failure of its engine on the folds where it had none before."""
    failed = {result.engine: f"on the folds: {result.error}" for result in walked if result.error}
    return tuple(
        dataclasses.replace(result, error=failed[result.engine])
        if result.engine in failed and not result.error
        else result
        for result in results
    )


def notes(results: Iterable[EngineResult], refitted: Iterable[EngineResult]) -> tuple[str, ...]:
    """What engines remarked, and what failed in refits, each once; a failed search is told as that engine's failure."""
    refits = list(refitted)
    said = [f"{result.engine}: {text}" for result in (*results, *refits) for text in result.notes]
    missing = [f"{result.engine}: {result.error}" for result in refits if result.error]
    return tuple(dict.fromkeys((*said, *missing)))


def whole(results: Iterable[EngineResult]) -> bool:
    """Whether every engine answered all that it was asked, so that the same night would end in the same way again."""
    return all(result.whole and not result.error for result in results)


def seconds_by_engine(results: Iterable[EngineResult]) -> dict[str, float]:
    """Seconds of work by engine, without bringing its JVM or backend up."""
    seconds: dict[str, float] = {}
    for result in results:
        seconds[result.engine] = seconds.get(result.engine, 0.0) + result.work_seconds
    return {engine: round(value, 3) for engine, value in seconds.items()}
