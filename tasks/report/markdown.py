"""The night for Prefect's artifacts: the leaderboard as a table of rows, the decision as Markdown.

Prefect's UI renders Markdown with HTML in it, so text from outside is escaped for both.
"""

from __future__ import annotations

import html
import re

from tasks.evaluation import GateComparison
from tasks.report import histories, transfers, words
from tasks.report.facts import Facts, alerts, comparisons, gate_loss, hardest_p, level, ranked

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+.!|~-])")


def escaped(text: object, longest: int = words.LONGEST_NAME) -> str:
    """Text that Markdown and HTML show as it is, on one line."""
    return html.escape(_SPECIAL.sub(r"\\\1", words.clean(text, longest)), quote=True)


def leaderboard_rows(facts: Facts) -> list[dict[str, str]]:
    """One entry a candidate, ready for a table artifact: every value is text, every entry has the same columns."""
    scores = ranked(facts)
    names = words.metric_columns(scores)
    return [
        {
            "rank": str(score.rank),
            "candidate": escaped(score.candidate),
            "engine": escaped(score.engine),
            words.metric(score.metric).short: words.figure(score.score, 5),
            "skill": words.percent(score.skill, plus=True),
            "95 %": words.interval(score.skill_interval),
            "p (hardest baseline)": words.probability(hardest_p(score, facts)),
            "gate": words.figure(gate_loss(facts, score.candidate), 5),
            **{words.metric(n).short: words.metric_value(n, score.metrics.get(n, float("nan"))) for n in names},
            "training": words.duration(score.train_seconds),
            "µs/row": words.figure(score.predict_us_per_row, 2),
            "standing": ", ".join(words.standing(facts, score)),
        }
        for score in scores
    ]


def decision(facts: Facts) -> str:
    """The decision with its reasons, what degraded, the gate's comparisons, and how to load the champion."""
    parts = [
        f"## {escaped(words.headline(facts), 300)}",
        "\n".join(f"- {escaped(r, 600)}" for r in facts.decision.reasons),
    ]
    parts += [f"**{escaped(alert.title)}** {escaped(alert.detail, 600)}" for alert in alerts(facts)]
    rivals = comparisons(facts)
    if rivals:
        head = "| rival | role | challenger is | p | difference | its loss | challenger's loss |\n" + "|---" * 7 + "|"
        lines = "\n".join(_comparison(item, level(facts)) for item in rivals)
        parts.append(f"### Gate window: never used to choose\n\n{head}\n{lines}")
    if facts.evidence:
        parts.append(f"Gate: {escaped(words.reading(facts.evidence), 400)}.")
        refreshing = words.licence(facts.evidence)
        parts += [f"Refresh: {escaped(refreshing, 400)}."] if refreshing else []
    parts += _transfers(facts)
    if facts.other_histories:
        parts.append(f"Used to choose nothing: {escaped(histories.said(facts), 400)}.")
    code = words.snippet(facts)
    if code:
        parts.append("\n".join(["### Load the champion", "", *(f"    {line}" for line in code.splitlines())]))
    return "\n\n".join(part for part in parts if part)


def _transfers(facts: Facts) -> list[str]:
    """What the transfers were worth, as a table."""
    head = "| candidate | strategy | frozen | gain over control | 95 % | p hurts | verdict |\n" + "|---" * 7 + "|"
    found = [
        [
            escaped(row["worth"].candidate),
            escaped(row["worth"].strategy),
            row["frozen"].text,
            row["gain"].text,
            row["interval"],
            row["hurts"].text.replace("<", "&lt;"),
            f"{row['worth'].verdict}" + (f" ({escaped(row['worth'].note, 200)})" if row["worth"].note else ""),
        ]
        for row in transfers.lines(facts)
    ]
    table = "\n".join("| " + " | ".join(cells) + " |" for cells in found)
    return [f"### What the transfers were worth: against the same without pre-training\n\n{head}\n{table}"] * bool(
        found
    )


def _comparison(item: GateComparison, alpha: float) -> str:
    cells = [
        escaped(item.rival),
        item.role,
        words.verdict(item, alpha),
        words.probability(item.p_value).replace("<", "&lt;"),
        words.figure(item.difference, 3),
        words.figure(item.rival_loss, 5),
        words.figure(item.challenger_loss, 5),
    ]
    return "| " + " | ".join(cells) + " |"
