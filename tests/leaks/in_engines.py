"""Leaks inside a fit or a search: what an engine could do with labels and rows that are not its business.

The defences are the harness (``training.for_search``, ``training.for_job``), which blanks what an engine must not know,
and a fit's indifference to later rows.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from tasks.contracts import RefitJob
from tasks.search import linear_fit, training
from tasks.search.engine import TrainingData
from tasks.search.fold_scaling import FoldScaling
from tests.leaks.night import Fit, Floats, Night, constant, figure, judged, linear, on_all_rows, walk, worse_rate
from tests.leaks.outcome import Outcome

NOISE_COLUMNS = 300
PICKED = 10
UNIVERSES = 40


def noise(tonight: Night, seed: int) -> Night:
    """The night's directions with i.i.d. signs, and columns that know nothing of them."""
    random = np.random.default_rng(seed)
    rows = len(tonight.data.y)
    columns = {f"noise_{i}": values for i, values in enumerate(random.standard_normal((NOISE_COLUMNS, rows)))}
    coins = (random.random(rows) < 0.5).astype(float)
    return tonight.with_labels(coins).only_columns(**columns)


def picked(data: TrainingData, rows: np.ndarray) -> tuple[str, ...]:
    """The columns that correlate most with the labels of these rows."""
    X, y = data.X[rows], data.y[rows]
    strength = np.abs((X - X.mean(axis=0)).T @ (y - y.mean())) / X.std(axis=0)
    return tuple(data.columns[i] for i in np.argsort(-strength)[:PICKED])


def scaled_on_all_rows(returns: Night) -> Outcome:
    """The scaler sees the future; the project's own engines do not, and the check tells them apart."""

    def planted(data: TrainingData, job: RefitJob) -> Floats:
        whole = np.isfinite(data.X).all(axis=1)
        scaling = FoldScaling.fit(data.X[whole], data.y[data.job_rows(job.rows)], scale_target=False)
        rows = data.job_rows(job.rows)
        model = linear_fit.fit(data.columns, scaling.features(data.X[rows]).astype(float), data.y[rows], penalty=0.1)
        # The penalty acts on columns as the scaler left them, so the scale matters.
        return on_all_rows(data, data.columns, lambda X: model.predict(scaling.features(X).astype(float)))

    def own_scaling(data: TrainingData, job: RefitJob) -> Floats:
        rows = data.job_rows(job.rows)
        scaling = FoldScaling.fit(data.X[rows], data.y[rows], scale_target=True)
        values = np.full(len(data.y), np.nan)
        values[rows] = scaling.features(data.X[rows]).sum(axis=1)
        return values

    moved = knows_later_rows(returns, planted)
    clean = max(knows_later_rows(returns, fit) for fit in (linear(), own_scaling))
    joined = walk(returns, {"baseline": constant(), "planted": planted, "clean": linear()})
    value, lower = figure(joined, returns.target, "planted", "r2")
    honest, _ = figure(joined, returns.target, "clean", "r2")
    return Outcome(
        leak="scaler fitted on all rows",
        planted="an engine that scales with the mean and deviation of every row, later ones too",
        defence="a fit must not move when later rows change (each fold's scaler is its own)",
        found=f"its forecasts move by {moved:.2g} deviations when later rows change; the project's fits by {clean:.2g}",
        without=f"no figure tells: R² {value:.1%} where the honest fit has {honest:.1%}, no alarm below {lower:.1%}",
        caught=moved > 1e-6 and clean == 0.0,
        shown=lower < 0.01,
    )


def knows_later_rows(tonight: Night, fit: Fit) -> float:
    """How far a fit's forecasts of the rows that it learned from move, in deviations, if later rows change."""
    job = RefitJob(name="probe", recipe={}, rows=tonight.fits[0])
    data = training.for_job(tonight.data, job)
    rows = data.job_rows(job.rows)
    later = np.arange(len(data.y)) > rows.max()
    changed = dataclasses.replace(data, X=np.where(later[:, None], 1.0 + 3.0 * data.X, data.X))
    before, after = fit(data, job)[rows], fit(changed, job)[rows]
    return float(np.abs(after - before).max() / before.std())


def selected_on_all_rows(directions: Night) -> Outcome:
    """Columns of noise chosen by their correlation with every label in sight."""

    def planted(data: TrainingData, job: RefitJob) -> Floats:
        known = np.flatnonzero(np.isfinite(data.y) & np.isfinite(data.X).all(axis=1))
        return linear(picked(data, known), penalty=0.0)(data, job)

    tonight = noise(directions, seed=3)
    with_harness, without = (
        walk(tonight, {"baseline": constant(), "planted": planted}, defended=flag) for flag in (True, False)
    )
    caught, leaked = (figure(joined, tonight.target, "planted", "r2")[0] for joined in (with_harness, without))
    outcomes = [judged(joined, tonight.target, "planted").outcome for joined in (with_harness, without)]
    return Outcome(
        leak="feature selected on all rows",
        planted=f"the {PICKED} of {NOISE_COLUMNS} columns of noise that correlate most with all labels, on noise",
        defence="the harness blanks every label that a fit may not know",
        found=f"R² {caught:.1%} on the folds; the gate says {outcomes[0]}",
        without=f"R² {leaked:.1%}, p {worse_rate(without, tonight.target, 'planted'):.1g}: the gate says {outcomes[1]}",
        caught=outcomes[0] != "promoted",
        shown=outcomes[1] == "promoted",
    )


