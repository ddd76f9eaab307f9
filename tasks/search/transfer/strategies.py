"""What a search over transfers tries, and in which order. Pure: nothing is fitted here.

```
strategy     encoder                                   head                                    cost
features     frozen whole                              ridge or logistic, closed form          seconds
scratch      random weights: the control               trained with it                         the most
partial      the lowest 80 % of its layers frozen      trained, with the layers above          between
full         every layer learns, the lower the slower  trained                                 as scratch
trees        none: the control of the next             boosted trees on the catalogue          a JVM
embeddings   frozen whole                              the same trees, the embedding beside    a JVM
multitask    as full                                   trained beside two further heads        as scratch
```

The cheapest comes first, and right after it the control, so that a search that the clock ends has both. The first round
is every strategy as it is known to work; from then on settings are drawn from the seed, no setting twice, for the
control before each of those it is compared with: a control that was tuned less would flatter every transfer. Where one
strategy has no setting left, the search is over.

A recipe holds everything but the data: which backbone (by digest, empty for a control), the network's sizes, what is
frozen, how fast which layer learns, how many epochs. ``control`` is the digest of the recipe that it is compared with,
``control_recipe`` that recipe.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal, Protocol, TypeVar, get_args

import numpy as np

from tasks.contracts import Backbone, Target
from tasks.documents import digest
from tasks.errors import EngineError

ENGINE = "transfer"
Strategy = Literal["features", "scratch", "partial", "full", "trees", "embeddings", "multitask"]
Settings = dict[str, Any]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
FROZEN_WHOLE: tuple[Strategy, ...] = ("features", "embeddings")
TRAINED: tuple[Strategy, ...] = ("scratch", "partial", "full", "multitask")
GROWN: tuple[Strategy, ...] = ("trees", "embeddings")
CONTROLS: tuple[Strategy, ...] = ("scratch", "trees")

DRAWN: tuple[Strategy, ...] = ("scratch", "partial", "full", "multitask")
"""What is tuned further, turn by turn, the control first: wherever the clock ends it, it was tuned as often."""

ADAPTED: tuple[Strategy, ...] = ("partial", "full")

SETTINGS: dict[Strategy, Settings] = {
    "features": {"frozen": 1.0},
    "trees": {"trees": 300, "depth": 4, "rate": 0.05},
    "embeddings": {"frozen": 1.0, "trees": 300, "depth": 4, "rate": 0.05},
    "partial": {"frozen": 0.8, "learning_rate": 1e-3, "decay": 0.7, "unfreeze_every": 1, "pull": "none"},
    "full": {"frozen": 0.0, "learning_rate": 1e-3, "decay": 0.7, "unfreeze_every": 0, "pull": "none"},
    "multitask": {"frozen": 0.0, "learning_rate": 1e-3, "decay": 0.7, "unfreeze_every": 0, "pull": "none"},
    "scratch": {"frozen": 0.0, "learning_rate": 1e-3, "decay": 1.0, "unfreeze_every": 0, "pull": "none", "draw": 0},
}
RATES, DECAYS, PULLS = (3e-4, 1e-3, 3e-3), (0.5, 0.7, 0.9, 1.0), ("none", "l2sp", "ewc")
TUNED: dict[str, tuple[Any, ...]] = {"learning_rate": RATES, "decay": DECAYS, "pull": PULLS}
FREE: dict[Strategy, dict[str, tuple[Any, ...]]] = {
    "partial": {**TUNED, "frozen": (0.5, 0.65, 0.8, 0.9), "unfreeze_every": (0, 1, 3)},
    "full": TUNED,
    "multitask": TUNED,
    "scratch": {"learning_rate": (1e-4, *RATES, 1e-2), "decay": DECAYS, "draw": tuple(range(10))},
}
"""What may differ from the first settings. Random weights hold nothing that a pull could keep: they are drawn anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One thing to try: a strategy and its settings. ``number`` counts within the strategy, from 1."""

    strategy: Strategy
    number: int
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of the candidate; the same every night."""
        return f"transfer-{self.strategy}-{self.number}"

    @property
    def transfers(self) -> bool:
        """Whether anything that was pre-trained goes into it."""
        return self.strategy not in CONTROLS


def plan(trials: int, seed: int, *, adapt: bool = False, heads: bool = False) -> tuple[Trial, ...]:
    """What is tried, at most so many: the first round, then draws. The control is always among them.

    adapt: the shift from source to target calls for something; then that is tried beside doing nothing. heads: whether
    it is something that a head in closed form can do too.
    """
    order = list(STRATEGIES[: max(trials, 2)])
    if order[-1] == "trees":  # a control with nothing to compare with it
        order[-1] = "multitask"
    drawn = {strategy: iter(_draws(strategy, seed, adapt=adapt)) for strategy in DRAWN}
    found = [(strategy, SETTINGS[strategy]) for strategy in order]
    if heads:
        found.append(("features", {**SETTINGS["features"], "adapt": True}))
    if adapt:
        found += [("scratch", next(drawn["scratch"])), ("partial", {**SETTINGS["partial"], "adapt": True})]
    for settings in zip(*drawn.values(), strict=False):
        found += zip(DRAWN, settings, strict=True)
    return tuple(_numbered(found[: max(trials, 2)]))


