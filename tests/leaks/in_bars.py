"""Leaks in the bars themselves: stamps, copies, adjustments, and who is missing. The data checks must see them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.bars.describe import SourceDescription, from_options
from tasks.bars.ingest import ingest_source, read_accepted
from tasks.bars.inspection import inspect
from tasks.contracts import FeatureSpec, Rows, Snapshot
from tasks.evaluation import Decision, Evidence, Leaderboard
from tasks.features import catalogue, matrix
from tasks.leaderboard import noise
from tasks.problem import Problem
from tasks.registry import conditions, gate
from tasks.registry.records import Night as Facts
from tests.leaks.night import Floats, source_of
from tests.leaks.outcome import Outcome

HALF_HOUR = pd.Timedelta(minutes=30)
PRICES = ["open", "high", "low", "close"]
NOW = pd.Timestamp("2026-01-02", tz="UTC")


def sp500() -> pd.DataFrame:
    """The S&P 500 as canonical bars."""
    return read_accepted(from_options("builtin:sp500")).frame


def told(bars: pd.DataFrame, rule: str, **options: Any) -> list[dict[str, Any]]:
    """What the checks find in these bars by a rule."""
    document = inspect(from_options(source_of(bars), **options), NOW)
    return [finding for finding in document["findings"] if finding["rule"].startswith(rule)]


def stamped_with_the_open() -> Outcome:
    """Half hours made of real days: their stamps are starts, and are declared as ends."""
    bars = half_hours_of(sp500().iloc[-300:].reset_index(drop=True))
    early = bars.assign(time=bars["time"] - HALF_HOUR)
    found, clean = (told(frame, "off-session", bar="30min") for frame in (early, bars))
    hits, base = _hit_rate(bars, early)
    return Outcome(
        leak="resampling that stamps a bar with its open",
        planted=f"{len(bars):,} half hours made of real days, stamped with their open, declared as their close",
        defence="the calendar: a bar that ends as the session opens lies outside of it",
        found=f"refused: {len(found)} bars outside their session; none where stamps are closes ({len(clean)})",
        without=f"joined by its stamp, the bar to come is known: {hits:.0%} of sides called (base rate {base:.0%})",
        caught=len(found) >= 300 and not clean,
        shown=hits > 0.95,
    )


def half_hours_of(days: pd.DataFrame) -> pd.DataFrame:
    """13 bars a session (7 before a holiday) along a random bridge from each day's open to its close."""
    random = np.random.default_rng(1)
    opens, closes = np.log(days["open"].to_numpy(float)), np.log(days["close"].to_numpy(float))
    parts = []
    for place, close in enumerate(pd.DatetimeIndex(days["time"]).tz_convert("America/New_York")):
        opening = close.normalize() + pd.Timedelta(hours=9.5)
        bars = round((close - opening) / HALF_HOUR)
        walk = np.concatenate([[0.0], np.cumsum(random.standard_normal(bars))])
        bridge = walk - walk[-1] * np.arange(bars + 1) / bars
        path = np.exp(np.linspace(opens[place], closes[place], bars + 1) + 0.002 * bridge).round(2)
        for k in range(bars):
            first, last = path[k], path[k + 1]
            parts.append((opening + (k + 1) * HALF_HOUR, first, max(first, last) + 0.5, min(first, last) - 0.5, last))
    frame = pd.DataFrame(parts, columns=["time", *PRICES])
    frame["time"] = pd.DatetimeIndex(frame["time"]).tz_convert("UTC")
    return frame.assign(symbol="SP500", session=frame["time"].dt.tz_localize(None).dt.normalize(), volume=1000.0)


def _hit_rate(bars: pd.DataFrame, early: pd.DataFrame) -> tuple[float, float]:
    """Sides of the next bar called by the newest bar of the misdated series, and the commoner side's share."""
    returns = np.log(bars["close"]).diff()
    known = pd.Series(returns.to_numpy(), index=pd.DatetimeIndex(early["time"]))
    known = known[~known.index.duplicated()]
    ahead = returns.shift(-1).to_numpy()
    called = known.reindex(pd.DatetimeIndex(bars["time"])).to_numpy()
    both = np.isfinite(ahead) & np.isfinite(called)
    up = ahead[both] > 0
    return float((up == (called[both] > 0)).mean()), float(max(up.mean(), 1 - up.mean()))


