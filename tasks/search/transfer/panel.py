"""A night's rows as a transfer takes them: which end a whole window, what they are labelled, what they count."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.errors import EngineError
from tasks.search.engine import TrainingData
from tasks.search.transfer.blocks import Block, blocks
from tasks.search.transfer.channels import Bars, Rows, bars_of, levels, usable
from tasks.search.transfer.source import labels
from tasks.search.transfer.steps import Sample

LEAST_EFFECTIVE = 50.0
"""Labels that share no bar, which a fit needs: with fewer, whatever is found is luck."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """The rows of a problem. ``whole``: bool (n,), rows that end a complete window of ``length`` bars."""

    data: TrainingData
    bars: Bars
    whole: npt.NDArray[np.bool_]
    length: int

    @classmethod
    def of(cls, data: TrainingData, length: int) -> Panel:
        """Raises EngineError where a channel is missing."""
        bars = bars_of(data)
        return cls(data=data, bars=bars, whole=usable(bars, length), length=length)

    def relabelled(self, data: TrainingData) -> Panel:
        """The same bars with the labels of another job."""
        return dataclasses.replace(self, data=data)

    def fitted(self, rows: Rows, what: str) -> Rows:
        """Those of the rows that end a whole window. Raises EngineError if they are too few, or all of one class."""
        kept = rows[self.whole[rows]]
        effective = self.effective(kept)
        if effective < LEAST_EFFECTIVE:
            raise EngineError(
                f"{what}: {len(kept):,} of {len(rows):,} labelled rows end a whole window of {self.length} bars, worth "
                f"{effective:.0f} labels that share no bar; a transfer needs {LEAST_EFFECTIVE:.0f}: use more history"
            )
        if self.data.target.kind == "classification" and len(np.unique(self.data.y[kept])) < 2:
            raise EngineError(f"{what}: every label is {self.data.y[kept][0]:g}; both 0 and 1 are needed")
        return kept

    def effective(self, rows: Rows) -> float:
        """The sum of the rows' average uniqueness, averaged over their symbols, as windows are told in."""
        return float(np.nansum(self.data.weight[rows])) / max(len(np.unique(self.data.symbols[rows].astype(str))), 1)

    def sample(self, rows: Rows) -> Sample:
        """Rows to learn from, weighted where the problem's labels are."""
        return Sample(bars=self.bars, ends=rows, y=self.data.y[rows], weight=self.data.weights(rows))

    def watched(self, rows: Rows) -> Sample:
        """Rows to stop by: those that end a whole window, all counting the same, as on the leaderboard."""
        kept = rows[self.whole[rows]]
        if not len(kept):
            raise EngineError("no validation row ends a whole window: widen the validation window")
        return Sample(bars=self.bars, ends=kept, y=self.data.y[kept])

    def blocks(self, rows: Rows) -> tuple[Block, ...]:
        """The rows in blocks of dates, places in ``rows``: none predicted from labels that share a bar with its own."""
        data, edges = self.data, np.append(self.bars.starts[1:], len(self.whole))
        last = edges[np.searchsorted(self.bars.starts, rows, side="right") - 1] - 1
        ends = np.minimum(rows + data.target.horizon, last)
        return blocks(data.sessions[rows], data.times[rows], data.times[ends])

    def with_further(self, sample: Sample) -> Sample:
        """The sample with two further labels a row, about one in size: volatility and direction of the next bars.

        They come from the bars, of which none later than a symbol's last row of the sample is looked at: what a fit may
        know ends there. The volatility is that of the window's level, standardised by these rows.
        """
        last = np.full(len(self.bars.starts), -1, dtype=np.int64)
        symbol = np.searchsorted(self.bars.starts, sample.ends, side="right") - 1
        np.maximum.at(last, symbol, sample.ends)
        volatility, direction = labels(self.bars, (self.data.target.horizon,))
        relative = volatility[sample.ends, 0] - levels(self.bars, sample.ends, self.length)
        known = sample.ends + self.data.target.horizon <= last[symbol]
        relative = np.where(known & np.isfinite(relative), relative, np.nan)
        signed = np.where(known, 2.0 * direction[sample.ends, 0] - 1.0, np.nan)
        spread = float(np.nanstd(relative)) or 1.0
        extra = np.column_stack([(relative - np.nanmean(relative)) / spread, signed])
        return dataclasses.replace(sample, extra=extra)

    def level(self, rows: Rows) -> tuple[float, float]:
        """Mean and deviation of the windows' levels over rows, rounded: what a head's level is standardised by."""
        found = levels(self.bars, rows, self.length)
        return round(float(found.mean()), 4), max(round(float(found.std()), 4), 1e-3)
