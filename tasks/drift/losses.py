"""The champion's realised loss against what it was out of sample before, and against the fallback's.

A loss is known at its label's end and counts from that session on. A date's loss is the mean over its symbols.

The reference is the gated fit on what it had not seen of the bars that the recipe was fitted on when it came in (the
gate window): out of sample, by the champion's own recipe. It is the stretch that the recipe was chosen on, and so a
little lower than what was to be expected: alarms come rather too early. Where what ships is the gated fit itself, it
has no such stretch: then the first year in service is the reference, and only what follows is watched.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.drift.values import Comparison, Losses
from tasks.statistics.diebold_mariano import diebold_mariano
from tasks.statistics.drift_loss import LEAST_REFERENCE, LossLimits, adwin, cusum, loss_limits, standardised
from tasks.statistics.losses import row_losses

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

FIRST_YEAR = 252
LEVEL = 0.001
"""Of the test that the fallback's loss is lower, asked every session while an alarm of the loss stands: of two models
that are equally good one is given up in 2 % of the years of alarms, at 0.01 it would be in 19 % (benchmark)."""

LEAST_COMPARED = 21


@dataclass(frozen=True, slots=True, kw_only=True)
class LossWatch:
    """Both detectors after each watched session (ISO dates of label ends), their limits, and the figures told."""

    sessions: tuple[str, ...]
    loss: FloatArray
    cusum: FloatArray
    risen: BoolArray
    limits: LossLimits
    told: Losses


def by_session(
    loss: Literal["mse", "log_loss"], rows: pd.DataFrame, prediction: FloatArray, chosen: BoolArray
) -> pd.Series[float]:
    """Mean loss of the chosen rows by the session of their label's end, in time order.

    rows: ``label`` and ``ends`` (the session of the label's end, NaT where there is none), aligned with ``prediction``.
    Rows without label or prediction are left out.
    """
    found = pd.Series(row_losses(loss, rows["label"].to_numpy(np.float64), prediction), index=rows["ends"])
    kept = found[chosen & np.isfinite(found.to_numpy())]
    return kept.groupby(level=0).mean().sort_index()


def watch(
    reference: pd.Series[float], live: pd.Series[float], lengths: tuple[int, int], overlap: int, seed: int
) -> LossWatch | None:
    """CUSUM and ADWIN over the live losses; None where there are too few to be a reference.

    lengths: sessions until CUSUM's and ADWIN's false alarm. overlap: the horizon less one.
    """
    source = "the gate window, out of sample"
    if len(reference) < LEAST_REFERENCE:
        source = "the first sessions in service"
        reference, live = live.iloc[:FIRST_YEAR], live.iloc[FIRST_YEAR:]
    if len(reference) < LEAST_REFERENCE:
        return None
    known, watched = _array(reference), _array(live)
    limits = loss_limits(known, *lengths, seed=seed, overlap=overlap)
    before, z = (standardised(each, limits.mean, limits.deviation) for each in (known, watched))
    return LossWatch(
        sessions=tuple(pd.DatetimeIndex(live.index).strftime("%Y-%m-%d")),
        loss=watched,
        cusum=cusum(z),
        risen=adwin(before, z, limits.delta),
        limits=limits,
        told=Losses(
            sessions=len(live),
            mean=float(live.mean()) if len(live) else math.nan,
            reference_mean=limits.mean,
            reference_sessions=len(known),
            source=source,
        ),
    )


def compared(
    champion: pd.Series[float], fallback: pd.Series[float], window: int, overlap: int, version: str
) -> Comparison | None:
    """Champion against fallback over the last window of sessions with both losses; None below 21 of them."""
    both = pd.concat([champion, fallback], axis=1, join="inner").iloc[-window:]
    if len(both) < LEAST_COMPARED:
        return None
    mine, theirs = _array(both.iloc[:, 0]), _array(both.iloc[:, 1])
    return Comparison(
        version=version,
        sessions=len(both),
        champion_loss=float(mine.mean()),
        fallback_loss=float(theirs.mean()),
        p_value=diebold_mariano(mine - theirs, overlap).p_value,
        level=LEVEL,
    )


def _array(series: pd.Series[float]) -> FloatArray:
    return np.asarray(series.to_numpy(), dtype=np.float64)
