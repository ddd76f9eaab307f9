"""What each feature adds to one prediction, such that base and contributions add up to it.

Three ways, by the kind of model:

- linear: exact. The coefficient times the standardised distance from the training mean; the base is the prediction
  at that mean.
- boosted trees of a MOJO: TreeSHAP (Lundberg et al. 2020, Nature Machine Intelligence 2), which the genmodel jar
  brings along; the base is the trees' mean over the training rows that passed them.
- all else, forests included (``tree_shap`` says why): sampled Shapley values against the training quantiles (see
  ``shapley``), with a standard error.

Probabilities are explained as log-odds: column ``link`` says so. In a panel the features are those of the
cross-section. Shares say what the model does, not what moves markets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ...errors import IntegrityError, ModelInputError
from ...features.matrix import compute
from .backgrounds import Background
from .bars import read_bars
from .panel import predict_panel
from .scorers import Floats, LinearScorer, Scorer
from .shapley import ROUNDS, shapley

if TYPE_CHECKING:
    from .predictor import Predictor

EXACT, TREES, SAMPLED = "exact", "TreeSHAP", "sampled"
TOLERANCE = 1e-4
"""Of the prediction's and the contributions' size: TreeSHAP adds up in float32, the trees' prediction does not."""
BLOCKS = ((0, 1), (1, 5), (5, 22), (22, None))
"""Which bars, counted back from the last, are told apart where a model filters a history."""
_SMALL = 1e-12


@dataclass(frozen=True, slots=True)
class Explained:
    """One row taken apart: names and values of its features, their contributions and standard errors, the base."""

    names: tuple[str, ...]
    values: Floats
    contributions: Floats
    errors: Floats
    base: float
    link: str
    method: str


def contributions(
    predictor: Predictor, bars: pd.DataFrame, top: int | None = 10, symbols: Sequence[str] | None = None, seed: int = 0
) -> pd.DataFrame:
    """Each symbol's last prediction taken apart: a row a feature, largest contribution first.

    Columns: ``symbol`` (if given), ``time`` (as given), ``feature``, ``value`` (what the model saw), ``contribution``
    (in the link's unit), ``error`` (standard error; 0.0 where it is exact), ``base``, ``prediction``, ``link``
    (``identity``, ``log-odds``), ``method`` (``exact``, ``TreeSHAP``, ``sampled``). base plus a symbol's contributions
    is link(prediction). Features beyond ``top`` are one row, ``N other features``, without a value; None shows all.
    ``symbols`` limits what is explained, not what a panel is compared with. Raises ModelInputError as ``predict``
    does, and for a model without the training statistics that sampling takes; IntegrityError if the sum is wrong.
    """
    if top is not None and top < 1:
        raise ModelInputError(f"top must be at least 1 feature, or None for all of them; got {top}")
    said = predictor.predict(bars)
    inputs = _inputs(predictor, bars)
    if len(inputs) != len(said):
        raise IntegrityError(f"{len(said)} predictions and {len(inputs)} explained rows: please report this")
    background = Background(predictor.bundle, predictor.scorer)
    frames = []
    for i, (symbol, window) in enumerate(inputs):
        if symbols is None or symbol in symbols:
            explained = _explain(predictor.scorer, window, background, seed)
            _require_sum(explained, float(said["prediction"].iloc[i]))
            frames.append(_frame(explained, said.iloc[i], top))
    if not frames:
        raise ModelInputError(f"none of the symbols asked for is predicted: {', '.join(list(symbols or ())[:5])}")
    return pd.concat(frames, ignore_index=True)


def _inputs(predictor: Predictor, bars: pd.DataFrame) -> list[tuple[str, Floats]]:
    """For each prediction, its symbol and what the scorer sees: float64 (history + 1, columns)."""
    manifest, scorer = predictor.manifest, predictor.scorer
    if manifest.spec.cross_section != "none":
        return _panel_inputs(predictor, bars)
    found = []
    for item in read_bars(bars, manifest.rules, predictor.bars_needed):
        matrix = compute(item.arrays(), manifest.spec.columns, manifest.spec.tick)
        found.append((item.symbol, matrix[len(matrix) - scorer.history - 1 :]))
    return found


class _Recorder:
    """A scorer that remembers the rows it was given."""

    def __init__(self, scorer: Scorer) -> None:
        self.columns, self.history, self.output = scorer.columns, scorer.history, scorer.output
        self._scorer = scorer
        self.rows: list[Floats] = []

    def predict(self, X: Floats) -> Floats:
        self.rows.append(np.array(X))
        return self._scorer.predict(X)


def _panel_inputs(predictor: Predictor, bars: pd.DataFrame) -> list[tuple[str, Floats]]:
    if predictor.scorer.history:
        raise ModelInputError("a model that filters a history and compares names within a date cannot be explained")
    recorder = _Recorder(predictor.scorer)
    read = read_bars(bars, predictor.manifest.rules, predictor.bars_needed)
    parts = predict_panel(read, predictor.manifest.spec, recorder, last=True)
    told = [item.symbol for item, (places, _) in zip(read, parts, strict=True) if len(places)]
    rows = dict(zip(sorted(told), np.concatenate(recorder.rows), strict=True))
    return [(symbol, rows[symbol][None, :]) for symbol in told]


