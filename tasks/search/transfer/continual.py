"""A backbone kept up to date: each week a few steps on the bars since its end, with earlier ones replayed.

```
parent's bars ────────────────┤ new bars: learn │ choose │ held out     (a week's: learn, after the parent was tried)
 └ a sample of them is kept ──▶ replayed beside the new ones in every step
```

Rehearsing a sample is what holds forgetting back (Robins 1995; Chaudhry and others 2019). ``compare`` measures what it
is worth: an update against training anew on everything, by cost, by loss on the weeks that follow, and by how much
worse the earlier bars are told afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.errors import ConfigurationError
from tasks.search.transfer import backbone, evidence, pretraining
from tasks.search.transfer.backbone import SCALE_FREE, Loaded
from tasks.search.transfer.channels import CHANNELS, Bars, usable
from tasks.search.transfer.evidence import Evidence
from tasks.search.transfer.objectives import SUPERVISED, Task
from tasks.search.transfer.pretraining import Budget, Pretrained, Report, silent
from tasks.search.transfer.source import HELD, PURGED, TRAIN, Source, iso, of_sample, source_of, unseen
from tasks.statistics.bootstrap import interval

HELD_SHARE, WATCHED_SHARE = 0.25, 0.15
"""Of the new bars, where they are enough to be cut."""

COST = 10
"""An update takes at most a tenth of the steps of a training."""

Floats = npt.NDArray[np.float64]


def update(  # noqa: PLR0917 - what a training is
    parent: Loaded, bars: Bars, times: npt.NDArray[Any], budget: Budget, seed: int, progress: Report = silent
) -> Pretrained:
    """Go on from a backbone on the bars since its end, with its kept sample replayed; evidence is of the newest bars.

    bars: those before its end may be among them; they only fill windows. The tasks and horizons are the parent's; a
    tenth of the budget's steps are taken. Raises DataError where too little is new, ConfigurationError for a parent of
    other channels.
    """
    if parent.backbone.channels != CHANNELS:
        raise ConfigurationError(
            f"backbone {parent.backbone.name} looks at {', '.join(parent.backbone.channels)}, and these bars are "
            f"{', '.join(CHANNELS)}: train it anew"
        )
    horizons = tuple(int(horizon) for horizon in parent.source["horizons"])
    source = source_of(
        bars,
        times,
        parent.spec.length,
        horizons,
        held_out=HELD_SHARE,
        watched=WATCHED_SHARE,
        after=parent.backbone.end,
    )
    tasks = _tasks(parent)
    made = pretraining.train(source, parent.spec, tasks, shorter(budget), seed, progress, start=parent)
    # Its windows reach back over the edge: what was hidden in them was seen, so only labels are evidence.
    labelled = tuple(each for each in made.evidence if each.task in SUPERVISED)
    return replace(made, evidence=labelled or _before(parent, source, seed))


def shorter(budget: Budget) -> Budget:
    """The budget of an update within that of a training."""
    return replace(budget, steps=max(budget.steps // COST, 10), rate=budget.rate / 3)


def _before(parent: Loaded, source: Source, seed: int) -> tuple[Evidence, ...]:
    """What the parent says of bars no part of whose labels it has seen (prequential: Dawid 1984), horizon by horizon;
    nothing of horizons that are longer than what is new.
    """
    found = evidence.measured(
        _with_weights(parent.spec, parent.weights),
        unseen(source, parent.spec.length, parent.backbone.end),
        parent.spec,
        parent.heads,
        [task for task in _tasks(parent) if task in SUPERVISED],
        seed,
        of_sample(parent.source, parent.spec.length),
    )
    return tuple(replace(each, of="before it learned of them") for each in found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One of the rounds compared: incremental, and anew. ``until``: the last bar that both saw. ``target``: the loss on
    the bars that follow, ``earlier``: on the first backbone's held-out bars, in units of the naive forecasts' (1:
    nothing known). Seconds are the processor's, evidence and all.
    """

    until: str
    steps: tuple[int, int]
    seconds: tuple[float, float]
    target: tuple[float, float]
    earlier: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Incremental updates (first of each pair) against training anew (second), round by round.

    before: the first backbone's loss on its own held-out bars. stale: its loss on all bars that follow a round.
    target: both ways' loss there, and the 95 % interval by date of incremental less anew. forgetting: the loss on the
    earlier bars after the last round, less ``before``: above zero is forgotten.
    """

    rounds: tuple[Round, ...]
    before: float
    stale: float
    target: tuple[float, float]
    difference: tuple[float, float]
    forgetting: tuple[float, float]
    steps: tuple[int, int]
    seconds: tuple[float, float]


def compare(  # noqa: PLR0917 - what a training is
    bars: Bars,
    times: npt.NDArray[Any],
    spec: Any,
    tasks: Sequence[Task],
    budget: Budget,
    seed: int,
    *,
    rounds: int = 3,
    share: float = 0.08,
    horizons: Sequence[int] = (1, 5, 22),
) -> Comparison:
    """Pre-train on the earlier bars; then, ``rounds`` times, go on over the next ``share`` of dates or train anew.

    tasks: at least one with labels. Raises DataError where a round has too few new bars.
    """
    stamps = np.asarray(times).astype("datetime64[ns]").astype(np.int64)
    dates = np.unique(stamps)
    last, step = len(dates) - 1 - max(horizons), max(round(share * len(dates)), 1)
    cuts = [int(dates[last - step * back]) for back in range(rounds + 1, -1, -1)]
    chosen = tuple(tasks)

    def anew(cut: int) -> Pretrained:
        seen, then = _until(bars, stamps, cut)
        return pretraining.pretrain(seen, then, spec, chosen, budget, seed, horizons=horizons)

    first = anew(cuts[0])
    kept = _loaded(first)
    old, told, after = of_sample(kept.source, spec.length), [], []
    for cut, following in pairwise(cuts[1:]):
        seen, then = _until(bars, stamps, cut)
        began = time.process_time()
        going_on, between = update(kept, seen, then, budget, seed), time.process_time()
        again, ended = anew(cut), time.process_time()
        kept = _loaded(going_on)
        target = _following(bars, stamps, (cut, following), spec.length, horizons)
        found = [_by_date(each, target, seed) for each in (going_on, again, first)]
        after.append(found)
        told.append(
            Round(
                until=iso(int(cut)),
                steps=(going_on.steps, again.steps),
                seconds=(between - began, ended - between),
                target=(float(found[0].mean()), float(found[1].mean())),
                earlier=(_mean(going_on, old, seed), _mean(again, old, seed)),
            )
        )
    before = _mean(first, old, seed)
    return _summed(tuple(told), before, [np.concatenate(each) for each in zip(*after, strict=True)], max(horizons))


def _summed(rounds: tuple[Round, ...], before: float, losses: list[Floats], horizon: int) -> Comparison:
    low, high = interval(losses[0] - losses[1], overlap=horizon - 1)
    return Comparison(
        rounds=rounds,
        before=before,
        stale=float(losses[2].mean()),
        target=(float(losses[0].mean()), float(losses[1].mean())),
        difference=(low, high),
        forgetting=(rounds[-1].earlier[0] - before, rounds[-1].earlier[1] - before),
        steps=(sum(each.steps[0] for each in rounds), sum(each.steps[1] for each in rounds)),
        seconds=(sum(each.seconds[0] for each in rounds), sum(each.seconds[1] for each in rounds)),
    )


def _tasks(parent: Loaded) -> tuple[Task, ...]:
    known: tuple[Any, ...] = tuple(parent.backbone.tasks)
    return known


def _until(bars: Bars, stamps: npt.NDArray[np.int64], cut: int) -> tuple[Bars, npt.NDArray[np.int64]]:
    """The bars that closed by then."""
    keep = stamps <= cut
    kept = np.append(0, np.cumsum(keep))
    starts = np.unique(kept[bars.starts])
    return Bars(values=bars.values[keep], starts=starts[starts < keep.sum()]), stamps[keep]


def _following(
    bars: Bars, stamps: npt.NDArray[np.int64], span: tuple[int, int], length: int, horizons: Sequence[int]
) -> Source:
    """The windows that end after a cut and by the next one as held out; naive forecasts are fitted on those before."""
    whole = source_of(bars, stamps, length, horizons)
    labelled = usable(bars, length) & np.isfinite(whole.volatility + whole.direction).all(axis=1)
    fresh = labelled & (stamps > span[0]) & (stamps <= span[1])
    known = (whole.part == TRAIN) & (stamps <= span[0])
    return replace(whole, part=np.where(fresh, HELD, np.where(known, TRAIN, PURGED)).astype(np.int8))


def _by_date(made: Pretrained, target: Source, seed: int) -> Floats:
    """The mean loss in units of the naive one, over labelled tasks and horizons, by date."""
    rows, ours, naive = evidence.row_losses(
        _encoder(made), target, made.spec, made.heads, [task for task in made.tasks if task in SUPERVISED], seed, target
    )
    ratio = np.mean([(ours[task] / naive[task].mean(axis=0)).mean(axis=1) for task in ours], axis=0)
    _, place = np.unique(target.times[rows], return_inverse=True)
    return np.asarray(np.bincount(place, weights=ratio) / np.bincount(place), dtype=np.float64)


def _mean(made: Pretrained, source: Source, seed: int) -> float:
    return float(_by_date(made, source, seed).mean())


def _encoder(made: Pretrained) -> Any:
    return _with_weights(made.spec, made.weights)


def _with_weights(spec: Any, weights: dict[str, npt.NDArray[Any]]) -> Any:
    from tasks.search.transfer import networks  # noqa: PLC0415 - it imports keras

    encoder = networks.encoder(spec, 1)
    networks.load_weights(encoder, weights)
    return encoder


def _loaded(made: Pretrained) -> Loaded:
    """What was made, as it is read back from a folder."""
    told = pretraining.manifest(made, name="compared", bar="", channels=list(CHANNELS), other_bars=SCALE_FREE)
    with TemporaryDirectory() as folder:
        return backbone.read(backbone.write(Path(folder), told, spec=made.spec, **pretraining.arrays(made)))
