"""How long the drift monitor is quiet while nothing drifts, and how soon it speaks when something does.

Five tables: what textbook thresholds would do; run lengths without drift, by history and detector; how often a champion
that is as good as its fallback is given up; the delay after each shift; the real years 2008 and 2018. Histories and
shifts: ``drifting.py``; each detector is the monitor's own.

``python -m tests.benchmarks.bench_drift [--histories N] [--shifted N] [--seed N] [--workers N]``. A run length is
counted as sessions watched for each alarm (a history without one counts its 2,016), its interval by resampling
histories; limits come from each history's own training part, so their uncertainty is in it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial

import numpy as np
import numpy.typing as npt
import pandas as pd
from arch.data import sp500

from tasks.contracts import FeatureSpec
from tasks.drift.losses import LEVEL
from tasks.drift.measure import RUN_LENGTH, WINDOW, Material, Subject, measure
from tasks.drift.values import DriftReport
from tasks.features import matrix
from tasks.labels.targets import make_labels
from tasks.statistics.diebold_mariano import diebold_mariano
from tasks.statistics.drift import counts_by_session, cut
from tasks.statistics.drift_limits import censored_run_length
from tests.benchmarks import drifting
from tests.benchmarks.drifting import COLUMNS, KINDS, LOOKED_AT, SERVICE, SHIFTS, Kind
from tests.benchmarks.universes import CORES, lived, processor_seconds, side_by_side
from tests.benchmarks.worlds import TICK, VOLATILITY

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

HISTORIES, SHIFTED, AFTER = 64, 10, 504
DETECTORS = ("distribution", "cusum", "adwin", "exceeded", "any")
CALLED = {"exceeded": "clients sent to the fallback", "any": "the whole monitor"}
PAIRS = 400
HORIZONS = (5, 21, 63, 126, 252, 504)
TEXTBOOK, REFERENCE, EMPTY = 0.25, 1260, 1e-4
CASES = (("2008", "2006-12-29", "2009-12-31"), ("2018", "2016-12-30", "2018-12-31"))


def first(alarms: drifting.Alarms) -> tuple[int, ...]:
    """The session of each detector's first alarm, from 1; 0 where there is none."""
    found = [np.asarray(getattr(alarms, name)) for name in DETECTORS]
    return tuple(int(passed.argmax()) + 1 if passed.any() else 0 for passed in found)


def one(seed: int, kind: Kind, shift: str, service: int) -> tuple[int, ...]:
    """First alarms of the history of this seed."""
    return first(drifting.watched(drifting.history(kind, seed, shift, service), shift, seed + 1))


def interval(alarms: IntArray, sessions: int, seed: int = 1, resamples: int = 2000) -> tuple[float, float]:
    """95 % percentile interval of the run length, histories resampled."""
    rng = np.random.default_rng(seed)
    drawn = alarms[rng.integers(0, len(alarms), (resamples, len(alarms)))]
    found = [censored_run_length(row, sessions) for row in drawn]
    low, high = np.quantile(found, [0.025, 0.975], method="nearest")
    return float(low), float(high)


def textbook() -> None:
    """Print how often a PSI of 63 against 1,260 sessions passes 0.25, empty cells being 0.0001."""
    rng = np.random.default_rng(1)
    noise = np.array([_plain_psi(rng.normal(size=REFERENCE + WINDOW)) for _ in range(1000)])
    print(f"PSI of {WINDOW} against {REFERENCE:,} rows, ten cells: the textbook's limit is {TEXTBOOK}\n")
    print(f"independent rows: mean {noise.mean():.2f}, above {TEXTBOOK}: {np.mean(noise > TEXTBOOK):.0%}\n")
    print("| S&P 500, 1999-2018 | mean PSI | windows above 0.25 |\n|---|---|---|")
    x, _, _ = real()
    for name in (*LOOKED_AT[:6], "ewma_94", "rsi_14", "mfi_14"):
        column = x[np.isfinite(x).all(axis=1), COLUMNS.index(name)]
        ends = range(REFERENCE + WINDOW, len(column) + 1, 5)
        found = np.array([_plain_psi(column[end - REFERENCE - WINDOW : end]) for end in ends])
        print(f"| {name} | {found.mean():.2f} | {np.mean(found > TEXTBOOK):.0%} |")


