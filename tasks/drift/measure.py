"""The whole monitor as one pure function: what was read in, a ``DriftReport`` out.

```
features, predictions ── PSI, KS ── maximum ──┐
                                              ├── any alarm: retrain ── and the fallback does better: exceeded
realised loss ────────── CUSUM, ADWIN ────────┘
```

Nothing is carried from one day to the next: every session since the recipe came in is judged again, from the same
bars to the same report. A refresh is the same recipe: it moves neither the training reference nor that of the losses.

The budget of false alarms. All alarms together shall stay quiet for 504 sessions on average without drift. Each has a
longer run length by its own simulation: 1512 for the distributions, 6048 for CUSUM, 2016 for ADWIN, whose rates would
add up to one in 756. The rest is for limits that are estimated: a reference of two years is of one regime, and CUSUM
told by it alarms two or three times as often as its simulation says. The benchmark measures what is left of it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.drift.distribution import Distribution, distribution
from tasks.drift.losses import LEAST_COMPARED, LossWatch, by_session, compared, watch
from tasks.drift.values import ColumnDrift, Comparison, Detector, DriftReport, Point, State
from tasks.drift.words import said

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

WINDOW = 63
RUN_LENGTH = 504
DISTRIBUTION, CUSUM, ADWIN = 3 * RUN_LENGTH, 12 * RUN_LENGTH, 4 * RUN_LENGTH


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Who is watched: the recipe of a registered version.

    since_version: the version that brought the recipe in, of which ``version`` is a refresh or which it is itself.
    ``training_end``, ``gated_training_end`` (ISO UTC): through when that one and its gated fit were fitted; they do not
    move with refreshes. fallback_training_end: the same of the first version whose predictions stand for the fallback;
    empty: none of the sessions in service was learned from.
    """

    name: str
    version: str
    candidate: str
    training_end: str
    gated_training_end: str
    since_version: str = ""
    fallback_version: str = ""
    fallback_training_end: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What is watched, aligned with the snapshot's rows.

    rows: ``time`` (UTC), ``session``, ``label``, ``label_end`` (UTC). columns: name and float64 (rows,), read when
    they are asked for. prediction, fallback: of the champion's and the fallback's recipe, each row after the subject's
    training end by a version that had not seen it; gated: of the gated fit of the champion's first version.
    """

    rows: pd.DataFrame
    columns: Iterable[tuple[str, FloatArray]]
    prediction: FloatArray
    gated: FloatArray | None = None
    fallback: FloatArray | None = None
    loss: Literal["mse", "log_loss"] = "mse"
    horizon: int = 1


def measure(
    subject: Subject, material: Material, *, at: str, snapshot: str, window: int = WINDOW, seed: int = 1,
    notes: tuple[str, ...] = (),
) -> DriftReport:  # fmt: skip
    """Judge every session since the recipe came in. Raises ValueError where training is shorter than two windows."""
    rows = material.rows
    labels = pd.DatetimeIndex(rows["session"])
    sessions = pd.DatetimeIndex(labels.unique()).sort_values()
    end = pd.Timestamp(subject.training_end)
    training = int((sessions <= labels[(rows["time"] <= end).to_numpy()].max()).sum())
    found = distribution(material.columns, sessions.get_indexer(labels), training, window, DISTRIBUTION)
    watched, better = _losses(subject, material, window, seed)
    live = tuple(sessions[training:].strftime("%Y-%m-%d"))
    detectors = _detectors(found, watched, live)
    state = _state(live, detectors, better)
    report = DriftReport(
        name=subject.name,
        version=subject.version,
        since_version=subject.since_version or subject.version,
        candidate=subject.candidate,
        at=at,
        snapshot=snapshot,
        training_end=subject.training_end,
        window=window,
        sessions=len(live),
        last=sessions[-1].strftime("%Y-%m-%d"),
        state=state,
        run_length=RUN_LENGTH,
        training_sessions=training,
        columns=_columns(found) if live else (),
        detectors=detectors,
        losses=watched.told if watched else None,
        comparison=better,
        curve=_curve(found, watched, live),
        since=min((each.since for each in detectors if each.exceeds), default=""),
        notes=(*notes, *_notes(subject, material, found, watched, better)),
    )
    return dataclasses.replace(report, said=said(report))


def _losses(subject: Subject, material: Material, window: int, seed: int) -> tuple[LossWatch | None, Comparison | None]:
    rows = _with_ends(material.rows)
    end, gated_end = pd.Timestamp(subject.training_end), pd.Timestamp(subject.gated_training_end)
    live = (rows["time"] > end).to_numpy()
    between = (rows["time"] > gated_end).to_numpy() & (rows["label_end"] <= end).to_numpy()
    mine = by_session(material.loss, rows, material.prediction, live)
    gated = material.gated if material.gated is not None else np.full(len(rows), math.nan)
    reference = by_session(material.loss, rows, gated, between)
    overlap = material.horizon - 1
    watched = watch(reference, mine, (CUSUM, ADWIN), overlap, seed)
    if material.fallback is None:
        return watched, None
    both = live & (rows["time"] > pd.Timestamp(subject.fallback_training_end or end)).to_numpy()
    theirs = by_session(material.loss, rows, material.fallback, both)
    return watched, compared(mine, theirs, window, overlap, subject.fallback_version)


def _with_ends(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with ``ends``: the session in which the label's last bar closed."""
    known = rows[["time", "session"]].drop_duplicates("time").set_index("time")["session"]
    return rows.assign(ends=pd.DatetimeIndex(known.reindex(pd.DatetimeIndex(rows["label_end"])).to_numpy()))


