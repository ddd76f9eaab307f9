"""A night that can be judged without any engine: rows with windows and origins, and fits that are arrays on disk."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.contracts import Candidate, EngineName, EngineResult, FeatureMatrix, FeatureSpec, Rows, Snapshot, Window
from tasks.documents import digest
from tasks.evaluation import Leaderboard, Score
from tasks.problem import Problem
from tasks.registry.fits import Fits
from tasks.registry.records import ChampionInfo, Night
from tasks.splits.sessions import calendar_sessions
from tasks.storage import write_parquet

GATE, STEP, ORIGINS = 504, 63, 7
SESSIONS = 900
NAME = "spx-return"
ENGINES: dict[str, EngineName] = {"zero": "baseline", "mean": "baseline", "net": "autokeras", "champion": "h2o"}
Array = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class World:
    """Bars up to a last session: their labels, and forecasts that know a share of them."""

    folder: Path
    last: str = "2018-12-31"
    symbol: str = "SPX"
    seed: int = 1

    @property
    def days(self) -> pd.DatetimeIndex:
        """The sessions that have a label."""
        return calendar_sessions("XNYS", pd.Timestamp(self.last))[-SESSIONS:]

    @property
    def label(self) -> Array:
        """One value a session, the same whenever the night is."""
        known = dict(zip(_all_days(), _all_labels(self.seed), strict=True))
        return np.array([known[day] for day in self.days])

    def forecast(self, skill: float, seed: int) -> Array:
        """Knows this share of the label, and errs a little."""
        noise = dict(zip(_all_days(), np.random.default_rng([9, seed]).normal(size=len(_all_days())), strict=True))
        return skill * self.label + 0.02 * np.array([noise[day] for day in self.days])


def _all_days() -> pd.DatetimeIndex:
    return calendar_sessions("XNYS", pd.Timestamp("2020-06-30"))[-2000:]


def _all_labels(seed: int) -> Array:
    return np.random.default_rng(seed).normal(size=2000)


def rows_of(world: World, problem: Problem) -> Rows:
    """The last 504 sessions are the gate; origins every 63 of them."""
    days, n = world.days, SESSIONS
    place = np.arange(n) - (n - GATE)
    origin = np.minimum(place // STEP, ORIGINS)
    inside = np.where(origin < 1, "fit_gate", np.char.add("fit_origin_", origin.astype(str)))
    scored_by = np.where(place < 0, "fit_fold_1", inside)
    names = ("fit_gate", *(f"fit_origin_{k}" for k in range(1, ORIGINS + 1)), "fit_all")
    starts = {"fit_gate": 0, "fit_all": n, **{f"fit_origin_{k}": k * STEP for k in range(1, ORIGINS + 1)}}
    close = days.tz_localize("UTC") + pd.Timedelta(hours=21)
    frame = pd.DataFrame(
        {
            "symbol": world.symbol,
            "time": close,
            "session": days,
            "label": world.label,
            "label_end": close + pd.Timedelta(days=1),
            "weight": 1.0,
            "window": np.where(place < 0, "fold", "gate"),
            "scored_by": scored_by,
            **{name: place < starts[name] for name in names},
        }
    )
    gate = Window(
        name="gate", first=close[-GATE].isoformat(), last=close[-1].isoformat(), rows=GATE, dates=GATE, effective=504.0
    )
    return Rows(
        ref=write_parquet(world.folder / f"rows-{world.last}-{world.symbol}.parquet", frame),
        target=problem.objective,
        windows=(gate,),
        purged=0,
        embargo=0,
        term_start=str(days[-GATE].date()),
        fits=names,
    )


def snapshot_of(world: World, rows: Rows) -> Snapshot:
    """Bars whose returns are the labels: only closes are looked at."""
    close = pd.DataFrame(
        {"symbol": world.symbol, "session": world.days, "close": 100 * np.exp(0.01 * np.cumsum(world.label))}
    )
    bars = write_parquet(world.folder / f"bars-{world.last}-{world.symbol}.parquet", close)
    return Snapshot(
        sha256="5" * 64, bars=bars, symbols=(world.symbol,), first=str(world.days[0]), last=str(world.days[-1]),
        bar="1d", calendar="XNYS", true_opens=True, has_volume=True,
    )  # fmt: skip


def score(name: str, rank: int) -> Score:
    """A line of the leaderboard."""
    return Score(
        rank=rank, candidate=name, engine=ENGINES[name], metric="mse", direction="minimize", score=0.1 * rank, skill=0.0
    )


def night_of(world: World, order: tuple[str, ...] = ("net", "zero", "mean"), **problem: Any) -> Night:
    """A night whose leaderboard has this order; ``problem`` overrides the problem's fields."""
    described = Problem(**{"name": NAME, "source": "builtin:sp500", "target": "return", "owner": "desk", **problem})
    rows = rows_of(world, described)
    board = Leaderboard(
        scores=tuple(score(name, rank) for rank, name in enumerate(order, start=1)),
        rows=300,
        dates=300,
        sha256=f"board-{world.last}",
        smearing=dict.fromkeys(order, 1.01),
    )
    return Night(
        problem=described,
        snapshot=snapshot_of(world, rows),
        features=FeatureMatrix(ref=rows.ref, spec=FeatureSpec(columns=("a",), tick=0.01), lookback=1),
        rows=rows,
        results=(EngineResult(engine="baseline"),),
        leaderboard=board,
        code_version="test",
    )


