"""How far is a window's distribution from the reference's: the population stability index and Kolmogorov-Smirnov's.

PSI = Σ (p - q) ln(p / q) over cells cut at the reference's deciles (Lewis 1994; Yurdakul and Naranjo 2020, Journal of
Risk Model Validation 14): p the window's shares, q the reference's, half a row added to each cell so that an empty one
has a logarithm. KS = max |F_window - F_reference|, taken at the reference's hundredths.

Without any drift PSI is not zero: for independent rows, n in the window and m in the reference, it averages about
(cells - 1)(1/n + 1/m), which is 0.15 for ten cells and 63 against 1,260, and more the longer a column remembers. So no
value of it means anything by itself; ``drift_limits`` says which one does.

A cell on either side lies beyond the reference's range by half of it: where a unit changes, not where a record is set.
Rows are counted by session, so that one pass gives every window of so many sessions, of one symbol or of many.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

CELLS, GRID = 10, 100
HALF = 0.5
BEYOND = 0.5
"""How far past the reference's range, in ranges, a value must lie to be of another kind."""

LEAST_SCALE = (0.15, 0.15)
"""PSI and KS of 63 independent rows against a long reference: no column's unit is taken to be less."""


@dataclass(frozen=True, slots=True)
class Distances:
    """PSI and KS of windows of sessions: each float64 (windows,), NaN where a window holds no value."""

    psi: FloatArray
    ks: FloatArray


def cut(values: FloatArray, parts: int) -> FloatArray:
    """Inner edges of at most ``parts`` cells of equal frequency; equal edges are one. float64 (n,) without NaN."""
    return np.unique(np.quantile(values, np.arange(1, parts) / parts, method="inverted_cdf"))


def with_beyond(edges: FloatArray, values: FloatArray) -> FloatArray:
    """The edges with one below and one above, half a range past the values' own."""
    low, high = float(values.min()), float(values.max())
    margin = BEYOND * (high - low)
    outer = (np.nextafter(low - margin, -np.inf), high + margin)
    return np.unique(np.concatenate([[outer[0]], edges, [outer[1]]]))


def counts_by_session(values: FloatArray, session: IntArray, sessions: int, edges: FloatArray) -> IntArray:
    """How many values of each session lie in each cell: (sessions, len(edges) + 1). A cell holds its upper edge.

    values: float64 (n,); NaN counts nowhere. session: 0…sessions-1, any order.
    """
    there = np.isfinite(values)
    cells = len(edges) + 1
    place = session[there] * cells + np.searchsorted(edges, values[there], side="left")
    return np.bincount(place, minlength=sessions * cells).reshape(sessions, cells).astype(np.int64)


def windows_of(counts: IntArray, window: int) -> IntArray:
    """Sums over every ``window`` consecutive sessions: (sessions, cells) to (sessions - window + 1, cells)."""
    total = np.concatenate([np.zeros((1, counts.shape[1]), dtype=np.int64), np.cumsum(counts, axis=0)])
    return np.asarray(total[window:] - total[:-window], dtype=np.int64)


def psi(window: IntArray, reference: IntArray) -> FloatArray:
    """The index from counts (..., cells); cells empty on both sides count as none. NaN for an empty window."""
    used = (window > 0) | (reference > 0)
    p, q = (_smoothed(counts, used) for counts in (window, reference))
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(used, (p - q) * np.log(p / q), 0.0)
    found = terms.sum(axis=-1)
    return np.where(window.sum(axis=-1) > 0, found, np.nan)


def ks(window: IntArray, reference: IntArray) -> FloatArray:
    """The largest difference of the two distribution functions at the cells' edges; NaN for an empty window."""
    n, m = window.sum(axis=-1, keepdims=True), reference.sum(axis=-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = np.cumsum(window, axis=-1) / n - np.cumsum(reference, axis=-1) / m
    return np.asarray(np.abs(gap).max(axis=-1))


def distances(values: FloatArray, session: IntArray, training: int, window: int) -> tuple[Distances, Distances]:
    """Every window's distance from the training reference: those inside training, and those that end after it.

    values: float64 (n,), one row a bar; session: int (n,), 0, 1, … in time order; the first ``training`` sessions are
    the reference. A training window is compared with the rest of training, a later one with all of it; the first later
    windows are filled up with the last of training. Windows in time order: the first ends at session ``window`` - 1.
    Raises ValueError where training has fewer than two windows' sessions, or no value.
    """
    sessions = int(session.max()) + 1 if len(session) else 0
    known = values[(session < training) & np.isfinite(values)]
    if training < 2 * window or not len(known):
        raise ValueError(f"{training} training sessions with {len(known)} values cannot be compared by {window}")
    parts = []
    for cells, measure in ((CELLS, psi), (GRID, ks)):
        counts = counts_by_session(values, session, sessions, with_beyond(cut(known, cells), known))
        reference, moving = counts[:training].sum(axis=0), windows_of(counts, window)
        inside = training - window + 1
        parts.append((measure(moving[:inside], reference - moving[:inside]), measure(moving[inside:], reference)))
    (psi_in, psi_out), (ks_in, ks_out) = parts
    return Distances(psi_in, ks_in), Distances(psi_out, ks_out)


def scaled(past: Distances, later: Distances, rare: float = 0.99) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Both measures in units of what is rare for the column: the unit (2,), (windows, 2) inside, (windows, 2) after.

    A column that remembers for months is always far from its reference, one that forgets overnight never is. The unit
    is the 0.99 quantile over the column's own training windows: the maximum over columns is then not that of the
    slowest alone. Of 0.5 to 1 it found a change of volatility soonest for the same run length without one.
    """
    inside, after = (np.stack([each.psi, each.ks], axis=1) for each in (past, later))
    scale = np.maximum(np.nanquantile(inside, rare, axis=0), LEAST_SCALE)
    return scale, inside / scale, after / scale


def _smoothed(counts: IntArray, used: npt.NDArray[np.bool_]) -> FloatArray:
    raised = np.where(used, counts + HALF, 0.0)
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))
