"""From a recipe and rows to a fitted network: where it starts, a head in closed form, the gradient where it learns.

Every strategy begins in the same way, the control too: the encoder's weights (the backbone's, or drawn from the seed),
embeddings of the fit's rows, and a head on them in closed form, shrunk towards the head that the backbone was
pre-trained with where that predicted the same kind of label (its volatility, its direction), the control's towards
nothing. Feature extraction ends there, and is scored on the embeddings that it was fitted on. What is trained goes on
from there (Kumar et al. 2022: a head that starts at random would first tear apart what the encoder knows). So the
control differs in what pre-training gives and in nothing else: the encoder's weights, and what the head is shrunk to.
"""

from __future__ import annotations

import functools
import math
import time
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from tasks.contracts import Backbone, Target
from tasks.search.transfer import adaptation, forgetting, heads, networks
from tasks.search.transfer.backbone import Loaded, read
from tasks.search.transfer.blocks import with_others
from tasks.search.transfer.embeddings import Embeddings
from tasks.search.transfer.panel import Panel
from tasks.search.transfer.steps import Anchor, Companion, Rows, Sample
from tasks.search.transfer.strategies import FROZEN_WHOLE
from tasks.search.transfer.training import Outcome, Schedule, Trainer, loss_of

FURTHER, FURTHER_HEAD = 2, "further"
PULL = {"l2sp": 0.01, "ewc": 0.1}
"""Strengths of the pulls, on the scale of a loss of about one."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """An encoder with its head, built once. ``single`` maps windows to predictions: what is exported."""

    spec: networks.Spec
    encoder: Any
    single: Any
    frozen: tuple[str, ...]
    trainer: Trainer | None

    def predict(self, bars: Any, ends: Rows) -> Floats:
        """What keras predicts for the windows that end there, float64 (m,), in the label's own unit."""
        found = np.empty(len(ends))
        for start in range(0, len(ends), networks.BATCH):
            part = ends[start : start + networks.BATCH]
            x = networks.inputs_of(self.spec, bars, np.resize(part, networks.BATCH))
            found[start : start + len(part)] = np.asarray(self.single.predict_on_batch(x))[: len(part), 0]
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A fitted recipe: its network, its head in closed form, what training came to (None where nothing was), seconds.

    frozen: the backbone whose encoder nothing has tuned, None where something has.
    """

    recipe: dict[str, Any]
    network: Network
    start: heads.Dense
    outcome: Outcome | None
    seconds: float
    frozen: Loaded | None = None

    @property
    def late(self) -> bool:
        """Whether the clock ended it."""
        return self.outcome is not None and self.outcome.late


Built = dict[Any, Network]
"""Networks by what fixes their graphs: they hang on no panel, and are compiled once a process."""


class Fitting:
    """Fits recipes on the rows of a panel. One instance a panel; ``built``: networks that another one has built."""

    def __init__(self, panel: Panel, embeddings: Embeddings, built: Built | None = None) -> None:
        self.panel, self._embeddings = panel, embeddings
        self.kind = networks.head_kind(panel.data.target.name)
        self._built: Built = {} if built is None else built

    def fit(
        self,
        recipe: dict[str, Any],
        backbone: Backbone | None,
        rows: Rows,
        *,
        watched: Rows | None = None,
        deadline: float = math.inf,
    ) -> Made:
        """The recipe on these rows, for its epochs, or until ``watched`` rows no longer improve.

        rows: each ends a whole window (``Panel.fitted``). deadline: on the monotonic clock. Raises EngineError where a
        training diverges, IntegrityError where a backbone's files or weights are not what they should be.
        """
        began, settings = time.perf_counter(), recipe["hyperparameters"]
        spec = networks.Spec(**recipe["architecture"])
        loaded = loaded_of(backbone) if backbone is not None else None
        network = self._network(recipe, spec)
        _forget_further(network)
        networks.standardise(network.single, tuple(settings["level"]))
        networks.load_weights(network.encoder, loaded.weights if loaded else _random(spec, recipe["seed"]))
        sample = self.panel.sample(rows)
        companion = self._companion(recipe, loaded, sample)
        start = self._start_head(network, sample, loaded, companion, settings["level"])
        outcome = None
        if recipe["strategy"] not in FROZEN_WHOLE and network.trainer is not None:
            outcome = network.trainer.fit(
                self.panel.with_further(sample) if recipe["strategy"] == "multitask" else sample,
                schedule_of(settings),
                epochs=recipe["epochs"],
                batch=recipe["batch"],
                seed=recipe["seed"],
                watched=None if watched is None else self.panel.watched(watched),
                anchor=_anchor(settings["pull"], network.encoder, loaded),
                companion=companion if recipe["strategy"] != "multitask" else None,
                deadline=deadline,
            )
        seconds = time.perf_counter() - began
        frozen = loaded if outcome is None else None
        return Made(recipe=recipe, network=network, start=start, outcome=outcome, seconds=seconds, frozen=frozen)

    def loss(self, made: Made, rows: Rows) -> float:
        """The ranking loss of what was made on rows, those that end a whole window: a plain mean."""
        seen = self.panel.watched(rows)
        return loss_of(self.panel.data.target.kind, self.predicted(made, seen.ends), seen.y)

    def predicted(self, made: Made, ends: Rows) -> Floats:
        """What was made says of the panel's windows that end there, float64 (m,), in the label's own unit.

        A backbone that nothing has tuned is not asked again: its embeddings are at hand.
        """
        if made.frozen is None:
            return made.network.predict(self.panel.bars, ends)
        x = np.asarray(self._embedded(made.frozen, made.network, ends), dtype=np.float64)
        center, scale = made.recipe["hyperparameters"]["level"]
        shift, unit = networks.scale_of(x[:, -1].copy(), self.kind)
        x[:, -1] = (x[:, -1] - center) / scale
        free = made.start(x)
        return np.asarray(shift + unit * (heads.probability(free) if self.kind == "probability" else free))

    def measured(self, backbone: Backbone, rows: Rows) -> adaptation.Adaptation:
        """The shift from the backbone's source to these rows, and what would be done about it."""
        loaded, sample = loaded_of(backbone), self.panel.sample(rows)
        target, length = self.panel.data.target, self.panel.length
        source, labelled = adaptation.source_sample(loaded.source, target, length, sample)
        return adaptation.chosen_for(source, sample, length, seed=1, labelled=labelled)

    def forgotten(self, backbone: Backbone, made: Made) -> str:
        """What the encoder has forgotten of its source's tasks, in words; empty where nothing can be said."""
        found = forgetting.measured(loaded_of(backbone), made.network.encoder)
        return "; ".join(
            f"{each.task} over {each.horizon} bars: {each.increase:+.1%} "
            f"[{each.interval[0]:+.1%}, {each.interval[1]:+.1%}]"
            for each in found
        )

    def _network(self, recipe: dict[str, Any], spec: networks.Spec) -> Network:
        settings = recipe["hyperparameters"]
        trained, further = recipe["strategy"] not in FROZEN_WHOLE, recipe["strategy"] == "multitask"
        key = (self.kind, spec, settings["frozen"], trained, further)
        if key not in self._built:
            self._built[key] = self._build(spec, settings["frozen"], trained=trained, further=further)
        return self._built[key]

    def _build(self, spec: networks.Spec, share: float, *, trained: bool, further: bool) -> Network:
        encoder = networks.encoder(spec, 1)
        single = networks.head(encoder, self.kind, level=(0.0, 1.0))
        frozen = tuple(networks.freeze(encoder, share))
        whole = single
        if further:
            more = keras.layers.Dense(FURTHER, kernel_initializer="zeros", name=FURTHER_HEAD)(encoder.output[0])
            whole = keras.Model(single.input, [single.output, more])
        inputs = functools.partial(networks.inputs_of, spec)
        trainer = Trainer(whole, encoder, self.panel.data.target.kind, inputs) if trained else None
        return Network(spec=spec, encoder=encoder, single=single, frozen=frozen, trainer=trainer)

    def _companion(self, recipe: dict[str, Any], loaded: Loaded | None, sample: Sample) -> Companion | None:
        method = recipe["adaptation"]["method"]
        if loaded is None or method == "none":
            return None
        target, length = self.panel.data.target, self.panel.length
        source, _ = adaptation.source_sample(loaded.source, target, length, sample)
        return None if source is None else adaptation.companion(method, source, sample, length, seed=recipe["seed"])

    def _start_head(
        self, network: Network, sample: Sample, loaded: Loaded | None, companion: Companion | None, level: Any
    ) -> heads.Dense:
        """Give the head its closed form on the encoder's embeddings of the sample, and of source rows beside them."""
        embed, cut = functools.partial(networks.embed, network.encoder), self.panel.blocks(sample.ends)
        known = embed(sample.bars, sample.ends) if loaded is None else self._embedded(loaded, network, sample.ends)
        rows = self._free(known, sample, level)
        if companion is not None and adaptation.has_head_rows(companion):
            other = companion.sample
            rows = adaptation.head_rows(companion, rows, self._free(embed(other.bars, other.ends), other, level))
            cut = with_others(cut, len(sample.ends), len(other.ends))
        toward = None if loaded is None else pretrained_head(loaded, self.panel.data.target)
        closed = heads.ridge if self.panel.data.target.kind == "regression" else heads.logistic
        dense = closed(*rows, cut, toward=toward)
        heads.into(network.single, dense)
        return dense

    def _embedded(self, loaded: Loaded, network: Network, rows: Rows) -> npt.NDArray[np.float32]:
        """Embedding and level of rows by a backbone, which the network's encoder has while it embeds."""

        def embed(ends: Rows) -> npt.NDArray[np.float32]:
            mine = networks.weights(network.encoder)
            networks.load_weights(network.encoder, loaded.weights)
            found = networks.embed(network.encoder, self.panel.bars, ends)
            networks.load_weights(network.encoder, mine)
            return found

        return self._embeddings.of(loaded.backbone.sha256, embed, rows)

    def _free(self, embedded: Any, sample: Sample, level: Any) -> tuple[Floats, Floats, Floats]:
        """Embeddings with the standardised level, labels free of their window's scale, and weights."""
        x = np.asarray(embedded, dtype=np.float64).copy()
        shift, unit = networks.scale_of(x[:, -1].copy(), self.kind)
        x[:, -1] = (x[:, -1] - level[0]) / level[1]
        return x, (sample.y - shift) / unit, np.ones(len(x)) if sample.weight is None else sample.weight