def duplicated_across_windows() -> Outcome:
    """Sessions of a later window copied into an earlier one, where prices were about the same."""
    bars = sp500()
    early, late = _alike(bars)
    planted = bars.copy()
    planted.loc[early, [*PRICES, "volume"]] = bars.loc[late, [*PRICES, "volume"]].to_numpy()
    found, clean = (told(frame, "later-bar") for frame in (planted, bars))
    recalled = _recalled(planted, early, late)
    return Outcome(
        leak="duplicated rows across windows",
        planted=f"{len(late)} sessions of {_year(bars, late)} copied over as many of {_year(bars, early)}",
        defence="the bars' checks: bars equal to a later session's",
        found=f"{len(found)} bars named; none in the clean series ({len(clean)})",
        without=f"the nearest row of the past recalls the return to come on {recalled:.0%} of the copied sessions",
        caught=len(found) >= 0.8 * len(late) and not clean,
        shown=recalled > 0.8,
    )


def _alike(bars: pd.DataFrame, size: int = 40) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Two stretches, years apart, whose closes lie nearest to each other: the copy shows no jump."""
    close = np.log(bars["close"].to_numpy())
    firsts = np.arange(1000, 1600, 10)
    seconds = np.arange(2900, 3400, 10)
    gap = [[abs(close[a] - close[b]) + abs(close[a + size] - close[b + size]) for b in seconds] for a in firsts]
    a, b = np.unravel_index(np.argmin(gap), (len(firsts), len(seconds)))
    return firsts[a] + np.arange(size), seconds[b] + np.arange(size)


def _year(bars: pd.DataFrame, rows: npt.NDArray[np.int64]) -> int:
    return int(bars["session"].iloc[int(rows[0])].year)


def _recalled(bars: pd.DataFrame, early: npt.NDArray[np.int64], late: npt.NDArray[np.int64]) -> float:
    """How often the nearest earlier row, by range and body, has the very return that follows the later one."""
    logs = np.log(bars[PRICES].to_numpy(float))
    shape = np.column_stack([logs[:, 1] - logs[:, 2], logs[:, 3] - logs[:, 0]])
    ahead = np.append(np.diff(logs[:, 3]), np.nan)
    past = np.arange(early.max() + 500)
    nearest = [past[np.argmin(np.abs(shape[past] - shape[row]).sum(axis=1))] for row in late[:-1]]
    return float(np.mean(np.abs(ahead[nearest] - ahead[late[:-1]]) < 1e-12))


def filled_from_the_future() -> Outcome:
    """Gaps of five sessions, filled with the bar that follows them."""
    bars = sp500()
    starts = np.arange(1000, 4800, 200)
    planted, known, true = bars.copy(), [], []
    for start in starts:
        after = start + 5
        for name in (*PRICES, "volume"):
            planted.loc[start : after - 1, name] = bars[name].iloc[after]
        known.append(np.log(planted["close"][start] / planted["close"][start - 1]))
        true.append(np.log(bars["close"][after] / bars["close"][start - 1]))
    found, clean = (told(frame, "later-bar") for frame in (planted, bars))
    spoken = np.unique([finding["time"] for finding in found])
    knows = float(np.corrcoef(known, true)[0, 1])
    return Outcome(
        leak="forward-filled future values after a gap",
        planted=f"{len(starts)} gaps of 5 sessions, filled with the bar that follows the gap",
        defence="the bars' checks: bars equal to a later session's",
        found=f"{len(spoken)} bars named in {len(starts)} gaps; none in the clean series ({len(clean)})",
        without=f"the first filled bar's return is that of the next five sessions (correlation {knows:.2f})",
        caught=len(spoken) >= 5 * len(starts) and not clean,
        shown=knows > 0.99,
    )


def future_dividends() -> Outcome:
    """A source that takes each new dividend off all its history, by a factor or by subtraction, read on two nights."""
    bars = sp500()
    dividends = np.arange(60, len(bars), 63)
    shares = np.random.default_rng(2).uniform(0.002, 0.02, len(dividends))
    then, now = (_adjusted(part, dividends, shares) for part in (bars.iloc[:-70], bars))
    then_cash, cash = _subtracted(bars.iloc[:-70], then), _subtracted(bars, now)
    same, scaled, lowered = _second_night(then, then), _second_night(then, now), _second_night(then_cash, cash)
    known = now.iloc[: len(then)]
    drift, level = _features_move(then, known), float((known["close"].to_numpy() != then["close"].to_numpy()).mean())
    held = float(np.log(then["close"].iloc[0] / known["close"].iloc[0]))
    first = _obstacles(_ingested(source_of(cash)))
    return Outcome(
        leak="adjusted prices with future dividends",
        planted=f"{len(dividends)} dividends taken off all earlier prices, by a factor or by subtraction",
        defence="history that was read before: restated, it rules promotion out; by one factor, it moves no feature",
        found=f"subtracted: {_said(_obstacles(lowered))}. By a factor: {drift:.2%} of feature values move, and "
        f"{scaled.finding_counts.get('rescaled', 0)} finding 'rescaled' is told. Unchanged: nothing",
        without=f"a file read for the first time passes, and a price level moves on {level:.0%} of the rows: it holds "
        f"dividends to come of {held:.1%}",
        caught=bool(_obstacles(lowered))
        and scaled.finding_counts.get("rescaled", 0) == 1
        and drift < 0.002
        and not _obstacles(same)
        and "rescaled" not in same.finding_counts,
        shown=not first and level > 0.99 and held > 0.005,
    )


def _second_night(then: pd.DataFrame, now: pd.DataFrame) -> Snapshot:
    """What a source is found to be on the night after it was first read."""
    path = source_of(then)
    _ingested(path, then, NOW - pd.Timedelta(days=1))
    return _ingested(path, now)


def _subtracted(bars: pd.DataFrame, adjusted: pd.DataFrame) -> pd.DataFrame:
    """The same dividends in money instead of shares: earlier prices are lower by a sum, not by a factor."""
    paid = np.diff(np.log(adjusted["close"] / bars["close"]), append=0.0) * bars["close"].to_numpy()
    due = paid[::-1].cumsum()[::-1]
    return bars.assign(**{name: bars[name] - 0.3 * due for name in PRICES})


def _obstacles(snapshot: Snapshot, problem: Problem | None = None) -> tuple[str, ...]:
    return conditions.data_obstacles(facts_of(snapshot, problem or Problem(**_DESCRIBED, source="x")))


_DESCRIBED: dict[str, Any] = {"name": "leaks", "target": "return"}


def _adjusted(bars: pd.DataFrame, dividends: npt.NDArray[np.int64], shares: Floats) -> pd.DataFrame:
    """Prices as a source shows them on the night of the last bar: every dividend so far off all that came before."""
    factor = np.ones(len(bars))
    for at, share in zip(dividends, shares, strict=True):
        if at < len(bars):
            factor[:at] *= 1.0 - share
    return bars.assign(**{name: bars[name] * factor for name in PRICES})


def _ingested(path: str, bars: pd.DataFrame | None = None, now: pd.Timestamp = NOW) -> Snapshot:
    """The source's snapshot, after its file was written anew if bars are given."""
    if bars is not None:
        bars.drop(columns=["time"]).rename(columns={"session": "date"}).to_parquet(path, index=False)
    return ingest_source(SourceDescription(source=path), now)


