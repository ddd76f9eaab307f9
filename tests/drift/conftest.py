"""A small world to watch: seven years of one symbol, a model with an honest loss, a fallback a little worse."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from tasks.drift.measure import Material, Subject, measure
from tasks.drift.values import PREDICTION, DriftReport

FloatArray = npt.NDArray[np.float64]
TRAINING, GATE, SERVICE = 1500, 300, 252


@dataclass
class World:
    """Features that forget within a week, a label that is their sum and noise, and models that know the sum."""

    features: FloatArray
    noise: FloatArray
    sessions: pd.DatetimeIndex
    forecast_bias: FloatArray
    fallback_bias: FloatArray

    def subject(self, fallback: str = "2") -> Subject:
        """Fitted on the first sessions, its gated fit on fewer of them."""
        end, gated = (self.times[place].isoformat() for place in (TRAINING - 1, TRAINING - GATE - 1))
        return Subject(
            name="made", version="1", candidate="ridge", training_end=end, gated_training_end=gated,
            fallback_version=fallback,
        )  # fmt: skip

    @property
    def times(self) -> pd.DatetimeIndex:
        """Closes in UTC."""
        return self.sessions.tz_localize("UTC") + pd.Timedelta(hours=21)

    def report(
        self, through: int = TRAINING + SERVICE, *, fallback: bool = True, fallback_learned: int = 0
    ) -> DriftReport:
        """What the monitor says at the close of a session.

        fallback_learned: sessions in service that the fallback was fitted on; it repeats their labels.
        """
        known = slice(0, through)
        label = self.features.sum(axis=1) + self.noise
        label[through - 1] = np.nan  # not over yet
        ends = self.times[1:].append(pd.DatetimeIndex([pd.NaT], tz="UTC"))
        stamps = {"time": self.times[known], "session": self.sessions[known], "label_end": ends[known]}
        rows = pd.DataFrame(stamps).assign(label=label[known])
        rows.loc[through - 1, "label_end"] = pd.NaT
        truth = self.features.sum(axis=1)
        said = truth + self.forecast_bias
        spare = truth + self.fallback_bias
        spare[: TRAINING + fallback_learned] = (truth + self.noise)[: TRAINING + fallback_learned]
        material = Material(
            rows=rows,
            columns=[*((f"f{place}", self.features[known, place]) for place in range(3)), (PREDICTION, said[known])],
            prediction=said[known],
            gated=truth[known],
            fallback=spare[known] if fallback else None,
        )
        subject = self.subject("2" if fallback else "")
        if fallback_learned:
            end = self.times[TRAINING + fallback_learned - 1].isoformat()
            subject = dataclasses.replace(subject, fallback_training_end=end)
        return measure(subject, material, at="2026-01-01T00:00:00+00:00", snapshot="ab" * 32)


@pytest.fixture
def world() -> World:
    """Nothing drifts in it."""
    rng = np.random.default_rng(7)
    n = TRAINING + SERVICE
    shocks = rng.normal(size=(n + 20, 3))
    features = sum(0.7**lag * shocks[20 - lag : n + 20 - lag] for lag in range(15))
    return World(
        features=np.asarray(features, dtype=np.float64),
        noise=rng.normal(size=n),
        sessions=pd.bdate_range("2010-01-04", periods=n),
        forecast_bias=np.zeros(n),
        fallback_bias=np.full(n, 0.3),
    )
