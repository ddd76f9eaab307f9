"""What the gate decides from, gathered: losses of challenger, champion and every baseline on the same gate rows.

Pure: arrays in, contracts out. It fits nothing and decides nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.contracts import EngineName, Target
from tasks.errors import EngineError
from tasks.evaluation import Evidence, GateComparison
from tasks.registry.gate import compare, losses_by_date
from tasks.statistics.overlap import label_overlap

FloatArray = npt.NDArray[np.float64]
LEAST_COVERED = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class GatedFit:
    """A recipe fitted on everything before the gate, with its predictions (n,) aligned with the rows."""

    name: str
    engine: EngineName
    recipe_sha256: str
    predictions: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Champion:
    """The champion as the gate sees it; ``predictions`` is None where it could not be scored, and ``why`` says why."""

    name: str
    recipe_sha256: str
    predictions: FloatArray | None
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRows:
    """The rows of the gate window: positions among all rows (n,), session and label of each, the target.

    overlap: see ``label_overlap``.
    """

    positions: npt.NDArray[np.int64]
    sessions: npt.NDArray[np.datetime64]
    label: FloatArray
    target: Target
    overlap: int

    @classmethod
    def of(cls, frame: pd.DataFrame, target: Target) -> GateRows:
        """The gate window of a rows frame (columns ``symbol, session, label, window``)."""
        gate = frame[frame["window"] == "gate"]
        return cls(
            positions=gate.index.to_numpy(np.int64),
            sessions=gate["session"].to_numpy(),
            label=gate["label"].to_numpy(np.float64),
            target=target,
            overlap=label_overlap(gate, target.horizon),
        )

    def only(self, kept: npt.NDArray[np.bool_]) -> GateRows:
        """The gate rows (n,) that are kept."""
        return dataclasses.replace(
            self, positions=self.positions[kept], sessions=self.sessions[kept], label=self.label[kept]
        )

    def losses(self, predictions: FloatArray) -> pd.Series:
        """Mean loss by date of predictions that align with all rows."""
        return losses_by_date(self.sessions, self.label, predictions[self.positions], self.target.loss)


def gather(
    gate: GateRows,
    challenger: GatedFit,
    baselines: Sequence[GatedFit],
    best_baseline: str,
    champion: Champion | None,
    *,
    required_dates: int,
    partial: tuple[str, ...],
    alarms: tuple[str, ...],
) -> Evidence:
    """Test the challenger against every other baseline and the champion, all on the same dates.

    Raises EngineError if a gated fit has no finite prediction on a gate row: such a fit must not be judged.
    """
    mine = _finite(gate, challenger)
    comparisons: list[GateComparison] = [
        compare(mine, _finite(gate, rival), name=rival.name, role="baseline", overlap=gate.overlap)
        for rival in baselines
        if rival.name != challenger.name
    ]
    unscored = "" if champion is None else champion.why or _uncovered(gate, champion)
    if champion is not None and not unscored:
        comparisons.append(_against(gate, challenger, champion))
    return Evidence(
        challenger=challenger.name,
        challenger_engine=challenger.engine,
        challenger_recipe_sha256=challenger.recipe_sha256,
        best_baseline=best_baseline,
        comparisons=tuple(comparisons),
        dates=len(mine),
        champion=champion.name if champion else "",
        champion_recipe_sha256=champion.recipe_sha256 if champion else "",
        champion_unscored=unscored,
        required_dates=required_dates,
        partial=partial,
        alarms=alarms,
    )


def _uncovered(gate: GateRows, champion: Champion) -> str:
    """Why the champion is not compared: it must predict on every date, for most of the rows."""
    if champion.predictions is None:
        return "it gave no predictions"
    finite = np.isfinite(champion.predictions[gate.positions])
    missed = len(np.unique(gate.sessions)) - len(np.unique(gate.sessions[finite]))
    if missed:
        return f"it gave no prediction on {missed} of {len(np.unique(gate.sessions))} gate dates"
    if finite.mean() < LEAST_COVERED:
        return f"it knows only {finite.mean():.0%} of the gate's rows"
    return ""


def _against(gate: GateRows, challenger: GatedFit, champion: Champion) -> GateComparison:
    """Both on the rows that the champion covers: it may not know a symbol that was listed after its time."""
    assert champion.predictions is not None
    covered = gate.only(np.isfinite(champion.predictions[gate.positions]))
    mine, theirs = covered.losses(challenger.predictions), covered.losses(champion.predictions)
    return compare(mine, theirs, name=champion.name, role="champion", overlap=gate.overlap)


def distance(gate: GateRows, shipped: FloatArray, gated: FloatArray) -> float:
    """Root mean square difference of two fits' predictions on the gate rows, in the target's unit."""
    return float(np.sqrt(np.mean((shipped[gate.positions] - gated[gate.positions]) ** 2)))


def _finite(gate: GateRows, fit: GatedFit) -> pd.Series:
    losses = gate.losses(fit.predictions)
    bad = losses.index[~np.isfinite(losses)]
    if len(bad):
        raise EngineError(
            f"the gated fit of {fit.name} gave no finite prediction on {len(bad)} of {len(losses)} gate dates, "
            f"first {bad[0]:%Y-%m-%d}: it cannot be judged"
        )
    return losses
