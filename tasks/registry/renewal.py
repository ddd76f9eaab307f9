"""Whether the champion's own recipe, refitted through last night, may ship; and whether that must be shown tonight."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tasks.contracts import Rows, Snapshot
from tasks.evaluation import Evidence, Licence
from tasks.problem import Problem
from tasks.registry.conditions import no_longer_worth_it
from tasks.registry.evidence import GateRows
from tasks.registry.families import LEAST_OVERLAP, Family, jaccard
from tasks.registry.fits import ORIGIN, Fits
from tasks.registry.ledger import Ledger
from tasks.registry.records import ChampionInfo, Night
from tasks.registry.refresh import Refits, license_refresh
from tasks.storage import read_predictions


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """Tonight's fits of the champion's recipe. frame: all rows, with ``scored_by``, ``fit_all`` and ``label_end``."""

    night: Night
    fits: Fits
    info: ChampionInfo
    frame: pd.DataFrame
    gate: GateRows


def due(champion: ChampionInfo, tonight: tuple[Problem, Snapshot, Rows], family: Family, ledger: Ledger) -> bool:
    """Whether the champion's recipe has to be fitted at the origins inside the gate tonight: no licence tells yet."""
    problem, snapshot, rows = tonight
    if not champion.recipe or _other_problem(champion, problem, snapshot):
        return False
    if problem.refit == "none" or not origins(rows):
        return False
    return ledger.licence(family, champion.recipe_sha256) is None


def origins(rows: Rows) -> tuple[str, ...]:
    """The fits at origins inside the gate, in time order."""
    return tuple(name for name in rows.fits if name.startswith(ORIGIN))


def renewed(evidence: Evidence, renewal: Renewal, family: Family, ledger: Ledger) -> Evidence:
    """The evidence with what is known about refreshing the champion; a new licence is kept in the ledger."""
    name = renewal.fits.named(renewal.info.recipe_sha256)
    night = renewal.night
    why = (
        _other_problem(renewal.info, night.problem, night.snapshot)
        or _not_fitted(name, renewal)
        or _nothing_new(renewal)
        or no_longer_worth_it(night, renewal.info, name)
    )
    if why:
        return dataclasses.replace(evidence, not_refreshed=why)
    licence = ledger.licence(family, renewal.info.recipe_sha256) or _licence(name, renewal, family, ledger)
    if licence is None:
        why = "there is no licence in this term: its recipe was not fitted at the origins inside the gate"
        return dataclasses.replace(evidence, refreshable=name, not_refreshed=why)
    return dataclasses.replace(evidence, refreshable=name, licence=licence)


def _licence(name: str, renewal: Renewal, family: Family, ledger: Ledger) -> Licence | None:
    found = renewal.fits.origins.get(name, {})
    if not found or set(found) != set(origins(renewal.night.rows)):
        return None
    refits = Refits(
        recipe_sha256=renewal.info.recipe_sha256,
        frozen=read_predictions(renewal.fits.gated[name].predictions),
        origins={rows: read_predictions(fit.predictions) for rows, fit in found.items()},
        scored_by=renewal.frame["scored_by"].to_numpy(object),
    )
    licence = license_refresh(renewal.gate, refits, family.term.first)
    last = str(np.datetime_as_string(renewal.gate.dates[-1], unit="D"))
    return ledger.record_licence(renewal.night.problem.name, family, last, licence)


def _other_problem(champion: ChampionInfo, problem: Problem, snapshot: Snapshot) -> str:
    if champion.predicts != problem.predicts:
        return f"it predicts {champion.predicts or 'what its entry does not say'}, not {problem.predicts}"
    if jaccard(champion.symbols, snapshot.symbols) < LEAST_OVERLAP:
        return "it was trained on other symbols"
    return ""


def _not_fitted(name: str, renewal: Renewal) -> str:
    if renewal.night.problem.refit == "none":
        return "the policy ships gated fits alone"
    if not name and not renewal.info.recipe:
        return "its entry does not hold its recipe"
    for fits, what in ((renewal.fits.all_rows, "through last night"), (renewal.fits.gated, "before the gate tonight")):
        if name not in fits:
            causes = "; ".join(renewal.fits.failed)
            return f"its recipe was not fitted {what}" + (f" ({causes})" if causes else "")
    return ""


def _nothing_new(renewal: Renewal) -> str:
    """The champion must learn something by it: a refit on the same bars is the same model under another number."""
    frame, end = renewal.frame, renewal.info.training_end
    last = frame.loc[frame["fit_all"].astype(bool), "label_end"].max()
    if end and pd.Timestamp(end) >= last:
        return f"it has learned from every bar already, through {end}"
    return ""