def recipe(name: str) -> dict[str, Any]:
    """What the engines of these tests would need."""
    return {"algorithm": name}


def fit(world: World, name: str, rows: str, predictions: Array, **changes: Any) -> Candidate:
    """A candidate whose predictions are these, in the files of the world."""
    where = world.folder / f"{name}-{rows}-{world.last}-{world.symbol}.parquet"
    made = Candidate(
        name=name,
        engine=ENGINES[name],
        recipe=recipe(name),
        model=f"{name}-{rows}",
        predictions=write_parquet(where, pd.DataFrame({"prediction": predictions})),
        train_seconds=1.0,
        predict_us_per_row=1.0,
        rows=rows,
    )
    return dataclasses.replace(made, **changes)


def fits_of(
    world: World,
    skills: Mapping[str, float],
    refits: Mapping[str, float] | None = None,
    changes: Mapping[str, dict[str, Any]] | None = None,
) -> Fits:
    """Gated fits and fits on all rows with these skills; refits at the origins of the names in ``refits``."""
    changes = changes or {}
    candidates = [
        fit(world, name, rows, world.forecast(skill, seed), **changes.get(name, {}))
        for seed, (name, skill) in enumerate(sorted(skills.items()))
        for rows in ("fit_gate", "fit_all")
    ]
    for name, skill in (refits or {}).items():
        seed = sorted(skills).index(name)
        candidates += [
            fit(world, name, f"fit_origin_{k}", world.forecast(skill, seed), **changes.get(name, {}))
            for k in range(1, ORIGINS + 1)
        ]
    candidates.append(fit(world, sorted(skills)[0], "fit_fold_1", np.zeros(SESSIONS), shuffle=1))
    return Fits.of([EngineResult(engine="any", candidates=tuple(candidates))])


def champion_of(world: World, name: str = "champion", **changes: Any) -> ChampionInfo:
    """A champion with this recipe, promoted some weeks ago."""
    made = ChampionInfo(
        name=NAME,
        version="3",
        model_uri="models:/x/3",
        gated_uri="models:/m-3",
        candidate="gbm-7",
        engine=ENGINES[name],
        recipe_sha256=digest(recipe(name)),
        training_end="2018-11-30T21:00:00+00:00",
        gated_training_end="2016-01-04T21:00:00+00:00",
        tracking_uri="sqlite://",
        predicts=Problem(name=NAME, source="builtin:sp500", target="return").predicts,
        symbols=("SPX",),
        recipe=recipe(name),
        smearing=1.01,
    )
    return dataclasses.replace(made, **changes)