def _detectors(found: Distribution, watched: LossWatch | None, live: tuple[str, ...]) -> tuple[Detector, ...]:
    detectors = []
    if live:
        passed = found.ratio > 1.0
        detectors.append(_detector("distribution", passed, live, (float(found.ratio[-1]), 1.0)))
    if watched is not None and len(watched.loss):
        at, limit = float(watched.cusum[-1]), watched.limits.cusum
        detectors.append(_detector("cusum", watched.cusum > limit, watched.sessions, (at, limit)))
        now = float(watched.risen[-1])
        detectors.append(_detector("adwin", watched.risen, watched.sessions, (now, watched.limits.delta)))
    return tuple(detectors)


def _detector(
    name: Literal["distribution", "cusum", "adwin"],
    passed: BoolArray,
    sessions: tuple[str, ...],
    figures: tuple[float, float],
) -> Detector:
    places = np.flatnonzero(passed)
    quiet = np.flatnonzero(~passed)
    start = int(quiet[-1]) + 1 if len(quiet) else 0
    return Detector(
        name=name,
        value=figures[0],
        limit=figures[1],
        exceeds=bool(passed[-1]),
        since=sessions[start] if passed[-1] else "",
        first=sessions[int(places[0])] if len(places) else "",
    )


def _state(live: tuple[str, ...], detectors: tuple[Detector, ...], better: Comparison | None) -> State:
    if not live:
        return "nothing live"
    if not any(each.exceeds for each in detectors):
        return "within"
    loss_rose = any(each.exceeds for each in detectors if each.name != "distribution")
    if loss_rose and better is not None and better.p_value < better.level:
        return "exceeded"
    return "retrain"


def _columns(found: Distribution) -> tuple[ColumnDrift, ...]:
    ratios = found.now / found.limits
    drifts = [
        ColumnDrift(
            column=name,
            psi=float(now[0]),
            ks=float(now[1]),
            psi_limit=float(limit[0]),
            ks_limit=float(limit[1]),
            ratio=float(np.nanmax(ratio, initial=-math.inf)) if np.isfinite(ratio).any() else math.nan,
        )
        for name, now, limit, ratio in zip(found.columns, found.now, found.limits, ratios, strict=True)
    ]
    return tuple(sorted(drifts, key=lambda each: (-each.ratio if math.isfinite(each.ratio) else 0.0, each.column)))


def _curve(found: Distribution, watched: LossWatch | None, live: tuple[str, ...]) -> tuple[Point, ...]:
    losses = {} if watched is None else {day: place for place, day in enumerate(watched.sessions)}
    points = []
    for day, ratio in zip(live, found.ratio, strict=True):
        place = losses.get(day)
        if watched is None or place is None:
            points.append(Point(session=day, ratio=float(ratio)))
            continue
        points.append(
            Point(
                session=day,
                ratio=float(ratio),
                cusum=float(watched.cusum[place]),
                loss=float(watched.loss[place]),
                risen=bool(watched.risen[place]),
            )
        )
    return tuple(points)


def _notes(
    subject: Subject, material: Material, found: Distribution, watched: LossWatch | None, better: Comparison | None
) -> tuple[str, ...]:
    notes = []
    if not found.supported:
        notes.append(
            f"training is too short to show what happens once in {DISTRIBUTION} sessions: the largest distance that "
            "it ever had is the limit, and false alarms may be more frequent"
        )
    if watched is None:
        notes.append("the realised loss is not watched yet: fewer than 126 out-of-sample losses to compare it with")
    if material.fallback is None:
        why = "the champion is the fallback itself" if subject.fallback_version else "no fallback is registered"
        notes.append(f"no model to fall back to: {why}")
    elif better is None:
        notes.append(
            f"not compared with the fallback yet: fewer than {LEAST_COMPARED} sessions that neither had learned from"
        )
    return tuple(notes)
