"""Prefect's side of the registry, in the order in which a nightly flow calls it.

```
champion_now(name) -> ChampionInfo | None
champion_predictions(champion, snapshot) -> Ref                  its gated fit, tonight's rows, in a clean process
judge(night, fits, champion) -> Verdict                          evidence, decision, and the entry to register
log_night(night) -> LoggedNight                                  parent run, a child a candidate, the leading three
register_version(night, logged, entry) -> Registered             challenger, baseline or fallback: any number of times
promote(registered, entry, night, judged) -> float                load afresh, compare, then move the alias
```

None is cached or retried: the registry is the world's state, and a promotion that failed needs a person's look.
"""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.contracts import Ref, Snapshot
from tasks.errors import RegistryError
from tasks.registry import judgement, mlflow_store, nights
from tasks.registry.judgement import Fits, ScoredChampion, Verdict
from tasks.registry.records import ChampionInfo, Entry, LoggedNight, Night, Registered
from tasks.storage import home


@task(name="open the registry", cache_policy=NO_CACHE)
def open_registry() -> None:
    """Make the registry's tables on the first night. Raises RegistryError if it cannot be opened."""
    mlflow_store.open_store()


@task(name="champion", cache_policy=NO_CACHE)
def champion_now(name: str) -> ChampionInfo | None:
    """What consumers pull at this moment, or None. Raises RegistryError if the registry cannot be read."""
    return mlflow_store.champion(mlflow_store.open_store(), name)


@task(name="champion's predictions", cache_policy=NO_CACHE)
def champion_predictions(champion: ChampionInfo, snapshot: Snapshot) -> Ref:
    """The champion's gated fit on tonight's rows: a column ``prediction``, aligned with the snapshot.

    NaN stands in the lookback. Raises RegistryError if it cannot be loaded or scored.
    """
    file = f"{champion.name}-{champion.version}-{snapshot.sha256[:16]}.parquet"
    return nights.champion_predictions(champion, snapshot, home() / "champions" / file)


@task(name="log the night", cache_policy=NO_CACHE)
def log_night(night: Night) -> LoggedNight:
    """One parent run, a child run a candidate, the models of the leading three."""
    return nights.log_night(mlflow_store.open_store(), night)


@task(name="register", cache_policy=NO_CACHE)
def register_version(night: Night, logged: LoggedNight, entry: Entry) -> Registered:
    """The entry as the next version under the problem's name; no alias moves."""
    return nights.register(mlflow_store.open_store(), night, logged, entry)


@task(name="promote", cache_policy=NO_CACHE)
def promote(registered: Registered, entry: Entry, night: Night, judged: ChampionInfo | None) -> float:
    """Verify the version in a clean process, then move the alias; returns the largest relative difference."""
    return nights.verify_and_promote(mlflow_store.open_store(), registered, entry, night, judged)


@task(name="gate", cache_policy=NO_CACHE)
def judge(night: Night, fits: Fits, champion: ChampionInfo | None) -> Verdict:
    """Score leader, champion and every baseline on the gate rows, and decide; nothing in the registry changes."""
    return judgement.judge(night, fits, None if champion is None else _scored(champion, night))


def _scored(champion: ChampionInfo, night: Night) -> ScoredChampion:
    why = judgement.why_not_comparable(champion, night)
    if why:
        return ScoredChampion(info=champion, predictions=None, why=why)
    try:
        return ScoredChampion(info=champion, predictions=champion_predictions.fn(champion, night.snapshot))
    except RegistryError as error:
        return ScoredChampion(info=champion, predictions=None, why=str(error))
