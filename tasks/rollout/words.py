"""A rollout in sentences and rows: what page, terminal, artifact and JSON all say."""

from __future__ import annotations

import math
import unicodedata
from typing import Any

from tasks.documents import to_json
from tasks.rollout.assess import Assessment, Outlook
from tasks.rollout.machine import e_text, expected_exposure
from tasks.rollout.plan import ROLLBACK_LEVEL

VERBS = {
    "promoted": "The challenger took over",
    "rolled back": "The challenger was rolled back",
    "kept": "The champion stays: the time was up",
    "superseded": "Ended: the champion is another one now",
    "stopped": "Stopped by hand",
}
ENDS = {"promotes": VERBS["promoted"], "rolls back": VERBS["rolled back"], "keeps": VERBS["kept"]}
SHADOW = "In the shadow: nobody sees the challenger"


def document(found: Assessment) -> dict[str, Any]:
    """Everything as JSON: plan, standing, outlook, and ``dates``, a row each."""
    plan = to_json(found.plan)
    plan.pop("prior")
    rows = zip(found.sessions, found.differences, found.states, found.steps, strict=True)
    return {
        "name": found.plan.name,
        "headline": headline(found),
        "plan": plan,
        "dates": found.state.dates,
        "ahead": found.ahead,
        "e": e_text(found.state.log_e),
        "needed": 1 / found.plan.level,
        "e_worse": e_text(found.state.log_against),
        "share": found.step.share,
        "verb": found.step.verb,
        "why": found.step.why,
        "outlook": to_json(found.outlook),
        "time": time_left(found),
        "facts": facts(found),
        "warnings": list(found.warnings),
        "ending": to_json(found.ending),
        "history": [
            {
                "session": session,
                "difference": difference,
                "log_e": state.log_e,
                "log_e_worse": state.log_against,
                "share": step.share,
                "verb": step.verb,
            }
            for session, difference, state, step in rows
        ],
    }


def headline(found: Assessment) -> str:
    """What there is to say in one line."""
    if found.ending is not None:
        return VERBS[found.ending.outcome]
    if found.step.ends:
        return ENDS[found.step.verb]
    if found.plan.mode == "shadow":
        return SHADOW
    return f"{found.step.share:.0%} of requests see the challenger"


def time_left(found: Assessment) -> str:
    """How long it will take, with the interval and what it is drawn from."""
    if found.ending is not None or found.step.ends:
        return ""
    view, left = found.outlook, found.plan.limit - found.state.dates
    if view is None:
        return f"at most {left:,} more dates"
    source = f"drawn from {view.drawn_from:,} known dates; the limit is {left:,} dates away"
    if view.selected:
        source += f"; {view.selected:,} of them are the gate's, which chose the challenger for them: expect it later"
    if not view.median:
        return f"likely not before the time limit: E gets there in {view.reaching:.0%} of drawn futures ({source})"
    return f"about {view.median:,} more dates ({_interval(view)}; {source})"


def facts(found: Assessment) -> list[tuple[str, str]]:
    """Names and values for a table, in reading order."""
    plan, state = found.plan, found.state
    mean = state.total / state.dates if state.dates else 0.0
    level = f"1/{1 / plan.level:.4g}"
    said = f"read {plan.read} of the gate's budget, level {level}" if plan.read else f"none (for show: level {level})"
    rows = [
        ("champion", _version(plan.champion, plan.champion_is)),
        ("challenger", _version(plan.challenger, plan.challenger_is)),
        ("began", f"{plan.started[:10]}; dates after {plan.after[:10]} count"),
        ("dates that count", f"{state.dates:,}, and {found.ahead:,} without an outcome yet; limit {plan.limit:,}"),
        ("E, challenger better", f"{e_text(state.log_e)}; {1 / plan.level:.4g} promotes"),
        ("E, challenger worse", f"{e_text(state.log_against)}; {1 / ROLLBACK_LEVEL:.4g} rolls back"),
        ("mean gain a date", f"{mean:+.4g} ({plan.loss}, positive: the challenger is better)"),
        ("clip bound", f"{plan.bound:.4g}, fixed from {len(plan.prior):,} earlier dates"),
        ("error budget", said),
    ]
    if plan.mode == "gradual":
        most = expected_exposure(plan.level)
        rows.append(("exposure", f"if the challenger is no better, its largest share is expected below {most:.1%}"))
    if plan.streams > 1:
        rows.append(("purses", f"{plan.streams}, since labels of {plan.streams} dates overlap"))
    return rows


def clean(text: str, most: int = 300) -> str:
    """Text from outside without control characters, and not too long."""
    kept = "".join(" " if unicodedata.category(char).startswith(("C", "Z")) else char for char in text)
    return kept if len(kept) <= most else f"{kept[: most - 1]}…"


def sentence(text: str) -> str:
    """With a capital and a full stop; nothing for nothing."""
    return f"{text[0].upper()}{text[1:]}." if text else ""


def changes(found: Assessment) -> list[tuple[str, int, str, str, str]]:
    """The dates on which the share changed or the rollout ended: session, number, E, share, why."""
    rows, before = [], -1
    for number, (session, state, step) in enumerate(
        zip(found.sessions, found.states, found.steps, strict=True), start=1
    ):
        if step.step != before or step.ends:
            rows.append((session, number, e_text(state.log_e), f"{step.share:.0%}", step.why))
        before = step.step
    return rows


def as_markdown(found: Assessment, page: str) -> str:
    """For Prefect's UI and the registry entry."""
    lines = [
        f"# {found.plan.name}: {headline(found)}",
        "",
        f"{sentence(found.step.why)} {sentence(time_left(found))}",
        "",
    ]
    lines += ["| | |", "|---|---|", *(f"| {_cell(name)} | {_cell(value)} |" for name, value in facts(found)), ""]
    lines += [f"- warning: {_cell(text)}" for text in found.warnings]
    return "\n".join([*lines, f"Page: `{page}`" if page else ""])


def ticks(low: float, high: float) -> list[float]:
    """Powers of ten (as natural logarithms) within a range, at most eight of them."""
    first, last = math.ceil(low / math.log(10) - 1e-9), math.floor(high / math.log(10) + 1e-9)
    stride = max(1, math.ceil((last - first + 1) / 8))
    return [power * math.log(10) for power in range(first, last + 1, stride)]


def _version(version: str, what: str) -> str:
    return f"version {version}" + (f", {clean(what, 60)}" if what else "")


def _interval(view: Outlook) -> str:
    high = f"{view.high:,}" if view.high else "the limit"
    return f"{view.low:,} to {high} in 80 % of drawn futures; {view.reaching:.0%} get there in time"


def _cell(text: str) -> str:
    return clean(text).replace("|", "\\|").replace("<", "&lt;")
