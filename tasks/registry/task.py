"""Prefect's side of the registry, in the order in which a nightly flow calls it.

```
open_registry(name)                                              tables; what a run that died left undone
search_backbones(problem, rows, matrix, warm) -> Backbones       what a transfer may begin with; job_backbones(jobs)
champion_now(name) -> ChampionInfo | None                        with its recipe, to be walked and refitted
count_trials(problem, snapshot, rows, board, results) -> int     the ledger: every candidate; independent trials so far
licence_due(champion, problem, snapshot, rows) -> bool           are refits at the gate's origins asked for tonight?
champion_predictions(champion, snapshot) -> Ref                  its gated fit, tonight's rows, in a clean process
judge(night, fits, champion) -> Verdict                          a read of the gate, evidence, decision, the entry
log_night(night) -> LoggedNight                                  parent run, a child a candidate, the leading three
register_version(night, logged, entry) -> Registered             what the decision promotes, or else the challenger
take_places(night, logged, fits, entry, registered, judged)      load afresh, compare, then move the aliases
live_predictions(name, snapshot) -> dict[alias, Ref]             whatever is in service, on any snapshot's rows
service_predictions(watched, snapshot) -> InService              each session by versions that had not seen it
coverage_in_service(champion, spoke, snapshot, features, rows)   how often the recipe's intervals have held
newest_backbone(name) -> Backbone | None                         what an update goes on from
register_backbone(backbone) -> Listed                            a trained encoder as the next version of its name
```

None is cached or retried: the registry is the world's state, and a promotion that failed needs a person's look.
"""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks import journal
from tasks.contracts import Backbone, Backbones, EngineResult, FeatureMatrix, Ref, RefitJob, Rows, Snapshot, WarmRecipe
from tasks.errors import RegistryError
from tasks.evaluation import Leaderboard
from tasks.live import Alias, Standing
from tasks.masking import at_the_edge
from tasks.problem import Problem
from tasks.registry import (
    backbones,
    continuity,
    coverage,
    judgement,
    mlflow_place,
    mlflow_store,
    nights,
    orphans,
    places,
    projection,
    renewal,
    scoring,
    service,
    starting,
    takeover,
    trials,
)
from tasks.registry.backbones import Listed
from tasks.registry.families import Family
from tasks.registry.fits import Fits
from tasks.registry.judgement import ScoredChampion, Verdict
from tasks.registry.ledger import Ledger
from tasks.registry.records import ChampionInfo, Entry, LoggedNight, Night, Registered
from tasks.registry.service import InService
from tasks.registry.standings import standing
from tasks.registry.verification import Subject
from tasks.registry.watched import Watched
from tasks.storage import home, read_parquet

LOOK = ["session", "window"]
log = logging.getLogger("nocturne.registry")


@task(name="open the registry", cache_policy=NO_CACHE)
@at_the_edge
def open_registry(name: str = "", dead: tuple[str, ...] = ()) -> None:
    """Make the tables of registry and ledger on the first night; mend or say what a run of this name left undone.

    Aliases that are not where the ledger says are put back. ``dead``: runs of the flow that died, and whose orphans in
    the registry are seen to; only who holds the lease may say so. Raises RegistryError, StorageError or IntegrityError
    if one of the two cannot be opened, IntegrityError if the ledger lacks what the registry's entries rest on.
    """
    store = mlflow_store.open_store()
    with Ledger.open() as ledger:
        continuity.require(ledger, continuity.told(store, name))
        if name:
            projection.repair(store, ledger, name)
        for said in orphans.collect(store, ledger, name, dead) if dead else ():
            log.warning("%s", said)
        left = ledger.unfinished(name) if name and not takeover.under_way(ledger, name) else None
    if left is not None:
        log.warning(
            "%s: the night of %s decided to promote %s and ended before the alias moved; its read of the gate still "
            "counts for that recipe, and this night can promote it",
            name,
            left[1],
            left[0],
        )