def _plain_psi(values: FloatArray) -> float:
    session = np.repeat([0, 1], [REFERENCE, WINDOW])
    counts = counts_by_session(values, session, 2, cut(values[:REFERENCE], 10))
    q, p = np.maximum(counts / counts.sum(axis=1, keepdims=True), EMPTY)
    return float(((p - q) * np.log(p / q)).sum())


def quiet(pool: Executor | None, histories: int, seed: int) -> bool:
    """Print run lengths without drift; whether the monitor's is at least what it promises."""
    print(f"\nSessions until a false alarm, {histories} histories each, {SERVICE:,} sessions of service\n")
    print("| history | detector | run length | 95 % | median | none in service |\n|---|---|---|---|---|---|")
    kept = True
    for kind in KINDS:
        runs = lived(
            pool, partial(one, kind=kind, shift="", service=SERVICE), range(seed, seed + histories),
            what=kind, found=lambda run: run[-1] > 0,
        )  # fmt: skip
        found = np.array(runs)
        for place, name in enumerate(DETECTORS):
            alarms = found[:, place]
            length, (low, high) = censored_run_length(alarms, SERVICE), interval(alarms, SERVICE)
            median = np.median(np.where(alarms == 0, SERVICE, alarms))
            print(
                f"| {kind} | {CALLED.get(name, name)} | {length:,.0f} | {low:,.0f} to {high:,.0f} | {median:,.0f} "
                f"| {np.mean(alarms == 0):.0%} |",
                flush=True,
            )
        kept = kept and length >= RUN_LENGTH
    return kept


def equals(seed: int) -> None:
    """Print how often one of two equally good models is given up while an alarm stands all the time."""
    rng = np.random.default_rng(seed)
    lowest = np.empty((PAIRS, 2))  # p, within a quarter and a year
    for row in lowest:
        difference = rng.normal(size=WINDOW + 252) ** 2 - rng.normal(size=WINDOW + 252) ** 2
        p = [diebold_mariano(difference[day : day + WINDOW], 0).p_value for day in range(1, 253)]
        row[:] = min(p[:63]), min(p)
    print(f"\nA champion that is as good as its fallback, under an alarm that does not end, {PAIRS} pairs\n")
    print("| Diebold-Mariano at | given up within a quarter | within a year |\n|---|---|---|")
    for level in (0.01, LEVEL):
        quarter, year = np.mean(lowest < level, axis=0)
        print(f"| {level:g} | {quarter:.1%} | {year:.1%} |")


def delays(pool: Executor | None, histories: int, seed: int) -> None:
    """Print the share of histories that have alarmed so many sessions after each shift."""
    print(f"\nShare that has alarmed so many sessions after a shift, {histories} histories each\n")
    print(f"| history | shift | median | {' | '.join(map(str, HORIZONS))} | by |\n|{'---|' * (4 + len(HORIZONS))}")
    for kind in KINDS:
        for shift in SHIFTS:
            runs = lived(
                pool, partial(one, kind=kind, shift=shift, service=AFTER), range(seed, seed + histories),
                what=f"{kind}, {shift}", found=lambda run: run[-1] > 0,
            )  # fmt: skip
            found = np.array(runs)
            alarms = np.where(found[:, -1] == 0, AFTER + 1, found[:, -1])
            shares = " | ".join(f"{np.mean(alarms <= horizon):.0%}" for horizon in HORIZONS)
            middle = np.median(alarms)
            told = f"{middle:.0f}" if middle <= AFTER else f"over {AFTER}"
            print(f"| {kind} | {shift} | {told} | {shares} | {_soonest(found)} |", flush=True)


def _soonest(found: IntArray) -> str:
    """The detector that is most often the first to speak."""
    late = np.where(found[:, :-1] == 0, AFTER + 1, found[:, :-1])
    spoke = late[late.min(axis=1) <= AFTER]
    return DETECTORS[int(np.bincount(spoke.argmin(axis=1), minlength=4).argmax())] if len(spoke) else "none"


