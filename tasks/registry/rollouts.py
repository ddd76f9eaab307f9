"""The registry's side of a rollout: who takes part, which read of the gate pays for it, and the moves of aliases.

What a rollout may promote wrongly counts against the same budget as the gate's reads. A version that the gate approved
has won a read already, and its rollout is held to that read's level: both would have to err. Any other version's
rollout spends a read of its own: it is the k-th of its term, and promotes at the level alpha / (k (k + 1)). A won read
pays for one rollout only; the second try of an approved version spends one like any other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from tasks.contracts import Ref, Rows, Snapshot
from tasks.errors import ConfigurationError, RegistryError
from tasks.live import Action, Standing
from tasks.problem import Problem
from tasks.registry import judgement, mlflow_store, promotions
from tasks.registry.chain_database import Row
from tasks.registry.gate import read_level
from tasks.registry.ledger import ALIASED, BEGAN, Asked, Ledger, Reading
from tasks.registry.mlflow_store import Store
from tasks.registry.parity import ask
from tasks.storage import home, read_parquet, sha256_bytes, write_parquet

AUTHOR = "rollout"
SEEN = ["session", "window"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """A registered version as a rollout needs it. ``approved``: the gate decided to promote it, by ``read_row``."""

    version: str
    candidate: str
    model_uri: str
    gated_uri: str
    training_end: str
    gated_training_end: str
    recipe_sha256: str
    predicts: str
    read_row: int = 0
    approved: bool = False

    @property
    def learned(self) -> str:
        """Close (ISO UTC) of the last bar that either of its fits learned from."""
        return later(self.training_end, self.gated_training_end)


def rival(store: Store, name: str, version: str) -> Rival:
    """What a version says of itself. Raises ConfigurationError if there is none, or it says too little to be scored."""
    tags = mlflow_store.version_tags(store, name, version)
    if tags is None:
        raise ConfigurationError(f"{name} has no version {version or '(none)'}: see 'nocturne models {name}'")
    missing = [tag for tag in ("gated_uri", "training_end", "gated_training_end", "predicts") if not tags.get(tag)]
    if missing:
        raise ConfigurationError(f"{name} version {version} does not tell its {', '.join(missing)}: register it anew")
    return Rival(
        version=version,
        candidate=tags.get("candidate", ""),
        model_uri=f"models:/{name}/{version}",
        gated_uri=tags["gated_uri"],
        training_end=tags["training_end"],
        gated_training_end=tags["gated_training_end"],
        recipe_sha256=tags.get("recipe_sha256", ""),
        predicts=tags["predicts"],
        read_row=int(tags.get("ledger_read", 0)),
        approved=tags.get("decision") == "promoted",
    )


def later(*instants: str) -> str:
    """The latest of ISO instants."""
    return max(instants, key=pd.Timestamp)


def require_comparable(champion: Rival, challenger: Rival, problem: Problem) -> None:
    """Raise ConfigurationError unless both predict what the problem asks for and are not the same recipe."""
    for rival_ in (champion, challenger):
        if rival_.predicts != problem.predicts:
            raise ConfigurationError(
                f"{problem.name} version {rival_.version} predicts {rival_.predicts}, the problem {problem.predicts}: "
                "they cannot be compared"
            )
    if champion.recipe_sha256 and champion.recipe_sha256 == challenger.recipe_sha256:
        raise ConfigurationError(
            f"{problem.name} version {challenger.version} is the champion's own recipe: there is nothing to compare"
        )


def chosen(store: Store, name: str, standing: Standing, version: str = "") -> str:
    """The version to try: the one asked for, the challenger, or the newest that is neither champion nor fallback.

    Raises ConfigurationError if there is none.
    """
    known = [found.version for found in mlflow_store.history(store, name)]
    if version and version not in known:
        raise ConfigurationError(f"{name} has no version {version}: see 'nocturne models {name}'")
    taken = (standing.champion, standing.fallback)
    found = version or standing.challenger or next((each for each in known if each not in taken), "")
    if not found or found == standing.champion:
        what = f"version {found} is the champion" if found else "no version but champion and fallback is registered"
        raise ConfigurationError(f"{name}: {what}; a rollout needs a challenger (--version)")
    return found


def contest(store: Store, problem: Problem, version: str, *, shown: bool) -> tuple[Rival, Rival]:
    """Champion and challenger of a rollout to come; version: empty for the challenger, or the newest that never led.

    shown: whether consumers are to see the challenger, which then must have been proved. Raises ConfigurationError if
    there is no champion, no challenger, or the two cannot be compared.
    """
    with Ledger.open() as ledger:
        now = promotions.standing(ledger, problem.name)
        if not now.champion:
            raise ConfigurationError(f"{problem.name} has no champion yet: nocturne run {problem.name}")
        challenger = rival(store, problem.name, chosen(store, problem.name, now, version))
        champion = rival(store, problem.name, now.champion)
        require_comparable(champion, challenger, problem)
        if shown:
            promotions.require_proved(store, ledger, problem.name, challenger.version)
    return champion, challenger


def predictions(store: Store, name: str, uris: Sequence[str], snapshot: Snapshot) -> tuple[Ref, ...]:
    """Each model's predictions for every row of the snapshot, from one clean process: a column ``prediction`` each.

    Raises RegistryError if one of them cannot be loaded or scored: then this night nothing is known of either.
    """
    refs = []
    for said in ask(store.tracking_uri, uris, snapshot):
        if said.error:
            raise RegistryError(f"{said.uri}: does not load and predict in a clean process: {said.error}")
        file = f"{sha256_bytes(said.uri.encode())[:16]}.parquet"  # one a model: what counts is kept by the rollout
        frame = pd.DataFrame({"prediction": said.predictions})
        refs.append(write_parquet(home() / "live" / name / "said" / file, frame))
    return tuple(refs)


def paid(problem: Problem, data: tuple[Snapshot, Rows], version: str, evidence: str) -> tuple[Reading, bool]:
    """The read that pays for a rollout of the version (see ``claim``), and whether the gate approved it by that."""
    challenger = rival(mlflow_store.open_store(), problem.name, version)
    with Ledger.open() as ledger:
        reading = claim(ledger, problem, data, challenger, evidence)
    return reading, challenger.approved and reading.row == challenger.read_row


def claim(ledger: Ledger, problem: Problem, data: tuple[Snapshot, Rows], challenger: Rival, evidence: str) -> Reading:
    """The read that pays for a rollout: the one that the gate approved the version by, or a new one.

    data: the bars on which it begins, and their rows. evidence: the SHA-256 of what was agreed; asked again with the
    same one, the same read comes back.
    """
    won = _won(ledger, challenger, evidence) if challenger.approved else None
    if won is not None:
        reading = Reading(row=won["id"], k=won["k"], level=min(won["level"], read_level(won["k"], problem.alpha)))
    else:
        snapshot, rows = data
        seen = read_parquet(rows.ref, SEEN)
        asked = Asked(
            problem=problem.name,
            family=judgement.family_of(problem, snapshot, seen),
            recipe=challenger.recipe_sha256,
            evidence=evidence,
            dates=[f"{seen['session'].max():%Y-%m-%d}"],
            alpha=problem.alpha,
        )
        reading = ledger.spend(asked, to_come=True)
    _note_beginning(ledger, problem.name, challenger.recipe_sha256, reading.row, evidence)
    return reading


def conclude(ledger: Ledger, *, name: str, recipe: str, read_row: int, promoted: str, why: Iterable[str]) -> None:
    """Note once how a rollout ended: ``promoted`` is the version that took over, empty if the champion stayed.

    Whatever else the gate had approved of this recipe is settled by it: what was tried need not be tried again.
    """
    outcome, reasons = "promoted" if promoted else "kept", json.dumps(list(why))
    with ledger.chain.transaction():
        known = "read = ? AND outcome = ? AND reasons = ?"
        if ledger.chain.rows("outcomes", known, (read_row, outcome, reasons)):
            return
        for row in dict.fromkeys((read_row, *ledger.open_wins(name, recipe))):
            _append(ledger, {"read": row, "problem": name, "recipe": recipe, "outcome": outcome, "reasons": reasons})
        if promoted:
            ledger.chain.append(*ledger.alias_row(name, recipe, promoted))


def move(
    store: Store, ledger: Ledger, expected: Standing, change: Standing, *, action: Action, why: str, evidence: str
) -> Standing:
    """Move aliases and share, unless they are so already; a beginning is noted in any case.

    Raises StaleEpochError if somebody was faster.
    """
    if _held(expected) == _held(change) and action != "challenged":
        return expected
    return promotions.move(ledger, store, expected, change, action, (why,), evidence, AUTHOR)


def has_begun(ledger: Ledger, name: str, evidence: str) -> bool:
    """Whether the aliases were ever moved for what was agreed."""
    return any(step.evidence == evidence for step in promotions.history(ledger, name))


def took_over(ledger: Ledger, name: str, evidence: str) -> bool:
    """Whether the alias was ever moved to the challenger of what was agreed, by its rollout."""
    return any(step.evidence == evidence and step.action == "promoted" for step in promotions.history(ledger, name))


def claimed(ledger: Ledger, name: str, evidence: str) -> int:
    """The ledger's row of the read that was claimed for what was agreed; 0 if none was."""
    began = ledger.chain.rows("outcomes", "problem = ? AND outcome = ?", (name, BEGAN))
    return next((int(row["read"]) for row in began if json.loads(row["reasons"]) == [evidence]), 0)


