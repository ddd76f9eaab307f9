"""A rollout of real models on real bars, date by date through the real state machine; and how often nulls are promoted.

The S&P 500's volatility one day ahead: HAR as champion and ridge as challenger, the reverse, and two equally good
models. Both are refitted once a year on everything before that year (an expanding window): not as in service, where the
challenger stays as it was when its rollout began and the champion may be refreshed every night. The clip bound
comes from the 504 dates before the rollout begins, and it begins again every 21 dates, so that one start is not the
whole story.

Then nulls in which the challenger is never better in conditional mean, one row each: how often E ever reaches what
promotes, and how often the machine promotes, within 504 dates.

``python -m tests.benchmarks.bench_rollout [--paths N] [--page FOLDER]`` prints the tables. It ends with 1 if a null was
promoted more often than its level allows (exact lower 95 % bound above it).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from arch.data import sp500
from scipy import stats

from tasks.contracts import FeatureSpec, Target
from tasks.features import catalogue, matrix
from tasks.labels.targets import Labels, make_labels
from tasks.rollout import evidence, page, words
from tasks.rollout.assess import Assessment, assess
from tasks.rollout.machine import stepped, walk
from tasks.rollout.plan import SHARES, Plan, Policy
from tasks.search import linear_fit
from tasks.search.baselines import HAR
from tasks.statistics.eprocess import clip_bound, first_reach, log_e_values
from tasks.statistics.losses import row_losses

Floats = npt.NDArray[np.float64]
CASES = (("har", "ridge", 1), ("ridge", "har", 1), ("one", "other", 1), ("har", "ridge", 5))
Null = Callable[[np.random.Generator, int, int], Floats]

TICK = 0.01
LOOKBACK = 260
FIRST_FIT, REFIT, EMBARGO = 1500, 252, 5
PRIOR, LIMIT, EVERY = 504, 504, 21
PENALTY = 0.1
TWIN = 0.1
"""Noise on the log scale that makes two equally good models out of one."""
BEGIN = pd.Timestamp("2009-12-31")
LEVEL = 0.025
LEVELS = (0.05, LEVEL, 0.05 / 6)


@lru_cache(maxsize=4)
def material(horizon: int = 1) -> tuple[pd.DataFrame, tuple[str, ...], Floats, Labels]:
    """The S&P 500's bars, the catalogue's columns, their values and the labels, row by row."""
    raw = sp500.load().rename(columns=str.lower)
    bars = raw[["open", "high", "low", "close", "volume"]].astype(float).reset_index(drop=True)
    session = pd.Series(pd.DatetimeIndex(raw.index))
    bars = bars.assign(symbol="SPX", session=session, time=session.dt.tz_localize("UTC") + pd.Timedelta(hours=21))
    columns = catalogue.select(True, False, LOOKBACK)
    x = matrix.panel(bars, FeatureSpec(columns=columns, tick=TICK))
    target = Target(name="volatility", horizon=horizon, kind="regression", loss="mse")
    return bars, columns, x, make_labels(bars, target, "range", TICK, False)


@lru_cache(maxsize=4)
def walked(horizon: int = 1) -> pd.DataFrame:
    """Out-of-sample forecasts in the columns ``har, ridge, one, other``, NaN before the first, beside labels.

    ``one`` and ``other`` are HAR with noise of the same size: neither is better.
    """
    bars, columns, x, labels = material(horizon)
    known = np.flatnonzero(np.isfinite(x).all(axis=1) & np.isfinite(labels.label))
    har = [columns.index(name) for name in HAR]
    said = np.full((len(bars), 2), np.nan)
    for start in range(FIRST_FIT, len(known), REFIT):
        learn, tell = known[: start - horizon - EMBARGO], known[start : start + REFIT]
        one = linear_fit.fit(HAR, x[learn][:, har], labels.label[learn])
        two = linear_fit.fit(columns, x[learn], labels.label[learn], penalty=PENALTY, clip=linear_fit.CLIP)
        said[tell] = np.column_stack([one.predict(x[tell][:, har]), two.predict(x[tell])])
    frame: pd.DataFrame = bars[["symbol", "time", "session"]]
    noise = TWIN * np.random.default_rng(1).standard_normal(said.shape)
    return frame.assign(
        label=labels.label, label_end=labels.label_end, har=said[:, 0], ridge=said[:, 1],
        one=said[:, 0] + noise[:, 0], other=said[:, 0] + noise[:, 1],
    )  # fmt: skip


def frozen(begin: int) -> Floats:
    """HAR's loss, refitted once a year, less ridge's, fitted once before the rollout: the dates before and in it.

    As in service: the gated fit has learned nothing of the 504 dates before, the shipped one all up to the beginning.
    """
    _, columns, x, labels = material()
    label = labels.label
    said = walked()["har"].to_numpy(np.float64)
    known = np.flatnonzero(np.isfinite(x).all(axis=1) & np.isfinite(label) & np.isfinite(said))
    learn = np.flatnonzero(np.isfinite(x).all(axis=1) & np.isfinite(label))
    told = []
    for first, dates in ((begin - PRIOR, PRIOR), (begin, LIMIT)):
        rows = known[first : first + dates]
        before = learn[learn < rows[0] - 1 - EMBARGO]
        fit = linear_fit.fit(columns, x[before], label[before], penalty=PENALTY, clip=linear_fit.CLIP)
        told.append(row_losses("mse", label[rows], said[rows]) - row_losses("mse", label[rows], fit.predict(x[rows])))
    return np.concatenate(told)


def differences(champion: str, challenger: str, horizon: int = 1) -> pd.Series:
    """Champion's loss less the challenger's on every date that both forecast, by session."""
    frame = walked(horizon)
    label = frame["label"].to_numpy(np.float64)
    lost = [row_losses("mse", label, frame[name].to_numpy(np.float64)) for name in (champion, challenger)]
    return pd.Series(lost[0] - lost[1], index=pd.DatetimeIndex(frame["session"])).dropna()


def agreed(models: tuple[str, str], prior: Floats, after: str, horizon: int) -> Plan:
    """A plan as the flow makes it."""
    champion, challenger = models
    return Plan(
        id=f"replay-{challenger}", name="sp500-volatility", mode="gradual", champion="1", challenger="2",
        predicts=f"volatility (range, tick 0.01) over {horizon} x 1d on XNYS", loss="mse", started=after, after=after,
        streams=horizon, bound=clip_bound(prior), level=LEVEL, limit=LIMIT, read=1, champion_is=champion,
        challenger_is=challenger, prior=tuple(prior.tolist()),
    )  # fmt: skip


def replay(champion: str, challenger: str, begin: int, horizon: int = 1, nightly: bool = False) -> Assessment:
    """A rollout that begins at a date's place; night by night through forecasts and outcomes, or in one go."""
    found = differences(champion, challenger, horizon)
    prior, after = found.to_numpy()[begin - PRIOR : begin], f"{found.index[begin - 1]:%Y-%m-%d}"
    plan = agreed((champion, challenger), prior, after, horizon)
    frame = walked(horizon)
    part = frame[(frame["session"] > found.index[begin - 1]) & frame[champion].notna()].head(LIMIT + horizon)
    part = part.reset_index(drop=True)
    forecasts, outcomes = evidence.no_forecasts(), evidence.no_outcomes()
    nights = range(1, len(part) + 1) if nightly else (len(part),)
    for night in nights:
        seen = part.head(night).copy()
        seen.loc[seen.index > night - 1 - horizon, "label"] = np.nan
        said = [seen[name].to_numpy(np.float64) for name in (champion, challenger)]
        new = evidence.new_forecasts(
            seen, said[0], said[1], forecasts, after=plan.after, learned=plan.after, share=SHARES[0]
        )
        forecasts = pd.concat([forecasts, new], ignore_index=True) if len(forecasts) else new
        scored = evidence.new_outcomes(seen, forecasts, outcomes, loss="mse", bound=plan.bound, streams=plan.streams)
        outcomes = pd.concat([outcomes, scored], ignore_index=True) if len(outcomes) else scored
    return assess(plan, forecasts, outcomes)


