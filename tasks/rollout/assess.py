"""Where a rollout stands: every date's e-value and step from its evidence, and how long it will take. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.rollout import evidence
from tasks.rollout.machine import State, Step, walk
from tasks.rollout.plan import SHARES, Ending, Plan
from tasks.statistics.eprocess import LEAST_DATES, clipped, dates_to_come

FloatArray = npt.NDArray[np.float64]
PATHS = 400
COVERED = (10, 50, 90)
"""Percentiles of the dates still to come that are told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """How many more dates until E is enough, if the future is like the dates known.

    ``low``, ``median``, ``high``: the 10th, 50th and 90th percentile over 400 drawn futures; 0 where so many of them
    do not get there before the limit. ``reaching``: the part that does. ``drawn_from``: how many dates are known.
    ``selected``: how many of them are dates on which the gate chose the challenger. It was chosen because it did well
    on them, so that they flatter it, and what they foretell comes too early.
    """

    low: int
    median: int
    high: int
    reaching: float
    drawn_from: int
    selected: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """A rollout's dates in order, with each one's difference, state and step.

    ``ahead``: dates that both models have spoken about and whose labels have not ended. ``ending``: how it ended.
    """

    plan: Plan
    sessions: tuple[str, ...] = ()
    differences: tuple[float, ...] = ()
    states: tuple[State, ...] = ()
    steps: tuple[Step, ...] = ()
    ahead: int = 0
    outlook: Outlook | None = None
    warnings: tuple[str, ...] = ()
    ending: Ending | None = None

    @property
    def state(self) -> State:
        """The last date's state."""
        return self.states[-1] if self.states else State()

    @property
    def step(self) -> Step:
        """What is to be done now."""
        first = 0.0 if self.plan.mode == "shadow" else SHARES[0]
        return self.steps[-1] if self.steps else Step(verb="goes on", step=0, share=first, why="no outcome yet")


def assess(
    plan: Plan,
    forecasts: pd.DataFrame,
    outcomes: pd.DataFrame,
    *,
    warnings: tuple[str, ...] = (),
    ending: Ending | None = None,
) -> Assessment:
    """Walk through all the evidence there is; what came in when, and in how many nights, makes no difference."""
    found = evidence.differences(forecasts, outcomes)
    values = found.to_numpy(np.float64)
    walked = list(walk(values, plan.bound, plan.streams, plan.policy))
    over = ending is not None or (bool(walked) and walked[-1][1].ends)
    return Assessment(
        plan=plan,
        sessions=tuple(f"{day:%Y-%m-%d}" for day in found.index[: len(walked)]),
        differences=tuple(values[: len(walked)].tolist()),
        states=tuple(state for state, _ in walked),
        steps=tuple(step for _, step in walked),
        ahead=int(forecasts["session"].nunique()) - len(found),
        outlook=None if over else outlook(plan, values),
        warnings=warnings,
        ending=ending,
    )


def outlook(plan: Plan, differences: FloatArray) -> Outlook | None:
    """How long it will take, drawn from the dates that count, or with the earlier ones while those are fewer than 60.

    None without any, or at the limit.
    """
    past = clipped(differences, plan.bound)
    prior = clipped(np.asarray(plan.prior, dtype=np.float64), plan.bound) if len(past) < LEAST_DATES else past[:0]
    known, left = np.concatenate([prior, past]), plan.limit - len(past)
    if not len(known) or left < 1:
        return None
    dates = dates_to_come(known, past, streams=plan.streams, level=plan.level, limit=left, paths=PATHS)
    told = np.percentile(np.where(dates == 0, plan.limit + 1, dates), COVERED, method="inverted_cdf").astype(int)
    low, median, high = (0 if value > left else int(value) for value in told)
    return Outlook(
        low=low,
        median=median,
        high=high,
        reaching=float((dates > 0).mean()),
        drawn_from=len(known),
        selected=len(prior) if plan.approved else 0,
    )
