"""A night's figures under the names that they have in MLflow. Pure: mappings only; what does not exist is NaN."""

from __future__ import annotations

import dataclasses

from tasks.evaluation import Backtest, Leaderboard
from tasks.registry.records import Night


def candidate_metrics(board: Leaderboard, name: str) -> dict[str, float]:
    """A ranked candidate's walk-forward figures: loss and skill, each fold, p by rival, and what it earned after costs.

    Raises StopIteration if it has no rank.
    """
    score = next(score for score in board.scores if score.candidate == name)
    low, high = score.skill_interval
    figures = {
        "rank": float(score.rank),
        score.metric: score.score,
        "skill": score.skill,
        "skill_low": low,
        "skill_high": high,
        "selection_loss": score.selection_score,
        **score.metrics,
    }
    figures |= {f"fold_{place}": loss for place, loss in enumerate(score.fold_scores, start=1)}
    figures |= {f"p.{rival}": p for rival, p in score.p_values.items()}
    for found in board.backtests:
        if found.candidate == name:
            figures |= backtest_metrics(found)
    return figures


def backtest_metrics(found: Backtest) -> dict[str, float]:
    """A backtest's figures, told apart by the rows that it traded on."""
    values = {field.name: getattr(found, field.name) for field in dataclasses.fields(found)}
    return {f"{found.rows}.{name}": value for name, value in values.items() if isinstance(value, float)}


def night_metrics(night: Night) -> dict[str, float]:
    """What the night's ranking says as a whole."""
    found = night.leaderboard.statistics
    counts = {"candidates": float(len(night.leaderboard.scores)), "alarms": float(len(night.leaderboard.alarms))}
    if found is None:
        return counts
    return counts | {
        "spa_p": found.spa_p,
        "superior": float(len(found.superior)),
        "confidence_set": float(len(found.confidence_set)),
        "overfitting": found.overfitting,
        "trials": float(found.trials),
    }
