"""The trial ledger, append-only: every candidate ever scored, every read of the gate and its outcome, every licence.

How a read is spent, inside one transaction that is committed before the gate is scored:

1. Identical evidence (recipe, labels and predictions on the gate) was read before: the same number and level again.
2. This recipe's promotion was decided in this term and never came about (a run that died): its read counts on.
3. The recipe was read before on this very target, and fewer than 21 gate dates came since: nothing is read or spent.
4. Else the number is one more than the family's reads in this term and later ones, the level alpha / (k (k + 1)).

So a kill after the commit costs nothing: the read stays counted, and the rerun is case 1. Which reads are of one family
is decided in ``families``. The file lies below the state folder, whatever problem, folder or user a run belongs to.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from tasks.evaluation import Decision, Licence
from tasks.registry import fence
from tasks.registry.chain import Chain
from tasks.registry.chain_database import WAIT_SECONDS, Row
from tasks.registry.chain_sqlite import SqliteDatabase
from tasks.registry.families import Family, Term
from tasks.registry.gate import read_level
from tasks.registry.ledger_place import connect
from tasks.registry.ledger_tables import SCHEMA
from tasks.registry.records import Mark

FRESH_DATES = 21
ALIASED = "alias moved"
BEGAN = "rollout began"
ANEW = "begun anew"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A wish to read the gate. ``recipe`` and ``evidence`` are digests; ``dates`` the gate's dates, ISO, ascending."""

    problem: str
    family: Family
    recipe: str
    evidence: str
    dates: Sequence[str]
    alpha: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A read that was spent: its row, number within the term, level. ``not_read`` says why there is none (k is 0)."""

    row: int = 0
    k: int = 0
    level: float = 0.0
    not_read: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A candidate that was scored; losses are NaN where there are none."""

    candidate: str
    engine: str
    recipe: str
    selection_loss: float
    fold_loss: float