@task(name="backbones", cache_policy=NO_CACHE)
@at_the_edge
def search_backbones(problem: Problem, rows: Rows, matrix: FeatureMatrix, warm: tuple[WarmRecipe, ...]) -> Backbones:
    """What tonight's transfer may begin with, pulled and verified, or why there is nothing; see ``starting``."""
    if "transfer" not in problem.engines:
        return Backbones()
    return starting.for_search(problem, rows, matrix, [each.recipe for each in warm])


@task(name="backbones of recipes", cache_policy=NO_CACHE)
@at_the_edge
def job_backbones(jobs: tuple[RefitJob, ...]) -> Backbones:
    """The backbones that the recipes of jobs name, pulled and verified."""
    return starting.for_jobs([job.recipe for job in jobs])


@task(name="champion", cache_policy=NO_CACHE)
@at_the_edge
def champion_now(name: str) -> ChampionInfo | None:
    """What consumers pull at this moment, or None. Raises RegistryError if the registry cannot be read."""
    return mlflow_store.champion(mlflow_store.open_store(), name)


@task(name="champion's predictions", cache_policy=NO_CACHE)
@at_the_edge
def champion_predictions(champion: ChampionInfo, snapshot: Snapshot) -> Ref:
    """The champion's gated fit on tonight's rows: a column ``prediction``, aligned with the snapshot.

    NaN stands in the lookback. Raises RegistryError if it cannot be loaded or scored.
    """
    file = f"{champion.name}-{champion.version}-{snapshot.sha256[:16]}.parquet"
    return scoring.champion_predictions(champion, snapshot, home() / "champions" / file)


@task(name="predictions in service", cache_policy=NO_CACHE)
@at_the_edge
def service_predictions(served: Watched, snapshot: Snapshot) -> InService:
    """What champion and fallback said, each session by a version in service that had not seen it; see ``service``.

    A champion that is its own fallback is asked once. Raises RegistryError if the champion cannot be scored.
    """
    name, champion = served.champion.name, served.champion.version
    fallback = "" if served.fallback_version == champion else served.fallback_version
    with Ledger.open() as ledger:
        return service.predictions_in_service(
            mlflow_store.open_store(), ledger, name,
            champion=champion, fallback=fallback, snapshot=snapshot, folder=home() / "live" / name / "service",
        )  # fmt: skip


@task(name="coverage in service", cache_policy=NO_CACHE)
@at_the_edge
def coverage_in_service(
    champion: ChampionInfo, spoke: InService, snapshot: Snapshot, features: FeatureMatrix, rows: Rows
) -> str:
    """What the 90 % intervals of the champion's recipe held since it came in, in words and as a tag, if it has any."""
    return coverage.coverage_since(
        mlflow_store.open_store(), champion, spoke, snapshot=snapshot, features=features, rows=rows
    )


@task(name="log the night", cache_policy=NO_CACHE)
@at_the_edge
def log_night(night: Night) -> LoggedNight:
    """One parent run, a child run a candidate, the models of the leading three."""
    logged = nights.log_night(mlflow_store.open_store(), night)
    journal.mark("logged", logged.run_id)
    return logged


@task(name="log resources", cache_policy=NO_CACHE)
@at_the_edge
def log_resources(logged: LoggedNight, points: tuple[tuple[str, float, int, int], ...]) -> None:
    """What the night took of its machine, over time, as metrics of its run; a tracking server that is gone costs these.

    points: name, value, milliseconds since 1970, step.
    """
    try:
        mlflow_store.log_points(mlflow_store.open_store(), logged.run_id, points)
    except RegistryError as error:
        log.warning("what the night took of its machine is not in MLflow: %s", error)


@task(name="register", cache_policy=NO_CACHE)
@at_the_edge
def register_version(night: Night, logged: LoggedNight, entry: Entry) -> Registered:
    """The entry as the next version under the problem's name; no alias moves."""
    registered = nights.register(mlflow_store.open_store(), night, logged, entry)
    journal.mark("registered", registered.version)
    return registered


