"""Leaks in labels, windows and the reading of the gate."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.model_selection import KFold, cross_val_predict

from tasks.contracts import RefitJob
from tasks.errors import DataError
from tasks.leaderboard.metrics import Scored, auc
from tasks.registry.families import Family, term_of
from tasks.registry.ledger import Asked, Ledger
from tasks.search.engine import TrainingData
from tasks.statistics.diebold_mariano import diebold_mariano
from tests.leaks.night import Floats, Night, constant, figure, judged, linear, looked_at, on_all_rows, walk
from tests.leaks.outcome import Outcome

HORIZON, MARKETS = 20, 6
SEEDS, TRIALS = 30, 24
NAIVE_LEVEL = 0.05


def label_one_bar_early(returns: Night, volatility: Night) -> Outcome:
    """The label of the bar itself instead of the next one: what it looks at has been seen."""
    alarms, values, outcomes = {}, {}, {}
    for name, tonight in (("return", returns), ("volatility", volatility)):
        early = tonight.with_labels(np.roll(tonight.data.y, 1))
        baseline = constant() if name == "return" else linear(["har_1", "har_5", "har_22"], penalty=0.0)
        joined = walk(early, {"baseline": baseline, "planted": linear(penalty=0.01)})
        alarms[name] = looked_at(joined, tonight.target)
        values[name] = figure(joined, tonight.target, "planted", "r2")
        outcomes[name] = [judged(joined, tonight.target, "planted", said).outcome for said in (alarms[name], ())]
    return Outcome(
        leak="the label one bar early",
        planted="labels of the bar itself in place of the next one's, return and volatility",
        defence="the alarm on the joined predictions: R² over the base rate",
        found=f"at least {values['return'][1]:.0%} (limit 1 %) and {values['volatility'][1]:.0%} (limit 90 %): "
        f"the gate says {outcomes['return'][0]}",
        without=f"R² {values['return'][0]:.0%}: the gate says {outcomes['return'][1]}",
        caught=bool(alarms["return"]) and bool(alarms["volatility"]) and outcomes["return"][0] == "quarantined",
        shown=outcomes["return"][1] == "promoted",
    )


def overlapping_labels(slow: Night) -> Outcome:
    """Labels over 20 bars: neighbours share 19 of them, wherever a cut lies between."""
    unpurged = _unpurged(slow)
    fits = {"baseline": constant(), "planted": _last_known}
    clean = walk(slow, fits)
    try:
        walk(unpurged, fits)
        said = ""
    except DataError as error:
        said = str(error)
    edge, purged_edge = _edge(unpurged), _edge(slow)
    shuffled, honest = np.mean([_trees(slow, seed) for seed in range(MARKETS)], axis=0)
    return Outcome(
        leak="overlapping labels across a window's edge",
        planted=f"labels over {HORIZON} bars; fits that learn up to the last bar before a fold; cuts drawn at random",
        defence="windows purged by each label's own end; the join refuses a fit that learned what ends later",
        found=f"refused: {said.split(' (')[0]}; purged, the last label known and the fold's first ones correlate "
        f"{purged_edge:.2f}; trees on the folds of {MARKETS} markets of noise: AUC {honest:.2f}",
        without=f"they correlate {edge:.2f}; trees with cuts drawn at random: AUC {shuffled:.2f}",
        caught="not purged" in said and len(clean.refused) == 0 and abs(honest - 0.5) < 0.1,
        shown=edge > 0.6 and shuffled > 0.8,
    )


def _unpurged(tonight: Night) -> Night:
    """Fits that learn from all rows before their fold."""
    session = tonight.frame["session"].to_numpy()
    masks = {}
    for name in tonight.fits:
        first = session[(tonight.frame["scored_by"] == name).to_numpy()].min()
        masks[name] = np.isfinite(tonight.data.y) & (session < first) & tonight.data.fits["fit_all"]
    data = dataclasses.replace(tonight.data, fits={**tonight.data.fits, **masks})
    return dataclasses.replace(tonight, data=data, frame=tonight.frame.assign(**masks))


def _last_known(data: TrainingData, job: RefitJob) -> Floats:
    """The label of the last row learned from, whatever is asked."""
    known = data.y[data.job_rows(job.rows)]
    return np.full(len(data.y), known.mean() + 0.1 * (known[-1] - known.mean()))


def _edge(tonight: Night) -> float:
    """Correlation, over the folds, of the last label that a fit knows with the first three that it is scored on."""
    last, first = [], []
    for name in tonight.fits:
        known = tonight.data.y[tonight.data.job_rows(name)][-1]
        scored = tonight.data.y[(tonight.frame["scored_by"] == name).to_numpy()][:3]
        last += [known] * len(scored)
        first += scored.tolist()
    return float(np.corrcoef(last, first)[0, 1])


def _trees(slow: Night, seed: int) -> tuple[float, float]:
    """AUC of trees on a market of random signs: cross-validated with cuts at random, and on the purged folds."""
    data = slow.data
    place = np.arange(len(data.y))
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], len(place))
    moves = np.where(np.isfinite(data.y), np.abs(np.nan_to_num(data.y)), 0.0) * signs
    level = np.cumsum(moves)
    up = np.full(len(place), np.nan)
    up[:-HORIZON] = level[HORIZON:] > level[:-HORIZON]
    walkable = slow.with_labels(up).only_columns(level=level, place=place.astype(float))
    walkable = dataclasses.replace(
        walkable,
        data=dataclasses.replace(walkable.data, target=dataclasses.replace(slow.target, kind="classification")),
    )

    def trees(data: TrainingData, job: RefitJob) -> Floats:
        rows = data.job_rows(job.rows)
        model = _forest().fit(data.X[rows], data.y[rows])
        return on_all_rows(data, data.columns, lambda X: model.predict_proba(X)[:, 1])

    used = np.flatnonzero(data.fits["fit_all"] & np.isfinite(walkable.data.y))
    cuts = KFold(5, shuffle=True, random_state=1)
    random = cross_val_predict(
        _forest(), walkable.data.X[used], walkable.data.y[used], cv=cuts, method="predict_proba"
    )[:, 1]
    joined = walk(walkable, {"baseline": constant(), "trees": trees})
    label = joined.frame["label"].to_numpy(float)
    dates = np.arange(len(label))
    return (
        auc(Scored(label=walkable.data.y[used], prediction=random, date=used)),
        auc(Scored(label=label, prediction=joined.predictions["trees"], date=dates)),
    )


def _forest() -> ExtraTreesClassifier:
    return ExtraTreesClassifier(25, min_samples_leaf=5, random_state=1, n_jobs=1)


def seeds_by_the_gate(returns: Night) -> Outcome:
    """Seed after seed tried on the gate window, on labels that no seed knows anything of."""
    gate = returns.frame[returns.frame["window"] == "gate"]
    label = gate["label"].to_numpy(np.float64)
    dates = [f"{day:%Y-%m-%d}" for day in gate["session"]]
    naive = counted = 0
    for trial in range(TRIALS):
        random = np.random.default_rng(trial)
        truth = label * random.choice([-1.0, 1.0], len(label))
        p_values = [_p(truth, random) for _ in range(SEEDS)]
        naive += min(p_values) < NAIVE_LEVEL
        counted += _promoted_by_ledger(p_values, dates, trial)
    again = _reads_of_one_seed(dates)
    return Outcome(
        leak="choosing the seed by the gate window",
        planted=f"{SEEDS} seeds of a model that knows nothing, each tried on the gate; {TRIALS} universes",
        defence="the ledger counts reads of the gate by their evidence: read k at 0.05 / (k (k + 1))",
        found=f"a seed is promoted in {counted / TRIALS:.0%} of the universes; one seed tried thrice is {again} read",
        without=f"a test at 5 % for each: promoted in {naive / TRIALS:.0%} of them",
        caught=counted / TRIALS <= 0.15 and again == 1,
        shown=naive / TRIALS > 0.5,
    )


def _p(truth: Floats, random: np.random.Generator) -> float:
    """One-sided p of a forecast of noise against zero, so small that its own error costs nothing."""
    forecast = 0.01 * truth.std() * random.standard_normal(len(truth))
    return diebold_mariano(truth**2 - (truth - forecast) ** 2, 0).p_value


def _promoted_by_ledger(p_values: list[float], dates: list[str], trial: int) -> bool:
    with Ledger.in_memory() as ledger:
        for seed, p_value in enumerate(p_values):
            reading = ledger.spend(_asked(f"{trial}-{seed}", dates))
            if p_value < reading.level:
                return True
    return False


def _reads_of_one_seed(dates: list[str]) -> int:
    """How many reads three looks at the same evidence are."""
    with Ledger.in_memory() as ledger:
        return max(ledger.spend(_asked("same", dates)).k for _ in range(3))


def _asked(evidence: str, dates: list[str]) -> Asked:
    family = Family(
        predicts="return over 1 x 1d on XNYS",
        symbols=frozenset({"SP500"}),
        series=frozenset({"one"}),
        term=term_of(pd.Timestamp(dates[-1])),
    )
    return Asked(problem="leaks", family=family, recipe=evidence, evidence=evidence, dates=dates, alpha=0.05)
