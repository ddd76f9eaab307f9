"""Other histories: the sums of cells against fits on the rows themselves, skfolio's splits and scikit-learn's ridge."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tasks.contracts import FeatureMatrix, FeatureSpec, Rows, Target
from tasks.leaderboard import diagnostic, task
from tasks.leaderboard.diagnostic import other_histories
from tasks.leaderboard.losses import IntArray
from tasks.statistics import cross_validation as cv
from tasks.storage import write_parquet
from tests.leaderboard.walks import BARRIER, DIRECTION, RETURN, VOLATILITY, FloatArray, rows_of

Fit = Callable[[IntArray, IntArray], FloatArray]
"""From training rows and tested rows to predictions of these."""


def features_of(rows: pd.DataFrame, columns: int = 6, seed: int = 5) -> FloatArray:
    """Features with a wild value, a constant, and one that is another's double."""
    found = np.random.default_rng(seed).normal(3.0, 2.0, (len(rows), columns))
    found[40, 0], found[:, 1], found[:, 3] = 300.0, 7.0, 2 * found[:, 2]
    return found


def labelled(rows: pd.DataFrame, features: FloatArray, strength: float, seed: int = 6) -> pd.DataFrame:
    """The same rows with labels that a feature explains in part."""
    noise = np.random.default_rng(seed).normal(size=len(rows))
    return rows.assign(label=np.where(rows["label"].isna(), np.nan, strength * features[:, 2] + noise))


def clipped(features: FloatArray) -> FloatArray:
    """As the diagnostic prepares them, a constant left at zero."""
    spread = features.std(axis=0)
    z = (features - features.mean(axis=0)) / np.where(spread > 0, spread, np.inf)
    return np.asarray(np.clip(z, -8.0, 8.0), dtype=np.float64)


def skills(label: FloatArray, session: IntArray, mine: FloatArray, reference: FloatArray) -> list[float]:
    """1 - loss / loss of the reference by path, squared errors averaged by date; predictions (paths, rows)."""

    def loss(predicted: FloatArray) -> float:
        return float(pd.Series((label - predicted) ** 2).groupby(session).mean().mean())

    return [1 - loss(one) / loss(other) for one, other in zip(mine, reference, strict=True)]


def names(features: FloatArray) -> list[str]:
    return [f"feature_{place}" for place in range(features.shape[1])]


def test_one_symbol_is_skfolios_splits_with_scikit_learns_ridge() -> None:
    from skfolio.model_selection import CombinatorialPurgedCV  # noqa: PLC0415 - takes seconds

    rows = rows_of(1200, horizon=3)
    X = features_of(rows)
    rows = labelled(rows, X, 0.2)
    used = rows[rows["fit_gate"]]
    Z, y = clipped(X[used.index]), used["label"].to_numpy()
    oracle = CombinatorialPurgedCV(n_folds=6, n_test_folds=2, purged_size=3, embargo_size=4)
    mine, base = np.full((5, len(y)), np.nan), np.full((5, len(y)), np.nan)
    on_path = oracle.get_path_ids()
    for split, (train, tests) in enumerate(oracle.split(np.zeros((len(y), 1)))):
        ridge = make_pipeline(StandardScaler(), Ridge(alpha=0.3 * len(train))).fit(Z[train], y[train])
        for test, tested in enumerate(tests):
            mine[on_path[split, test], tested] = ridge.predict(Z[tested])
            base[on_path[split, test], tested] = y[train].mean()
    found = other_histories(rows, X, names(X), RETURN, embargo=4, penalties=(0.3,))
    assert found == pytest.approx(skills(y, used["session"].to_numpy(), mine, base), abs=1e-9)
    assert len(found) == 5
    assert min(found) > 0.05


def on_paths(bars: IntArray, open_until: IntArray, embargo: int, fit: Fit) -> FloatArray:
    """Predictions by path (5, rows), each split fitted on rows picked one by one; bars: each row's bar."""
    found = np.full((5, len(bars)), np.nan)
    route = cv.paths(6, 2)
    for place, split in enumerate(cv.splits(open_until, groups=6, tested=2, embargo=embargo)):
        train = np.flatnonzero(np.isin(bars, split.train))
        for group, tested in zip(split.groups, split.tests, strict=True):
            rows = np.flatnonzero(np.isin(bars, tested))
            found[np.flatnonzero(route[:, group] == place)[0], rows] = fit(train, rows)
    return found


