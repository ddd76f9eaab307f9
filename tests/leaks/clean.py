"""The clean catalogue: the real bars as they are, on which nothing may speak."""

from __future__ import annotations

import dataclasses
import logging
import textwrap

from tasks.bars.describe import from_options
from tasks.bars.inspection import inspect
from tasks.contracts import RefitJob, Target
from tasks.features.task import check_features
from tasks.leaderboard import canaries
from tasks.registry.conditions import data_obstacles
from tasks.search import training
from tasks.statistics.shuffle import shuffled_labels
from tests.leaks.in_bars import facts_of
from tests.leaks.night import Fit, Night, constant, linear, looked_at, night, walk
from tests.leaks.outcome import WIDTH

SEED = 5
LOUD = ("refused", "quarantined", "set_aside")


def quiet() -> tuple[bool, str]:
    """Whether every defence is silent on the clean nights, and a sentence that says so."""
    logging.disable(logging.WARNING)
    spoken = [text for target in ("return", "direction", "volatility") for text in spoken_of(target)]
    logging.disable(logging.NOTSET)
    tried = "the checks of the bars, the truncation test, the alarm, a canary and the gate's obstacles"
    verdict = f"spoke: {'; '.join(spoken)}" if spoken else "are silent on the clean S&P 500, for three targets"
    return not spoken, textwrap.fill(f"{tried} {verdict}", WIDTH)


def spoken_of(target: str) -> list[str]:
    """What any defence says of a clean night."""
    tonight = night(target)
    fits = {"baseline": baseline(tonight.target), "ridge": linear()}
    found = inspect(from_options("builtin:sp500"))["findings"]
    return [
        *(finding["rule"] for finding in found if finding["severity"] in LOUD),
        *check_features.fn(tonight.problem, tonight.snapshot, tonight.features),
        *looked_at(walk(tonight, fits), tonight.target),
        *canary_of(tonight, linear()),
        *data_obstacles(facts_of(tonight.snapshot, tonight.problem)),
    ]


def baseline(target: Target) -> Fit:
    """HAR for volatility, else a constant."""
    return linear(["har_1", "har_5", "har_22"], penalty=0.0) if target.name == "volatility" else constant()


def canary_of(tonight: Night, fit: Fit, *, defended: bool = True) -> tuple[str, ...]:
    """What the canary says of a recipe: fitted on shuffled labels before the last fold, as a night does."""
    job = RefitJob(name="canary", recipe={}, rows=tonight.fits[-1], shuffle=SEED)
    data = tonight.data
    shuffled = shuffled_labels(data.y, data.sessions, data.symbols, SEED)
    seen = training.for_job(data, job) if defended else dataclasses.replace(data, y=shuffled)
    scored = (tonight.frame["scored_by"] == job.rows).to_numpy()
    rows = canaries.scored_rows(tonight.frame, shuffled, fit(seen, job), data.fits[job.rows], scored)
    return canaries.canary_alarms(rows, tonight.target)