def recipes_chosen_on_the_folds(directions: Night) -> Outcome:
    """As many searches on noise as it takes to see a rate: chosen on search rows, or on the rows that rank."""
    hits = {True: 0, False: 0}
    for seed in range(UNIVERSES):
        tonight = noise(directions, seed=1000 + seed)
        for defended in hits:
            seen = training.for_search(tonight.data) if defended else tonight.data
            known = np.flatnonzero(np.isfinite(seen.y) & (tonight.data.window != ""))
            recipe = linear(picked(seen, known)[:3], penalty=0.0)
            joined = walk(tonight, {"baseline": constant(), "planted": recipe})
            hits[defended] += worse_rate(joined, tonight.target, "planted") < 0.05
    caught, leaked = (hits[flag] / UNIVERSES for flag in (True, False))
    return Outcome(
        leak="recipes chosen on rows that the ranking folds score",
        planted=f"searches that choose 3 of {NOISE_COLUMNS} columns of noise by all labels in sight",
        defence="the search ends before the first fold: labels of folds and gate are blanked",
        found=f"significant at 5 % in {caught:.0%} of {UNIVERSES} universes of noise",
        without=f"significant at 5 % in {leaked:.0%} of them",
        caught=caught <= 0.12,
        shown=leaked >= 0.25,
    )


def stopped_on_selection(directions: Night) -> Outcome:
    """A search that stops, or blends, where the selection window looks best."""
    tonight = noise(directions, seed=11)

    def best(data: TrainingData) -> str | None:
        rows = data.rows("selection")
        return picked(data, rows)[0] if len(rows) else None

    chosen = {True: best(training.for_search(tonight.data)), False: best(tonight.data)}
    leaked = _correlation(tonight, chosen[False] or "", "selection")
    later = _correlation(tonight, chosen[False] or "", "fold")
    validated = training.for_search(tonight.data)
    honest = _correlation(tonight, picked(validated, validated.rows("validation"))[0], "selection")
    return Outcome(
        leak="blending or early stopping on the selection window",
        planted=f"a search that keeps whichever of {NOISE_COLUMNS} models of noise does best on the selection rows",
        defence="the harness blanks the selection labels while a search runs",
        found=f"no selection label in sight; kept by the validation rows, |t| {honest:.1f} on the selection rows",
        without=f"|t| {leaked:.1f} on the selection rows, on which it was kept; {later:.1f} on the folds",
        caught=chosen[True] is None and honest < 2.6,
        shown=leaked > 2.6,
    )


def _correlation(tonight: Night, column: str, window: str) -> float:
    """|t| of the correlation of a column with the true labels of a window."""
    rows = tonight.data.rows(window)  # type: ignore[arg-type]
    x = tonight.data.take(rows, (column,))[:, 0]
    return float(abs(np.corrcoef(x, tonight.data.y[rows])[0, 1]) * np.sqrt(len(rows)))


def encoded_symbols(returns: Night) -> Outcome:
    """Contracts of 40 sessions each: their mean label over all time, as a feature."""
    tonight = _contracts(returns)

    def planted(data: TrainingData, job: RefitJob) -> Floats:
        known = np.isfinite(data.y)
        codes = np.unique(data.symbols.astype(str), return_inverse=True)[1]
        counts = np.bincount(codes[known], minlength=codes.max() + 1)
        sums = np.bincount(codes[known], weights=data.y[known], minlength=codes.max() + 1)
        means = np.where(counts > 0, sums / np.maximum(counts, 1), data.y[known].mean())
        return np.asarray(means[codes])

    fits: dict[str, Fit] = {"baseline": constant(), "planted": planted}
    caught, leaked = (
        figure(walk(tonight, fits, defended=flag), tonight.target, "planted", "r2") for flag in (True, False)
    )
    return Outcome(
        leak="target-encoded symbol over all time",
        planted="contracts of 40 sessions, each encoded by the mean of all its labels",
        defence="the harness blanks every label that a fit may not know; the alarm sees what is left",
        found=f"R² {caught[0]:.1%} on the folds, at least {caught[1]:.1%}",
        without=f"R² {leaked[0]:.1%}, at least {leaked[1]:.1%}: above the alarm's 1 %",
        caught=caught[1] < 0.01 and caught[0] < 0.005,
        shown=leaked[1] > 0.01,
    )


SLOTS, LIFE = 24, 40


def _contracts(returns: Night) -> Night:
    """24 contracts at a time, which live for 40 sessions: real returns, each slot from another stretch of history."""
    data, frame = returns.data, returns.frame
    used = np.flatnonzero(np.isfinite(data.y) & np.isfinite(data.X).all(axis=1))
    take = np.tile(used, SLOTS)
    slot = np.repeat(np.arange(SLOTS), len(used))
    label = np.concatenate([np.roll(data.y[used], 131 * s) for s in range(SLOTS)])
    symbols = np.array(
        [f"S{s:02}-{place // LIFE:03}" for s in range(SLOTS) for place in range(len(used))], dtype=object
    )
    whole = frame.iloc[take].reset_index(drop=True).assign(symbol=symbols, label=label)
    panel = dataclasses.replace(
        data,
        X=slot[:, None].astype(float),
        columns=("slot",),
        y=label,
        symbols=symbols,
        times=data.times[take],
        window=data.window[take],
        sessions=data.sessions[take],
        weight=data.weight[take],
        fits={name: mask[take] for name, mask in data.fits.items()},
    )
    return dataclasses.replace(returns, data=panel, frame=whole)
