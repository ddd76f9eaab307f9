"""A panel's labels less the date's mean: what is left of a return once the market's is taken off."""

from __future__ import annotations

import logging

import numpy as np
import numpy.typing as npt

from tasks.labels.rows import FloatArray, IntArray

LEAST_NAMES = 20
"""A mean over fewer names is mostly those names' own luck."""
NEVER = np.iinfo(np.int64).max
log = logging.getLogger("nocturne.labels")


def less_date_mean(label: FloatArray, end: IntArray, date: IntArray) -> tuple[FloatArray, IntArray]:
    """Labels less their date's mean over the panel, and when those are known.

    label: float64 (n,), NaN where there is none; end: int64 (n,), when each label is known (any increasing unit; not
    read where the label is NaN); date: int (n,), which rows share a date. The mean is over the names whose labels are
    known by the time at which half of the date's names have theirs: a name that stops trading for a month ends a month
    later than the others, and the others' labels must not wait for it. A label that waited is still taken off the same
    mean. Dates with fewer than 20 such names have no labels (NaN). The result depends on nothing later than its end.
    """
    known = np.where(np.isnan(label), NEVER, end)
    place, dates = np.unique(date, return_inverse=True)[1], np.unique(date).size
    half = _time_of_half(known, place, dates)
    counted = (known <= half[place]) & (half < NEVER)[place]
    names = np.bincount(place, counted, dates)
    total = np.bincount(place, np.where(counted, label, 0.0), dates)
    enough = names >= LEAST_NAMES
    mean = np.where(enough, total / np.maximum(names, 1), np.nan)
    if not enough.all():
        log.info("%d of %d dates have fewer than %d names and no neutral label", (~enough).sum(), dates, LEAST_NAMES)
    return label - mean[place], np.maximum(end, half[place])


def _time_of_half(known: IntArray, place: npt.NDArray[np.intp], dates: int) -> IntArray:
    """By date, when half of its names (rounded up) have a label, or NEVER."""
    order = np.lexsort((known, place))
    count = np.bincount(place, minlength=dates)
    first = np.cumsum(count) - count
    return np.asarray(known[order][first + (count - 1) // 2])