def _draws(strategy: Strategy, seed: int, *, adapt: bool) -> list[Settings]:
    """Every setting of a strategy but its first ones, in an order that is drawn from the seed."""
    names, first = FREE[strategy], SETTINGS[strategy]
    every = [{**first, **dict(zip(names, each, strict=True))} for each in product(*names.values())]
    every.remove(first)
    if adapt and strategy in ADAPTED:
        every += [{**settings, "adapt": True} for settings in every]
    order = np.random.default_rng([seed, DRAWN.index(strategy)]).permutation(len(every))
    return [every[place] for place in order]


def _numbered(found: Iterable[tuple[Strategy, Settings]]) -> Iterator[Trial]:
    numbers: Counter[Strategy] = Counter()
    for strategy, settings in found:
        numbers[strategy] += 1
        yield Trial(strategy=strategy, number=numbers[strategy], settings=settings)


def control_of(strategy: Strategy) -> Strategy:
    """What a strategy is compared with: the same without what pre-training gives."""
    return "trees" if strategy == "embeddings" else "scratch"


class Ranked(Protocol):
    """What came of a trial: its loss on the validation rows."""

    @property
    def trial(self) -> Trial:
        """What was tried."""

    @property
    def loss(self) -> float:
        """Lower is better; NaN where there is none."""


T = TypeVar("T", bound=Ranked)


def best(tried: Iterable[T]) -> dict[Strategy, T]:
    """The best of each strategy, of equals the first tried; the lowest loss first."""
    found: dict[Strategy, T] = {}
    for each in sorted(tried, key=lambda each: (math.isnan(each.loss), each.loss)):
        found.setdefault(each.trial.strategy, each)
    return found


def recipe_of(
    trial: Trial,
    target: Target,
    columns: Sequence[str],
    backbone: Backbone | None,
    architecture: Mapping[str, Any],
    **fixed: Any,
) -> dict[str, Any]:
    """A recipe without its control: ``backbone`` is None for controls alone.

    architecture: the encoder's sizes; fixed: ``epochs``, ``batch``, ``seed`` and ``adaptation``.
    """
    known = {"name": backbone.name, "version": backbone.version, "sha256": backbone.sha256} if backbone else {}
    return {
        "engine": ENGINE,
        "kind": target.kind,
        "columns": list(columns),
        "strategy": trial.strategy,
        "backbone": known,
        "architecture": dict(architecture),
        "hyperparameters": dict(trial.settings),
        "control": "",
        **fixed,
    }


def compared_with(recipe: Mapping[str, Any], control: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe, naming its control, which it brings along: whoever walks it can walk both."""
    return {**recipe, "control": digest(dict(control)), "control_recipe": dict(control)}


def require_recipe(recipe: Mapping[str, Any], target: Target) -> None:
    """Raise EngineError unless the recipe is of this engine, of a strategy that is known, and of the target's kind.

    A control names no backbone, and whatever names none is a control.
    """
    found, wanted = (recipe.get("engine"), recipe.get("kind")), (ENGINE, target.kind)
    if found != wanted:
        raise EngineError(f"a recipe for {found} cannot be fitted here: wanted {wanted}")
    if recipe.get("strategy") not in STRATEGIES:
        raise EngineError(f"strategy {recipe.get('strategy')!r} is not known; there are {', '.join(STRATEGIES)}")
    if (recipe["strategy"] in CONTROLS) is not (recipe.get("backbone") == {}):
        raise EngineError(f"strategy {recipe['strategy']!r} does not go with the backbone {recipe.get('backbone')!r}")


def backbone_of(recipe: Mapping[str, Any], given: Sequence[Backbone]) -> Backbone | None:
    """The backbone that the recipe starts from, None for a control.

    Raises EngineError where it is none of those given: another version's weights would be another recipe.
    """
    if recipe["backbone"] == {}:
        return None
    wanted = recipe["backbone"]
    for backbone in given:
        if backbone.sha256 == wanted["sha256"]:
            return backbone
    there = ", ".join(f"{each.name}:{each.version}" for each in given) or "none"
    raise EngineError(
        f"the recipe starts from backbone {wanted['name']}:{wanted['version']} (SHA-256 {wanted['sha256'][:12]}…), and "
        f"the registry hands out {there}: register that version again, or let the next search choose anew"
    )
