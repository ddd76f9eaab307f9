"""A new model takes over gradually, or is watched in the shadow: one night of it.

```
ingest ─ features ─ rows ─ score both models ─ outcomes ─ e-process ─ decide ─┬─ share, alias, or nothing
                                                                             └─ page
```

1. Ingest, features, rows: as every night, and found again where the nightly flow has just made them.
2. Champion and challenger speak about every new date, from a clean process, whatever share of requests sees whom.
3. Dates whose labels have ended are scored for both and appended; the e-process is computed from all of them.
4. ``machine.decide``: goes on with a share, promotes, rolls back, or at the time limit keeps the champion.
5. What was decided moves in the ledger by compare-and-swap, and MLflow shows it.

The same night again changes nothing; a night that was missed is made up for by the next one, but for dates that a
champion refitted meanwhile has learned from. A run that dies anywhere is finished by the next.

What this flow does not do: touch a frame, a model or MLflow. It passes references between tasks.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from prefect import flow

from flows import guard, settings
from flows.automations import tell_failure
from tasks.bars.task import ingest
from tasks.contracts import Rows, Snapshot
from tasks.errors import ConfigurationError
from tasks.features.task import build_features
from tasks.live import Action, Standing
from tasks.masking import at_the_edge
from tasks.problem import Problem
from tasks.registry import mlflow_store, promotions, rollouts
from tasks.registry.ledger import Ledger
from tasks.rollout import rules, words
from tasks.rollout import store as stores
from tasks.rollout.assess import Assessment
from tasks.rollout.plan import LIMIT_DATES, Ending, Mode, Outcome, Plan
from tasks.rollout.reading import store_of, told, where
from tasks.rollout.task import assessment, draft, publish, record
from tasks.splits.task import make_rows
from tasks.storage import home


@flow(
    name="rollout",
    flow_run_name="rollout {problem.name}",
    on_failure=[tell_failure],
    on_crashed=[tell_failure],
    on_cancellation=[tell_failure],
)
@at_the_edge
def rollout(problem: Problem) -> dict[str, Any]:
    """One night of the rollout that goes on under the problem's name; its document. Without one, nothing is done.

    A run whose schedule's day has no session is skipped.
    """
    settings.reserve()
    if reason := guard.reason_to_skip(problem, guard.scheduled()):
        return guard.skipped(problem, reason, told=False)  # type: ignore[return-value]
    with stores.lease(problem.name):
        found = stores.current(problem.name) or _resumed(problem)
        if found is None:
            return told(problem.name)
        plan = found.plan
        rules.require_same(plan, problem)
        now = _standing(plan)
        if not _over(plan, now):
            snapshot, rows = _rows(problem)
            _score(plan, now, snapshot, rows)
            _act(plan, now, assessment(plan, snapshot, str(home() / "live" / problem.name)))
        stands = assessment(plan)
        return {**words.document(stands), "page": publish(stands)}


@flow(name="begin a rollout", flow_run_name="begin a rollout {problem.name}")
@at_the_edge
def begin(problem: Problem, version: str = "", mode: Mode = "gradual", limit: int = LIMIT_DATES) -> dict[str, Any]:
    """Agree on a rollout or a shadow of a version (the challenger, or the newest that never led), and put it in place.

    What an earlier run agreed on alike and died over is gone on from. Raises ConfigurationError if one is going on,
    there is no champion, or the two cannot be compared.
    """
    settings.reserve()
    with stores.lease(problem.name):
        going = stores.current(problem.name)
        if going is not None:
            rules.require_alike(going.plan, version, mode)
        plan = (going or _begun(problem, version, mode, limit)).plan
        _standing(plan)
        stands = assessment(plan)
        return {**words.document(stands), "page": publish(stands)}


def stop(name: str, why: str) -> dict[str, Any]:
    """End the rollout that goes on: the champion stays, the share falls to nothing. Raises ConfigurationError."""
    with stores.lease(name):
        found, why = stores.current(name), f"{why} ({promotions.by_hand()})"
        if found is not None:
            now = _standing(found.plan)
            if not _finished(found.plan, now):
                _end(found.plan, now, "stopped", why)
        elif not _dropped(name, "stopped", why):
            raise ConfigurationError(f"{name}: no rollout and no shadow is going on")
        return told(name)


def _rows(problem: Problem) -> tuple[Snapshot, Rows]:
    snapshot = ingest(problem)
    return snapshot, make_rows(problem, snapshot, build_features(problem, snapshot))


def _begun(problem: Problem, version: str, mode: Mode, limit: int) -> stores.RolloutStore:
    """Agreed on, then paid for, then begun: who dies in between leaves an agreement that the next one goes on from."""
    agreed, data = stores.agreed(problem.name), _rows(problem)
    if agreed is None or agreed.mode != mode or version not in ("", agreed.challenger):
        _dropped(problem.name, "superseded", "another one was begun before this was")
        agreed = stores.agree(_agreed(problem, data, version, mode, limit))
    return stores.begin(_paid(agreed, problem, data))


def _resumed(problem: Problem) -> stores.RolloutStore | None:
    """What a run agreed on and died before it began; None if there is no such thing."""
    agreed = stores.agreed(problem.name)
    return None if agreed is None else stores.begin(_paid(agreed, problem, _rows(problem)))


def _dropped(name: str, outcome: Outcome, why: str) -> bool:
    """End what was agreed on and never began; whether there was such a thing. What it had spent stays spent."""
    agreed = stores.agreed(name)
    if agreed is None:
        return False
    with Ledger.open() as ledger:
        row = rollouts.claimed(ledger, name, agreed.evidence)
    _conclude(replace(agreed, read_row=row), outcome, why)
    return True


def _agreed(problem: Problem, data: tuple[Snapshot, Rows], version: str, mode: Mode, limit: int) -> Plan:
    store, (snapshot, rows) = mlflow_store.open_store(), data
    champion, challenger = rollouts.contest(store, problem, version, shown=mode == "gradual")
    gated = rollouts.predictions(store, problem.name, (champion.gated_uri, challenger.gated_uri), snapshot)
    plan = draft(
        problem, rows, (gated[0], gated[1]),
        versions=(champion.version, challenger.version),
        gated_learned=rollouts.later(champion.gated_training_end, challenger.gated_training_end),
        mode=mode,
        limit=limit,
    )  # fmt: skip
    return replace(
        plan,
        champion_is=champion.candidate,
        challenger_is=challenger.candidate,
        recipe=challenger.recipe_sha256,
        champion_recipe=champion.recipe_sha256,
    )


def _paid(agreed: Plan, problem: Problem, data: tuple[Snapshot, Rows]) -> Plan:
    """With the read that pays for it: the one it has already, where a run died after that. A shadow costs nothing."""
    if agreed.mode == "shadow":
        return agreed
    reading, approved = rollouts.paid(problem, data, agreed.challenger, agreed.evidence)
    return replace(agreed, read=reading.k, read_row=reading.row, level=reading.level, approved=approved)


def _standing(plan: Plan) -> Standing:
    """Who holds the aliases; those of a rollout that was only agreed on are moved first."""
    with Ledger.open() as ledger:
        now = promotions.standing(ledger, plan.name)
        begun = rollouts.has_begun(ledger, plan.name, plan.evidence)
    wanted = None if begun else rules.begin(plan, now)
    return now if wanted is None else _move(plan, now, "challenged", *wanted)


def _score(plan: Plan, now: Standing, snapshot: Snapshot, rows: Rows) -> None:
    store = mlflow_store.open_store()
    rivals = [rollouts.rival(store, plan.name, version) for version in (now.champion, plan.challenger)]
    said = rollouts.predictions(store, plan.name, [rival.model_uri for rival in rivals], snapshot)
    learned = rollouts.later(*(rival.learned for rival in rivals))
    record(plan, snapshot, rows, (said[0], said[1]), learned=learned, share=now.share)


def _act(plan: Plan, now: Standing, found: Assessment) -> None:
    """Move what the last step says; nothing where it is so already."""
    if found.step.ends:
        _end(plan, now, rules.ENDINGS[found.step.verb], found.step.why)
        return
    wanted = rules.stepped(plan, now, found)
    if wanted is not None:
        _move(plan, now, "rollout", *wanted)


def _over(plan: Plan, now: Standing) -> bool:
    """End what an earlier run had decided and died over, or what others have made pointless; whether there was that."""
    if _finished(plan, now):
        return True
    champion = rollouts.rival(mlflow_store.open_store(), plan.name, now.champion) if now.champion else None
    recipe, candidate = (champion.recipe_sha256, champion.candidate) if champion else ("", "")
    why = rules.superseded(plan, now, recipe=recipe, candidate=candidate)
    if why:
        _end(plan, now, "superseded", why)
    return bool(why)


def _finished(plan: Plan, now: Standing) -> bool:
    with Ledger.open() as ledger:
        moved = rollouts.took_over(ledger, plan.name, plan.evidence)
    left = rules.left_off(plan, now, where(plan).step, took_over=moved)
    if left is None:
        return False
    if left[0] == "promoted":  # the alias has moved, and may have moved on
        _conclude(plan, *left)
    else:
        _end(plan, now, *left)
    return True


def _end(plan: Plan, now: Standing, outcome: Outcome, why: str) -> None:
    """Aliases first, then the ledger's word on it, then the folder's: who dies in between is finished by the next."""
    wanted = rules.ended(plan, now, outcome)
    if wanted is not None:
        _move(plan, now, wanted[1], wanted[0], why)
    _conclude(plan, outcome, why)


def _conclude(plan: Plan, outcome: Outcome, why: str) -> None:
    if plan.read_row:
        promoted = plan.challenger if outcome == "promoted" else ""
        with Ledger.open() as ledger:
            rollouts.conclude(
                ledger, name=plan.name, recipe=plan.recipe, read_row=plan.read_row, promoted=promoted, why=(why,)
            )
    at = datetime.now(UTC).isoformat(timespec="seconds")
    store_of(plan).end(Ending(outcome=outcome, at=at, dates=where(plan).state.dates, why=(why,)))


def _move(plan: Plan, now: Standing, action: Action, wanted: Standing, why: str) -> Standing:
    """From the standing that the decision was made on: whoever was faster makes this one fail, and nothing moves."""
    store = mlflow_store.open_store()
    with Ledger.open() as ledger:
        return rollouts.move(store, ledger, now, wanted, action=action, why=why, evidence=plan.evidence)