def normal(rng: np.random.Generator, paths: int, dates: int) -> Floats:
    """Independent and Gaussian."""
    return rng.standard_normal((paths, dates))


def heavy(rng: np.random.Generator, paths: int, dates: int) -> Floats:
    """Student's t with 2.1 degrees of freedom: hardly a variance."""
    return rng.standard_t(2.1, (paths, dates))


def garch(rng: np.random.Generator, paths: int, dates: int) -> Floats:
    """GARCH(1, 1) with t innovations, 0.1 and 0.88: volatile stretches that last."""
    out, variance = np.empty((paths, dates)), np.ones(paths)
    shocks = rng.standard_t(5, (paths, dates)) / np.sqrt(5 / 3)
    for date in range(dates):
        out[:, date] = np.sqrt(variance) * shocks[:, date]
        variance = 0.02 + 0.1 * out[:, date] ** 2 + 0.88 * variance
    return out


def trending(rng: np.random.Generator, paths: int, dates: int) -> Floats:
    """Conditional means that wander below 0, and a volatility that jumps tenfold at a random date."""
    drift = -np.abs(np.cumsum(rng.standard_normal((paths, dates)) * 0.02, axis=1))
    wild = np.arange(dates) >= rng.integers(0, dates, (paths, 1))
    return drift + rng.standard_normal((paths, dates)) * np.where(wild, 10.0, 1.0)


