"""What a night's bars, engines and windows rule out or let pass, whatever the gate's rows would say."""

from __future__ import annotations

import math

import pandas as pd

from tasks.contracts import Candidate, Snapshot
from tasks.evaluation import TransferWorth
from tasks.registry import gate as gates
from tasks.registry import power, reasons
from tasks.registry.evidence import GatedFit
from tasks.registry.power import DAILY_DATES
from tasks.registry.records import ChampionInfo, Night
from tasks.registry.serving.panel import PRESENT
from tasks.storage import read_parquet

EFFECTIVE = 30.0
RETURNS = ("return", "direction", "triple_barrier")
RESTATED = "restated"
"""Data checks whose name begins so found bars that were told otherwise before."""


def required_dates(night: Night) -> int:
    """Gate dates without which nothing is replaced: two years of daily bars, whatever the problem asks for.

    Of other bars a date holds several, so that dates alone tell nothing: ``foresight`` bounds what the gate can find.
    """
    return max(night.problem.gate_sessions, DAILY_DATES) if night.problem.bar == "1d" else night.problem.gate_sessions


def partial(night: Night) -> tuple[str, ...]:
    """What is missing from a night's evidence: engines that failed, baselines that are no candidates, more than a tenth
    of the universe in quarantine."""
    failed = [f"engine {r.engine} failed: {r.error.splitlines()[0]}" for r in night.results if r.error]
    failed += [f"baseline {name} is missing" for r in night.results for name in r.missing]
    apart = _in_quarantine(night.snapshot)
    return (*failed, f"{apart}, and {PRESENT:.0%} must be left") if _too_few(night.snapshot) else tuple(failed)


def notes(night: Night) -> tuple[str, ...]:
    """What a reader must know of the night's bars although it rules nothing out."""
    apart = _in_quarantine(night.snapshot)
    return (f"{apart}.",) if apart and not _too_few(night.snapshot) else ()


def _universe(snapshot: Snapshot) -> int:
    """How many symbols there were to begin with: quarantine acts from a date on, so that a symbol may be in both."""
    return len({*snapshot.symbols, *snapshot.quarantined})


def _too_few(snapshot: Snapshot) -> bool:
    """Whether so much is in quarantine that a model of the panel could not be asked: serving counts in the same way."""
    universe = _universe(snapshot)
    return universe - len(snapshot.quarantined) < math.ceil(PRESENT * universe)


def _in_quarantine(snapshot: Snapshot) -> str:
    if not snapshot.quarantined:
        return ""
    apart, universe = len(snapshot.quarantined), _universe(snapshot)
    return f"{apart} of {universe} symbols are in quarantine ({apart / universe:.1%})"


def data_obstacles(night: Night) -> tuple[str, ...]:
    """What the bars themselves rule out: a universe of survivors for returns, a history that was restated."""
    found = []
    if _of_survivors(night) and not night.problem.waive_survivorship:
        found.append(
            f"Every one of the {len(night.snapshot.symbols)} symbols reaches the last session: a universe of "
            f"survivors, whose {night.problem.target} models are not promoted unless waive_survivorship is set."
        )
    restated = sum(count for rule, count in night.snapshot.finding_counts.items() if rule.startswith(RESTATED))
    if restated:
        found.append(f"The source has restated {restated} bars that were read before: see the data findings.")
    return tuple(found)


def waivers(night: Night) -> tuple[str, ...]:
    """What is let pass because the problem says so."""
    if _of_survivors(night) and night.problem.waive_survivorship:
        return (f"survivorship, all {len(night.snapshot.symbols)} symbols reach the last session",)
    return ()


def worth(night: Night, name: str) -> TransferWorth | None:
    """What a candidate's transfer was worth on the walk-forward rows; None where that is not known."""
    return next((line for line in night.leaderboard.transfers if line.candidate == name), None)


def from_scratch(challenger: Candidate | ChampionInfo) -> bool:
    """Whether a candidate of the transfer engine transfers nothing, and says so: what the others are compared with."""
    return challenger.engine == "transfer" and challenger.recipe.get("backbone") == {}


def no_longer_worth_it(night: Night, champion: ChampionInfo, name: str) -> str:
    """Why a pre-trained champion is not to be refreshed, walked tonight under this name; empty where it may be.

    Its transfer was harmless when it was promoted, which was then: its control is walked beside it every night.
    """
    if champion.engine != "transfer" or from_scratch(champion):
        return ""
    line = worth(night, name)
    if line is None:
        return "what its transfer is worth is not known tonight: its control was not ranked beside it"
    if line.verdict == "not known":
        return f"what its transfer is worth is not known tonight: {line.note}"
    if gates.harmless(line):
        return ""
    return (
        f"its transfer hurts by now: on {line.dates} walk-forward dates it does worse than the same without "
        f"pre-training, {line.control}, one-sided p {line.hurts_p:.4g}"
    )


def foresight(night: Night, challenger: GatedFit, best_baseline: str, dates: int) -> tuple[tuple[str, ...], str]:
    """For bars that are not daily: what the gate's first read can find, in words, and why that is too little if so.

    Foreseen from the walk-forward folds, which chose the challenger and leave the gate unread.
    """
    if night.problem.bar == "1d" or challenger.engine == "baseline" or not best_baseline:
        return (), ""
    level = gates.read_level(1, night.problem.alpha)
    found = power.foresee(_walked(night, challenger.name, best_baseline), night.rows.target, dates, level)
    if found is None:
        return (), f"What the gate could find over {best_baseline} cannot be foreseen from the folds."
    said = reasons.foreseen(found, best_baseline, level)
    return ((), said) if found.spread > power.daily_spread(level) else ((said,), "")


def _walked(night: Night, challenger: str, rival: str) -> pd.DataFrame | None:
    """Both's predictions on the folds: ``symbol, session, label, challenger, rival``; None where one has none."""
    ranked = {score.candidate for score in night.leaderboard.scores}
    joined = night.leaderboard.predictions
    if joined is None or not {challenger, rival} <= ranked:
        return None
    frame = read_parquet(joined, ["symbol", "session", "label", challenger, rival])
    return frame.rename(columns={challenger: "challenger", rival: "rival"})


def _of_survivors(night: Night) -> bool:
    return night.snapshot.survivors_only and night.problem.target in RETURNS