def _explain(scorer: Scorer, window: Floats, background: Background, seed: int) -> Explained:
    if isinstance(scorer, LinearScorer):
        return _linear(scorer, window[-1])
    found = _trees(scorer, window[-1])
    return _sampled(scorer, window, background, seed) if found is None else found


def _linear(scorer: LinearScorer, row: Floats) -> Explained:
    terms = scorer.terms(row[None, :])[0]
    link = "log-odds" if scorer.output == "probability" else "identity"
    return Explained(scorer.columns, row, terms, np.zeros(len(terms)), scorer.intercept, link, EXACT)


def _trees(scorer: Scorer, row: Floats) -> Explained | None:
    """TreeSHAP by the MOJO itself; None where it is no ensemble of trees, or its shares do not add up."""
    own = getattr(scorer, "contributions", None)
    found = own(row) if own else None
    if found is None:
        return None
    shares, base, link = found
    explained = Explained(scorer.columns, row, shares, np.zeros(len(shares)), base, link, TREES)
    # A booster that weighs its trees, or corrects its probabilities, is not what TreeSHAP took apart.
    return explained if _off(explained, float(scorer.predict(row[None, :])[0])) <= TOLERANCE else None


def _sampled(scorer: Scorer, window: Floats, background: Background, seed: int) -> Explained:
    names, values, players = _players(scorer, window)
    f, link = _function(scorer, window.shape)
    drawn = background.draw(ROUNDS, len(window), seed)
    shares = shapley(f, window.ravel(), drawn, players, seed)
    return Explained(names, values, shares.values, shares.errors, shares.base, link, SAMPLED)


def _players(scorer: Scorer, window: Floats) -> tuple[tuple[str, ...], Floats, list[npt.NDArray[np.intp]]]:
    """Names, values and cells of what is told apart: columns; of a history, each column's blocks of bars.

    A block's value is the root of its mean square, which is what a variance filter answers to.
    """
    rows, count = window.shape
    cells = np.arange(rows * count).reshape(rows, count)
    if rows == 1:
        return scorer.columns, window[0], list(cells.T)
    names, values, players = [], [], []
    for column, name in enumerate(scorer.columns):
        for first, end in BLOCKS:
            block = slice(max(rows - (end or rows), 0), rows - first)
            if block.stop > block.start:
                names.append(f"{name}, {_bars_back(first, end)}")
                values.append(float(np.sqrt(np.mean(window[block, column] ** 2))))
                players.append(cells[block, column])
    return tuple(names), np.array(values), players


def _bars_back(first: int, end: int | None) -> str:
    if end is None:
        return f"before the last {first} bars"
    return "last bar" if end == 1 else f"{first + 1} to {end} bars back"


def _function(scorer: Scorer, shape: tuple[int, ...]) -> tuple[Callable[[Floats], Floats], str]:
    """Flattened windows (n, cells) to predictions in the link's unit (n,), and the link's name."""
    link = "log-odds" if scorer.output == "probability" else "identity"

    def score(flat: Floats) -> Floats:
        if shape[0] == 1:
            return _linked(scorer.predict(flat), link)
        windows = flat.reshape(-1, *shape)
        return _linked(np.array([scorer.predict(window)[-1] for window in windows]), link)

    return score, link


def _linked(values: Floats, link: str) -> Floats:
    if link == "identity":
        return values
    inside = np.clip(values, _SMALL, 1.0 - _SMALL)
    return np.asarray(np.log(inside) - np.log1p(-inside), dtype=np.float64)


def _off(explained: Explained, prediction: float) -> float:
    """How far base and contributions miss the prediction, relative to their size."""
    wanted = float(_linked(np.array([prediction]), explained.link)[0])
    size = max(abs(wanted), abs(explained.base), float(np.abs(explained.contributions).max(initial=0.0)), _SMALL)
    return abs(explained.base + float(explained.contributions.sum()) - wanted) / size


def _require_sum(explained: Explained, prediction: float) -> None:
    off = _off(explained, prediction)
    if not off <= TOLERANCE:
        raise IntegrityError(
            f"the contributions ({explained.method}) miss the prediction {prediction!r} by {off:.3g} relative: they "
            "are not shown; please report this"
        )


def _frame(explained: Explained, said: Any, top: int | None) -> pd.DataFrame:
    order = np.argsort(-np.abs(explained.contributions), kind="stable")
    shown, rest = order[:top], order[len(order) if top is None else top :]
    names = [explained.names[i] for i in shown]
    columns = [explained.values[shown], explained.contributions[shown], explained.errors[shown]]
    if len(rest):
        names.append(f"{len(rest)} other feature{'s' * (len(rest) > 1)}")
        others = (np.nan, explained.contributions[rest].sum(), np.sqrt((explained.errors[rest] ** 2).sum()))
        columns = [np.append(column, other) for column, other in zip(columns, others, strict=True)]
    keys = {name: [said[name]] * len(names) for name in ("symbol", "time") if name in said.index}
    return pd.DataFrame(
        {
            **keys,
            "feature": names,
            **dict(zip(("value", "contribution", "error"), columns, strict=True)),
            "base": explained.base,
            "prediction": float(said["prediction"]),
            "link": explained.link,
            "method": explained.method,
        }
    )
