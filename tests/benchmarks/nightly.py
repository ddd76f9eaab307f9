"""A night in miniature: everything that decides is the real thing, only the engine is quick.

Real: windows (``assign_windows``), shortlist, the check of the joined walk, the loss that ranks, the gate's evidence,
the ledger's reads, the decision. Quick: the engine draws ridge recipes at random, anew every night, and solves them
from Gram matrices that a world's fits share (the fits' rows do not change within a term). Alarms are left out: they can
only prevent promotions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import exchange_calendars
import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.contracts import Candidate, EngineName, Ref
from tasks.evaluation import Decision, Evidence
from tasks.leaderboard.joined import Joined, Walked, join
from tasks.leaderboard.losses import by_date, date_codes, rounded
from tasks.leaderboard.shortlist import SIMPLICITY, Shortlist, choose, recipe_sha256
from tasks.leaderboard.smearing import gate_smearing
from tasks.registry import gate as gates
from tasks.registry.evidence import Champion, GatedFit, GateRows, evidence_digest, gather, read_gate
from tasks.registry.families import Family, fingerprints, term_of
from tasks.registry.gate import Policy
from tasks.registry.ledger import Asked, Ledger, Reading
from tasks.search.baselines import PANEL, RECIPES
from tasks.splits.windows import WindowPlan, assign_windows
from tasks.statistics.losses import row_losses
from tests.benchmarks.worlds import World

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Recipe = dict[str, Any]

GATE_DATES = 504
TERM = 252
EMBARGO = 5
LEADERS = 3
RECIPES_A_NIGHT = 20
PENALTIES = (0.0, 0.01, 0.1, 1.0, 10.0, 100.0)
EFFECTIVE = 30.0
CLIP = 8.0
SEARCHED = "search"
"""The fit of the search: train, validation and blending rows."""


@lru_cache(maxsize=1)
def exchange_sessions() -> pd.DatetimeIndex:
    """Every session of the exchange from the first one that its calendar of terms counts from."""
    found = exchange_calendars.get_calendar("XNYS", start="1970-01-02", end="2020-01-01").sessions
    return pd.DatetimeIndex(found)


_PLANS: dict[tuple[str, str, int, bool], WindowPlan] = {}


def plan_of(sessions: pd.DatetimeIndex, last: int, several: bool) -> WindowPlan:
    """The windows on the night of session number ``last``: one row a date, the last of which has no label yet."""
    key = (str(sessions[0]), str(sessions[last]), last, several)
    if key not in _PLANS:
        names = 2 if several else 1  # all names of a date are in one window: two stand for any number
        known = pd.DatetimeIndex(sessions[: last + 1].to_numpy().repeat(names))
        times = known.tz_localize("UTC") + pd.Timedelta(hours=21)
        plan = assign_windows(
            times,
            known,
            pd.DatetimeIndex(times[names:].append(pd.DatetimeIndex([pd.NaT] * names, tz="UTC"))),
            np.ones(len(known), dtype=bool),
            exchange_sessions(),
            gate_sessions=GATE_DATES,
            term=TERM,
            embargo=EMBARGO,
            horizon=1,
        )
        _PLANS[key] = dataclasses.replace(
            plan,
            window=plan.window[::names],
            scored_by=plan.scored_by[::names],
            fits={name: mask[::names] for name, mask in plan.fits.items()},
        )
    return _PLANS[key]


@dataclass(frozen=True, slots=True)
class _Sums:
    """What a ridge fit on some rows needs: rows, means of features and label, their centred products."""

    rows: int
    mean: FloatArray
    label_mean: float
    gram: FloatArray
    cross: FloatArray


class Stage:
    """A world within one term: rows before the gate, standardised features, the sums of every fit."""

    def __init__(self, world: World, plan: WindowPlan) -> None:
        self.world, self.names = world, len(world.symbols)
        self.before = int(np.flatnonzero(plan.window == "gate")[0])
        features = world.features.reshape(-1, len(world.columns))
        search = np.isin(plan.window, ("train", "validation", "blending"))
        train = features[self._rows(plan.window == "train")]
        spread = train.std(axis=0)
        plain = (features - train.mean(axis=0)) / np.where(spread > 0, spread, np.inf)
        own = [n for n in world.columns if any(n in r.get("columns", ()) for r in baselines_of(world).values())]
        # As in the engines: what is searched sees features clipped at eight deviations, baselines see them as they are.
        self.z = np.column_stack([np.clip(plain, -CLIP, CLIP), plain[:, [world.columns.index(n) for n in own]]])
        self.label = world.label.ravel()
        keys = [*((name, True) for name in world.columns), *((name, False) for name in own)]
        self.place = {key: number for number, key in enumerate(keys)}
        masks = {SEARCHED: search, **{n: m for n, m in plan.fits.items() if "origin" not in n and n != "fit_all"}}
        self.sums = {name: self._sums(self._rows(mask)) for name, mask in masks.items()}
        self.frame = self._frame(plan)
        self._known: dict[tuple[str, str], FloatArray] = {}

    def predict(self, recipe: Recipe, fit: str, rows: slice) -> FloatArray:
        """Predictions of a recipe's fit on a stretch of rows."""
        key = (recipe_sha256(recipe), fit)
        if key not in self._known:
            self._known[key] = self._solve(recipe, self.sums[fit])
        weights = self._known[key]
        places = self._places(recipe)
        return np.asarray(weights[0] + self.z[rows][:, places] @ weights[1:])

    def forget(self, keep: Sequence[Recipe]) -> None:
        """Drop all fits but those of these recipes."""
        kept = {recipe_sha256(recipe) for recipe in keep}
        self._known = {key: value for key, value in self._known.items() if key[0] in kept}

    def fits(self) -> list[str]:
        """The walk-forward fits."""
        return [name for name in self.sums if name.startswith("fit_fold_")]

    @property
    def earlier(self) -> slice:
        """The rows before the gate."""
        return slice(0, self.before * self.names)

    def _places(self, recipe: Recipe) -> list[int]:
        return [self.place[name, "clip" in recipe] for name in recipe.get("columns", ())]

    def _rows(self, dates: BoolArray) -> npt.NDArray[np.int64]:
        return np.flatnonzero(np.repeat(dates, self.names))

    def _sums(self, rows: npt.NDArray[np.int64]) -> _Sums:
        z, y = self.z[rows], self.label[rows]
        mean, label_mean = z.mean(axis=0), float(y.mean())
        centred = z - mean
        return _Sums(
            len(rows), mean, label_mean, centred.T @ centred / len(rows), centred.T @ (y - label_mean) / len(rows)
        )

    def _solve(self, recipe: Recipe, sums: _Sums) -> FloatArray:
        """Intercept and weights, (1 + columns,)."""
        if recipe["algorithm"] == "zero":
            return np.zeros(1)
        places = self._places(recipe)
        gram = sums.gram[np.ix_(places, places)] + recipe.get("penalty", 0.0) * np.eye(len(places))
        weights = np.linalg.lstsq(gram, sums.cross[places], rcond=1e-12)[0]
        return np.concatenate([[sums.label_mean - sums.mean[places] @ weights], weights])

    def _frame(self, plan: WindowPlan) -> pd.DataFrame:
        """The rows before the gate as the nightly rows file has them."""
        sessions = self.world.sessions[: self.before + 1]
        times = sessions.tz_localize("UTC") + pd.Timedelta(hours=21)
        day = np.repeat(np.arange(self.before), self.names)
        frame = pd.DataFrame(
            {
                "symbol": np.tile(np.array(self.world.symbols, dtype=object), self.before),
                "time": times[day],
                "session": sessions[day],
                "label": self.label[self.earlier],
                "label_end": times[day + 1],
                "weight": 1.0,
                "window": plan.window[day],
                "scored_by": plan.scored_by[day],
            }
        )
        return frame.assign(**{name: plan.fits[name][day] for name in self.fits()})


