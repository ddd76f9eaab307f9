"""The published claims of transfer learning as goals, and whether they held in a table of real bars.

Claims: 90-95 % of the accuracy kept with ten times fewer labels, training ten times faster, 70 % fewer epochs to
convergence across timeframes. A claim has a verdict only where it was measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.benchmarks import transfer_table
from tests.benchmarks.transfer_table import ALL, KINDS, LEGEND, SCRATCH, Table, kept

NETWORKS = ("features", "partial", "full")
FEWER = 0.1
KEPT_GOAL, FASTER_GOAL, SOONER_GOAL = 0.9, 10.0, 0.7
KEEPS, FASTER, SOONER = "accuracy kept with 10 times fewer labels", "training 10 times faster", "70 % sooner converged"
PATH = "frozen path 10 times faster than scratch"
GOALS = {
    KEEPS: "at least 90-95 %",
    FASTER: "fit alone 10 times faster, at equal or better loss",
    PATH: "embedded, fitted and scored 10 times faster, at equal or better loss",
    SOONER: "70 % fewer epochs",
}
EQUAL = 1.005
"""A loss up to half a per cent above another counts as equal to it."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One claim of one method. ``held``: None where it could not be told, and ``found`` says why."""

    claim: str
    method: str
    found: str
    held: bool | None

    @property
    def words(self) -> str:
        """For the table."""
        return "–" if self.held is None else "held" if self.held else "did not hold"


def document(lines: Iterable[Mapping[str, Any]]) -> list[str]:
    """All that was measured, in Markdown: in short, then by kind of transfer each table with the claims below it."""
    lines = list(lines)
    made = transfer_table.tables(lines)
    told = ["# Transfers, measured", "", *transfer_table.machines(lines), "", LEGEND, "", *_short(made), *summary(made)]
    for kind, title in KINDS.items():
        if chosen := [table for table in made if table.told["kind"] == kind]:
            told += [f"## {title}", ""]
        for table in chosen:
            told += [*transfer_table.heading(table), *transfer_table.rows(table), "", *claims(table), ""]
    return told


def claims(table: Table) -> list[str]:
    """The claims about one transfer, in Markdown."""
    lines = ["| published claim | goal | method | here | verdict |", f"|{'---|' * 5}"]
    lines += [f"| {v.claim} | {GOALS[v.claim]} | {v.method} | {v.found} | {v.words} |" for v in verdicts(table)]
    return lines


def _short(tables: Sequence[Table]) -> list[str]:
    told = "Losses; + helps and - hurts, where 95 % of scratch less it lies on one side of 0."
    return ["## In short", "", told, "", *transfer_table.brief(tables), ""]


def summary(tables: Sequence[Table]) -> list[str]:
    """In how many transfers of each kind every claim held, of those where it could be told."""
    found: dict[tuple[str, str], dict[str, list[bool]]] = {}
    for table in tables:
        for each in verdicts(table):
            if each.held is not None:
                kinds = found.setdefault((each.claim, each.method), {})
                kinds.setdefault(table.told["kind"], []).append(each.held)
    heads = f"| published claim | goal | method | {' | '.join(KINDS)} |"
    lines = ["## Published claims as goals", "", "Held in so many of the transfers where it could be told.", ""]
    lines += [heads, f"|{'---|' * (3 + len(KINDS))}"]
    for (claim, method), kinds in sorted(found.items(), key=lambda item: list(GOALS).index(item[0][0])):
        told = [f"{sum(kinds[kind])} of {len(kinds[kind])}" if kind in kinds else "–" for kind in KINDS]
        lines.append(f"| {claim} | {GOALS[claim]} | {method} | {' | '.join(told)} |")
    return [*lines, ""] if found else []


def verdicts(table: Table) -> Iterator[Verdict]:
    """What of the claims could be measured here."""
    yield from _keeps(table)
    for share in table.shares:
        yield from _faster(table, share, NETWORKS if share in (table.shares[0], table.shares[-1]) else ("features",))
    if table.told["kind"] == "timeframes":
        yield from _sooner(table)


def _keeps(table: Table) -> Iterator[Verdict]:
    for method in (SCRATCH, *NETWORKS, "trees"):
        for named, reference in (("R²", table.mean), ("skill over the best baseline", table.best)):
            if (ALL, method) not in table.cells or not _measured(table, FEWER, method):
                continue
            claimed, part = f"{method}, {named}", kept(table, FEWER, method, reference)
            if np.isfinite(part):
                yield Verdict(claim=KEEPS, method=claimed, found=f"{part:.0%}", held=bool(part >= KEPT_GOAL))
            else:
                yield Verdict(claim=KEEPS, method=claimed, found="none is certain with all labels", held=None)


def _measured(table: Table, share: float, method: str) -> bool:
    cell = table.cells.get((share, method))
    return cell is not None and not cell.words


def _faster(table: Table, share: float, methods: Sequence[str]) -> Iterator[Verdict]:
    for method in methods:
        if not (_measured(table, share, method) and _measured(table, share, SCRATCH)):
            continue
        slow, fast = table.cells[share, SCRATCH], table.cells[share, method]
        if slow.compiled or fast.compiled:
            yield Verdict(claim=FASTER, method=f"{method}, {share:.0%}", found="seconds hold compilation", held=None)
            continue
        named, good = f"{method}, {share:.0%} of labels", fast.loss <= slow.loss * EQUAL
        paces = [(FASTER, slow.fit, fast.fit)]
        if method == "features":
            paces.append((PATH, (slow.seconds, slow.cpu), (fast.seconds, fast.cpu)))
        for claim, theirs, ours in paces:
            wall, ratio = (a / max(b, 1e-9) for a, b in zip(theirs, ours, strict=True))
            found = f"{wall:.1f} times ({ratio:.1f} in processor time), loss {fast.loss:.4f} against {slow.loss:.4f}"
            if claim == PATH:
                found = f"{found}; {slow.seconds / fast.cached:.1f} times with embeddings at hand"
            yield Verdict(claim=claim, method=named, found=found, held=bool(ratio >= FASTER_GOAL and good))


def _sooner(table: Table) -> Iterator[Verdict]:
    for method in ("partial", "full"):
        each = {share: sooner(table, share, method) for share in table.shares}
        found = {share: value for share, value in each.items() if np.isfinite(value)}
        if found:
            told = ", ".join(f"{share:.0%}: {value:.0%}" for share, value in found.items())
            yield Verdict(
                claim=SOONER, method=method, found=told, held=bool(np.mean(list(found.values())) >= SOONER_GOAL)
            )


def sooner(table: Table, share: float, method: str) -> float:
    """How much fewer epochs a method needs to reach scratch's best watched loss: 1 - its epochs / scratch's.

    By seed, their mean; an unreached loss counts as no saving at all. NaN where one of them was not trained by epochs.
    """
    mine, theirs = table.cells.get((share, method)), table.cells.get((share, SCRATCH))
    if mine is None or theirs is None or not mine.watched or not theirs.watched:
        return float("nan")
    found = []
    for fast, slow in zip(mine.watched, theirs.watched, strict=False):
        goal = min(slow)
        needed = next((epoch for epoch, loss in enumerate(fast, start=1) if loss <= goal), None)
        found.append(0.0 if needed is None else 1.0 - needed / (slow.index(goal) + 1))
    return float(np.mean(found))