class Ledger:
    """An opened ledger; close it, or use it as a context."""

    def __init__(self, chain: Chain) -> None:
        """``chain``: for the modules beside this one that keep tables of their own in it."""
        self.chain = chain

    @classmethod
    def open(cls, path: Path | None = None, wait: float = WAIT_SECONDS) -> Ledger:
        """The ledger of this file, of NOCTURNE_LEDGER_URL or else of the state folder, verified.

        Inside a night everything is written under its lease, and only its first look verifies every row, the later ones
        those that came since: see ``fence``. Raises as ``Chain`` and ``Chain.verify``,
        ConfigurationError for a URL that cannot be one.
        """
        database = connect(path, wait)
        try:
            chain = Chain(database, SCHEMA)
            chain.verify(fence.verified(chain.where))
        except BaseException:
            database.close()
            raise
        chain.guard = fence.guard(chain.where)
        return cls(chain)

    @classmethod
    def in_memory(cls) -> Ledger:
        """A ledger that is gone when it is closed: for simulations."""
        return cls(Chain(SqliteDatabase(None), SCHEMA))

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.chain.close()

    def verify(self) -> None:
        """Raise IntegrityError if any row was removed or altered."""
        self.chain.verify()

    def spend(self, asked: Asked, *, to_come: bool = False) -> Reading:
        """Spend a read of the gate on a challenger, or give the one that it has; see the module's text.

        ``to_come``: the dates that will decide are all later than the last one asked about, as in a rollout; then no
        recipe has to wait for fresh ones, and only the same evidence is the same read. Committed on return. Raises
        ValueError for a gate without dates.
        """
        if not asked.dates:
            raise ValueError("a gate without dates cannot be read")
        with self.chain.transaction():
            earlier = self._alike("reads", asked.family)
            before = _identical(asked, earlier) if to_come else self._before(asked, earlier)
            if before is not None:
                return before
            term = asked.family.term
            k = 1 + _spent(earlier, term)
            level = read_level(k, asked.alpha)
            look = self._look(asked.problem, asked.family, asked.dates[-1])
            row = self.chain.append(
                "reads", look | {"k": k, "level": level, "recipe": asked.recipe, "evidence": asked.evidence}
            )
            return Reading(row=row, k=k, level=level)

    def told(self, problem: str = "") -> dict[str, Any]:
        """What one problem's nights, or all, left here: counts, every read with its outcome, every licence.

        ``begun_anew`` is of the ledger as a whole.
        """
        mine = ("problem = ?", (problem,)) if problem else ("TRUE", ())
        nights = self.chain.rows("nights", *mine)
        known = {night["id"] for night in nights}
        outcomes = {row["read"]: row["outcome"] for row in self.chain.rows("outcomes") if row["outcome"] != ALIASED}
        return {
            "begun_anew": self.begun_anew(),
            "nights": len(nights),
            "trials": sum(trial["night"] in known for trial in self.chain.rows("trials")),
            "reads": [
                {name: read[name] for name in ("at", "problem", "predicts", "term", "last", "k", "level", "recipe")}
                | {"outcome": outcomes.get(read["id"], "unknown")}
                for read in self.chain.rows("reads", *mine)
            ],
            "licences": [
                {name: row[name] for name in ("at", "problem", "term", "recipe", "granted", "increase", "upper")}
                for row in self.chain.rows("licences", *mine)
            ],
        }

    def reads(self, family: Family) -> int:
        """How many reads of the gate count against this family in its term."""
        return _spent(self._alike("reads", family), family.term)

    def record_decision(self, reading: Reading, problem: str, recipe: str, decision: Decision) -> Mark:
        """Note what came of a night: of its read if there was one, else of the night alone."""
        values = {"outcome": decision.outcome, "promote": decision.promote, "reasons": json.dumps(decision.reasons)}
        return self._outcome({"read": reading.row, "problem": problem, "recipe": recipe, "version": ""} | values)

    def record_alias(self, problem: str, recipe: str, version: str) -> None:
        """Note that a version of this recipe took the alias: the promotion came about."""
        self._outcome(self.alias_row(problem, recipe, version)[1])

    @staticmethod
    def alias_row(problem: str, recipe: str, version: str) -> tuple[str, Row]:
        """What ``record_alias`` notes, and in which table: it is written together with the standing."""
        values = {"outcome": ALIASED, "promote": "", "reasons": "[]"}
        return "outcomes", {"read": 0, "problem": problem, "recipe": recipe, "version": version} | values

    def holds(self, mark: Mark) -> bool:
        """Whether this ledger wrote that row; a mark without a hash asks for so many rows alone."""
        found = self.chain.rows("outcomes", "id = ?", (mark.row,))
        return bool(found) and mark.sha256 in ("", found[0]["sha256"])

    def begin_anew(self, why: str, lost: Iterable[str]) -> None:
        """Note for ever that what these entries of the registry rest on is lost, and that the count begins anew."""
        values = {"outcome": ANEW, "promote": "", "reasons": json.dumps({"why": why, "lost": sorted(lost)})}
        self._outcome({"read": 0, "problem": "", "recipe": "", "version": ""} | values)

    def begun_anew(self) -> list[dict[str, Any]]:
        """Each time that the count began anew: ``at`` (ISO UTC), ``why``, and the entries ``lost`` by it."""
        rows = self.chain.rows("outcomes", "outcome = ?", (ANEW,))
        return [{"at": row["at"], **json.loads(row["reasons"])} for row in rows]

    def unfinished(self, problem: str) -> tuple[str, str] | None:
        """What the problem's last night decided to promote, and when (ISO UTC), if its alias never moved; else None."""
        last = self.chain.rows("outcomes", "id = (SELECT max(id) FROM outcomes WHERE problem = ?)", (problem,))
        return (last[0]["promote"], last[0]["at"]) if last and last[0]["promote"] else None

    def open_wins(self, problem: str, recipe: str) -> list[int]:
        """The rows of this recipe's reads that decided a promotion of which nothing has come yet."""
        mine = self.chain.rows("reads", "problem = ? AND recipe = ?", (problem, recipe))
        return [row["id"] for row in mine if self._won(row, problem)]

    def licence(self, family: Family, recipe: str) -> Licence | None:
        """The licence of this recipe in the family's term, granted or refused; None if it was not asked for yet."""
        term = family.term
        rows = [row for row in self._alike("licences", family) if row["recipe"] == recipe and _same(row, family)]
        return next((_licence(row) for row in rows if term.first <= row["last"] < term.next), None)

    def record_licence(self, problem: str, family: Family, last: str, licence: Licence) -> Licence:
        """Keep a licence, unless the term has one for this recipe already: the first one stands."""
        with self.chain.transaction():
            standing = self.licence(family, licence.recipe_sha256)
            if standing is not None:
                return standing
            values = {name: getattr(licence, name) for name in ("granted", "increase", "upper", "origins", "dates")}
            look = self._look(problem, family, last)
            self.chain.append("licences", look | values | {"recipe": licence.recipe_sha256, "permitted": licence.limit})
        return licence

    def append_trials(self, problem: str, family: Family, night: Row, trials: Iterable[Trial]) -> bool:
        """Add a night's candidates; False, and nothing is added, if this leaderboard is known for this problem.

        night: ``last``, ``leaderboard``, ``snapshot`` and ``predictions`` (digests), ``rows``, ``dates``.
        """
        with self.chain.transaction():
            if self.chain.rows("nights", "problem = ? AND leaderboard = ?", (problem, night["leaderboard"])):
                return False
            row = self.chain.append("nights", self._look(problem, family, night["last"]) | night)
            for trial in trials:
                self.chain.append("trials", {"night": row, **_fields(trial)})
        return True

    def nights(self, family: Family) -> list[Row]:
        """Every night of this family in all terms, oldest first, with its ``trials``."""
        nights = self._alike("nights", family)
        for night in nights:
            night["trials"] = self.chain.rows("trials", "night = ?", (night["id"],))
        return nights

    def _before(self, asked: Asked, earlier: list[Row]) -> Reading | None:
        """What an earlier read means for this wish: that read again, a refusal, or nothing."""
        same = _identical(asked, earlier)
        if same is not None:
            return same
        mine = [row for row in earlier if row["recipe"] == asked.recipe and _same(row, asked.family)]
        if not mine:
            return None
        last = max(mine, key=lambda row: row["last"])
        of_term = (row for row in reversed(mine) if row["last"] >= asked.family.term.first)
        won = next((row for row in of_term if self._won(row, asked.problem)), None)
        if won is not None:
            return _again(won, asked)
        fresh = len(asked.dates) - bisect_right(asked.dates, last["last"])
        if fresh >= FRESH_DATES:
            return None
        return Reading(
            not_read=f"this recipe was read on the gate through {last['last']}, {max(fresh, 0)} gate dates ago; "
            f"it is read again after {FRESH_DATES}"
        )

    def _won(self, read: Row, problem: str) -> bool:
        """Whether this read decided a promotion whose alias never moved."""
        decided = self.chain.rows("outcomes", "read = ? AND problem = ?", (read["id"], problem))
        if not decided or decided[-1]["outcome"] != "promoted":
            return False
        later = "id > ? AND problem = ? AND outcome = ?"
        return not self.chain.rows("outcomes", later, (decided[-1]["id"], problem, ALIASED))

    def _outcome(self, values: Row) -> Mark:
        with self.chain.transaction():
            row = self.chain.append("outcomes", values)
            return Mark(row=row, sha256=self.chain.rows("outcomes", "id = ?", (row,))[0]["sha256"])

    def _alike(self, table: str, family: Family) -> list[Row]:
        rows = self.chain.rows(table)
        return [
            row
            for row in rows
            if family.holds(row["predicts"], _set(row["symbols"]), _set(row["series"]), row["problem"])
        ]

    def _look(self, problem: str, family: Family, last: str) -> Row:
        return {
            "problem": problem,
            "predicts": family.predicts,
            "symbols": _text(family.symbols),
            "series": _text(family.series),
            "term": family.term.first,
            "last": last,
        }


