"""The words of a decision: figures, levels, which read of the gate it was, and what would have been needed. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable

from tasks.evaluation import Evidence, GateComparison, Licence, TransferWorth
from tasks.registry.power import DAILY_DATES, POWER, Foresight, daily_spread, detectable_difference, needed_difference

NOTHING = "There is no champion yet, and no baseline that could become one: nothing is promoted."


def alarmed(evidence: Evidence) -> tuple[str, ...]:
    """Why the challenger is quarantined."""
    after = f"The champion {evidence.champion} is kept." if evidence.champion else "Nothing is promoted."
    lead = f"The challenger {evidence.challenger} is quarantined: its scores are too good to be believed. {after}"
    return (lead, *sorted(evidence.alarms))


def grounds(evidence: Evidence, level: float) -> str:
    """Why the challenger replaces the champion."""
    instead = f" in place of {evidence.champion}" if evidence.champion else "; there was no champion before"
    return (
        f"The challenger {evidence.challenger} is promoted{instead}: on {evidence.dates} gate dates it is better than "
        f"every rival at {level:.3g}, the level of {_read(evidence)}."
    )


def fallback(evidence: Evidence) -> str:
    """Why the best baseline becomes champion."""
    lead = f"There is no champion yet: the best baseline, {evidence.best_baseline}, becomes champion."
    if evidence.challenger_engine != "baseline":
        lead += f" The challenger {evidence.challenger} did not earn it: every rival must be beaten on the gate."
    return lead


def kept(evidence: Evidence) -> str:
    """That the champion stays as it is."""
    return f"The champion {evidence.champion} is kept; the challenger {evidence.challenger} does not replace it."


def refreshed(evidence: Evidence) -> str:
    """That the champion's own recipe ships as fitted through last night, and by what licence."""
    found = licence(evidence.licence) if evidence.licence else ""
    return (
        f"The champion {evidence.champion} is refreshed: its own recipe, refitted through last night, ships; the "
        f"challenger {evidence.challenger} does not replace it. {found}"
    )


def not_refreshed(why: str) -> str:
    """Why the champion is not refreshed."""
    return f"The champion is not refreshed: {why.rstrip('.')}."


def licence(found: Licence) -> str:
    """What the refits inside the gate showed."""
    verdict = "granted" if found.granted else "refused"
    return (
        f"The licence to refresh in the term from {found.term} is {verdict}: {found.origins} refits inside the gate, "
        f"scored on {found.dates} dates after their origins, changed the frozen fit's loss by {found.increase:+.2%}, "
        f"upper 95 % bound {found.upper:+.2%} (needed: below {found.limit:.2%})."
    )


def unread(evidence: Evidence, *, explained: bool) -> tuple[str, ...]:
    """That the gate was not read for the challenger, and why unless obstacles listed beside it explain it."""
    if evidence.read >= 1:
        return ()
    why = f": {evidence.not_read.rstrip('.')}" if evidence.not_read and not explained else ""
    return (f"The gate was not read for {evidence.challenger}{why}; no read was spent.",)


def waived(evidence: Evidence) -> tuple[str, ...]:
    """What was let pass knowingly."""
    gaps = tuple(f"Promoted from a partial run, as the policy allows: {gap}." for gap in sorted(evidence.partial))
    return (*gaps, *(f"Waived: {text}." for text in sorted(evidence.waivers)))


def tests(
    evidence: Evidence, level: float, qlike_level: float, is_beaten: Callable[[GateComparison], bool]
) -> tuple[str, ...]:
    """The read, each test (the champion's first, then baselines, the hardest first), and what the read could find."""
    if not evidence.comparisons or evidence.read < 1:
        return ()
    ordered = sorted(evidence.comparisons, key=lambda item: (item.role != "champion", -_hardness(item), item.rival))
    told = [_tested(item, evidence, level, won=is_beaten(item)) for item in ordered]
    worse = [_qlike(item, qlike_level) for item in ordered if not item.qlike_worse_p >= qlike_level]
    return (_level(evidence, level), *told, *worse, *_power(ordered, level))


