"""Which baseline is kept ready to take over, and when a new fit of it is due. Nothing here calls MLflow.

It is the best of the night's baselines, by the leaderboard, whose recipe is not the champion's own; where there is but
one baseline, that one. A night registers it again when none is ready, when another recipe is the best or the champion's
own, or when the one that is ready learned nothing of the last 21 sessions. On other nights it costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from tasks.documents import digest
from tasks.errors import EngineError
from tasks.evaluation import CHAMPION, Decision
from tasks.registry.fits import Fits
from tasks.registry.records import Entry, Night
from tasks.storage import read_parquet

OLDEST_SESSIONS = 21


def due(night: Night, fits: Fits, entry: Entry, champion_recipe: str, ready: Mapping[str, str] | None) -> Entry | None:
    """The entry to register as the fallback tonight, or None if the one that is ready will do.

    entry: what the night registers, for how far its fits have learned. champion_recipe: the digest of the recipe that
    is champion after tonight, empty without one. ready: the tags of the version that is the fallback, None without one.
    A night in quarantine changes nothing, and neither does one whose baselines could not be fitted.
    """
    name = _best(night, fits, champion_recipe)
    if not name or entry.decision.outcome == "quarantined":
        return None
    if ready is not None and ready.get("recipe_sha256") == digest(fits.gated[name].recipe) and not _old(night, ready):
        return None
    return _entry(night, fits, entry, name)


def _best(night: Night, fits: Fits, champion_recipe: str) -> str:
    ranked = [score.candidate for score in night.leaderboard.scores if score.engine == "baseline"]
    fitted = [name for name in ranked if name != CHAMPION and name in fits.gated and _ships(night, fits, name)]
    others = [name for name in fitted if digest(fits.gated[name].recipe) != champion_recipe]
    return next(iter(others or fitted), "")


def _ships(night: Night, fits: Fits, name: str) -> bool:
    try:
        fits.shipped(name, night.problem.refit)
    except EngineError:
        return False
    return True


def _old(night: Night, ready: Mapping[str, str]) -> bool:
    learned = ready.get("training_end", "")
    if not learned:
        return True
    sessions = np.unique(read_parquet(night.snapshot.bars, columns=["session"])["session"].to_numpy())
    since = pd.Timestamp(learned).tz_localize(None).to_datetime64()
    return int((sessions > since).sum()) > OLDEST_SESSIONS


def _entry(night: Night, fits: Fits, entry: Entry, name: str) -> Entry:
    why = "kept ready as the fallback: the best of the night's baselines on the folds, and not the champion's recipe"
    gated, shipped = fits.gated[name], fits.shipped(name, night.problem.refit)
    one_fit = shipped.model == gated.model
    return Entry(
        shipped=shipped,
        gated=gated,
        shipped_training_end=entry.gated_training_end if one_fit else entry.shipped_training_end,
        gated_training_end=entry.gated_training_end,
        decision=Decision(outcome="kept", promote="", reasons=(why,)),
        score=next(score for score in night.leaderboard.scores if score.candidate == name),
        smearing=night.leaderboard.smearing.get(name, float("nan")),
        ledger=entry.ledger,
        backtests=tuple(found for found in night.leaderboard.backtests if found.candidate == name),
    )
