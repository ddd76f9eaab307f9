"""Transfer: from a network that was trained where bars are plentiful to a problem's own rows, honestly compared.

1. What cannot be done is refused before anything is fitted, in words: each backbone with its reason, too few rows.
2. Of several backbones the one whose frozen embeddings do best on the validation rows is taken. How far its source is
   from the target is measured, and what is done about it follows from that.
3. The strategies (``strategies.py``), the cheapest first: fitted on train rows, stopped by and ranked on validation
   rows. The control, the same network from random weights, is tuned as often, stopped in the same way, and given twice
   the time. Where the clock cuts it all the same, its recipe says so: what is compared with it is worth nobody knows.
4. Each strategy's best recipe is fitted again on all rows before the selection window, for its epochs with nothing held
   out: the same rows as the baselines', and what a later refit will do.
5. Each is exported to ONNX (trees as a MOJO behind the encoder's graph) and compared with keras.

It computes on what JAX finds, and says on which device; on a GPU the same recipe gives nearly the same network.

Not done here: saying what a transfer was worth (the leaderboard's), or choosing among engines.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.backbones import first_scored, refusal
from tasks.contracts import Backbone, EngineBudget, EngineRequest, RefitJob
from tasks.errors import ConfigurationError, EngineError, NocturneError
from tasks.search.auto_keras import device, keep_compiled, use_jax
from tasks.search.engine import Fitted, Progress, TrainingData
from tasks.search.transfer import strategies
from tasks.search.transfer.channels import CHANNELS, Rows
from tasks.search.transfer.strategies import Strategy, Trial

if TYPE_CHECKING:
    from tasks.search.transfer.workshop import Tried, Workshop

REFIT_SHARE, REFIT_SECONDS = 0.25, 60.0
CONTROL_TIME = 2.0
"""A control may take so many times as long as another trial: it starts furthest from where it ends."""

log = logging.getLogger("nocturne.search.transfer")


class TransferEngine:
    """See the module. One instance a process: keras and the JVM hold state of their own."""

    name = strategies.ENGINE

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.columns: tuple[str, ...] | None = None
        self._given: tuple[Backbone, ...] = ()
        self._recalled: tuple[Backbone, ...] = ()
        self._refusals: dict[str, str] = {}
        self._budget, self._seed, self._first_seed = EngineBudget(models=2, seconds=1), 1, 1
        self._scratch, self._cut, self._exact = Path(), False, True
        self._workshop: Workshop | None = None

    def asked(self, request: EngineRequest) -> None:
        """Take the request's backbones; those that it recalls serve the recipes that name them, and no search.

        Raises EngineError where none of the others may be used for a search.
        """
        spec = request.features.spec
        self._refusals = {
            each.sha256: refusal(
                each,
                bar=spec.bar,
                columns=spec.columns,
                first_scored=first_scored(request.rows),
                cross_section=spec.cross_section,
            )
            for each in (*request.backbones, *request.recalled)
        }
        self._given, self._recalled = request.backbones, request.recalled
        if request.mode == "refit":
            self.columns = CHANNELS  # and what the recipes name
        elif not self._admissible():
            told = "; ".join(reason for reason in self._refusals.values() if reason) or "none was given"
            raise EngineError(f"no backbone may be used: {told}")

    def start(self, budget: EngineBudget, seed: int, scratch: Path) -> None:
        """Import keras on JAX. Raises ConfigurationError for a budget without epochs."""
        if budget.epochs < 1:
            raise ConfigurationError(f"a transfer needs at least one epoch to train for, got {budget}")
        use_jax(budget.threads)
        found = device()
        self._exact = found == "cpu"
        self.notes.append(f"device: {found}" + ("" if self._exact else "; bit for bit again only on a CPU"))
        keep_compiled(scratch / "compiled")
        self._budget, self._seed, self._first_seed, self._scratch = budget, seed, seed, scratch

    def limit(self, budget: EngineBudget, seed: int) -> None:
        """What is left to search with, and the seed to explore with; the control keeps the problem's."""
        self._budget, self._seed = budget, seed

    def search(self, data: TrainingData, out: Path, progress: Progress) -> list[Fitted]:
        """Each strategy's best, the control among them, lowest validation loss first (see the module)."""
        deadline = time.monotonic() + self._budget.seconds
        shop, train, watched = self._opened(data), data.rows("train"), data.rows("validation")
        for length in {each.length for each in self._admissible()}:
            shop.require_folds(length)
        backbone = self._chosen(shop, train, watched)
        method = shop.measure(backbone, train)
        self.notes.append(f"{backbone.name}:{backbone.version}: {method.reason}")
        trials = strategies.plan(
            self._budget.models, self._seed, adapt=method.method != "none", heads=method.reaches_heads
        )
        tried: list[Tried] = []
        for done, trial in enumerate(trials):
            if done > 1 and time.monotonic() > deadline:
                self._cut = True
                self.notes.append(f"the time limit of {self._budget.seconds} s ended the search after {done} trials")
                break
            best = min((each.loss for each in tried), default=None)
            progress(done, len(trials), best, f"{trial.name} of at most {len(trials)} trials")
            until = time.monotonic() + self._share(trial, len(trials) - done, deadline)
            found = self._attempt(
                trial, lambda t=trial, limit=until: shop.tried(  # type: ignore[misc]
                    t, backbone, method.method, (train, watched),
                    seed=self._seed_of(t), epochs=self._budget.epochs, deadline=limit,
                )
            )  # fmt: skip
            tried += [found] if found is not None else []
        return self._leading(shop, tried, data.rows("train", "validation", "blending"), out, deadline)

    @staticmethod
    def _share(trial: Trial, left: int, deadline: float) -> float:
        """The seconds that a trial may take: an even part of what is left, a control's twice as much."""
        seconds = max(deadline - time.monotonic(), 1.0)
        even = seconds / min(left, len(strategies.STRATEGIES))
        return even if trial.transfers else min(CONTROL_TIME * even, seconds)

    def _seed_of(self, trial: Trial) -> int:
        """The night's, to explore with; the control's weights are drawn from the problem's, each time others."""
        return self._first_seed + int(trial.settings["draw"]) if trial.strategy == "scratch" else self._seed

    def refit(self, data: TrainingData, job: RefitJob, out: Path) -> Fitted:
        """Fit a recipe on the job's rows for exactly its epochs.

        Raises EngineError if it is not of this engine and target, or its backbone is not given or would look ahead.
        """
        strategies.require_recipe(job.recipe, data.target)
        shop = self._opened(data)
        backbone = strategies.backbone_of(job.recipe, (*self._given, *self._recalled))
        if backbone is not None and (reason := self._refusals.get(backbone.sha256)):
            raise EngineError(reason)
        rows = data.job_rows(job.rows)
        fitted = shop.fitted(job.name, job.recipe, backbone, rows, out / "model", what=job.rows)
        return dataclasses.replace(fitted, reproducible=self._exact)

    def close(self) -> None:
        """End the JVM, if one was started."""
        if self._workshop is not None:
            self._workshop.close()

    def _admissible(self) -> tuple[Backbone, ...]:
        return tuple(each for each in self._given if not self._refusals[each.sha256])

    def _opened(self, data: TrainingData) -> Workshop:
        """The workshop for these labels; what was built and embedded for the same bars stays."""
        from tasks.search.transfer.workshop import Workshop  # noqa: PLC0415 - it imports keras

        if self._workshop is None:
            self._workshop = Workshop(self._budget, self._scratch)
        self._workshop.take(data)
        return self._workshop

    def _chosen(self, shop: Workshop, train: Rows, watched: Rows) -> Backbone:
        """The backbone to start from: the only one, or the best on the validation rows by its frozen embeddings."""
        known = self._admissible()
        if len(known) == 1:
            return known[0]
        losses = {each.sha256: shop.frozen_loss(each, train, watched, self._first_seed) for each in known}
        best = min(known, key=lambda each: losses[each.sha256])
        told = ", ".join(f"{each.name}:{each.version} {losses[each.sha256]:.5g}" for each in known)
        self.notes.append(f"backbone {best.name}:{best.version}: frozen, it does best on the validation rows ({told})")
        return best

    def _attempt(self, trial: Trial, work: Callable[[], Tried]) -> Tried | None:
        """What a trial came to; None, and a note, where it could not be done. Others can do without it."""
        try:
            return work()
        except Exception as error:  # what JAX or H2O raise (out of memory, say) costs this trial alone
            if trial.strategy == "scratch" or getattr(error, "retryable", False):
                raise
            self._lost(trial.name, error)
            return None

    def _leading(self, shop: Workshop, tried: list[Tried], rows: Rows, out: Path, deadline: float) -> list[Fitted]:
        """The best of every strategy, fitted again; controls first, so that nothing stands there without its own."""
        until, found = deadline + REFIT_SHARE * self._budget.seconds + REFIT_SECONDS, []
        for each, recipe in self._compared(strategies.best(tried)):
            if each.trial.strategy != "scratch" and time.monotonic() > until:
                self._cut = True
                self.notes.append(f"{each.name} was not fitted again: the time budget is used up")
                continue
            fitted = self._attempt_fit(shop, each, recipe, rows, out)
            found += [(each.loss, fitted)] if fitted is not None else []
        ordered = [fitted for _, fitted in sorted(found, key=lambda item: item[0])]
        return [dataclasses.replace(item, reproducible=False) for item in ordered] if self._cut else ordered

    def _compared(self, best: Mapping[Strategy, Tried]) -> list[tuple[Tried, dict[str, Any]]]:
        """Controls that something is compared with, then the others by their loss, each recipe naming its control."""
        wanted = {"scratch", *(strategies.control_of(name) for name in best if name not in strategies.CONTROLS)}
        controls = {
            name: (each, {**each.recipe, "late": True} if each.late else each.recipe)
            for name, each in best.items()
            if name in strategies.CONTROLS and name in wanted
        }
        beside = []
        for name, each in best.items():
            control = controls.get(strategies.control_of(name))
            if name in strategies.CONTROLS:
                continue
            if control is None:
                self.notes.append(f"{each.name} is left out: its control could not be fitted")
                continue
            beside.append((each, strategies.compared_with(each.recipe, control[1])))
        return [*controls.values(), *beside]

    def _attempt_fit(self, shop: Workshop, each: Tried, recipe: dict[str, Any], rows: Rows, out: Path) -> Fitted | None:
        backbone = strategies.backbone_of(recipe, self._given)
        try:
            fitted = shop.fitted(each.name, recipe, backbone, rows, out / each.name, what="the search's rows")
        except Exception as error:  # as in a trial: this recipe alone is lost
            if getattr(error, "retryable", False):
                raise
            self._lost(each.name, error)
            return None
        self.notes.extend(f"{each.name}: {note}" for note in each.notes)
        late = ("the clock ended its training",) if each.late else ()
        return dataclasses.replace(fitted, reproducible=self._exact and not late, notes=(*fitted.notes, *late))

    def _lost(self, name: str, error: Exception) -> None:
        """Note why something is not there; what a library raised also goes to the log, whole."""
        known = isinstance(error, NocturneError)
        log.warning("%s: %s", name, error, exc_info=None if known else error)
        reason = str(error) if known else f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:300]}"
        self.notes.append(f"{name}: {reason}")


if __name__ == "__main__":
    from tasks.search.child import run_engine

    run_engine(TransferEngine())
