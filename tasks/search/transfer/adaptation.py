"""From source to target: what is done about the shift, chosen by its size, with the reason in words.

```
measured shift ─┬─ hardly any (AUC below 0.6) ─────────────────── mix          augmented source rows stand beside
                ├─ some, and the source covers the target ─────── weights      source rows, weighted by density ratio
                ├─ gone once covariances agree (CORAL) ────────── coral        second moments of embeddings are aligned
                ├─ other shapes, few target rows ──────────────── mmd          kernel means of embeddings are aligned
                └─ other shapes, many target rows ─────────────── adversarial  embeddings that cannot be told apart
```

``mix`` and ``weights`` need labels of the source in the target's terms; without them, or without a source, embeddings
alone are aligned, or nothing is done. The step of a training (``steps.py``) takes what this makes: a ``Companion``.
The thresholds are conventions; the choice is told with every figure that it rests on, and the paired test against the
control says afterwards what it was worth.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from tasks.contracts import Target
from tasks.errors import EngineError
from tasks.search.transfer.channels import BODY, BODY_KNOWN, LOG_RANGE, MEDIAN, RETURN, VOLUME, Bars, levels, windows
from tasks.search.transfer.shift import Shift, lacking_in, measured, scale_free, summaries
from tasks.search.transfer.source import labels, of_sample
from tasks.search.transfer.steps import Companion, Sample
from tasks.search.transfer.two_samples import Coral, density_ratio, standardised

Method = Literal["none", "mix", "weights", "coral", "mmd", "adversarial"]
METHODS: tuple[Method, ...] = get_args(Method)
OF_HEADS: tuple[Method, ...] = ("mix", "weights", "coral")
"""What can be done where nothing is trained by gradient: source rows beside the target's (``head_rows``)."""

ALIKE, APART = 0.6, 0.75
"""AUCs: below the first the two are as good as one; up to the second the source covers the target well enough."""

LEAST_SHARE = 0.2
"""Of the source's windows, what must be left in effect for weights to be worth anything."""

MANY = 2_000
"""Target windows from which on a discriminator has enough to learn from."""

MOST = 20_000
"""Rows of a side that stand beside the other's or weigh it."""

STRENGTH: dict[Method, float] = {"coral": 1.0, "mmd": 1.0, "adversarial": 1.0}
MIXED: dict[Method, float] = {"mix": 0.5, "weights": 1.0}
NOISE = 0.05
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Adaptation:
    """What is done and why, and what was measured (None where there was nothing to compare with).

    labelled: whether the source's labels are in the target's terms.
    """

    method: Method
    reason: str
    shift: Shift | None = None
    labelled: bool = False

    @property
    def reaches_heads(self) -> bool:
        """Whether the method does anything where a head is fitted in closed form: such rows need labels."""
        return self.labelled and self.method in OF_HEADS


def chosen_for(source: Sample | None, target: Sample, length: int, *, seed: int, labelled: bool = True) -> Adaptation:
    """Measure the shift to ``target`` and choose what is done about it; nothing is made yet (``companion``).

    target: the rows of the fit. source: rows of what the backbone learned from (``source_sample``), None for none;
    labelled: whether its labels are in the target's terms.
    """
    if source is None or not len(source.ends):
        return Adaptation(method="none", reason="No rows of the source are known: nothing is adapted.")
    try:
        found = measured((source.bars, source.ends), (target.bars, target.ends), length, seed)
    except EngineError as error:
        return Adaptation(method="none", reason=f"Nothing is adapted: {error}.")
    method, reason = choose(found, target_rows=len(target.ends), labelled=labelled)
    return Adaptation(method=method, reason=reason, shift=found, labelled=labelled)


def choose(shift: Shift, *, target_rows: int, labelled: bool = True) -> tuple[Method, str]:
    """The method for a measured shift, and the reason with the figures that it rests on."""
    figures = told(shift)
    if labelled and shift.auc < ALIKE:
        return "mix", f"Source and target are hardly told apart ({figures}): augmented source rows are mixed in."
    if labelled and shift.auc < APART and shift.effective_share >= LEAST_SHARE:
        return "weights", (
            f"Source and target differ, and the source covers the target ({figures}): source rows are weighted by "
            "the density ratio."
        )
    if shift.auc < ALIKE:
        return "none", f"Source and target are hardly told apart ({figures}): there is nothing to adapt."
    if shift.aligned_auc < ALIKE:
        return "coral", (
            f"What sets source and target apart is gone once their covariances agree ({figures}): CORAL aligns them."
        )
    if target_rows < MANY:
        return "mmd", (
            f"Source and target differ by more than their covariances ({figures}), and {target_rows:,} target rows are "
            "too few for a discriminator: MMD aligns the embeddings."
        )
    return "adversarial", (
        f"Source and target differ by more than their covariances ({figures}), and {target_rows:,} target rows are "
        "enough for a discriminator: its gradient is reversed."
    )


