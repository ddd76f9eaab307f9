"""What pre-training is worth on real bars: nine transfers, five shares of the target's labels, losses with intervals.

For each transfer one backbone a seed is trained on the source's bars that close before the evaluation window begins;
then each share of the labels is fitted from scratch, on frozen embeddings, in part and in full, with boosted trees on
TA-Lib's columns and with the simple baselines, and scored on the window. Epochs and trees are chosen on the latest
fifth of the kept labels and fitted again on all of them. Seconds hold both fits and the scoring. They hold no
compilation: the same calls are made once before, with one epoch, and JAX is asked whether it compiled while timed.

``python -m tests.benchmarks.bench_transfer [--quick] [--out FILE] [--only NAME …] [--seeds N] [--steps N]
[--architecture tcn|patches|image] [--show]``. What is in FILE is not run again, whoever was interrupted; ``--show``
prints as Markdown what is there. Networks, heads and trainings are the product's.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import logging
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.contracts import Backbone
from tasks.documents import digest
from tasks.memory import peak_mb
from tasks.search.auto_keras import device, keep_compiled, use_jax
from tasks.search.transfer.channels import CHANNELS, Bars
from tasks.search.transfer.embeddings import Embeddings
from tasks.search.transfer.panel import Panel
from tasks.storage import StageStore, home
from tests.benchmarks import transfer_claims
from tests.benchmarks.scarcity import SHARES, Field, Floats, Kept, baselines, channels, field, kept, trees
from tests.benchmarks.transfer_lines import Line, Lines, Timed, newest, timed
from tests.benchmarks.transfers import TRANSFERS, Market, Transfer

if TYPE_CHECKING:
    from tasks.search.transfer.fitting import Built, Fitting, Made

ROOM_GIB = 4.0
PART_BARS = 160
"""At least so many bars of a symbol to choose a backbone by, and as many to measure it on."""

STRATEGIES = ("scratch", "features", "partial", "full")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What every figure of a table depends on besides the transfer: lines of other settings do not mix with these."""

    architecture: str
    width: int
    depth: int
    seconds: float
    steps: int
    epochs: int
    shares: tuple[float, ...] = SHARES
    length: int = 64

    def spec(self) -> dict[str, Any]:
        """The encoder's sizes."""
        return {name: getattr(self, name) for name in ("architecture", "length", "width", "depth")}


FULL = Settings(architecture="tcn", width=32, depth=4, seconds=1800.0, steps=2000, epochs=40)
QUICK = Settings(architecture="tcn", width=8, depth=2, seconds=60.0, steps=50, epochs=2, shares=(0.03, 0.1), length=32)


def run(
    transfer: Transfer, settings: Settings, seed: int, lines: Lines, folder: Path, built: Built | None = None
) -> None:
    """Measure what of a transfer with a seed is not among the lines yet. ``built``: networks of earlier transfers."""
    built = {} if built is None else built
    source, market = transfer.sides()
    given = field(transfer, market, settings.length)
    shares = kept(given, settings.shares)
    if lines.missing(transfer=transfer.name, method="target"):
        lines.add(transfer=transfer.name, method="target", **_told(transfer, source, given, shares))
    for each in shares:
        _simple(transfer.name, given, each, seed, lines)
    backbone = _backbone(transfer, source, settings, seed, lines, folder)
    _require_before(backbone, given)
    for each in shares:
        if not each.words:
            _networks(transfer.name, given, each, backbone, settings, seed, lines, built)
    if lines.missing(transfer=transfer.name, method="done", seed=seed):
        lines.add(transfer=transfer.name, method="done", seed=seed)


def _told(transfer: Transfer, source: Market, given: Field, shares: Sequence[Kept]) -> Line:
    """What stands above the table, and the references' losses by date."""
    whole = shares[-1]
    references = {name: given.losses(found) for name, found in baselines(given, whole).items()}
    return {
        "kind": transfer.kind,
        "words": transfer.words,
        "horizon": transfer.label.horizon,
        "like": transfer.like,
        "source": _spoken(source),
        "target": f"{transfer.label.name} of {len(np.unique(given.data.symbols.astype(str)))} symbols",
        "scored": f"{len(given.scored):,} rows on {len(given.sessions):,} dates, {given.sessions[0].date()} to "
        f"{given.sessions[-1].date()}",
        "shares": {
            f"{each.share:.0%}": f"{len(each.rows):,} ({each.true:.1%}, {each.effective:.0f} effective)"
            if not each.words
            else each.words
            for each in shares
        },
        "references": {name: _rounded(losses) for name, losses in references.items()},
    }


def _spoken(market: Market) -> str:
    sessions = market.bars["session"]
    return (
        f"{len(market.bars):,} bars of {market.bar} of {len(market.symbols)} symbols, {sessions.min().date()} to "
        f"{sessions.max().date()}"
    )


def _rounded(losses: Floats) -> list[float]:
    return [float(f"{loss:.7g}") for loss in losses]