@task(name="take places", cache_policy=NO_CACHE)
@at_the_edge
def take_places(  # noqa: PLR0917 - each is another stage's answer
    night: Night, logged: LoggedNight, fits: Fits, entry: Entry, registered: Registered, judged: ChampionInfo | None
) -> Standing:
    """Verify in a clean process what is to hold an alias, then move it: champion or challenger, and a fallback if due.

    judged: the champion that the decision was made against. Raises as ``places.take_places``.
    """
    subject = Subject(registered=registered, entry=entry)
    return places.take_places(mlflow_store.open_store(), night, logged, fits, subject, judged)


@task(name="live predictions", cache_policy=NO_CACHE)
@at_the_edge
def live_predictions(name: str, snapshot: Snapshot) -> dict[Alias, Ref]:
    """What champion, challenger and fallback say of every row of the snapshot, by alias; see ``scoring``.

    The files lie below ``live/<name>`` of the state folder. Raises RegistryError without a champion, or if it cannot
    be scored.
    """
    store = mlflow_store.open_store()
    now = projection.shown(store, name)
    if now is None or not now.champion:
        raise RegistryError(f"{name}: no version is champion in {mlflow_place.shown_uri()}; run a night first")
    return scoring.live_predictions(store, now, snapshot, home() / "live" / name)


@task(name="count trials", cache_policy=NO_CACHE)
@at_the_edge
def count_trials(
    problem: Problem, snapshot: Snapshot, rows: Rows, board: Leaderboard, results: tuple[EngineResult, ...] = ()
) -> int:
    """Note tonight's candidates in the ledger and keep their walk-forward predictions; independent trials so far.

    results: the search's, for the candidates' recipes. Counted over all nights of the same target and symbols.
    """
    family = _family(problem, snapshot, rows)
    folder = home() / "ledger" / "predictions"
    with Ledger.open() as ledger:
        trials.record(ledger, family, (problem, snapshot, board), results, folder)
        return trials.count(ledger, family, folder)


@task(name="licence due", cache_policy=NO_CACHE)
@at_the_edge
def licence_due(champion: ChampionInfo | None, problem: Problem, snapshot: Snapshot, rows: Rows) -> bool:
    """Whether the champion's recipe has to be fitted at every origin inside the gate tonight (``fit_origin_…``)."""
    if champion is None:
        return False
    with Ledger.open() as ledger:
        return renewal.due(champion, (problem, snapshot, rows), _family(problem, snapshot, rows), ledger)


@task(name="gate", cache_policy=NO_CACHE)
@at_the_edge
def judge(night: Night, fits: Fits, champion: ChampionInfo | None) -> Verdict:
    """Score challenger, champion and every baseline on the gate rows, and decide; no alias moves.

    The entry tells the standing that was there: it is promoted from that one or not at all.
    A read of the gate is spent in the ledger where a replacement is possible at all.
    """
    with Ledger.open() as ledger:
        expected = standing(ledger, night.problem.name)
        verdict = judgement.judge(night, fits, None if champion is None else _scored(champion, night), ledger)
    return dataclasses.replace(verdict, entry=dataclasses.replace(verdict.entry, expected=expected))


def _family(problem: Problem, snapshot: Snapshot, rows: Rows) -> Family:
    return judgement.family_of(problem, snapshot, read_parquet(rows.ref, LOOK))


def _scored(champion: ChampionInfo, night: Night) -> ScoredChampion:
    why = judgement.why_not_comparable(champion, night)
    if why:
        return ScoredChampion(info=champion, predictions=None, why=why)
    try:
        return ScoredChampion(info=champion, predictions=champion_predictions.fn(champion, night.snapshot))
    except RegistryError as error:
        return ScoredChampion(info=champion, predictions=None, why=str(error))


@task(name="newest backbone", cache_policy=NO_CACHE)
@at_the_edge
def newest_backbone(name: str) -> Backbone | None:
    """The newest version of a backbone, pulled and verified, to be gone on from; None if there is none yet."""
    store = mlflow_store.open_store()
    known = backbones.versions(store, name)
    return backbones.pull(store, known[0].backbone) if known else None


@task(name="register backbone", cache_policy=NO_CACHE)
@at_the_edge
def register_backbone(backbone: Backbone) -> Listed:
    """A trained backbone's folder as the next version under its name, as it is listed from then on."""
    return backbones.register(mlflow_store.open_store(), Path(backbone.folder))
