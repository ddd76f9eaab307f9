"""A night's facts, put together from what its stages returned: what the report, the record and the events tell."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from prefect.futures import PrefectFuture

from flows.opening import Opening
from tasks.contracts import EngineResult, Ref
from tasks.environment import installed_versions
from tasks.evaluation import Backtest, ZiplineCheck
from tasks.live import Standing
from tasks.registry.fits import Fits
from tasks.registry.judgement import Verdict
from tasks.registry.records import ChampionInfo, LoggedNight, Night, Registered
from tasks.report.facts import Facts, forecasts
from tasks.search.results import seconds_by_engine, whole
from tasks.storage import lock_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Aside:
    """What runs beside the refits and decides nothing: pictures, a second opinion on the trading, explanations."""

    traded: PrefectFuture[tuple[ZiplineCheck, ...]]
    sheet: PrefectFuture[Ref | None] | None
    explained: PrefectFuture[EngineResult]
    elsewhere: PrefectFuture[tuple[float, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """What the registry made of a night: where it was logged, its version, who holds which place before and after."""

    logged: LoggedNight
    registered: Registered
    now: Standing
    incumbent: ChampionInfo | None


def gathered(  # noqa: PLR0917 - each is another stage's answer
    opening: Opening,
    night: Night,
    verdict: Verdict,
    fits: Fits,
    places: Places,
    aside: Aside,
    answers: Iterable[EngineResult],
    gate_backtests: tuple[Backtest, ...],
) -> Facts:
    """The facts of a night that has taken its places. answers: of the engines, to everything that was asked."""
    problem, clock, told = night.problem, opening.clock, tuple(answers)
    registered, now = places.registered, places.now
    leads = registered if now.champion == registered.version else places.incumbent
    return Facts(
        run_id=opening.run,
        problem=problem.model_dump(mode="json"),
        started=opening.started,
        snapshot=night.snapshot,
        rows=night.rows,
        leaderboard=night.leaderboard,
        decision=verdict.decision,
        evidence=verdict.evidence,
        engines=night.results,
        gate_backtests=gate_backtests,
        event_driven=aside.traded.result(),
        tear_sheet=aside.sheet.result() if aside.sheet else None,
        whole=whole(told),
        other_histories=aside.elsewhere.result(),
        forecasts=forecasts(night.leaderboard, fits.gated, verdict.evidence.gate_losses),
        importance_of=night.importance_of,
        importance=night.importance,
        warnings=night.notes,
        version=registered.version,
        champion_version=now.champion,
        challenger_version=now.challenger,
        model_uri=f"models:/{problem.name}@champion",
        tracking_uri=places.logged.tracking_uri,
        run_url=places.logged.url,
        bars_needed=getattr(leads, "bars_needed", 0),
        seconds=dict(clock.seconds),
        engine_seconds=seconds_by_engine(told),
        resources=clock.resources,
        grown_mb=clock.grown_mb(),
        versions=installed_versions(),
        digests={"code": night.code_version, "lock": lock_digest()},
    )