def _simple(name: str, given: Field, each: Kept, seed: int, lines: Lines) -> None:
    """Trees, and the simple baseline that turned out best there, at one share."""
    key = {"transfer": name, "share": each.share}
    if each.words:
        if lines.missing(**key):
            lines.add(**key, method="trees", losses=[], seconds=0.0, cpu=0.0, words=each.words)
        return
    if lines.missing(**key, method="baseline"):
        found, took = timed(lambda: baselines(given, each))
        losses = {called: given.losses(prediction) for called, prediction in found.items()}
        best = min(losses, key=lambda called: float(losses[called].mean()))
        lines.add(**key, method="baseline", called=best, losses=_rounded(losses[best]), **asdict(took))
    if lines.missing(**key, method="trees", seed=seed):
        found, took = timed(lambda: trees(given, each, seed))
        lines.add(**key, method="trees", seed=seed, losses=_rounded(given.losses(found)), **asdict(took))


def _backbone(
    transfer: Transfer, source: Market, settings: Settings, seed: int, lines: Lines, folder: Path
) -> Backbone:
    """The seed's backbone, trained unless it lies there from an earlier run."""
    from tasks.search.transfer import backbone, networks, pretraining  # noqa: PLC0415 - after the backend is chosen

    name = transfer.like or transfer.name
    place = folder / f"{name}-{seed}-{digest(asdict(settings))[:12]}"
    if not lines.missing(transfer=name, method="pretraining", seed=seed) and place.exists():
        return backbone.described(place)
    bars, times = channels(source)
    spec = networks.Spec(**settings.spec())
    budget = pretraining.Budget(steps=settings.steps, seconds=settings.seconds)
    # A part loses a window's length and the longest label to the purge: of a short history it must be a larger one.
    room = PART_BARS / float(np.median(np.diff(np.append(bars.starts, len(times)))))
    made = pretraining.pretrain(
        bars, times, spec, transfer.tasks, budget, seed,  # type: ignore[arg-type]
        held_out=max(0.15, room), watched=max(0.1, room),
    )  # fmt: skip
    document = pretraining.manifest(
        made, name=name, bar=source.bar, channels=list(CHANNELS), other_bars=backbone.SCALE_FREE, seed=seed
    )
    described = backbone.write(place, document, spec=spec, **pretraining.arrays(made))
    lines.add(
        transfer=name, method="pretraining", seed=seed, seconds=made.seconds, steps=made.steps, device=made.device,
        evidence=[asdict(each) for each in made.evidence],
    )  # fmt: skip
    return described


def _require_before(backbone: Backbone, given: Field) -> None:
    """Raise ValueError where the backbone saw a bar of the evaluation window, by the product's own rule."""
    from tasks.search.transfer.backbone import refusal  # noqa: PLC0415 - after the backend is chosen

    begins = f"{given.data.times[given.scored].min().astype('datetime64[s]')}+00:00"
    why = refusal(backbone, bar="1d", columns=given.data.columns, first_scored=begins)
    if why:
        raise ValueError(why)


def _networks(
    name: str, given: Field, each: Kept, backbone: Backbone, settings: Settings, seed: int, lines: Lines, built: Built
) -> None:
    """Every strategy at one share with one seed."""
    key = {"transfer": name, "share": each.share, "seed": seed}
    for strategy in STRATEGIES:
        if lines.missing(**key, method=strategy):
            made = fitted(given, each, backbone, settings, strategy, seed, built)
            lines.add(**key, method=strategy, **made)
            loss = float(np.mean(made["losses"]))
            _say(f"{name} {each.share:.0%} {strategy} seed {seed}: {loss:.4f}, {made['seconds']:.1f} s")


class Anew(Embeddings):
    """Embeddings below a folder of their own, which can be forgotten: the whole path is timed."""

    def __init__(self, bars: Bars, length: int, room: Path) -> None:
        super().__init__(bars, length)
        self._room = room
        self.forget()

    def forget(self) -> None:
        """Compute the next ones again."""
        self._held, self._store = ("", None), StageStore(Path(tempfile.mkdtemp(dir=self._room)))


def fitted(
    given: Field, each: Kept, backbone: Backbone, settings: Settings, strategy: str, seed: int, built: Built
) -> Line:
    """A strategy's losses on the scored rows, and what it took to choose, to fit and to score.

    Compilation comes before, in the same calls with one epoch, whose weights are not kept.
    """
    from tasks.search.transfer.fitting import Fitting  # noqa: PLC0415 - after the backend is chosen

    panel = Panel.of(given.seen(each), settings.length)
    room = home() / "embedded"
    room.mkdir(parents=True, exist_ok=True)
    embeddings = Anew(panel.bars, settings.length, room)
    fitting = Fitting(panel, embeddings, built)
    recipe = recipe_of(fitting, each, backbone, settings, strategy, seed)
    work = functools.partial(_chosen_and_scored, fitting, given, each, None if strategy == "scratch" else backbone)
    work({**recipe, "epochs": min(recipe["epochs"], 1)})
    embeddings.forget()
    (prediction, outcome, fit), took = timed(lambda: work(recipe))
    again = timed(lambda: work(recipe))[1] if strategy == "features" else None
    watched = [] if outcome is None else [float(f"{loss:.7g}") for loss in outcome.losses]
    told = {**asdict(took), "fit_seconds": fit.seconds, "fit_cpu": fit.cpu}
    if again is not None:
        told |= {"seconds_cached": again.seconds, "cpu_cached": again.cpu}
    return {"losses": _rounded(given.losses(prediction)), "watched": watched, **told}


