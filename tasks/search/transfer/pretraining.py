"""A backbone trained on bars: several tasks at once, bounded by steps and seconds, with evidence of later bars.

1. Cut the bars by time: to learn from, to choose by, held out (``source``).
2. Take gradient steps on windows drawn from the seed (``descent``).
3. Every so often measure the tasks on windows to choose by; keep the best weights, stop when they no longer get better.
4. Measure each task on the held-out bars against a naive forecast, with an interval over dates.
5. Measure how much each weight mattered (Fisher's diagonal), and keep a sample of the bars.

With ``start`` the weights are an earlier backbone's, ``replay`` mixes bars that it saw into every step, and ``elastic``
holds the weights that its tasks depend on. The same bars, plan and seed give the same weights on the same device,
unless the clock ended it: ``reproducible`` says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from tasks.errors import ConfigurationError
from tasks.search.auto_keras import device
from tasks.search.transfer import evidence, forgetting, objectives
from tasks.search.transfer.backbone import Loaded
from tasks.search.transfer.channels import Bars
from tasks.search.transfer.descent import Arrays, Budget, Report, Setting, descend, put
from tasks.search.transfer.evidence import Evidence
from tasks.search.transfer.objectives import TASKS, Batch, Task
from tasks.search.transfer.source import (
    MOST_KEPT,
    TRAIN,
    Source,
    iso,
    of_sample,
    sample,
    since,
    source_of,
    stacked,
    thinned,
)

if TYPE_CHECKING:
    from tasks.search.transfer.networks import Spec

__all__ = ["Begin", "Budget", "Pretrained", "Report", "arrays", "device", "manifest", "pretrain", "silent", "train"]
Begin = Callable[[Any], object]
"""Called with a new encoder before its first step: weights that come from elsewhere are put into it."""

IMPORTANT = 256
"""So many windows, one by one, tell how much a weight matters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pretrained:
    """What a training made: see ``backbone.Loaded`` for the arrays. ``end``: the last bar seen (ISO, UTC), held-out
    ones included. ``history``: steps and the watched loss then, in units of the naive forecasts'.
    """

    spec: Spec
    weights: Arrays
    heads: Arrays
    source: Arrays
    fisher: Arrays
    end: str
    tasks: tuple[Task, ...]
    horizons: tuple[int, ...]
    evidence: tuple[Evidence, ...]
    steps: int
    seconds: float
    device: str
    reproducible: bool
    history: tuple[tuple[int, float], ...]


def silent(done: int, allowed: int, best: float | None, message: str) -> None:
    """Tell nobody."""


def pretrain(  # noqa: PLR0917 - what a training is
    bars: Bars,
    times: npt.NDArray[Any],
    spec: Spec,
    tasks: Sequence[Task],
    budget: Budget,
    seed: int,
    progress: Report = silent,
    *,
    horizons: Sequence[int] = (1, 5, 22),
    held_out: float = 0.15,
    watched: float = 0.1,
    begin: Begin | None = None,
) -> Pretrained:
    """Train an encoder on bars (n) with their closes (datetime64 or int64 nanoseconds, n); see the module.

    Call ``auto_keras.use_jax`` first. Raises DataError for too few bars, ConfigurationError for tasks or horizons that
    cannot be, and whatever ``begin`` raises.
    """
    chosen = _checked(tasks, horizons, budget)
    source = source_of(bars, times, spec.length, horizons, held_out=held_out, watched=watched)
    return train(source, spec, chosen, budget, seed, progress, begin=begin)


def train(  # noqa: PLR0917 - as above
    source: Source,
    spec: Spec,
    tasks: tuple[Task, ...],
    budget: Budget,
    seed: int,
    progress: Report = silent,
    *,
    start: Loaded | None = None,
    begin: Begin | None = None,
) -> Pretrained:
    """As ``pretrain``, on bars that are cut already. ``start``: an earlier backbone to go on from, whose kept sample is
    replayed. Raises IntegrityError where its weights are not those of the network.
    """
    from tasks.search.transfer import networks  # noqa: PLC0415 - it imports keras

    begun = time.monotonic()
    encoder = networks.encoder(spec, seed)
    if begin is not None:
        begin(encoder)
    heads = objectives.heads(tasks, spec, len(source.horizons), seed)
    replayed = None
    if start is not None:
        networks.load_weights(encoder, start.weights)
        heads |= {name: start.heads[name] for name in heads if _fits(start.heads, name, heads[name])}
        replayed = of_sample(start.source, spec.length)
    known = source if replayed is None else replayed  # an update's own bars are too few to fit a naive forecast on
    setting = Setting(
        encoder=encoder,
        spec=spec,
        tasks=tasks,
        naive=evidence.naive_losses(known, spec, tasks),
        feeds=_feeds(source, replayed, budget),
        budget=budget,
        seed=seed,
        anchor=forgetting.elastic(encoder, start.fisher, budget.elastic) if start and budget.elastic else None,
    )
    best, history, in_time = descend(setting, heads, begun + budget.seconds, progress)
    put(encoder, best)
    heads = {name: np.asarray(value) for name, value in best.heads.items()}
    progress(history[-1][0], budget.steps, min(loss for _, loss in history), "measuring on held-out bars")
    measured = evidence.measured(encoder, source, spec, heads, tasks, seed, known)
    return Pretrained(
        spec=spec,
        weights=dict(networks.weights(encoder)),
        heads=heads,
        source=_kept(source, replayed, spec.length, seed),
        fisher=_fisher(setting, heads),
        end=iso(int(source.times.max())),
        tasks=tasks,
        horizons=source.horizons,
        evidence=measured,
        steps=history[-1][0],
        seconds=time.monotonic() - begun,
        device=device(),
        reproducible=in_time,
        history=history,
    )