def transfer_hurts(worth: TransferWorth) -> str:
    """Why a challenger is not promoted that its pre-training made worse."""
    gain, loss = worth.interval[::-1]
    between = f", 95 % between {-gain:.3g} and {-loss:.3g}" if math.isfinite(gain) and math.isfinite(loss) else ""
    return (
        f"The transfer hurts: on {worth.dates} walk-forward dates {worth.candidate} ({worth.strategy} of "
        f"{worth.backbone or 'an unnamed backbone'}) loses {-worth.difference:.3g} more than the same without "
        f"pre-training, {worth.control}{between}, one-sided p {worth.hurts_p:.4g}: it is not promoted."
    )


def not_known(worth: TransferWorth) -> str:
    """Why a pre-trained challenger is not promoted that nothing fair was compared with."""
    return (
        f"What the transfer of {worth.candidate} was worth is not known: {worth.note or 'no test could be made'}; "
        "it is not promoted."
    )


def no_control(evidence: Evidence) -> str:
    """Why a pre-trained challenger is not promoted that nothing was compared with."""
    return (
        f"What the transfer of {evidence.challenger} was worth is not known: the same without pre-training, its "
        "control, was not ranked on the same rows, and without it no transfer is promoted."
    )


def foreseen(found: Foresight, rival: str, level: float) -> str:
    """What the gate's first read can find, judged by the folds, beside what two years of daily bars would find."""
    daily = daily_spread(level)
    return (
        f"Foreseen from the folds: on {found.dates} gate dates and at {level:.3g}, an advantage over {rival} of "
        f"{found.share:.1%} of its loss is found with a probability of {POWER:.0%}, {found.spread:.3f} standard "
        f"deviations of a bar's difference; {DAILY_DATES} independent daily bars would find {daily:.3f}, and no more "
        "is allowed."
    )


def _hardness(item: GateComparison) -> float:
    """The p-value as an order: one that is not a number comes before all others, and sorting stays defined."""
    return 2.0 if math.isnan(item.p_value) else item.p_value


def _read(evidence: Evidence) -> str:
    term = f" in the term from {evidence.term}" if evidence.term else ""
    return f"read {evidence.read} of the gate{term}"


def _level(evidence: Evidence, level: float) -> str:
    return f"This is {_read(evidence)}; each rival must be beaten at {level:.3g}, without further correction."


def _tested(item: GateComparison, evidence: Evidence, level: float, *, won: bool) -> str:
    verdict = "is better" if won else "is not shown to be better"
    if item.difference < 0:
        verdict = "did worse"
    return (
        f"{evidence.challenger} {verdict} than the {item.role} {item.rival}: loss {item.challenger_loss:.6g} "
        f"against {item.rival_loss:.6g}, Diebold-Mariano t {item.statistic:.2f}, one-sided p {item.p_value:.4g} "
        f"(needed: {_needed(item, evidence, level)}) on {item.dates} dates (lag {item.lag})."
    )


def _needed(item: GateComparison, evidence: Evidence, level: float) -> str:
    wanted = needed_difference(item, level)
    advantage = f", an advantage of {wanted:.3g} where it was {item.difference:.3g}" * math.isfinite(wanted)
    dates = f", {evidence.required_dates} dates" if item.dates < evidence.required_dates else ""
    return f"below {level:.3g}{advantage}{dates}"


def _qlike(item: GateComparison, level: float) -> str:
    if math.isnan(item.qlike_worse_p):
        return f"QLIKE could not be compared with that of the {item.role} {item.rival}: a smearing factor is missing."
    return (
        f"QLIKE is significantly worse than that of the {item.role} {item.rival}: one-sided p {item.qlike_worse_p:.4g} "
        f"(needed: at least {level:.3g})."
    )


def _power(ordered: list[GateComparison], level: float) -> tuple[str, ...]:
    """What the read could have found at all, against the rival that is hardest to beat."""
    hardest = max(ordered, key=lambda item: (_hardness(item), item.rival))
    least = detectable_difference(hardest, level)
    if not math.isfinite(least) or not hardest.rival_loss > 0:
        return ()
    return (
        f"At this level and on these dates, an advantage over {hardest.rival} of {least:.3g} "
        f"({least / hardest.rival_loss:.1%} of its loss) is found with a probability of {POWER:.0%}.",
    )