def _chosen_and_scored(
    fitting: Fitting, given: Field, each: Kept, start: Backbone | None, recipe: dict[str, Any]
) -> tuple[Floats, Any, Timed]:
    """Predictions of the scored rows, how the training that chose the epochs went (or None), and the fit's time."""
    (made, outcome), took = timed(lambda: _chosen(fitting, each, start, recipe))
    return fitting.predicted(made, given.scored), outcome, took


def _chosen(fitting: Fitting, each: Kept, start: Backbone | None, recipe: dict[str, Any]) -> tuple[Made, Any]:
    from tasks.search.transfer.fitting import with_epochs  # noqa: PLC0415 - after the backend is chosen

    if recipe["strategy"] == "features":
        return fitting.fit(recipe, start, each.rows), None
    chosen = fitting.fit(recipe, start, each.first, watched=each.last)
    return fitting.fit(with_epochs(chosen), start, each.rows), chosen.outcome


def recipe_of(
    fitting: Fitting, each: Kept, backbone: Backbone, settings: Settings, strategy: str, seed: int
) -> dict[str, Any]:
    """A recipe as the engine's first round has it, with the level of the rows that it is chosen on."""
    from tasks.search.keras_training import batch_rows  # noqa: PLC0415 - after the backend is chosen
    from tasks.search.transfer import networks, strategies  # noqa: PLC0415

    known = {**strategies.SETTINGS[strategy], "level": list(fitting.panel.level(each.first))}  # type: ignore[index]
    trial = strategies.Trial(strategy=strategy, number=1, settings=known)  # type: ignore[arg-type]
    columns = [name for name in CHANNELS if name in fitting.panel.data.columns]
    return strategies.recipe_of(
        trial, fitting.panel.data.target, columns, None if strategy == "scratch" else backbone,
        asdict(networks.Spec(**settings.spec())), epochs=settings.epochs,
        batch=batch_rows(len(each.first)), seed=seed, adaptation={"method": "none"},
    )  # fmt: skip


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def show(lines: Sequence[Mapping[str, Any]]) -> None:
    """Print the tables by kind of transfer, with the claims beside them."""
    print("\n".join(transfer_claims.document(lines)), flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing and print the tables; 1 where the process took more memory than it may."""
    parser = argparse.ArgumentParser(prog="bench_transfer")
    parser.add_argument("--quick", action="store_true", help="one transfer, tiny networks: a minute")
    parser.add_argument("--out", type=Path, default=None, help="JSON lines; kept, and gone on with")
    parser.add_argument("--only", nargs="*", default=[], choices=[each.name for each in TRANSFERS])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=FULL.steps, help="of pre-training, at most")
    parser.add_argument("--architecture", default=FULL.architecture, choices=["tcn", "patches", "image"])
    parser.add_argument("--show", action="store_true", help="print what was last written into the file, run nothing")
    given = parser.parse_args(arguments)
    if given.show:
        if given.out is None:
            parser.error("--show prints what is in a file: name it with --out")
        show(newest(given.out))
        return 0
    settings = dataclasses.replace(FULL, steps=given.steps, architecture=given.architecture)
    settings, seeds = (QUICK, 1) if given.quick else (settings, given.seeds)
    only = given.only or (["majors-crosses"] if given.quick else [each.name for each in TRANSFERS])
    logging.disable()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["NOCTURNE_HOME"] = scratch
        out = given.out or Path(scratch) / "transfer.jsonl"
        lines = Lines(out, settings)
        _run_all([each for each in TRANSFERS if each.name in only], settings, seeds, lines, out)
        show(lines.all)
    return _memory()


def _run_all(chosen: Sequence[Transfer], settings: Settings, seeds: int, lines: Lines, out: Path) -> None:
    """Every transfer with the first seed, then every one with the next."""
    threads = len(os.sched_getaffinity(0))
    use_jax(threads)
    keep_compiled(out.with_suffix(".compiled"))

    machine = {"device": device(), "threads": threads, "steps": settings.steps, **settings.spec()}
    if lines.missing(method="machine", **machine):
        lines.add(transfer="", method="machine", **machine)
    _say(f"device: {device()}, {threads} threads; {seeds} seeds; {settings}")
    built: Built = {}
    for seed in range(1, seeds + 1):
        for transfer in chosen:
            if lines.missing(transfer=transfer.name, method="done", seed=seed):
                run(transfer, settings, seed, lines, out.with_suffix(".backbones"), built)


def _memory() -> int:
    most = peak_mb() / 1024
    print(f"peak memory: {most:.2f} GiB (at most {ROOM_GIB:.0f})")
    return int(most > ROOM_GIB)


if __name__ == "__main__":
    sys.exit(main())