@dataclass(frozen=True, slots=True, kw_only=True)
class Night:
    """What a night came to: the leader and whether it is a baseline, the decision, its evidence, and the plain t.

    ``joined``: the walk, out of sample; ``order``: its candidates, the leader first.
    ``plain_t``: of the leader's advantage over the best baseline on the gate's last 252 dates, as if that were the only
    look; NaN if the leader is that baseline.
    """

    leader: str
    baseline: bool
    joined: Joined
    order: tuple[str, ...]
    decision: Decision
    evidence: Evidence
    plain_t: float
    skill: float


class Problem:
    """One problem through its nights: a world, a ledger of its own, and the champion so far."""

    def __init__(self, world: World, seed: int, searched: Sequence[Recipe] = ()) -> None:
        self.world, self.ledger = world, Ledger.in_memory()
        self.rng = np.random.default_rng([seed, 1])
        self.baselines = baselines_of(world)
        self.searched = tuple(searched)
        self.policy = Policy()
        self.champion: tuple[str, Recipe] | None = None
        self._stage: tuple[str, Stage, Family] | None = None

    def night(self, last: int) -> Night:
        """The night of session number ``last``: search, shortlist, walk, rank, judge."""
        plan = plan_of(self.world.sessions, last, several=len(self.world.symbols) > 1)
        stage, family = self._settled(plan, last)
        recipes = {**self.baselines, **self._search(last)}
        joined, order, losses, engines = self._ranked(stage, recipes)
        leader = order[0]
        gate = _gate_rows(self.world, plan, stage)
        fits = {
            name: self._gated(stage, joined, name, recipes[name], engines[name], len(plan.window)) for name in order
        }
        if self.champion is not None:
            fits["champion"] = self._gated(
                stage, joined, self.champion[0], self.champion[1], "baseline", len(plan.window)
            )
        decision, evidence = self._judged(gate, family, fits, order, engines)
        best = next(name for name in order if engines[name] == "baseline")
        stage.forget(list(self.baselines.values()))
        return Night(
            leader=leader,
            baseline=engines[leader] == "baseline",
            joined=joined,
            order=tuple(order),
            decision=decision,
            evidence=evidence,
            plain_t=_plain_t(gate, fits[leader], fits[best]) if leader != best else float("nan"),
            skill=1.0 - losses[leader] / losses[best],
        )

    def _settled(self, plan: WindowPlan, last: int) -> tuple[Stage, Family]:
        if self._stage is None or self._stage[0] != plan.term_start:
            stage = Stage(self.world, plan)
            term = term_of(self.world.sessions[last - 1])
            family = Family(
                predicts=f"{self.world.kind} over 1",
                symbols=frozenset(self.world.symbols),
                series=fingerprints(self._closes(last), term),
                term=term,
            )
            self._stage = (plan.term_start, stage, family)
        return self._stage[1], self._stage[2]

    def _closes(self, last: int) -> pd.DataFrame:
        """Prices that tell this world's bars from another's: they move as its labels do."""
        day = np.repeat(np.arange(last), len(self.world.symbols))
        return pd.DataFrame(
            {
                "symbol": np.tile(np.array(self.world.symbols, dtype=object), last),
                "session": self.world.sessions[day],
                "close": np.exp(np.nancumsum(self.world.label[:last], axis=0) * 1e-3).ravel(),
            }
        )

    def _search(self, last: int) -> dict[str, Recipe]:
        """Tonight's recipes: random subsets of the columns with random penalties; given ones besides."""
        found = {f"given_{number}": recipe for number, recipe in enumerate(self.searched)}
        own = self.baselines.get("lhar", {}).get("columns", [])
        for number in range(RECIPES_A_NIGHT):
            size = int(self.rng.integers(1, 11))
            chosen = self.rng.choice(np.array(self.world.columns), size, replace=False).tolist()
            # Where a baseline knows something, a search that does not start from it cannot come near.
            columns = sorted({*chosen, *own}) if own and self.rng.random() < 0.75 else sorted(chosen)
            penalty = float(self.rng.choice(PENALTIES))
            found[f"search_{last}_{number}"] = {
                "algorithm": "ridge", "columns": columns, "penalty": penalty, "clip": CLIP,
            }  # fmt: skip
        return found

    def _ranked(
        self, stage: Stage, recipes: Mapping[str, Recipe]
    ) -> tuple[Joined, list[str], dict[str, float], dict[str, EngineName]]:
        """The walk over the folds, candidates in the leaderboard's order, their losses and engines."""
        candidates = [_candidate(name, recipe, name in self.baselines) for name, recipe in recipes.items()]
        predicted = {name: stage.predict(recipe, SEARCHED, stage.earlier) for name, recipe in recipes.items()}
        shortlist: Shortlist = choose(
            candidates, predicted, stage.frame, self.world.target, leaders=LEADERS, ensembles=False
        )
        engines: dict[str, EngineName] = {c.name: c.engine for c in candidates if c.name in shortlist.names}
        walked = {
            name: Walked(
                name=name,
                engine=engine,
                fits={fit: stage.predict(recipes[name], fit, stage.earlier) for fit in stage.fits()},
                lost={},
            )
            for name, engine in engines.items()
        }
        joined = join(stage.frame, walked, self.world.target)
        date = date_codes(joined.frame["session"].to_numpy(dtype="datetime64[ns]"))
        label = joined.frame["label"].to_numpy(np.float64)
        losses = {
            name: float(by_date(date, row_losses(self.world.target.loss, label, values)).mean())
            for name, values in joined.predictions.items()
        }
        order = sorted(losses, key=lambda name: (rounded(losses[name]), SIMPLICITY.index(engines[name]), name))
        return joined, order, losses, engines

    def _gated(
        self, stage: Stage, joined: Joined, name: str, recipe: Recipe, engine: EngineName, dates: int
    ) -> GatedFit:
        values = np.full(dates * stage.names, np.nan)
        rows = slice(stage.before * stage.names, dates * stage.names)
        values[rows] = stage.predict(recipe, "fit_gate", rows)
        volatile = self.world.target.name == "volatility"
        return GatedFit(
            name=name,
            engine=engine,
            recipe_sha256=recipe_sha256(recipe),
            predictions=values,
            smearing=gate_smearing(joined, name) if volatile else float("nan"),
        )

    def _judged(
        self,
        gate: GateRows,
        family: Family,
        fits: Mapping[str, GatedFit],
        order: Sequence[str],
        engines: Mapping[str, EngineName],
    ) -> tuple[Decision, Evidence]:
        """As a night judges: gather, spend a read where anything can come of it, read, decide."""
        challenger = fits[order[0]]
        ranked = [name for name in order if engines[name] == "baseline"]
        baselines = [fits[name] for name in ranked]
        champion = self._champion(fits)
        known = gather(
            gate,
            challenger,
            baselines,
            ranked[0],
            champion,
            required_dates=GATE_DATES,
            effective=float(len(gate.dates)),
            required_effective=EFFECTIVE,
            term=family.term.first,
        )
        reading = Reading()
        if not gates.obstacles(known, self.policy):
            reading = self.ledger.spend(
                Asked(
                    problem="world",
                    family=family,
                    recipe=challenger.recipe_sha256,
                    evidence=evidence_digest(gate, challenger, baselines, champion),
                    dates=[str(day) for day in gate.dates.astype("datetime64[D]")],
                    alpha=self.policy.alpha,
                )
            )
        evidence = known
        if reading.k:
            evidence = read_gate(known, gate, challenger, baselines, champion, read=reading.k, level=reading.level)
        decision = gates.decide(evidence, self.policy)
        self.ledger.record_decision(reading, "world", challenger.recipe_sha256, decision)
        return decision, evidence

    def _champion(self, fits: Mapping[str, GatedFit]) -> Champion | None:
        if self.champion is None:
            return None
        fit = fits["champion"]
        return Champion(
            name=f"{self.champion[0]} (version 1)",
            recipe_sha256=fit.recipe_sha256,
            predictions=fit.predictions,
            smearing=fit.smearing,
            refitted=fit,
        )

    def crown(self, night: Night) -> None:
        """Move the alias where the night decided so; only baselines are crowned here."""
        promoted = night.decision.promote
        if promoted in self.baselines:
            self.champion = (promoted, self.baselines[promoted])
            self.ledger.record_alias("world", recipe_sha256(self.baselines[promoted]), "1")


