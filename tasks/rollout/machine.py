"""What becomes of a challenger, date by date: a pure decision from evidence and policy.

```
shadow                                                        goes on, share 0; at its limit: keeps the champion
E for "the challenger is worse" >= 1 / rollback level          rolls back
step 4 reached: E >= 1 / level, and all that is below          promotes
the time limit                                                keeps the champion
else                                                          goes on, with the share of its step
```

Step i = 0 … 4 stands for 1, 5, 25, 50, 100 % of requests. Step i is allowed while E >= (1 / level)^(i / 4), and not
before i times the policy's pace in dates; the last one, which is the promotion, only while the sum of the differences
as they were, unclipped, is in the challenger's favour too. The share falls at once to what is allowed. It rises by one
step at a time, and only on a date whose own difference favours the challenger.

What bounds exposure: where the challenger is no better, E ever reaches a with a chance of at most 1 / a, so that the
largest share ever shown is expected to be at most 0.01 + sum over i of (share_i - share_(i-1)) level^(i / 4): 8.6 % at
a level of 1/40 (``expected_exposure``).

It reads no model, file or clock. Better evidence on any date never leads to a lower share, or to a worse end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from tasks.rollout.plan import SHARES, Policy
from tasks.statistics.eprocess import clipped, log_e_values

FloatArray = npt.NDArray[np.float64]
Verb = Literal["goes on", "promotes", "rolls back", "keeps"]
LAST = len(SHARES) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Where a rollout stands after ``dates`` dates.

    ``log_e``: ln E for "the challenger is better", ``log_against`` for "it is worse"; ``latest``: the last date's
    clipped difference, ``total``: the sum of all as they were (positive: the challenger is better). ``step``: the place
    in ``SHARES`` of the share that was shown until now.
    """

    dates: int = 0
    log_e: float = 0.0
    log_against: float = 0.0
    latest: float = 0.0
    total: float = 0.0
    step: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What is done now: the verb, the place in ``SHARES``, the share of requests that see the challenger, and why."""

    verb: Verb
    step: int
    share: float
    why: str

    @property
    def ends(self) -> bool:
        """Whether the rollout is over."""
        return self.verb != "goes on"


def decide(state: State, policy: Policy) -> Step:
    """The next step; see the module's text. Deterministic, whatever the clock says."""
    if policy.mode == "shadow":
        return _limit(state) if state.dates >= policy.limit else Step(verb="goes on", step=0, share=0.0, why=SHADOW)
    if state.log_against >= -math.log(policy.rollback_level):
        return Step(verb="rolls back", step=0, share=0.0, why=_worse(state, policy))
    step = _step(state, policy)
    if step == LAST:
        return Step(verb="promotes", step=LAST, share=1.0, why=_better(state, policy))
    if state.dates >= policy.limit:
        return _limit(state)
    return Step(verb="goes on", step=step, share=SHARES[step], why=_going_on(state, step, policy))


def allowed(state: State, policy: Policy) -> int:
    """The highest step that evidence and pace allow, whatever the share is now."""
    needed = -math.log(policy.level) / LAST
    by_evidence = int(np.floor(max(state.log_e, 0.0) / needed + 1e-12))
    by_pace = state.dates // policy.pace if policy.pace else LAST
    highest = LAST if state.total > 0.0 and state.log_e >= -math.log(policy.level) else LAST - 1
    return min(by_evidence, by_pace, highest)


def walk(differences: FloatArray, bound: float, streams: int, policy: Policy) -> Iterator[tuple[State, Step]]:
    """Every date's state and step from the first on, until one ends the rollout.

    differences: champion's loss less challenger's by date (n,), in time order, finite. The same dates give the same
    walk, in one go or night by night.
    """
    x = clipped(differences, bound)
    return stepped(np.stack([log_e_values(x, streams), log_e_values(-x, streams), x, np.cumsum(differences)]), policy)


def stepped(path: FloatArray, policy: Policy) -> Iterator[tuple[State, Step]]:
    """As ``walk``, from ln E, ln E of the other direction, the clipped differences and their running sums: (4, n)."""
    step = 0
    for date, (log_e, log_against, latest, total) in enumerate(path.T.tolist(), start=1):
        state = State(dates=date, log_e=log_e, log_against=log_against, latest=latest, total=total, step=step)
        found = decide(state, policy)
        yield state, found
        if found.ends:
            return
        step = found.step


def expected_exposure(level: float) -> float:
    """What the largest share ever shown is at most expected to be, where the challenger is no better."""
    gains = np.diff(np.asarray(SHARES))
    return float(SHARES[0] + sum(gain * level ** (i / LAST) for i, gain in enumerate(gains, start=1)))


SHADOW = "a shadow is shown to nobody and never promoted"


def _step(state: State, policy: Policy) -> int:
    may = allowed(state, policy)
    return min(may, state.step + 1) if state.latest > 0.0 else min(may, state.step)


def _limit(state: State) -> Step:
    why = f"the time limit of {state.dates:,} dates is reached: the champion stays"
    return Step(verb="keeps", step=0, share=0.0, why=why)


def _worse(state: State, policy: Policy) -> str:
    return f"E for a worse challenger is {e_text(state.log_against)}, {1 / policy.rollback_level:.3g} ends the rollout"


def _better(state: State, policy: Policy) -> str:
    return f"E is {e_text(state.log_e)} after {state.dates:,} dates, {1 / policy.level:.4g} promotes"


def _going_on(state: State, step: int, policy: Policy) -> str:
    change = "stays at" if step == state.step else "rises to" if step > state.step else "falls to"
    return f"E is {e_text(state.log_e)} of {1 / policy.level:.4g}: the share {change} {SHARES[step]:.0%}"


def e_text(log_e: float) -> str:
    """An e-value in few characters, however large."""
    return f"{math.exp(log_e):.3g}" if log_e < 690 else f"1e{log_e / math.log(10):.0f}"