def told(shift: Shift) -> str:
    """A shift's figures in words."""
    widest = max(shift.channels, key=lambda each: each.distance, default=None)
    channel = f", furthest {widest.channel} at KS {widest.distance:.2f}" if widest else ""
    lacking = f"; one side lacks {', '.join(shift.lacking)}" if shift.lacking else ""
    return (
        f"AUC {shift.auc:.2f}, {shift.aligned_auc:.2f} after CORAL; MMD² {shift.mmd2:.3g}, p {shift.mmd_p:.3f}; "
        f"effective share {shift.effective_share:.0%}{channel}{lacking}"
    )


def companion(method: Method, source: Sample, target: Sample, length: int, *, seed: int) -> Companion | None:
    """What stands beside the target's rows in every step of a training; None where nothing does."""
    if method == "none":
        return None
    if method == "mix":
        return Companion(sample=augmented(source, seed), mixed=MIXED[method])
    if method == "weights":
        return Companion(sample=replace(source, weight=row_weights(source, target, length)), mixed=MIXED[method])
    if method == "adversarial":
        return Companion(sample=source, adversarial=True, strength=STRENGTH[method])
    penalty = coral_penalty if method == "coral" else mmd_penalty
    return Companion(sample=source, alignment=penalty, strength=STRENGTH[method])


def row_weights(source: Sample, target: Sample, length: int, clip: float = 10.0) -> Floats:
    """The density ratio of each source row's window, float64 (m,), of mean one.

    Of more than 20,000 target rows so many are looked at, evenly chosen: a window of 64 bars takes some 10 kB here.
    """
    ends = target.ends[np.linspace(0, len(target.ends) - 1, min(MOST, len(target.ends))).astype(np.int64)]
    steps = [
        scale_free(windows(bars, rows, length))[0] for bars, rows in ((source.bars, source.ends), (target.bars, ends))
    ]
    lacking = lacking_in(steps)
    return density_ratio(*standardised(*(summaries(each, lacking) for each in steps)), clip)


def augmented(sample: Sample, seed: int, noise: float = NOISE) -> Sample:
    """Rows and, once more, the same rows with a little noise on every channel: twice as many.

    Noise is ``noise`` of a bar's own scale: of the log range as it is, of returns and mid-prices in units of the bar's
    range. What is not known stays unknown, and the labels stay.
    """
    random = np.random.default_rng([seed, 31])
    values = sample.bars.values.copy()
    scale = np.exp(values[:, LOG_RANGE])
    for channel, unit in ((LOG_RANGE, 1.0), (RETURN, scale), (MEDIAN, 0.5 * scale), (BODY, values[:, BODY_KNOWN])):
        values[:, channel] += noise * unit * random.standard_normal(len(values), dtype=np.float32)
    values[:, BODY] = np.clip(values[:, BODY], -1.0, 1.0)
    values[:, VOLUME] *= np.exp(noise * random.standard_normal(len(values), dtype=np.float32))
    n = len(values)
    bars = Bars(
        values=np.concatenate([sample.bars.values, values]),
        starts=np.concatenate([sample.bars.starts, sample.bars.starts + n]),
    )
    twice = [None if each is None else np.concatenate([each, each]) for each in (sample.weight, sample.extra)]
    return Sample(
        bars=bars,
        ends=np.concatenate([sample.ends, sample.ends + n]),
        y=np.concatenate([sample.y, sample.y]),
        weight=twice[0],
        extra=twice[1],
    )


