"""What a run of the transfers came to, as Markdown: by kind of transfer a table each, and the published claims beside.

A method's loss on a date is the mean of its seeds' losses there; intervals are of dates (stationary bootstrap, 95 %).
Two references, both fitted on all of the target's labels: the labels' ``mean`` (or base rate), and the ``best`` simple
baseline, which is the best in hindsight. Skill is 1 - loss / reference's loss; what a share of the labels keeps of it
is told only where the lower bound of the skill with all labels is above 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.statistics import bootstrap

Floats = npt.NDArray[np.float64]
METHODS = ("scratch", "features", "partial", "full", "trees", "baseline")
SCRATCH, PRETRAINING, MACHINE = "scratch", "pretraining", "machine"
ALL = 1.0
KINDS = {"timeframes": "Across timeframes", "markets": "Across markets", "tasks": "Across tasks"}
LEGEND = """Losses are averaged over seeds, then by date; intervals are of dates (95 %, stationary bootstrap).
`scratch` is the network of the other three with random weights: they begin with the backbone's weights, and with a head
shrunk towards the one of its pre-training where that had the same kind of label, scratch's towards nothing. `scratch
less it` above 0: it helps. R² is against the mean of all labels, skill against the best simple baseline with all
labels; what is kept of either is told only where its lower bound with all labels is above 0. `seconds`: epochs or
trees chosen, fitted again on all kept labels, and all of the window's rows scored, embeddings computed anew; `fit
alone`: less the scoring, which is as much for each network. Both are without pre-training, which is told above each
table, and without compilation."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One method at one share. losses: float64 (dates,), seeds averaged; seconds: fitting and scoring, means; fit: the
    fitting's (seconds, processor seconds).

    cached: with embeddings that were computed before, NaN where there are none. compiled: how many seeds' seconds hold
    a compilation. watched: each seed's watched losses by epoch, empty where nothing is trained by epochs. called: which
    of several it is.
    """

    losses: Floats
    seeds: int
    seconds: float
    cpu: float
    fit: tuple[float, float]
    cached: float
    compiled: int
    watched: tuple[tuple[float, ...], ...]
    words: str
    called: str

    @property
    def loss(self) -> float:
        """The mean over dates."""
        return float(self.losses.mean())


@dataclass(frozen=True, kw_only=True)
class Table:
    """All cells of one transfer, its references' losses by date, and what was said of its making."""

    name: str
    told: Mapping[str, Any]
    cells: Mapping[tuple[float, str], Cell]
    mean: Floats
    best: Floats
    best_name: str

    @property
    def overlap(self) -> int:
        """How many later dates' labels share a bar with a date's."""
        return int(self.told.get("horizon", 1)) - 1

    @property
    def shares(self) -> list[float]:
        """From the smallest."""
        return sorted({share for share, _ in self.cells})


def tables(lines: Iterable[Mapping[str, Any]]) -> list[Table]:
    """One table a transfer of which a network was measured, in the order of the lines."""
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for line in lines:
        by_name.setdefault(line["transfer"], []).append(line)
    return [made for name in by_name if (made := _table(name, by_name)) is not None]


def _table(name: str, by_name: Mapping[str, Sequence[Mapping[str, Any]]]) -> Table | None:
    lines = by_name[name]
    told = next((line for line in lines if line["method"] == "target"), None)
    if told is None or not any(line["method"] == SCRATCH for line in lines):
        return None
    pretraining = [line for line in by_name.get(told.get("like") or name, ()) if line["method"] == PRETRAINING]
    grouped: dict[tuple[float, str], list[Mapping[str, Any]]] = {}
    for line in lines:
        if "losses" in line:
            grouped.setdefault((line["share"], line["method"]), []).append(line)
    references = {key: np.array(values) for key, values in told["references"].items()}
    best = min((key for key in references), key=lambda key: float(references[key].mean()))
    return Table(
        name=name,
        told={**told, "pretraining": pretraining},
        cells={key: _cell(found) for key, found in grouped.items()},
        mean=references["mean"],
        best=references[best],
        best_name=best,
    )


def _cell(lines: Sequence[Mapping[str, Any]]) -> Cell:
    return Cell(
        losses=np.mean([line["losses"] for line in lines], axis=0),
        seeds=len(lines),
        seconds=float(np.mean([line["seconds"] for line in lines])),
        cpu=float(np.mean([line["cpu"] for line in lines])),
        fit=(_fit(lines, "seconds"), _fit(lines, "cpu")),
        cached=float(np.mean([line.get("seconds_cached", np.nan) for line in lines])),
        compiled=sum(line.get("compiled", 0) > 0 for line in lines),
        watched=tuple(tuple(line["watched"]) for line in lines if line.get("watched")),
        words=lines[0].get("words", ""),
        called=lines[0].get("called", ""),
    )


def _fit(lines: Sequence[Mapping[str, Any]], clock: str) -> float:
    """The seeds' mean by a clock; of what is not told apart from its scoring, the whole."""
    return float(np.mean([line.get(f"fit_{clock}", line[clock]) for line in lines]))


def kept(table: Table, share: float, method: str, reference: Floats) -> float:
    """skill(share) / skill(all labels); NaN where the latter's lower bound is not above 0, or one was not run."""
    whole, part = table.cells.get((ALL, method)), table.cells.get((share, method))
    if whole is None or part is None:
        return float("nan")
    low, _ = bootstrap.skill_interval(whole.losses, reference, overlap=table.overlap)
    if not low > 0:
        return float("nan")
    full = 1.0 - whole.loss / float(reference.mean())
    return (1.0 - part.loss / float(reference.mean())) / full


def rows(table: Table) -> list[str]:
    """The table's lines in Markdown: a line a share and method."""
    lines = [
        "| labels | method | loss [95 %] | scratch less it [95 %] | R² | kept of R² | skill over best | kept of skill "
        "| seconds | fit alone |",
        f"|{'---|' * 10}",
    ]
    for share in table.shares:
        lines.extend(_row(table, share, method) for method in METHODS if (share, method) in table.cells)
    return lines


def _row(table: Table, share: float, method: str) -> str:
    cell = table.cells[share, method]
    if cell.words:
        return f"| {share:.0%} | {method} | {cell.words} | | | | | | | |"
    named = f"{method} ({cell.called})" if cell.called else method
    low, high = bootstrap.interval(cell.losses[:, None], overlap=table.overlap)
    scratch = table.cells.get((share, SCRATCH))
    against = "–" if scratch is None or method == SCRATCH else _difference(scratch.losses - cell.losses, table.overlap)
    of_mean, of_best = (1.0 - cell.loss / float(each.mean()) for each in (table.mean, table.best))
    return (
        f"| {share:.0%} | {named} | {cell.loss:.4f} [{low:.4f}, {high:.4f}] | {against} | {of_mean:.3f} | "
        f"{_share(kept(table, share, method, table.mean))} | {of_best:+.3f} | "
        f"{_share(kept(table, share, method, table.best))} | {cell.seconds:.2f}{'*' if cell.compiled else ''} | "
        f"{cell.fit[0]:.2f} |"
    )


def brief(tables: Sequence[Table]) -> list[str]:
    """All transfers' losses, a line a transfer and share; + and - where 95 % of the difference to scratch say so."""
    lines = [f"| transfer | labels | {' | '.join(METHODS)} |", f"|{'---|' * (2 + len(METHODS))}"]
    for table in tables:
        for share in table.shares:
            cells = [_marked(table, share, method) for method in METHODS]
            lines.append(f"| {table.name} | {share:.0%} | {' | '.join(cells)} |")
    return lines


def _marked(table: Table, share: float, method: str) -> str:
    cell, scratch = (table.cells.get((share, name)) for name in (method, SCRATCH))
    if cell is None or cell.words:
        return "–"
    if scratch is None or method == SCRATCH:
        return f"{cell.loss:.4f}"
    low, high = bootstrap.interval((scratch.losses - cell.losses)[:, None], overlap=table.overlap)
    return f"{cell.loss:.4f}{' +' if low > 0 else ' -' if high < 0 else ''}"


def _difference(values: Floats, overlap: int) -> str:
    low, high = bootstrap.interval(values[:, None], overlap=overlap)
    verdict = "helps" if low > 0 else "hurts" if high < 0 else "no difference"
    return f"{values.mean():+.4f} [{low:+.4f}, {high:+.4f}] {verdict}"


def _share(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.0%}"


def heading(table: Table) -> list[str]:
    """What was transferred, what it was scored on, and what the pre-training took, which is in no other column."""
    told = table.told
    made = told["pretraining"]
    seconds = ", ".join(f"{each['seconds']:.0f}" for each in made) or "none"
    like = f", shared with {told['like']}" if told.get("like") else ""
    seeds = max(cell.seeds for cell in table.cells.values())
    lines = [
        f"### {table.name}: {told['words']}",
        "",
        f"Source: {told['source']}. Target: {told['target']}. Scored: {told['scored']}. Best simple baseline with all "
        f"labels: {table.best_name}, loss {table.best.mean():.4f} (mean: {table.mean.mean():.4f}). Seeds: {seeds}.",
        f"Pre-training, by seed: {seconds} s{like}; in no other column.",
    ]
    labels = ", ".join(f"{share}: {words}" for share, words in told["shares"].items())
    lines.append(f"Labels: {labels}.")
    if any("impossible" in cell.words for cell in table.cells.values()):
        lines.append("Impossible shares repeat no smaller one's figures.")
    if any(cell.compiled for cell in table.cells.values()):
        lines.append("\\* these seconds hold a compilation.")
    return [*lines, ""]


def machines(lines: Iterable[Mapping[str, Any]]) -> list[str]:
    """Which device computed with how many threads, and the encoder's sizes."""
    found = [
        f"Device: {line['device']}, {line['threads']} threads. Encoder: {line['architecture']}, {line['length']} bars, "
        f"width {line['width']}, depth {line['depth']}; at most {line['steps']:,} steps of pre-training."
        for line in lines
        if line["method"] == MACHINE
    ]
    return list(dict.fromkeys(found))