def ragged_panel() -> tuple[pd.DataFrame, FloatArray]:
    """Several symbols of unequal length, labels that end when they will, and a signal."""
    rows = rows_of(800, symbols=4, horizon=1)
    rng = np.random.default_rng(9)
    moments = np.sort(rows["time"].unique())
    ends = np.minimum(np.searchsorted(moments, rows["time"]) + rng.integers(1, 12, len(rows)), len(moments) - 1)
    rows = rows.assign(label_end=pd.DatetimeIndex(moments[ends]))
    rows = rows[(rows["symbol"] != "S002") | (rows["time"] > moments[150])].reset_index(drop=True)
    X = features_of(rows)
    return labelled(rows, X, 0.2), X


def test_a_ragged_panel_is_fitted_on_the_purged_rows_and_no_others() -> None:
    rows, X = ragged_panel()
    used = rows[rows["fit_gate"]]
    Z, y = clipped(X[used.index]), used["label"].to_numpy()
    moments, bars = np.unique(used["time"].to_numpy(), return_inverse=True)
    ends = np.searchsorted(moments, used["label_end"].to_numpy())
    open_until = pd.Series(ends).groupby(bars).max().to_numpy()
    assert len(np.unique(ends - bars)) > 5
    mine = on_paths(bars, open_until, 5, lambda train, tested: cv.ridge(Z, y, 0.1)(train)(tested))
    base = on_paths(bars, open_until, 5, lambda train, tested: np.full(len(tested), y[train].mean()))
    found = other_histories(rows, X, names(X), RETURN, embargo=5, penalties=(0.1,))
    assert found == pytest.approx(skills(y, used["session"].to_numpy(), mine, base), abs=1e-9)


def test_each_splits_penalty_has_the_least_error_on_its_own_training_groups() -> None:
    rows = rows_of(1200, horizon=2)
    X = features_of(rows, 40)
    rows = labelled(rows, X, 0.05)
    used = rows[rows["fit_gate"]]
    Z, y, bars = clipped(X[used.index]), used["label"].to_numpy(), np.arange(int(rows["fit_gate"].sum()))
    open_until, penalties = bars + 2, (0.01, 0.3, 10.0)
    alone = cv.splits(open_until, groups=6, tested=1, embargo=5)

    def chosen(train: IntArray, tested: IntArray) -> FloatArray:
        errors = dict.fromkeys(penalties, 0.0)
        for left_out in alone:
            inside = np.intersect1d(left_out.tests[0], train)
            # A group of which only an edge was purged is a training group; a tested one is not there at all.
            for penalty in penalties if len(inside) else ():
                fitted = cv.ridge(Z, y, penalty)(np.intersect1d(left_out.train, train))
                errors[penalty] += float(((y[inside] - fitted(inside)) ** 2).sum())
        return cv.ridge(Z, y, min(errors, key=errors.__getitem__))(train)(tested)

    mine = on_paths(bars, open_until, 5, chosen)
    base = on_paths(bars, open_until, 5, lambda train, tested: np.full(len(tested), y[train].mean()))
    found = other_histories(rows, X, names(X), RETURN, embargo=5, penalties=penalties)
    assert found == pytest.approx(skills(y, used["session"].to_numpy(), mine, base), abs=1e-9)


def test_volatility_is_measured_against_lhars_columns_by_least_squares() -> None:
    rows = rows_of(1200)
    columns = [*diagnostic.LHAR, "other"]
    X = np.random.default_rng(4).normal(size=(len(rows), len(columns)))
    rows = rows.assign(label=np.where(rows["label"].isna(), np.nan, X @ np.linspace(0.1, 0.5, len(columns))))
    rows["label"] += np.random.default_rng(7).normal(size=len(rows))
    used = rows[rows["fit_gate"]]
    Z, y, bars = clipped(X[used.index]), used["label"].to_numpy(), np.arange(int(rows["fit_gate"].sum()))

    def lhar(train: IntArray, tested: IntArray) -> FloatArray:
        fitted = LinearRegression().fit(Z[train, :-1], y[train])
        return np.asarray(fitted.predict(Z[tested, :-1]))

    mine = on_paths(bars, bars + 1, 5, lambda train, tested: cv.ridge(Z, y, 0.01)(train)(tested))
    found = other_histories(rows, X, columns, VOLATILITY, embargo=5, penalties=(0.01,))
    session = used["session"].to_numpy()
    assert found == pytest.approx(skills(y, session, mine, on_paths(bars, bars + 1, 5, lhar)), abs=1e-9)
    without = other_histories(rows, np.delete(X, -1, axis=1), columns[:-1], VOLATILITY, embargo=5, penalties=(0.01,))
    assert max(without) < 0.01 < min(found)


