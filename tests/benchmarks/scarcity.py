"""A target's labels, all of them or the latest few, and what needs no pre-training: baselines and boosted trees.

The labels kept are the latest contiguous dates whose labels end before the evaluation window's first bar, at least
fifty effective ones. What is chosen (epochs, numbers of trees) is chosen on the latest fifth of the kept labels and
then fitted again on all of them, as the engines do between search and refit.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from tasks.contracts import FeatureSpec
from tasks.features import catalogue, matrix
from tasks.labels.targets import make_labels
from tasks.search.baselines import RECIPES, fit_linear
from tasks.search.engine import TrainingData
from tasks.search.transfer.channels import CHANNELS, Bars, bars_of, from_matrix, usable
from tasks.search.transfer.panel import LEAST_EFFECTIVE
from tasks.statistics.losses import row_losses
from tests.benchmarks.transfers import Market, Transfer

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

SHARES = (0.01, 0.03, 0.10, 0.30, 1.0)
WATCHED = 0.2
LOOKBACK = 120
"""Bars: a longer one leaves few labels of short histories; 203 of the 249 columns need no more."""
TREES, RATE, LEAVES = 300, 0.05, 15


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A share of the labels: its rows, in two parts for choosing, and what it is worth. ``words`` say what it is not.

    ``share`` was asked for and ``true`` is had, where fifty effective labels are more.
    """

    share: float
    true: float
    rows: Rows
    first: Rows
    last: Rows
    dates: int
    effective: float
    words: str = ""


@dataclass(frozen=True, kw_only=True)
class Field:
    """A target ready for every method. ``scored``: evaluation rows; ``date``: their dates as 0, 1, … in time order.

    ``data`` has labels on the training and the evaluation rows; a method is given them by ``seen``. ``until``: when a
    row's label is known, datetime64[ns] (n,).
    """

    data: TrainingData
    until: npt.NDArray[np.datetime64]
    bars: Bars
    training: Rows
    scored: Rows
    date: Rows
    sessions: pd.DatetimeIndex

    def seen(self, kept: Kept) -> TrainingData:
        """What an engine may see of a share: its labels and no other, in windows for choosing, and a fit of all."""
        known = np.zeros(len(self.data.y), dtype=np.bool_)
        known[kept.rows] = True
        window = np.full(len(known), "", dtype=object)
        window[kept.first], window[kept.last] = "train", "validation"
        return dataclasses.replace(
            self.data, y=np.where(known, self.data.y, np.nan), window=window, fits={"fit_gate": known}
        )

    def losses(self, prediction: Floats) -> Floats:
        """Ranking losses of the scored rows' predictions (m,), averaged by date: float64 (dates,).

        Raises ValueError where a prediction is not finite.
        """
        if not np.isfinite(prediction).all():
            raise ValueError(f"{int((~np.isfinite(prediction)).sum())} predictions are not finite")
        losses = row_losses(self.data.target.loss, self.data.y[self.scored], prediction)
        return np.asarray(np.bincount(self.date, losses) / np.bincount(self.date), dtype=np.float64)


def channels(market: Market) -> tuple[Bars, npt.NDArray[np.datetime64]]:
    """A market's bars as a transfer sees them, and their times."""
    known = catalogue.select(market.volume, market.true_opens, LOOKBACK)
    names = tuple(name for name in CHANNELS if name in known)
    values = matrix.panel(market.bars, FeatureSpec(columns=names, tick=market.tick, bar=market.bar))
    symbols = market.bars["symbol"].to_numpy(object)
    times = market.bars["time"].dt.tz_localize(None).to_numpy("datetime64[ns]")
    return from_matrix(values, names, symbols), times


def field(transfer: Transfer, market: Market, length: int) -> Field:
    """The target's catalogue and labels. Rows with a column or a window that is not whole take no part."""
    bars, target = market.bars, transfer.label
    columns = catalogue.select(market.volume, market.true_opens, LOOKBACK)
    X = matrix.panel(bars, FeatureSpec(columns=columns, tick=market.tick, bar=market.bar))
    labels = make_labels(bars, target, "range", market.tick, market.true_opens)
    begins = bars.loc[bars["session"] >= pd.Timestamp(transfer.evaluation), "time"].min()
    data = TrainingData(
        X=X,
        y=labels.label,
        columns=columns,
        symbols=bars["symbol"].to_numpy(object),
        times=bars["time"].dt.tz_localize(None).to_numpy("datetime64[ns]"),
        window=np.full(len(bars), "", dtype=object),
        sessions=bars["session"].to_numpy("datetime64[ns]"),
        weight=labels.weight,
        fits={},
        target=target,
    )
    steps = bars_of(data)
    whole = np.isfinite(X).all(axis=1) & np.isfinite(labels.label) & usable(steps, length)
    scored = np.flatnonzero(whole & (bars["time"] >= begins).to_numpy())
    sessions, date = np.unique(data.sessions[scored], return_inverse=True)
    return Field(
        data=data,
        until=labels.label_end.tz_localize(None).to_numpy("datetime64[ns]"),
        bars=steps,
        training=np.flatnonzero(whole & np.asarray(labels.label_end < begins)),
        scored=scored,
        date=date.astype(np.int64),
        sessions=pd.DatetimeIndex(sessions),
    )