def overlapping(rng: np.random.Generator, paths: int, dates: int) -> Floats:
    """Sums of the next five days' t shocks: labels over a horizon of 5, autocorrelated to lag 4."""
    shocks = rng.standard_t(4, (paths, dates + 4))
    return np.asarray(np.stack([shocks[:, i : i + dates] for i in range(5)]).sum(axis=0))


NULLS: dict[str, tuple[Null, int]] = {
    "Gaussian": (normal, 1),
    "Student t, 2.1": (heavy, 1),
    "GARCH, t 5": (garch, 1),
    "wandering mean <= 0": (trending, 1),
    "horizon 5, t 4": (overlapping, 5),
}


def verbs(x: Floats, streams: int, limit: int) -> list[str]:
    """What the machine ends with on each path (paths, dates) of clipped differences."""
    policy = Policy(mode="gradual", level=LEVEL, limit=limit)
    favour, against, total = log_e_values(x, streams), log_e_values(-x, streams), np.cumsum(x, axis=1)
    return [list(stepped(path, policy))[-1][1].verb for path in np.stack([favour, against, x, total], axis=1)]


def _replays() -> Iterator[str]:
    for champion, challenger, horizon in CASES:
        found = differences(champion, challenger, horizon).to_numpy()
        ends = [replay(champion, challenger, begin, horizon) for begin in range(PRIOR, len(found) - LIMIT, EVERY)]
        verbs = [end.step.verb for end in ends]
        dates = sorted(end.state.dates for end in ends if end.step.verb == "promotes")
        back = sorted(end.state.dates for end in ends if end.step.verb == "rolls back")
        counts = "  ".join(f"{verb} {verbs.count(verb):3}" for verb in ("promotes", "rolls back", "keeps"))
        when = f"median dates to promotion {dates[len(dates) // 2]}" if dates else "never promoted"
        when += f", to rollback {back[len(back) // 2]}" if back else ""
        yield f"{challenger:6} over {champion:6} h={horizon}: {len(ends):3} starts  {counts}  {when}"