def baselines_of(world: World) -> dict[str, Recipe]:
    """The nightly baselines that are linear: GARCH is left out, which is far from being the best."""
    found = dict(RECIPES[world.target.name])
    if len(world.symbols) > 1:
        found |= PANEL.get(world.target.name, {})
    return {name: recipe for name, recipe in found.items() if recipe["algorithm"] != "garch"}


def _candidate(name: str, recipe: Recipe, baseline: bool) -> Candidate:
    return Candidate(
        name=name,
        engine="baseline" if baseline else "h2o",
        recipe=recipe,
        model="",
        predictions=Ref(path="", sha256="", rows=0),
        train_seconds=0.0,
        predict_us_per_row=0.0,
    )


def _gate_rows(world: World, plan: WindowPlan, stage: Stage) -> GateRows:
    dates = np.flatnonzero(plan.window == "gate")
    rows = np.arange(dates[0] * stage.names, (dates[-1] + 1) * stage.names)
    return GateRows(
        positions=rows,
        sessions=np.repeat(world.sessions[dates].to_numpy(dtype="datetime64[ns]"), stage.names),
        label=stage.label[rows],
        target=world.target,
        overlap=0,
    )


def _plain_t(gate: GateRows, challenger: GatedFit, rival: GatedFit) -> float:
    """An ordinary t of the loss difference on the last 252 dates."""
    difference = (gate.losses(rival.predictions) - gate.losses(challenger.predictions)).to_numpy(np.float64)[-TERM:]
    spread = float(difference.std(ddof=1))
    return float(difference.mean()) / (spread / np.sqrt(len(difference))) if spread > 0 else float("nan")