def real() -> tuple[FloatArray, pd.DataFrame, BoolArray]:
    """The S&P 500's features, its rows (time, session, label, label_end), and where both are known."""
    frame = sp500.load().rename(columns=str.lower)
    sessions = pd.DatetimeIndex(frame.index)
    stamps = {"symbol": "SP500", "time": sessions.tz_localize("UTC") + pd.Timedelta(hours=21), "session": sessions}
    bars = pd.DataFrame(stamps).assign(**{name: frame[name].to_numpy(np.float64) for name in frame.columns[:5]})
    bars = bars.assign(volume=frame["volume"].to_numpy(np.float64))
    x = matrix.panel(bars, FeatureSpec(columns=COLUMNS, tick=TICK))
    labels = make_labels(bars, VOLATILITY, "range", TICK, True)
    rows = bars[["time", "session"]].assign(label=labels.label, label_end=labels.label_end)
    return x, rows, np.isfinite(x).all(axis=1) & np.isfinite(labels.label)


def case(training_end: str, through: str) -> DriftReport:
    """The monitor's report on LHAR, fitted until then, on what followed; HAR stands ready to take over."""
    x, rows, known = real()
    keep = (rows["time"] <= pd.Timestamp(through, tz="UTC") + pd.Timedelta(days=1)).to_numpy()
    end = pd.Timestamp(training_end, tz="UTC") + pd.Timedelta(hours=21)
    gated = end - pd.Timedelta(days=730)
    subject = Subject(
        name="sp500", version="1", candidate="lhar", training_end=end.isoformat(),
        gated_training_end=gated.isoformat(), fallback_version="2",
    )  # fmt: skip
    material = Material(
        rows=rows[keep].reset_index(drop=True),
        columns=[(name, x[keep, place]) for place, name in enumerate(COLUMNS)],
        prediction=_predicted(x, rows, known, end, len(LOOKED_AT))[keep],
        gated=_predicted(x, rows, known, gated, len(LOOKED_AT))[keep],
        fallback=_predicted(x, rows, known, end, 3)[keep],
    )
    return measure(subject, material, at="", snapshot="")


def _predicted(x: FloatArray, rows: pd.DataFrame, known: BoolArray, end: pd.Timestamp, several: int) -> FloatArray:
    chosen = known & (rows["label_end"] <= end).to_numpy()
    design = np.column_stack([np.ones(len(x)), x[:, :several]])
    weights = np.linalg.lstsq(design[chosen], rows["label"].to_numpy()[chosen], rcond=None)[0]
    return np.asarray(design @ weights, dtype=np.float64)


def cases() -> None:
    """Print what the monitor says of the real years."""
    print("\nLHAR on the S&P 500\n\n| case | fitted until | sessions with an alarm | first | by | at the end |")
    print("|---|---|---|---|---|---|")
    for name, end, through in CASES:
        report = case(end, through)
        firsts = sorted((each.first, each.name) for each in report.detectors if each.first)
        limit = next(each.limit for each in report.detectors if each.name == "cusum")
        alarmed = sum(point.ratio > 1 or point.cusum > limit or point.risen for point in report.curve)
        day, by = firsts[0] if firsts else ("never", "–")
        print(f"| {name} | {end} | {alarmed} of {report.sessions} | {day} | {by} | {report.state} |")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the five tables; 1 if the monitor is quiet for less than it promises."""
    parser = argparse.ArgumentParser(prog="bench_drift")
    parser.add_argument("--histories", type=int, default=HISTORIES)
    parser.add_argument("--shifted", type=int, default=SHIFTED)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=CORES, help="processes side by side; the tables are the same")
    given = parser.parse_args(arguments)
    begun = time.monotonic()
    textbook()
    with side_by_side(given.workers) as pool:
        kept = quiet(pool, given.histories, given.seed)
        equals(given.seed)
        delays(pool, given.shifted, given.seed)
    cases()
    print(f"\n{time.monotonic() - begun:.0f} s, {processor_seconds():.0f} s of processor time")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