def _frozen() -> Iterator[str]:
    dates = len(differences("har", "ridge"))
    policy, ends = Policy(mode="gradual", level=LEVEL, limit=LIMIT), []
    for begin in range(PRIOR, dates - LIMIT, EVERY):
        found = frozen(begin)
        ends.append(list(walk(found[PRIOR:], clip_bound(found[:PRIOR]), 1, policy))[-1])
    verbs = [step.verb for _, step in ends]
    counts = "  ".join(f"{verb} {verbs.count(verb):3}" for verb in ("promotes", "rolls back", "keeps"))
    when = sorted(state.dates for state, step in ends if step.verb == "promotes")
    median = f"median dates to promotion {when[len(when) // 2]}" if when else "never promoted"
    yield f"ridge, never refitted, over har h=1: {len(ends):3} starts  {counts}  {median}"


def _power() -> Iterator[str]:
    found = differences("har", "ridge").to_numpy()
    starts = range(PRIOR, len(found) - 1000, EVERY)
    x = np.stack([np.clip(found[s : s + 1000] / clip_bound(found[s - PRIOR : s]), -1, 1) for s in starts])
    log_e = log_e_values(x)
    for level in LEVELS:
        dates = np.where((reach := first_reach(log_e, level)) == 0, 10**6, reach)
        low, mid, high = np.percentile(dates, (10, 50, 90), method="inverted_cdf").astype(int)
        share = float((reach > 0).mean())
        yield f"E >= {1 / level:5.0f}: median {mid:4} dates, 80 % within {low} to {_or(high)}; {share:.0%} in 1,000"


def _or(dates: int) -> str:
    return str(dates) if dates < 10**6 else "never"


def _steps(found: Assessment) -> Iterator[str]:
    yield f"{found.plan.challenger_is} over {found.plan.champion_is}, from {found.plan.after}: {found.step.verb}"
    for session, number, e, share, why in words.changes(found):
        yield f"  {session}  date {number:4}  E {e:>8}  share {share:>4}  {why}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--paths", type=int, default=2000)
    parser.add_argument("--page", type=Path, default=None, help="write the replays' pages to this folder")
    asked = parser.parse_args(arguments)
    begin = int((differences("har", "ridge").index <= BEGIN).sum())
    for champion, challenger in (("har", "ridge"), ("ridge", "har")):
        found = replay(champion, challenger, begin, nightly=True)
        print("\n".join(_steps(found)))
        if asked.page is not None:
            asked.page.mkdir(parents=True, exist_ok=True)
            (asked.page / f"{found.plan.id}.html").write_text(page.render(found), encoding="utf-8")
    print("\nreal S&P 500, both refitted yearly, a start every 21 dates, limit 504 dates, level 1/40")
    print("\n".join([*_replays(), *_frozen()]))
    print("\ndates until ridge over HAR reaches")
    print("\n".join(_power()))
    return _nulls(asked.paths)


def _nulls(paths: int) -> int:
    print(f"\nnulls, {paths:,} paths of {LIMIT} dates: how often E ever reaches 20, 40, 120; and ends")
    worst = 0
    for number, (name, (null, streams)) in enumerate(NULLS.items()):
        d = null(np.random.default_rng([7, number]), paths, LIMIT)
        x = np.clip(d / np.quantile(np.abs(d), 0.99), -1.0, 1.0)
        log_e = log_e_values(x, streams)
        rates = [(first_reach(log_e, level) > 0).sum() for level in LEVELS]
        ends = verbs(x, streams, LIMIT)
        machine, back = ends.count("promotes"), ends.count("rolls back")
        reached = "  ".join(f"{rate / paths:7.2%}" for rate in rates)
        print(f"{name:20} {reached}  promoted {machine / paths:.2%}, rolled back {back / paths:.2%}")
        for count, level in zip((*rates, machine), (*LEVELS, LEVEL), strict=True):
            worst = max(worst, int(stats.beta.ppf(0.05, count, paths - count + 1) > level)) if count else worst
    return worst


if __name__ == "__main__":
    sys.exit(main())