def kept(given: Field, shares: tuple[float, ...] = SHARES) -> list[Kept]:
    """The shares from the smallest; one that fifty effective labels make the same as a smaller one says so."""
    found: list[Kept] = []
    for share in sorted(shares):
        each = _kept(given, share)
        if found and len(found[-1].rows) == len(each.rows):
            each = dataclasses.replace(each, words=f"impossible: {LEAST_EFFECTIVE:.0f} effective labels are more")
        found.append(each)
    return found


def _kept(given: Field, share: float) -> Kept:
    """The latest dates that hold the share, and at least fifty effective labels."""
    data, rows = given.data, given.training
    dates = np.unique(data.sessions[rows])
    several = max(math.floor(share * len(dates) + 0.5), 1)
    while several < len(dates) and _effective(data, rows[data.sessions[rows] >= dates[-several]]) < LEAST_EFFECTIVE:
        several += 1
    chosen = rows[data.sessions[rows] >= dates[-several]]
    cut = dates[-max(math.floor(several * WATCHED), 1)]
    last = chosen[data.sessions[chosen] >= cut]
    return Kept(
        share=share,
        true=several / len(dates),
        rows=chosen,
        # A label of the first part is known before the second part's first bar closes.
        first=chosen[given.until[chosen] < data.times[last].min()],
        last=last,
        dates=several,
        effective=_effective(data, chosen),
    )


def _effective(data: TrainingData, rows: Rows) -> float:
    """How many labels that share no bar the rows are worth, averaged over symbols."""
    return float(data.weight[rows].sum() / max(len(np.unique(data.symbols[rows].astype(str))), 1))


def baselines(given: Field, known: Kept) -> dict[str, Floats]:
    """Each simple baseline's predictions of the scored rows, fitted on the kept labels."""
    predictions = {"mean": np.full(len(given.scored), _mean(given, known))}
    for name, recipe in RECIPES[given.data.target.name].items():
        if recipe["algorithm"] == "ols" and set(recipe["columns"]) <= set(given.data.columns):
            model = fit_linear(recipe, given.data, known.rows)
            predictions[name] = model.predict(given.data.take(given.scored, model.columns))
    return predictions


def _mean(given: Field, known: Kept) -> float:
    """The kept labels' mean, a base rate kept from 0 and 1 by half an observation."""
    mean, count = float(given.data.y[known.rows].mean()), len(known.rows)
    if given.data.target.kind == "regression":
        return mean
    return min(max(mean, 0.5 / (count + 1)), 1 - 0.5 / (count + 1))


def trees(given: Field, known: Kept, seed: int) -> Floats:
    """Gradient-boosted trees on the catalogue's columns: predictions of the scored rows, float64 (m,).

    The number of trees is chosen on the latest fifth of the kept labels.
    """
    X, y = given.data.X, given.data.y
    made = _boosted(given, seed)
    counted = made(TREES).fit(X[known.first], y[known.first])
    regression = given.data.target.kind == "regression"
    stages = counted.staged_predict(X[known.last]) if regression else counted.staged_predict_proba(X[known.last])
    losses = [
        float(row_losses(given.data.target.loss, y[known.last], stage if regression else stage[:, 1]).mean())
        for stage in stages
    ]
    model = made(int(np.argmin(losses)) + 1).fit(X[known.rows], y[known.rows])
    found = model.predict(X[given.scored]) if regression else model.predict_proba(X[given.scored])[:, 1]
    return np.asarray(found, dtype=np.float64)


def _boosted(given: Field, seed: int) -> partial[HistGradientBoostingRegressor | HistGradientBoostingClassifier]:
    make = HistGradientBoostingRegressor if given.data.target.kind == "regression" else HistGradientBoostingClassifier
    # Columns drawn for each split: without draws every seed would give the same trees.
    return partial(
        _fitted, make, learning_rate=RATE, max_leaf_nodes=LEAVES, early_stopping=False, max_features=0.3,
        random_state=seed,
    )  # fmt: skip


def _fitted(
    make: type[HistGradientBoostingRegressor | HistGradientBoostingClassifier], several: int, **settings: object
) -> HistGradientBoostingRegressor | HistGradientBoostingClassifier:
    return make(max_iter=several, **settings)