def _same(row: Row, family: Family) -> bool:
    """Whether a row is about the family's own quantity and not only of its kind."""
    return family.alike(row["predicts"], _set(row["symbols"]), _set(row["series"]))


def _spent(reads: Iterable[Row], term: Term) -> int:
    """Reads in the term or in a later one: going back with ``as_of`` opens no budget that was not there at the time."""
    return sum(row["last"] >= term.first for row in reads)


def _identical(asked: Asked, earlier: Iterable[Row]) -> Reading | None:
    """The read that looked at the very same evidence, or None."""
    return next((_again(row, asked) for row in earlier if row["evidence"] == asked.evidence), None)


def _again(row: Row, asked: Asked) -> Reading:
    """An earlier read, at its own level or at the present policy's if that is stricter."""
    return Reading(row=row["id"], k=row["k"], level=min(row["level"], read_level(row["k"], asked.alpha)))


def _licence(row: Row) -> Licence:
    nan = float("nan")
    return Licence(
        recipe_sha256=row["recipe"],
        term=row["term"],
        granted=bool(row["granted"]),
        increase=nan if row["increase"] is None else row["increase"],
        upper=nan if row["upper"] is None else row["upper"],
        limit=row["permitted"],
        origins=row["origins"],
        dates=row["dates"],
    )


def _fields(trial: Trial) -> Row:
    return {name: getattr(trial, name) for name in Trial.__slots__}


def _text(names: Collection[str]) -> str:
    return json.dumps(sorted(names), separators=(",", ":"))


@lru_cache(maxsize=256)
def _set(text: str) -> frozenset[str]:
    return frozenset(json.loads(text))
