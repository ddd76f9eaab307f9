"""Which features a fitted model leans on: permutation importance on the selection rows.

A column is shuffled within each symbol, the exported model predicts, and the mean rise of the ranking loss over the
repeats counts. Rises below zero are noise and count as zero. Correlated columns share their importance: the figure
says what the model uses, not what the market does. A model that looks at earlier rows too is not measured: shuffled
rows are no history, and what it made of them would say nothing of what it makes of one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from tasks.contracts import EngineRequest, EngineResult, Target
from tasks.errors import EngineError
from tasks.registry.serving.scorers import Scorer, load_scorer
from tasks.search import training
from tasks.search.child import serve
from tasks.search.engine import Progress, TrainingData
from tasks.statistics.losses import row_losses

REPEATS = 3
TOP = 30


def loss(target: Target, y: npt.NDArray[np.float64], predictions: npt.NDArray[np.float64]) -> float:
    """The ranking loss, averaged over rows: all arrays (n,)."""
    return float(np.mean(row_losses(target.loss, y, predictions)))


def explain(request: EngineRequest, out: Path, progress: Progress) -> EngineResult:
    """Explain the model folder that the request names; the result holds its importance and nothing else."""
    del out
    progress(0, 1, None, "explaining the leader")
    shares = permutation_importance(training.load(request), Path(request.explain), request.seed)
    return EngineResult(engine=request.engine, importance=shares)


def permutation_importance(data: TrainingData, model: Path, seed: int) -> tuple[tuple[str, float], ...]:
    """The leading columns and their shares of the total rise in loss (they sum to at most 1), largest first.

    Empty for a model without columns, and for one with history (see the module). The same seed gives the same shares.
    Raises EngineError if there are no labelled selection rows.
    """
    scorer = load_scorer(model)
    if scorer.history > 0:
        return ()
    rows = data.rows("selection")
    if not len(rows):
        raise EngineError("there are no labelled selection rows to explain a model on")
    rises = np.maximum(_rises(scorer, data, rows, seed), 0.0)
    if not rises.sum() > 0:
        return ()
    order = np.argsort(-rises, kind="stable")[:TOP]
    return tuple((scorer.columns[i], float(rises[i] / rises.sum())) for i in order if rises[i] > 0)


def _rises(scorer: Scorer, data: TrainingData, rows: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.float64]:
    features, y = data.take(rows, scorer.columns), data.y[rows]
    base = loss(data.target, y, scorer.predict(features))
    orders = [_shuffled(data.symbols[rows], np.random.default_rng([seed, repeat])) for repeat in range(REPEATS)]
    rises = np.zeros(len(scorer.columns))
    for column in range(len(scorer.columns)):
        kept = features[:, column].copy()
        for order in orders:
            features[:, column] = kept[order]
            rises[column] += (loss(data.target, y, scorer.predict(features)) - base) / REPEATS
        features[:, column] = kept
    return rises


def _shuffled(symbols: npt.NDArray[np.object_], random: np.random.Generator) -> npt.NDArray[np.int64]:
    """A permutation of the rows that keeps every row within its symbol."""
    order = np.arange(len(symbols))
    for symbol in np.unique(symbols.astype(str)):
        members = np.flatnonzero(symbols == symbol)
        order[members] = random.permutation(members)
    return order


if __name__ == "__main__":
    serve(explain, close=lambda: None)
