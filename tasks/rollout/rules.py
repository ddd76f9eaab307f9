"""What becomes of the aliases in a rollout: pure rules from the plan, the standing and the evidence's last step.

```
begin        the standing that the rollout begins with, unless the challenger leads already or nobody does
left_off     the end that an earlier run had come to and died over
superseded   why others have made the comparison pointless: champion or challenger is another one
stepped      the share that the evidence allows now, and why
ended        the standing after the end, and the move's name
```

They move nothing, and know neither the registry nor a file. Conclusions are noted after the aliases: a run that dies in
between is finished by the next.
"""

from __future__ import annotations

from dataclasses import replace

from tasks.errors import ConfigurationError
from tasks.live import Action, Standing
from tasks.problem import Problem
from tasks.rollout.assess import Assessment
from tasks.rollout.machine import Step, e_text
from tasks.rollout.plan import SHARES, Mode, Outcome, Plan

ENDINGS: dict[str, Outcome] = {"promotes": "promoted", "rolls back": "rolled back", "keeps": "kept"}
"""How a rollout has ended, by the verb of the step that ends it."""


def begin(plan: Plan, now: Standing) -> tuple[Standing, str] | None:
    """The standing that it begins with, and why; None where the challenger leads already, or there is no champion."""
    if now.champion in ("", plan.challenger):
        return None
    share = 0.0 if plan.mode == "shadow" else SHARES[0]
    why = f"{plan.mode} of version {plan.challenger} ({plan.challenger_is}) begins"
    return replace(now, challenger=plan.challenger, share=share), why


def left_off(plan: Plan, now: Standing, step: Step, *, took_over: bool) -> tuple[Outcome, str] | None:
    """The end that was decided and is not noted yet, whatever has become of the aliases since; None if it goes on.

    took_over: whether the rollout ever moved the alias to its challenger.
    """
    if took_over or now.champion == plan.challenger:
        return "promoted", step.why if step.verb == "promotes" else "the challenger is champion"
    return (ENDINGS[step.verb], step.why) if step.verb in ("rolls back", "keeps") else None


def superseded(plan: Plan, now: Standing, *, recipe: str, candidate: str) -> str:
    """Why it ends because others have moved; empty if they have not. A champion refitted is still the champion.

    recipe, candidate: of the present champion, empty if there is none.
    """
    if not now.champion:
        return "there is no champion now that the challenger could be compared with"
    if now.champion != plan.champion and recipe != plan.champion_recipe:
        return f"version {now.champion} ({candidate}) is champion now, another recipe than was compared with"
    if now.challenger != plan.challenger:
        return f"the challenger is {f'version {now.challenger}' if now.challenger else 'none'} now"
    return ""


def stepped(plan: Plan, now: Standing, found: Assessment) -> tuple[Standing, str] | None:
    """The standing with the share that the evidence allows, and why; None for a shadow, which nobody sees."""
    if plan.mode == "shadow":
        return None
    why = f"E is {e_text(found.state.log_e)} of {1 / plan.level:.4g} after {found.state.dates:,} dates"
    return replace(now, share=found.step.share), why


def ended(plan: Plan, now: Standing, outcome: Outcome) -> tuple[Standing, Action] | None:
    """The standing after this end, and the move's name; None where no alias has to move."""
    if outcome == "promoted":
        return replace(now, champion=plan.challenger, challenger="", share=0.0), "promoted"
    if now.challenger == plan.challenger:
        action: Action = "rolled back" if outcome == "rolled back" else "rollout"
        return replace(now, challenger="", share=0.0), action
    return None


def require_same(plan: Plan, problem: Problem) -> None:
    """Raise ConfigurationError unless the problem still asks for what the two are compared on."""
    if plan.predicts != problem.predicts:
        raise ConfigurationError(
            f"{plan.name}: its rollout compares forecasts of {plan.predicts}, this problem is {problem.predicts}: "
            "run it with the problem that it began with, or end it (nocturne rollout NAME --stop)"
        )


def require_alike(plan: Plan, version: str, mode: Mode) -> None:
    """Raise ConfigurationError unless what is asked for is what goes on; version: empty for any."""
    if (version and version != plan.challenger) or mode != plan.mode:
        raise ConfigurationError(
            f"{plan.name}: {plan.mode} of version {plan.challenger} has been going on since {plan.started[:10]}; end "
            f"it first: nocturne rollout {plan.name} --stop"
        )
