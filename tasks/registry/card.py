"""A registered version's model card, in markdown, made from the night's evidence: what a person reads of it.

The sections are those of Mitchell et al. (2019, "Model Cards for Model Reporting", FAT*): details, intended use, data,
metrics and analyses (against every baseline, by stretch of time), ethics, caveats. Pure text; no MLflow.
"""

from __future__ import annotations

import json
from pathlib import Path

from tasks.registry import card_results, card_use
from tasks.registry.bundle import versions
from tasks.registry.card_parts import Section, bullets, plain, table
from tasks.registry.card_tags import outcome, version_tags
from tasks.registry.records import Entry, Night
from tasks.registry.serving.model_folder import DOCUMENT
from tasks.storage import lock_digest

__all__ = ["LONGEST", "card", "description", "outcome", "version_tags"]
LONGEST = 5000
"""Characters that MLflow's databases keep of a version's description."""
TOP = 10
FIRST = 2
"""Reasons that stand at the head; the others have a section of their own."""
_MORE = "*Left out here for length: {titles}. `nocturne card {name}` shows the whole.*"


def card(night: Night, entry: Entry) -> str:
    """The whole card."""
    return "\n\n".join([_head(night, entry), *filter(None, map(str, _sections(night, entry)))])


def description(night: Night, entry: Entry) -> str:
    """The card as the registry entry holds it: at most ``LONGEST`` characters, by leaving out what weighs least."""
    head = _head(night, entry)
    kept = [section for section in _sections(night, entry) if section.text]
    left: list[Section] = []
    while len(page := _page(head, kept, left, night.problem.name)) > LONGEST and kept:
        least = min(reversed(kept), key=lambda section: section.weight)
        kept.remove(least)
        left.insert(0, least)
    return page[:LONGEST]


def _use(night: Night, entry: Entry) -> str:
    return card_use.use(night.problem.name, entry.gated.engine, str(entry.gated.recipe.get("strategy", "")))


def _page(head: str, kept: list[Section], left: list[Section], name: str) -> str:
    more = [_MORE.format(titles=", ".join(section.title for section in left), name=name)] if left else []
    return "\n\n".join([head, *map(str, kept), *more])


def _head(night: Night, entry: Entry) -> str:
    decision = entry.decision
    said = f"**Decision: {outcome(entry)}** (the night: {decision.outcome})"
    why = bullets(plain(reason, 600) for reason in decision.reasons[:FIRST])
    parts = (f"# {night.problem.name}: {plain(entry.name)}", card_use.lead(night, entry), said, why)
    return "\n\n".join(filter(None, parts))


def _sections(night: Night, entry: Entry) -> list[Section]:
    evidence = entry.evidence
    return [
        Section("Model details", card_use.details(night, entry), weight=9),
        Section("Intended use", card_use.intended(night, entry), weight=8),
        *card_results.sections(night, entry),
        Section("Reasons", bullets(plain(reason, 600) for reason in entry.decision.reasons[FIRST:]), weight=2),
        Section("Leading features", _features(night, entry), weight=8),
        Section("Data", card_use.data(night), weight=5),
        Section("Degraded", bullets(plain(note, 400) for note in _degraded(night, entry)), weight=8),
        Section("Alarms", bullets(plain(alarm, 400) for alarm in (evidence.alarms if evidence else ())), weight=9),
        Section("Waived", bullets(map(plain, evidence.waivers if evidence else ())), weight=9),
        Section("What it does not promise", card_use.promises(entry), weight=7),
        Section("Ethics", card_use.ETHICS, weight=3),
        Section("Use, verify, roll back", _use(night, entry), weight=9),
        Section("Versions", _versions(night, entry), weight=1),
    ]


def _degraded(night: Night, entry: Entry) -> tuple[str, ...]:
    partial = entry.evidence.partial if entry.evidence else ()
    return tuple(dict.fromkeys((*partial, *night.notes, *entry.notes)))


def _features(night: Night, entry: Entry) -> str:
    """The leading columns: by the rise in loss when one is shuffled, or a linear model's own coefficients."""
    if night.importance and night.importance_of == entry.gated.name:
        lead = "Share of the rise in loss when a column is shuffled on the selection rows (permutation importance)."
        rows = [(f"`{name}`", f"{share:.1%}") for name, share in night.importance[:TOP]]
        return f"{lead}\n\n{table(('feature', 'share'), rows)}"
    found = _coefficients(Path(entry.shipped.model) / DOCUMENT)
    rows = [(f"`{name}`", f"{value:+.4g}") for name, value in found[:TOP] if value]
    lead = "What one training standard deviation of a column adds to the prediction, before its link."
    return f"{lead}\n\n{table(('feature', 'adds'), rows)}" if rows else ""


def _coefficients(path: Path) -> list[tuple[str, float]]:
    """A linear model's columns and coefficients, largest first; none of another model, or where there is no file."""
    if not path.is_file():
        return []
    document = json.loads(path.read_bytes())
    if document.get("kind") != "linear":
        return []
    pairs = zip(document["columns"], document["coefficients"], strict=True)
    return sorted(pairs, key=lambda pair: -abs(pair[1]))


def _versions(night: Night, entry: Entry) -> str:
    problem = night.problem.digest()[:12]
    packages = ", ".join(f"{name} {version}" for name, version in versions().items())
    return bullets(
        (
            f"code `{plain(night.code_version)[:12]}`, lock `{lock_digest()[:12]}`, problem `{problem}`",
            f"candidate {plain(entry.gated.name)}, tags `recipe_sha256`, `snapshot_sha256`, `model_sha256`",
            packages,
        )
    )
