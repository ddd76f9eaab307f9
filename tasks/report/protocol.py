"""How much was tried and what is left of the ranking after that, and what trading would have earned: as shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tasks.evaluation import Backtest
from tasks.report import words
from tasks.report.facts import Facts


@dataclass(frozen=True, slots=True)
class Number:
    """A number as shown, and its full value."""

    text: str
    value: float


def backtests(tests: tuple[Backtest, ...]) -> list[dict[str, Any]]:
    """What trading on each candidate's predictions would have earned, figures as shown."""
    shown = {
        "over cash": ("excess_return", words.signed_percent),
        "Sharpe": ("sharpe", words.two_decimals),
        "Deflated Sharpe": ("deflated_sharpe", words.share),
        "Max. drawdown": ("max_drawdown", words.percent),
        "Turnover": ("turnover", words.times),
        "Costs": ("costs", words.percent),
        "Break-even, bp": ("break_even_bps", words.three_digits),
        "Alpha": ("alpha", words.signed_percent),
        "Beta": ("beta", words.two_decimals),
        "Capacity": ("capacity", words.three_digits),
    }
    return [
        {
            "test": test,
            "cells": {
                head: Number(say(getattr(test, name)), getattr(test, name)) for head, (name, say) in shown.items()
            },
        }
        for test in tests
    ]


def protocol(facts: Facts) -> list[tuple[str, str]]:
    """How much was tried, and what that makes of the ranking."""
    found: list[tuple[str, str]] = []
    board, evidence = facts.leaderboard, facts.evidence
    if evidence is not None:
        found.append(("Gate", words.reading(evidence)))
        found.append(("Effective observations at the gate", words.figure(evidence.effective, 4)))
        if words.licence(evidence):
            found.append(("Refreshing the champion", words.licence(evidence)))
        found += [("Waived", waiver) for waiver in evidence.waivers]
    if board.statistics is not None:
        found += _ranking_words(facts)
    if board.not_refitted:
        found.append(("Left behind on the search's rows", words.some(tuple(board.not_refitted))))
    return [(name, words.clean(text, 600)) for name, text in found]


def _ranking_words(facts: Facts) -> list[tuple[str, str]]:
    found = facts.leaderboard.statistics
    assert found is not None
    leader = found.mincer_zarnowitz.get(facts.leaderboard.scores[0].candidate)
    said = [
        ("No candidate beats the best baseline (SPA)", f"p {words.probability(found.spa_p)}"),
        ("Better than it at 5 % (StepM)", words.some(found.superior) or "none"),
        ("95 % model confidence set", words.some(found.confidence_set) or "none"),
        ("Probability of backtest overfitting", words.percent(found.overfitting)),
        ("Independent trials so far", f"{found.trials:,}" if found.trials else words.NOTHING),
    ]
    if leader is not None:
        intercept, slope, p = leader
        text = (
            f"intercept {words.figure(intercept, 3)}, slope {words.figure(slope, 3)}, "
            f"p of (0, 1) {words.probability(p)}"
        )
        said.append(("Leader's calibration (Mincer-Zarnowitz)", text))
    return said
