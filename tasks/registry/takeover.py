"""What is being compared with the champion at this moment, by the ledger alone; and what has to wait for that."""

from __future__ import annotations

import json

from tasks.live import Move
from tasks.problem import Problem
from tasks.registry.ledger import BEGAN, Ledger
from tasks.registry.standings import history, standing

NIGHT = "nightly"


def under_way(ledger: Ledger, name: str) -> bool:
    """Whether the present challenger is being compared with the champion: a share, or a place that no night gave it."""
    return standing(ledger, name).share > 0 or _beginning(ledger, name) is not None


def waits(ledger: Ledger, problem: Problem, recipe: str) -> str:
    """Why the gate is not to be read for this recipe tonight, or nothing.

    Its own rollout is under way: that has a read already. Or any comparison is, and what the gate approved would have
    to take over gradually: the place that it needs is taken, and its win could not be used.
    """
    name = problem.name
    if not under_way(ledger, name):
        return ""
    now, began = standing(ledger, name), _beginning(ledger, name)
    when = f" since {began.at[:10]}" if began else ""
    if began is not None and recipe in _recipes(ledger, name, began.evidence):
        return f"its rollout is under way{when} (version {now.challenger}), and has a read of its own"
    if problem.takeover == "gradual":
        return (
            f"version {now.challenger} is being compared with the champion{when}, and what is to take over gradually "
            f"waits for the end of that (nocturne rollout {name})"
        )
    return ""


def _recipes(ledger: Ledger, name: str, evidence: str) -> set[str]:
    """The recipe whose rollout began with this agreement; a shadow's is not known, since it has no read."""
    began = ledger.chain.rows("outcomes", "problem = ? AND outcome = ?", (name, BEGAN))
    return {row["recipe"] for row in began if json.loads(row["reasons"]) == [evidence]}


def _beginning(ledger: Ledger, name: str) -> Move | None:
    """The move by which somebody other than a night gave the present challenger its place; None if nobody did."""
    now, found = standing(ledger, name), None
    for step in history(ledger, name):
        if not now.challenger or step.standing.challenger != now.challenger:
            break
        if step.action in ("challenged", "rollout") and step.by != NIGHT:
            found = step
    return found