def _held(standing: Standing) -> tuple[str, str, str, float]:
    return standing.champion, standing.challenger, standing.fallback, standing.share


def _won(ledger: Ledger, challenger: Rival, evidence: str) -> Row | None:
    """The ledger's row of the read that approved the version, unless a rollout was paid by it or has settled it."""
    rows = ledger.chain.rows("reads", "id = ?", (challenger.read_row,))
    noted = ledger.chain.rows("outcomes", "read = ? AND outcome <> ?", (challenger.read_row, ALIASED))
    others = [row for row in noted if row["outcome"] == BEGAN and json.loads(row["reasons"]) != [evidence]]
    settled = bool(noted) and noted[-1]["outcome"] == "kept"
    return rows[0] if rows and rows[0]["recipe"] == challenger.recipe_sha256 and not (others or settled) else None


def _note_beginning(ledger: Ledger, name: str, recipe: str, row: int, evidence: str) -> None:
    reasons = json.dumps([evidence])
    with ledger.chain.transaction():
        if not ledger.chain.rows("outcomes", "read = ? AND outcome = ? AND reasons = ?", (row, BEGAN, reasons)):
            _append(ledger, {"read": row, "problem": name, "recipe": recipe, "outcome": BEGAN, "reasons": reasons})


def _append(ledger: Ledger, values: Row) -> None:
    ledger.chain.append("outcomes", {"promote": "", "version": ""} | values)
