"""What the gate decides from, gathered: losses of challenger, champion and every baseline on the same gate rows.

1. ``gather``: what is known before the challenger's predictions meet a gate label. Baselines and champion are scored.
2. ``read_gate``: the tests of the challenger, once a read was spent on it.

Pure: arrays in, contracts out. It fits nothing, spends nothing and decides nothing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.contracts import EngineName, Target
from tasks.errors import EngineError
from tasks.evaluation import Evidence, GateComparison
from tasks.registry.gate import compare, losses_by_date, mean_by_date, qlike_by_date
from tasks.statistics.diebold_mariano import diebold_mariano
from tasks.statistics.forecast_tests import adjusted_difference, clark_west, harvey_leybourne_newbold
from tasks.statistics.overlap import label_overlap

FloatArray = npt.NDArray[np.float64]
LEAST_COVERED = 0.8
DECIMALS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class GatedFit:
    """A recipe fitted on everything before the gate, with its predictions (n,) aligned with the rows.

    ``smearing`` is Duan's factor for it (volatility only; NaN where it is not known).
    """

    name: str
    engine: EngineName
    recipe_sha256: str
    predictions: FloatArray
    smearing: float = math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class Champion:
    """The champion as the gate sees it: its registered gated fit, and its recipe as refitted tonight before the gate.

    ``predictions`` is None where the registered fit could not be scored, and ``why`` says why. Where both exist and
    differ (another term's fit), the challenger must beat both.
    """

    name: str
    recipe_sha256: str
    predictions: FloatArray | None
    why: str = ""
    smearing: float = math.nan
    refitted: GatedFit | None = None


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

    @property
    def dates(self) -> npt.NDArray[np.datetime64]:
        """The gate's distinct dates, ascending."""
        return np.unique(self.sessions)


def gather(
    gate: GateRows,
    challenger: GatedFit,
    baselines: Sequence[GatedFit],
    best_baseline: str,
    champion: Champion | None,
    **known: Any,
) -> Evidence:
    """What is known before the gate is read for the challenger: ``read`` is 0, and nothing of it is scored.

    known: further fields of ``Evidence`` (``required_dates``, ``effective``, ``partial``, ``alarms`` …).
    Raises EngineError if a baseline's gated fit has no finite prediction on a gate date.
    """
    losses = {fit.name: float(_finite(gate, fit).mean()) for fit in baselines}
    unscored = ""
    if champion is not None:
        rivals = list(_champions(gate, champion))
        losses |= {rival.name: float(_covered(gate, rival).losses(rival.predictions).mean()) for rival in rivals}
        unscored = "" if rivals else champion.why or _uncovered(gate, champion.predictions)
    return Evidence(
        challenger=challenger.name,
        challenger_engine=challenger.engine,
        challenger_recipe_sha256=challenger.recipe_sha256,
        best_baseline=best_baseline,
        comparisons=(),
        dates=len(gate.dates),
        champion=champion.name if champion else "",
        champion_recipe_sha256=champion.recipe_sha256 if champion else "",
        champion_unscored=unscored,
        read=0,
        level=0.0,
        gate_losses=losses,
        **known,
    )


def read_gate(
    evidence: Evidence,
    gate: GateRows,
    challenger: GatedFit,
    baselines: Sequence[GatedFit],
    champion: Champion | None,
    *,
    read: int,
    level: float,
) -> Evidence:
    """The evidence with the challenger tested against every other baseline and the champion, all on the same dates.

    Raises EngineError if a gated fit has no finite prediction on a gate date: such a fit must not be judged.
    """
    loss = float(_finite(gate, challenger).mean())
    rivals = [_against(gate, challenger, rival, "baseline") for rival in baselines if rival.name != challenger.name]
    if champion is not None:
        rivals += [
            _against(_covered(gate, rival), challenger, rival, "champion") for rival in _champions(gate, champion)
        ]
    return dataclasses.replace(
        evidence,
        comparisons=tuple(rivals),
        read=read,
        level=level,
        gate_losses={**evidence.gate_losses, challenger.name: loss},
    )


def evidence_digest(
    gate: GateRows, challenger: GatedFit, baselines: Sequence[GatedFit], champion: Champion | None
) -> str:
    """SHA-256 of what a read looks at: the recipe, the gate's sessions and labels, and the predictions on them.

    A champion that is none of tonight's baselines belongs to it: to be tested against another one is another look.
    """
    known = {fit.recipe_sha256 for fit in baselines}
    rival = champion.recipe_sha256 if champion is not None and champion.recipe_sha256 not in known else ""
    digest = hashlib.sha256(f"{challenger.recipe_sha256}\0{rival}\0".encode())
    digest.update(gate.sessions.astype("datetime64[D]").astype(np.int64).tobytes())
    for values in (gate.label, challenger.predictions[gate.positions]):
        digest.update((np.round(values, DECIMALS) + 0.0).tobytes())
    return digest.hexdigest()


def distance(gate: GateRows, shipped: FloatArray, gated: FloatArray) -> float:
    """Root mean square difference of two fits' predictions on the gate rows, in the target's unit."""
    return float(np.sqrt(np.mean((shipped[gate.positions] - gated[gate.positions]) ** 2)))


def _champions(gate: GateRows, champion: Champion) -> Iterator[GatedFit]:
    """The champion as registered and as refitted, each where it can be scored, the second only if it differs."""
    stored = champion.predictions
    registered = stored is not None and not champion.why and not _uncovered(gate, stored)
    if registered and stored is not None:
        yield GatedFit(
            name=champion.name,
            engine="baseline",  # not looked at: a rival is told by its role
            recipe_sha256=champion.recipe_sha256,
            predictions=stored,
            smearing=champion.smearing,
        )
    fit = champion.refitted
    if fit is None or _uncovered(gate, fit.predictions):
        return
    if not registered or stored is None or not _same(gate, stored, fit.predictions):
        yield dataclasses.replace(fit, name=f"{champion.name}, refitted")


def _same(gate: GateRows, one: FloatArray, other: FloatArray) -> bool:
    return bool(np.allclose(one[gate.positions], other[gate.positions], rtol=1e-9, atol=1e-12))


def _uncovered(gate: GateRows, predictions: FloatArray | None) -> str:
    """Why a champion is not compared: it must predict on every date, for most of the rows."""
    if predictions is None:
        return "it gave no predictions"
    finite = np.isfinite(predictions[gate.positions])
    missed = len(gate.dates) - len(np.unique(gate.sessions[finite]))
    if missed:
        return f"it gave no prediction on {missed} of {len(gate.dates)} gate dates"
    if finite.mean() < LEAST_COVERED:
        return f"it knows only {finite.mean():.0%} of the gate's rows"
    return ""


def _covered(gate: GateRows, champion: GatedFit) -> GateRows:
    """The rows that the champion covers: it may not know a symbol that was listed after its time."""
    return gate.only(np.isfinite(champion.predictions[gate.positions]))


def _against(gate: GateRows, challenger: GatedFit, rival: GatedFit, role: Any) -> GateComparison:
    mine, theirs = _finite(gate, challenger), _finite(gate, rival)
    found = compare(mine, theirs, name=rival.name, role=role, overlap=gate.overlap)
    difference = theirs.to_numpy(np.float64) - mine.to_numpy(np.float64)
    return dataclasses.replace(
        found,
        clark_west_p=_clark_west(gate, challenger, rival),
        hln_p=harvey_leybourne_newbold(difference, gate.overlap).p_value,
        qlike_worse_p=_qlike_worse(gate, challenger, rival),
    )


def _clark_west(gate: GateRows, challenger: GatedFit, rival: GatedFit) -> float:
    """Clark and West's p; NaN for probabilities, whose loss is not the squared error that it is derived for."""
    if gate.target.loss != "mse":
        return math.nan
    at = gate.positions
    adjusted = adjusted_difference(gate.label, rival.predictions[at], challenger.predictions[at])
    return clark_west(mean_by_date(gate.sessions, adjusted).to_numpy(np.float64), gate.overlap).p_value


def _qlike_worse(gate: GateRows, challenger: GatedFit, rival: GatedFit) -> float:
    """One-sided p that the challenger's QLIKE is the higher one; NaN where a smearing factor is missing."""
    if gate.target.name != "volatility":
        return 1.0
    mine, theirs = (
        qlike_by_date(gate.sessions, gate.label, fit.predictions[gate.positions], fit.smearing).to_numpy(np.float64)
        for fit in (challenger, rival)
    )
    if not (np.isfinite(mine).all() and np.isfinite(theirs).all()):
        return math.nan
    return diebold_mariano(mine - theirs, gate.overlap).p_value


def _finite(gate: GateRows, fit: GatedFit) -> pd.Series:
    losses = gate.losses(fit.predictions)
    bad = losses.index[~np.isfinite(losses)]
    if len(bad):
        raise EngineError(
            f"the gated fit of {fit.name} gave no finite prediction on {len(bad)} of {len(losses)} gate dates, "
            f"first {bad[0]:%Y-%m-%d}: it cannot be judged"
        )
    return losses