def source_sample(
    arrays: dict[str, npt.NDArray[Any]], target: Target, length: int, fitted: Sample, most: int = MOST
) -> tuple[Sample | None, bool]:
    """A backbone's kept source (``source.npz``) as rows beside the target's, and whether their labels are its kind.

    Volatility labels are moved so that, relative to their windows' levels, they have the mean of the target's labels
    in ``fitted``: a target may hold more than a bar's range (the overnight gap). Where no such label can be made of
    bars alone (a barrier, a return less its date's mean), labels are NaN. At most so many rows, evenly chosen; None
    where the source has none.
    """
    kept = of_sample(arrays, length)
    y, labelled = _labels(kept.bars, target)
    ends = np.flatnonzero((kept.part > 0) & np.isfinite(y)).astype(np.int64)
    if not len(ends):
        return None, False
    ends = ends[np.linspace(0, len(ends) - 1, min(most, len(ends))).astype(np.int64)]
    y = y[ends] if labelled else np.full(len(ends), np.nan)
    if labelled and target.name == "volatility":
        own = y - levels(kept.bars, ends, length)
        wanted = fitted.y - levels(fitted.bars, fitted.ends, length)
        y = y + float(wanted.mean() - own.mean())
    return Sample(bars=kept.bars, ends=ends, y=y), labelled


def has_head_rows(companion: Companion | None) -> bool:
    """Whether source rows stand beside the target's where a head is fitted in closed form: they need labels."""
    if companion is None or not np.isfinite(companion.sample.y).all():
        return False
    return companion.mixed > 0 or companion.alignment is coral_penalty


def head_rows(
    companion: Companion, target: tuple[Floats, Floats, Floats], source: tuple[Floats, Floats, Floats]
) -> tuple[Floats, Floats, Floats]:
    """Rows for a head in closed form: x (n, e), y (n,), weight (n,), the target's first.

    target, source: embeddings, labels free of their windows' scale, weights. All source rows together weigh what the
    method gives them beside the target's; for CORAL they have the target's covariance first.
    """
    (x, y, ours), (beside, labels_beside, theirs) = target, source
    if companion.alignment is coral_penalty:
        beside = Coral.of(beside, x).apply(beside)
    share = (companion.mixed or MIXED["mix"]) * ours.sum() / max(float(theirs.sum()), 1e-12)
    return np.concatenate([x, beside]), np.concatenate([y, labels_beside]), np.concatenate([ours, share * theirs])


def coral_penalty(ours: Any, theirs: Any) -> Any:
    """‖C_s - C_t‖² / (4 e²) of embeddings (b, e), in JAX: deep CORAL (Sun and Saenko 2016, ECCV)."""
    ours, theirs = (each - each.mean(axis=0) for each in (ours, theirs))
    gap = ours.T @ ours / (len(ours) - 1) - theirs.T @ theirs / (len(theirs) - 1)
    return jnp.sum(gap**2) / (4.0 * ours.shape[1] ** 2)


def mmd_penalty(ours: Any, theirs: Any) -> Any:
    """MMD² of embeddings (b, e), in JAX (Long and others 2015): Gaussian kernels about the median distance, biased."""
    both = jnp.concatenate([ours, theirs])
    norms = jnp.sum(both**2, axis=1)
    distance = jnp.maximum(norms[:, None] + norms[None, :] - 2.0 * both @ both.T, 0.0)
    width = jax.lax.stop_gradient(jnp.maximum(jnp.median(distance), 1e-6))
    kernel = sum(jnp.exp(-distance / (times * width)) for times in (0.5, 1.0, 2.0)) / 3.0
    sign = jnp.concatenate([jnp.full(len(ours), 1.0 / len(ours)), jnp.full(len(theirs), -1.0 / len(theirs))])
    return sign @ kernel @ sign


def _labels(bars: Bars, target: Target) -> tuple[Floats, bool]:
    """Labels of the target's kind that the bars carry themselves, NaN where unknown; and whether they are its kind."""
    volatility, direction = labels(bars, (target.horizon,))
    if target.name == "volatility":
        return volatility[:, 0], True
    if target.name == "direction":
        return direction[:, 0], True
    if target.name == "return" and not target.neutral:
        return _returns_ahead(bars, target.horizon), True
    return np.where(np.isfinite(direction[:, 0]), 0.0, np.nan), False


def _returns_ahead(bars: Bars, horizon: int) -> Floats:
    """The log return over the next ``horizon`` bars, float64 (n,); NaN at a symbol's end."""
    values = bars.values[:, RETURN].astype(np.float64)
    n = len(values)
    rows = np.arange(n)
    stops = np.repeat(np.append(bars.starts[1:], n), np.diff(np.append(bars.starts, n)))
    later = [np.where(rows + k < stops, values[np.minimum(rows + k, n - 1)], np.nan) for k in range(1, horizon + 1)]
    return np.asarray(np.sum(later, axis=0), dtype=np.float64)