@functools.lru_cache(maxsize=4)
def _random(spec: networks.Spec, seed: int) -> dict[str, npt.NDArray[Any]]:
    """The weights that a seed draws: the control's, which every fold starts from again."""
    return networks.weights(networks.encoder(spec, seed))


@functools.lru_cache(maxsize=4)
def loaded_of(backbone: Backbone) -> Loaded:
    """The backbone's verified parts, read once a process."""
    return read(backbone)


def pretrained_head(loaded: Loaded, target: Target) -> heads.Dense | None:
    """The backbone's own head for this kind of label, on (embedding, level); None where it was trained with none.

    Of several horizons the nearest to the target's, in bars of whatever size: the window's level is of a bar too.
    """
    if f"{target.name}/kernel" not in loaded.heads:
        return None
    horizons = np.asarray(loaded.source["horizons"], dtype=np.float64)
    nearest = int(np.argmin(np.abs(np.log(horizons / target.horizon))))
    kernel = loaded.heads[f"{target.name}/kernel"][:, nearest].astype(np.float64)
    return heads.Dense(kernel=np.append(kernel, 0.0), bias=float(loaded.heads[f"{target.name}/bias"][nearest]))


def _forget_further(network: Network) -> None:
    """Further heads start at zero: what another recipe left there is not part of this one."""
    if network.trainer is not None and len(network.trainer.network.outputs) > 1:
        layer = network.trainer.network.get_layer(FURTHER_HEAD)
        layer.set_weights([np.zeros_like(each) for each in layer.get_weights()])


def schedule_of(settings: dict[str, Any]) -> Schedule:
    """The part of a recipe's settings that says which layers learn when and how fast."""
    return Schedule(
        learning_rate=settings["learning_rate"], decay=settings["decay"], unfreeze_every=settings["unfreeze_every"]
    )


def _anchor(pull: str, encoder: Any, loaded: Loaded | None) -> Anchor | None:
    if loaded is None or pull == "none":
        return None
    if pull == "l2sp":
        return forgetting.towards_start(encoder, PULL[pull])
    return forgetting.elastic(encoder, loaded.fisher, PULL[pull])


def with_epochs(made: Made) -> dict[str, Any]:
    """The recipe with the epochs after which its watched loss was best; a frozen one has none."""
    return made.recipe if made.outcome is None else {**made.recipe, "epochs": made.outcome.epochs}
