"""How unlike are the source's windows and the target's? Measured before anything is adapted, and told with the reason.

1. Windows that share no bar, at most 400 a side, evenly chosen. They are made free of their scale as the encoders do
   it (``networks.scale_free``), and each becomes a few numbers: means and spreads of its channels, the last week's
   volatility, how volatility persists. What one side lacks altogether (volume, opens) is named and not compared.
2. MMD² (Gretton and others 2012, JMLR 13): the unbiased estimate with a Gaussian kernel whose width is the median
   distance, and its p-value by permutation.
3. A logistic model that is to tell the two apart, scored on windows that it was not fitted to (Lopez-Paz and Oquab
   2017): AUC 0.5 is no difference, 1 is none in common. The same once more after CORAL has given the source the
   target's covariance: what is left then is no matter of second moments.
4. Kolmogorov and Smirnov's distance for each channel.

p-values take windows as independent. Windows of one date are not, so a small p alone proves little; what is chosen by
is the size of the AUC. No label is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.errors import EngineError
from tasks.search.transfer.channels import CHANNELS, LOG_RANGE, MASKS, MEDIAN, RETURN, Bars, Rows, windows
from tasks.search.transfer.two_samples import (
    Coral,
    classifier_auc,
    density_ratio,
    effective_share,
    kolmogorov_smirnov,
    mmd,
    standardised,
)

Floats = npt.NDArray[np.float64]

MOST_WINDOWS = 400
LEAST_WINDOWS = 20
"""Fewer windows than these, that share no bar, tell nothing of a difference."""

CLIP = 8.0
RECENT = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelShift:
    """A channel's Kolmogorov-Smirnov distance in [0, 1] and its asymptotic p, on the windows' last bars, scale-free."""

    channel: str
    distance: float
    p: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """What was measured; see the module. ``lacking``: channels that one side does not have.

    aligned_auc: the AUC after CORAL. effective_share: what share of the source's windows is left in effect if they are
    weighted by the density ratio ((Σ w)² / Σ w² over their number). level_gap: the target's mean log range less the
    source's, which the network takes out of every window.
    """

    source_windows: int
    target_windows: int
    mmd2: float
    mmd_p: float
    auc: float
    auc_p: float
    aligned_auc: float
    effective_share: float
    level_gap: float
    channels: tuple[ChannelShift, ...]
    lacking: tuple[str, ...] = ()


def measured(source: tuple[Bars, Rows], target: tuple[Bars, Rows], length: int, seed: int) -> Shift:
    """The shift from the source's windows to the target's: bars, and rows that end complete windows (``usable``).

    target: rows that the fit may look at, no others. Deterministic in the seed. Raises EngineError where either side
    has fewer than 20 windows that share no bar.
    """
    sides = [(bars, apart(ends, length)) for bars, ends in (source, target)]
    for name, (_, ends) in zip(("source", "target"), sides, strict=True):
        if len(ends) < LEAST_WINDOWS:
            raise EngineError(
                f"the {name} has {len(ends)} windows of {length} bars that share no bar: {LEAST_WINDOWS} are needed to "
                "say how far the two are apart"
            )
    raw = [windows(bars, ends, length) for bars, ends in sides]
    steps, levels = zip(*(scale_free(each) for each in raw), strict=True)
    lacking = lacking_in(steps)
    ours, theirs = standardised(*(summaries(each, lacking) for each in steps))
    auc, auc_p = classifier_auc(ours, theirs)
    mmd2, mmd_p = mmd(ours, theirs, seed)
    return Shift(
        source_windows=len(ours),
        target_windows=len(theirs),
        mmd2=mmd2,
        mmd_p=mmd_p,
        auc=auc,
        auc_p=auc_p,
        aligned_auc=classifier_auc(Coral.of(ours, theirs).apply(ours), theirs)[0],
        effective_share=effective_share(density_ratio(ours, theirs, math.inf)),
        level_gap=float(levels[1].mean() - levels[0].mean()),
        channels=tuple(_channels(steps, lacking)),
        lacking=lacking,
    )


def apart(ends: Rows, length: int, most: int = MOST_WINDOWS) -> Rows:
    """Of the rows (m,), ascending, those that end windows which share no bar, evenly thinned to ``most``."""
    kept, last = [], -length
    for end in ends.tolist():  # a window lies inside one symbol, so that rows apart are bars apart
        if end - last >= length:
            kept.append(end)
            last = end
    found = np.array(kept, dtype=np.int64)
    return found[np.linspace(0, len(found) - 1, most).astype(np.int64)] if len(found) > most else found


def scale_free(raw: npt.NDArray[np.float32]) -> tuple[Floats, Floats]:
    """Raw windows (m, length, 7) to steps of the same shape and levels (m,): ``networks.scale_free`` in NumPy."""
    steps = raw.astype(np.float64)
    level = steps[:, :, LOG_RANGE].mean(axis=1)
    for channel in (RETURN, MEDIAN):
        steps[:, :, channel] *= np.exp(-level)[:, None]
    steps[:, :, LOG_RANGE] -= level[:, None]
    for channel, mask in MASKS:
        steps[:, :, channel] *= steps[:, :, mask]
    return np.clip(steps, -CLIP, CLIP), level


def summaries(steps: Floats, lacking: tuple[str, ...] = ()) -> Floats:
    """Scale-free windows (m, length, 7) as a few numbers each, float64 (m, k); channels that are lacking are left out.

    Mean and spread of each channel, the mean log range of the last five bars, the autocorrelation of log ranges from
    bar to bar, and the mean product of return and log range.
    """
    used = [place for place, name in enumerate(CHANNELS) if name not in lacking]
    channel, ranges = steps[:, :, used], steps[:, :, LOG_RANGE]
    variance = np.maximum((ranges**2).mean(axis=1), 1e-12)
    parts = [
        channel.mean(axis=1),
        channel.std(axis=1),
        ranges[:, -RECENT:].mean(axis=1)[:, None],
        ((ranges[:, 1:] * ranges[:, :-1]).mean(axis=1) / variance)[:, None],
        (steps[:, :, RETURN] * ranges).mean(axis=1)[:, None],
    ]
    return np.concatenate(parts, axis=1)


def lacking_in(steps: Sequence[Floats]) -> tuple[str, ...]:
    """The channels that at least one side's windows (m, length, 7) do not have."""
    return tuple(CHANNELS[channel] for channel, mask in MASKS if not all(each[:, :, mask].any() for each in steps))


def _channels(steps: tuple[Floats, ...], lacking: tuple[str, ...]) -> Iterator[ChannelShift]:
    for place, name in enumerate(CHANNELS):
        if name not in lacking:
            distance, p = kolmogorov_smirnov(*(each[:, -1, place] for each in steps))
            yield ChannelShift(channel=name, distance=distance, p=p)