def _features_move(then: pd.DataFrame, now: pd.DataFrame) -> float:
    """The share of feature values that move by more than a millionth of their column's deviation.

    A few do: where a column compares two prices that are equal, rounding decides.
    """
    spec = FeatureSpec(columns=catalogue.select(has_volume=True, true_opens=False), tick=1e-6)
    a, b = (matrix.panel(frame.reset_index(drop=True), spec) for frame in (then, now))
    settled = np.isfinite(a).all(axis=1) & np.isfinite(b).all(axis=1)
    return float((np.abs(a[settled] - b[settled]) > 1e-6 * a[settled].std(axis=0)).mean())


def survivors_only() -> Outcome:
    """Shares made of stretches of real bars; those that fell by a fifth are delisted, or left out altogether."""
    everyone = _shares()
    dead = {name for name, group in everyone.groupby("symbol") if group["session"].max() < everyone["session"].max()}
    survivors = everyone[~everyone["symbol"].isin(dead)].reset_index(drop=True)
    obstacles = {
        name: _obstacles(_ingested(source_of(frame))) for name, frame in (("all", everyone), ("survivors", survivors))
    }
    decisions = {name: _decided(found) for name, found in {**obstacles, "unasked": ()}.items()}
    means = {name: _mean_return(frame) for name, frame in (("all", everyone), ("survivors", survivors))}
    return Outcome(
        leak="survivors only",
        planted=f"{everyone['symbol'].nunique()} shares, of which {len(dead)} fell and were delisted, are left out",
        defence="a universe whose symbols all reach the last date is marked, and its return models are not promoted",
        found=f"{_said(obstacles['survivors'])}: {decisions['survivors'].outcome}; nothing where the fallen are in",
        without=f"{decisions['unasked'].outcome}, and the mean return is {means['survivors']:+.1%} a year in place of "
        f"{means['all']:+.1%}",
        caught=bool(obstacles["survivors"]) and not obstacles["all"] and decisions["survivors"].outcome != "promoted",
        shown=decisions["unasked"].outcome == "promoted" and means["survivors"] > means["all"] + 0.02,
    )