@pytest.mark.parametrize("target", [DIRECTION, BARRIER])
@pytest.mark.parametrize(("strength", "low", "high"), [(1.0, 0.1, 0.6), (0.0, -0.03, 0.01)])
def test_a_side_is_measured_against_the_base_rate(target: Target, strength: float, low: float, high: float) -> None:
    rows = rows_of(1200, horizon=target.horizon)
    X = features_of(rows)
    known = labelled(rows, (X - X.mean(axis=0)) / 2.0, 2 * strength)
    rows = known.assign(label=(known["label"] > 0.3).astype(float).where(known["label"].notna()))
    found = other_histories(rows, X, names(X), target, embargo=5)
    assert len(found) == 5
    assert low < min(found)
    assert max(found) < high


def test_nothing_of_the_gate_is_looked_at() -> None:
    rows = rows_of(1200, symbols=2, horizon=2)
    X = features_of(rows)
    rows = labelled(rows, X, 0.1)
    first = other_histories(rows, X, names(X), RETURN, embargo=5)
    later = ~rows["fit_gate"].to_numpy()
    assert (rows["window"] == "gate").any()
    assert not (rows["window"].to_numpy()[~later] == "gate").any()
    X[later] = np.nan
    assert other_histories(rows.assign(label=rows["label"].mask(later)), X, names(X), RETURN, embargo=5) == first


def test_noise_finds_nothing_whatever_the_number_of_features() -> None:
    rows = rows_of(1000)
    X = features_of(rows, 150)
    found = other_histories(labelled(rows, X, 0.0), X, names(X), RETURN, embargo=5)
    assert min(found) > -0.05
    assert max(found) < 0.01


def test_where_there_is_nothing_to_say_it_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    rows = rows_of(1200)
    X = features_of(rows)
    few = rows.assign(fit_gate=rows["fit_gate"] & (rows["fit_gate"].cumsum() < diagnostic.LEAST_BARS))
    assert other_histories(few, X, names(X), RETURN, embargo=5) == ()
    X[int(np.flatnonzero(rows["fit_gate"])[3]), 2] = np.nan
    assert other_histories(rows, X, names(X), RETURN, embargo=5) == ()
    assert "a feature has no value" in caplog.text


def test_twenty_years_of_two_hundred_features_take_no_time() -> None:
    rows = rows_of(5000, horizon=5)
    X = features_of(rows, 200)
    rows = labelled(rows, X, 0.1)
    taken = []
    for _ in range(3):
        begun = time.process_time()
        other_histories(rows, X, names(X), RETURN, embargo=5)
        taken.append(time.process_time() - begun)
    assert min(taken) < 2.0


def test_the_task_reads_what_is_stored_and_computes_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOCTURNE_HOME", str(tmp_path / "state"))
    frame = rows_of(1200, horizon=2)
    X = features_of(frame)
    frame = labelled(frame, X, 0.2)
    columns = tuple(names(X))
    stored = frame[["symbol", "time", "session"]].join(pd.DataFrame(X, columns=columns))
    features = FeatureMatrix(
        ref=write_parquet(tmp_path / "matrix.parquet", stored), spec=FeatureSpec(columns=columns, tick=0.01), lookback=0
    )
    rows = Rows(
        ref=write_parquet(tmp_path / "rows.parquet", frame), target=RETURN, windows=(), purged=0, embargo=5,
        term_start="",
    )  # fmt: skip
    first = task.other_histories.fn(features, rows)
    assert first == other_histories(frame, X, columns, RETURN, embargo=5)
    monkeypatch.setattr(diagnostic, "other_histories", None)
    assert task.other_histories.fn(features, rows) == first
