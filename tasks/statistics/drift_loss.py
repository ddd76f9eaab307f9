"""Has a model's realised loss risen: CUSUM and ADWIN on standardised losses, and the limits of both.

Losses are standardised by those of an out-of-sample stretch before the watched one, and clipped: squared errors have
tails that would let a single day decide.

1. z = clip((loss - mean) / standard deviation, -4, 4).
2. CUSUM (Page 1954, Biometrika 41): C_t = max(0, C_{t-1} + z_t - 1/4), from nought; passed above its limit.
3. ADWIN (Bifet and Gavaldà 2007), river's: a window that drops its older part where the means differ; fed the
   reference losses first. Passed from a session on which it cuts, the later mean being the higher, to one where it
   cuts downwards.

Limits are those of simulated histories (``loss_limits``): both the reference and the watched losses are strung together
from blocks of the known ones, so that the uncertainty of the reference's own mean and deviation is in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.errors import ConfigurationError
from tasks.statistics.bootstrap import block_length
from tasks.statistics.drift_limits import censored_run_length

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

CLIP, SLACK = 4.0, 0.25
CONFIDENCES = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 1e-3, 3e-4, 1e-4, 1e-5, 1e-6, 1e-8, 1e-10)
"""ADWIN's delta: the largest is tried first."""

LEAST_REFERENCE = 126
LEAST_BLOCK = 10.0
RUNS, ADWIN_RUNS = 240, 100
LONGEST = 4536
"""Sessions that a run is simulated for at most; rarer alarms are counted over all runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossLimits:
    """What realised losses are held against: the reference's mean and deviation, CUSUM's limit, ADWIN's confidence."""

    mean: float
    deviation: float
    cusum: float
    delta: float
    block: float


def standardised(loss: FloatArray, mean: float, deviation: float) -> FloatArray:
    """(loss - mean) / deviation, clipped to ±4; float64 (n,). A reference without spread gives its sign times 4."""
    if deviation <= 0:
        return np.asarray(CLIP * np.sign(loss - mean))
    return np.asarray(np.clip((loss - mean) / deviation, -CLIP, CLIP))


def cusum(z: FloatArray) -> FloatArray:
    """The statistic after each session, along the last axis: (..., n) to (..., n)."""
    steps = np.cumsum(z - SLACK, axis=-1)
    lowest = np.minimum.accumulate(np.minimum(steps, 0.0), axis=-1)
    return np.asarray(steps - lowest)


def adwin(reference: FloatArray, z: FloatArray, delta: float) -> BoolArray:
    """Whether ADWIN holds the loss to have risen, after each of the watched sessions: bool (n,).

    reference: standardised losses that it sees first. Raises ConfigurationError where river is not installed.
    """
    detector = _detector(delta)
    for value in reference:
        detector.update(_unit(value))
    risen, state = np.zeros(len(z), dtype=bool), False
    before = detector.estimation
    for place, value in enumerate(z):
        detector.update(_unit(value))
        if detector.drift_detected:
            state = detector.estimation > before if not state else detector.estimation >= before
        before = detector.estimation
        risen[place] = state
    return risen


def loss_limits(
    loss: FloatArray, length_cusum: float, length_adwin: float, seed: int = 1, overlap: int = 0
) -> LossLimits:
    """The limits that are passed after these many sessions on average while the losses go on as they were.

    loss: float64 (n,), out of sample, one a date in time order, without NaN. overlap: later dates whose labels share a
    bar with a date's. Raises ValueError on fewer than 126 dates.
    """
    if len(loss) < LEAST_REFERENCE:
        raise ValueError(f"{len(loss)} losses are too few to say what is usual; at least {LEAST_REFERENCE}")
    block = max(block_length(loss, overlap), LEAST_BLOCK)
    sessions = min(int(1.5 * max(length_cusum, length_adwin)), LONGEST)
    before, after = simulated(loss, block, RUNS, sessions, seed)
    return LossLimits(
        mean=float(loss.mean()),
        deviation=float(loss.std()),
        cusum=cusum_limit(cusum(after), length_cusum),
        delta=_delta(before[:ADWIN_RUNS], after[:ADWIN_RUNS], length_adwin),
        block=block,
    )


def simulated(loss: FloatArray, block: float, runs: int, sessions: int, seed: int) -> tuple[FloatArray, FloatArray]:
    """Standardised reference (runs, n) and watched losses (runs, sessions), each run by its own reference."""
    rng = np.random.default_rng(seed)
    rows = stationary_rows(rng, len(loss), block, runs, len(loss) + sessions)
    drawn = loss[rows]
    before = drawn[:, : len(loss)]
    mean, deviation = before.mean(axis=1, keepdims=True), before.std(axis=1, keepdims=True)
    safe = np.where(deviation > 0, deviation, 1.0)
    scaled = np.clip((drawn - mean) / safe, -CLIP, CLIP)
    return scaled[:, : len(loss)], scaled[:, len(loss) :]


def stationary_rows(rng: np.random.Generator, n: int, block: float, runs: int, length: int) -> IntArray:
    """Rows of stationary-bootstrap histories, (runs, length) of 0…n-1: blocks of geometric length, wrapped around."""
    starts = rng.integers(0, n, (runs, length))
    anew = rng.random((runs, length)) < 1.0 / max(block, 1.0)
    anew[:, 0] = True
    origin = np.maximum.accumulate(np.where(anew, np.arange(length), 0), axis=1)
    return np.asarray((np.take_along_axis(starts, origin, axis=1) + np.arange(length) - origin) % n)


def first_passed(passed: BoolArray) -> IntArray:
    """The session, from 1, on which each run first passes; 0 where it never does: (runs, n) to (runs,)."""
    return np.where(passed.any(axis=-1), passed.argmax(axis=-1) + 1, 0).astype(np.int64)


def cusum_limit(statistic: FloatArray, length: float) -> float:
    """The smallest tenth that simulated runs (runs, sessions) pass after ``length`` sessions on average, or later."""
    reached = np.maximum.accumulate(statistic, axis=1)
    sessions = statistic.shape[1]
    low, high = 0, int(np.ceil(reached[:, -1].max() * 10.0))
    while low < high:
        middle = (low + high) // 2
        first = 1 + (reached <= middle / 10.0).sum(axis=1)
        found = censored_run_length(np.where(first > sessions, 0, first), sessions)
        if found >= length:
            high = middle
        else:
            low = middle + 1
    return low / 10.0


def _delta(before: FloatArray, after: FloatArray, length: float, deltas: Sequence[float] = CONFIDENCES) -> float:
    """The largest confidence with which simulated runs pass after ``length`` sessions on average, or later."""
    for delta in deltas:
        first = first_passed(np.stack([adwin(b, a, delta) for b, a in zip(before, after, strict=True)]))
        if censored_run_length(first, after.shape[1]) >= length:
            return delta
    return deltas[-1]


def _unit(value: float) -> float:
    """ADWIN's bound supposes values in [0, 1]."""
    return float((value + CLIP) / (2.0 * CLIP))


def _detector(delta: float) -> Any:
    try:
        from river.drift import ADWIN  # noqa: PLC0415 - an extra, and 0.5 s
    except ImportError as error:
        raise ConfigurationError("ADWIN needs river: pip install 'nocturne[monitor]'") from error
    made: Any = ADWIN
    return made(delta=delta, clock=1)