def _shares(size: int = 800, count: int = 24) -> pd.DataFrame:
    """Stretches of real bars with signs drawn anew, on the last sessions; each ends where it has lost a fifth."""
    bars = sp500()
    dates = bars[["time", "session"]].iloc[-size:].reset_index(drop=True)
    parts = []
    for number in range(count):
        first = 170 * number
        part = noise.signs(bars.iloc[first : first + size].reset_index(drop=True), seed=number)
        part[PRICES] = (part[PRICES] * (20.0 + 7.0 * number) / part["close"].iloc[0]).round(2)
        part[["time", "session"]] = dates
        part["volume"] = (part["volume"] * (1.0 + 0.01 * number)).round()
        fallen = np.flatnonzero(part["close"].to_numpy() < 0.8 * part["close"].iloc[0])
        parts.append(part.iloc[: fallen[0] + 1 if len(fallen) else size].assign(symbol=f"S{number:02}"))
    return pd.concat(parts, ignore_index=True)


def _mean_return(bars: pd.DataFrame) -> float:
    returns = np.log(bars["close"]).groupby(bars["symbol"]).diff()
    return float(252 * returns.groupby(bars["session"]).mean().mean())


def facts_of(snapshot: Snapshot, problem: Problem) -> Facts:
    """A night of which nothing but the bars matters."""
    empty: Any = None
    rows = Rows(ref=snapshot.bars, target=problem.objective, windows=(), purged=0, embargo=0, term_start="")
    return Facts(problem=problem, snapshot=snapshot, features=empty, rows=rows, results=(), code_version="",
                 leaderboard=Leaderboard(scores=(), rows=0, dates=0, sha256=""))  # fmt: skip


def _decided(obstacles: tuple[str, ...]) -> Decision:
    """What the gate would say of a challenger that is far better than its only rival."""
    dates = pd.bdate_range("2015-01-01", periods=600)
    luck = np.random.default_rng(1).standard_normal(600)
    test = gate.compare(
        pd.Series(1.0 + 0.1 * luck, index=dates), pd.Series(1.5 + 0.2 * luck, index=dates),
        name="zero", role="baseline", overlap=0,
    )  # fmt: skip
    evidence = Evidence(
        challenger="m", challenger_engine="h2o", challenger_recipe_sha256="", best_baseline="zero", comparisons=(test,),
        dates=600, obstacles=obstacles,
    )  # fmt: skip
    return gate.decide(evidence, gate.Policy())


def _said(obstacles: tuple[str, ...]) -> str:
    return obstacles[0].split(":")[0] if obstacles else "nothing"