def manifest(made: Pretrained, **told: Any) -> dict[str, Any]:
    """What a backbone's manifest says of its training; ``told`` adds name, bar, channels, digests and the rest."""
    return {
        "end": made.end,
        "tasks": list(made.tasks),
        "horizons": list(made.horizons),
        "evidence": [asdict(each) for each in made.evidence],
        "steps": made.steps,
        "seconds": round(made.seconds, 3),
        "device": made.device,
        "reproducible": made.reproducible,
        "history": [list(each) for each in made.history],
        **told,
    }


def arrays(made: Pretrained) -> dict[str, Arrays]:
    """What ``backbone.write`` takes of it."""
    return {"weights": made.weights, "heads": made.heads, "source": made.source, "fisher": made.fisher}


def _checked(tasks: Sequence[Task], horizons: Sequence[int], budget: Budget) -> tuple[Task, ...]:
    chosen = tuple(task for task in TASKS if task in tasks)
    if not chosen or len(chosen) != len(set(tasks)):
        raise ConfigurationError(f"tasks must be some of {', '.join(TASKS)}, got {', '.join(tasks) or 'none'}")
    if not horizons or min(horizons) < 1 or list(horizons) != sorted(set(horizons)):
        raise ConfigurationError(f"horizons must be ascending and at least 1, got {list(horizons)}")
    if budget.steps < 1 or budget.seconds <= 0 or budget.batch < 2:
        raise ConfigurationError(f"a budget needs at least one step, some seconds and two windows a step, got {budget}")
    return chosen


def _fits(known: Mapping[str, npt.NDArray[Any]], name: str, wanted: npt.NDArray[Any]) -> bool:
    return name in known and known[name].shape == wanted.shape


def _feeds(source: Source, replayed: Source | None, budget: Budget) -> tuple[tuple[Source, int], ...]:
    if replayed is None or not len(replayed.rows(TRAIN)):
        return ((source, budget.batch),)
    again = min(max(round(budget.batch * budget.replay), 0), budget.batch - 1)
    return ((source, budget.batch - again), (replayed, again)) if again else ((source, budget.batch),)


def _kept(source: Source, replayed: Source | None, length: int, seed: int) -> Arrays:
    """The sample to keep; after an update what is new, at most half of the room, beside what was kept before."""
    if replayed is None:
        return sample(source, seed)
    new = sample(since(source, length), seed, MOST_KEPT // 2)
    return stacked(sample(replayed, seed, MOST_KEPT - len(new["times"])), new)


def _fisher(setting: Setting, heads: Arrays) -> Arrays:
    """The mean squared gradient of the loss of single windows, by the name of each weight of the encoder; what is not
    trained has 0. Of the supervised tasks, or of whichever there are (Kirkpatrick and others 2017).
    """
    tasks = tuple(task for task in setting.tasks if task in objectives.SUPERVISED) or setting.tasks
    encoder, (source, _) = setting.encoder, setting.feeds[-1]
    trainable = [jnp.asarray(variable.value) for variable in encoder.trainable_variables]
    others = [jnp.asarray(variable.value) for variable in encoder.non_trainable_variables]

    def loss(values: Any, batch: Batch) -> Any:
        embeddings, levels, _ = objectives.forward(encoder, values, others, batch, training=False)
        return objectives.total(objectives.losses(tasks, heads, embeddings, levels, batch), setting.naive)

    gradient = jax.jit(jax.grad(loss))
    random = np.random.default_rng([setting.seed, 7])
    rows = thinned(source.rows(TRAIN), IMPORTANT)
    size = 2 if "contrastive" in tasks else 1  # a neighbour is found among others
    sums = [jnp.zeros_like(value) for value in trainable]
    for place in range(0, len(rows) - size + 1, size):
        batch = objectives.draw(source, rows[place : place + size], setting.spec, tasks, random)
        sums = [total + each**2 for total, each in zip(sums, gradient(trainable, batch), strict=True)]
    count = max(len(rows) // size, 1)
    return {
        variable.path: np.asarray(total / count)
        for variable, total in zip(encoder.trainable_variables, sums, strict=True)
    }
