"""What each transfer was worth: a pre-trained candidate against the same without pre-training, on the same rows.

1. A candidate of the transfer engine names its control by the digest of that recipe: the network from random weights,
   or the trees without embeddings. Both were walked over the same folds, so that their losses by date are pairs.
2. Diebold-Mariano on the pairs, one-sided each way at 5 %, with the lag and the law of the gate's test: the transfer
   ``hurts``, ``helps``, or makes ``no difference`` that these dates could show. The interval is the leaderboard's.
3. On dates that are worth fewer than fifty that share no bar, ``helps`` is not said, and the note says so. ``hurts``
   always stands: the test's law holds with few dates too.
4. A control whose training the clock ended (``late``) is none: beside it nothing helps and nothing is harmless, it is
   ``not known``. What loses even to such a control hurts.

A candidate without a control on these rows gets no line; the gate promotes none that has no line, and none that hurts.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from tasks.documents import digest
from tasks.evaluation import TransferWorth, Verdict
from tasks.leaderboard.losses import FloatArray
from tasks.statistics.bootstrap import interval
from tasks.statistics.diebold_mariano import diebold_mariano

LEVEL = 0.05
LEAST_DATES = 50.0
"""So many dates that share no bar of their labels are needed to say that a transfer helps."""

FROZEN = {"features": 1.0, "embeddings": 1.0, "partial": 0.8}
"""By strategy, the share of the encoder's layers that keep their weights where a recipe does not say it."""


def worth(
    losses: Mapping[str, FloatArray], recipes: Mapping[str, Mapping[str, Any]], overlap: int, seed: int
) -> tuple[TransferWorth, ...]:
    """A line for each candidate that was transferred and whose control was ranked beside it, by candidate's name.

    losses: by ranked candidate, float64 (dates,), finite, in time order. recipes: of those of the transfer engine, by
    name (keys ``strategy``, ``backbone``, ``control``, ``frozen``, ``late``). overlap: how many later dates' labels
    share a bar with a date's label. seed: of the resamples.
    """
    ranked = {name: recipe for name, recipe in sorted(recipes.items()) if name in losses}
    controls = {digest(dict(recipe)): name for name, recipe in ranked.items() if is_control(recipe)}
    lines = (
        (_line(name, recipe, (control, losses), overlap, seed), recipes[control])
        for name, recipe in ranked.items()
        if not is_control(recipe) and (control := controls.get(recipe.get("control", "")))
    )
    return tuple(_cut(line) if control.get("late") else line for line, control in lines)


def is_control(recipe: Mapping[str, Any]) -> bool:
    """Whether a recipe transfers nothing, and says so: it names no backbone."""
    return recipe.get("backbone") == {}


def _cut(line: TransferWorth) -> TransferWorth:
    """The line beside a control that was not trained to its end."""
    said: Verdict = "hurts" if line.verdict == "hurts" else "not known"
    why = f"the clock ended the training of its control, {line.control}"
    return dataclasses.replace(line, verdict=said, note="; ".join(filter(None, (why, line.note))))


def _line(
    name: str, recipe: Mapping[str, Any], beside: tuple[str, Mapping[str, FloatArray]], overlap: int, seed: int
) -> TransferWorth:
    control, losses = beside
    gain = losses[control] - losses[name]
    helps, hurts = (diebold_mariano(sign * gain, overlap).p_value for sign in (1.0, -1.0))
    enough = len(gain) / (1.0 + overlap)
    return TransferWorth(
        candidate=name,
        control=control,
        strategy=str(recipe.get("strategy", "")),
        backbone=_backbone(recipe.get("backbone")),
        frozen=frozen_share(recipe),
        difference=float(gain.mean()),
        interval=interval(gain, seed=seed, overlap=overlap),
        hurts_p=hurts,
        helps_p=helps,
        verdict=verdict(helps, hurts, enough=enough >= LEAST_DATES),
        dates=len(gain),
        note="" if enough >= LEAST_DATES else _too_few(len(gain), enough),
    )


def verdict(helps_p: float, hurts_p: float, *, enough: bool = True) -> Verdict:
    """By the one-sided p-values; each must lie below 5 %. enough: whether there are dates enough to say ``helps``."""
    if not (math.isfinite(helps_p) and math.isfinite(hurts_p)):
        return "not known"
    if hurts_p < LEVEL:
        return "hurts"
    return "helps" if enough and helps_p < LEVEL else "no difference"


def frozen_share(recipe: Mapping[str, Any]) -> float:
    """The share of the encoder's layers that kept their weights, in [0, 1]."""
    said = recipe.get("frozen", recipe.get("hyperparameters", {}).get("frozen"))
    known = isinstance(said, int | float) and not isinstance(said, bool)
    return float(said) if known else FROZEN.get(str(recipe.get("strategy", "")), 0.0)


def _backbone(said: Any) -> str:
    return f"{said.get('name', '')}:{said.get('version', '')}" if isinstance(said, Mapping) else str(said or "")


def _too_few(dates: int, enough: float) -> str:
    return f"{dates} dates are worth {enough:.0f} that share no bar: that it helps is not said below {LEAST_DATES:.0f}"
