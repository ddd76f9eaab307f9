"""A backbone kept up to date week by week, with replay, against training it anew each time: cost, loss on the weeks to
come, and what it forgets.

The 120 shares of the S&P 500 with the largest turnover, daily bars of five years, their volatility over 1, 5 and 22
bars: pre-trained on all but the last weeks, then a week at a time. Losses are in units of HAR's. Windows are of 24
bars: with 64 the windows to choose by are of some forty dates, and 600 steps often find nothing better there than the
weights they begin with, which say each window's own level; then there is nothing to compare.
``python -m tests.benchmarks continual`` prints the table of docs/transfer.md, ``.bench_continual WEEKS STEPS`` another.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.contracts import FeatureSpec
from tasks.features import parallel
from tasks.search.auto_keras import device, use_jax
from tasks.search.transfer.channels import CHANNELS, Bars, from_matrix

SYMBOLS = 120
SESSIONS, WEEKS, WEEK = 1258, 8, 5
STEPS, SEED = 600, 1


def bars() -> tuple[Bars, np.ndarray]:
    """The channels of the shares with a whole history and the largest turnover, and their closes."""
    folder = Path(os.environ.get("NOCTURNE_TEST_DATA") or Path(__file__).parents[2].parent / "shared" / "data")
    frame = pd.read_parquet(folder / "sp500_5yr" / "all_stocks_5yr.parquet").dropna()
    frame = frame.rename(columns={"date": "session"}).astype({"volume": float})
    turnover = (frame["close"] * frame["volume"]).groupby(frame["symbol"]).agg(["median", "size"])
    whole = turnover[turnover["size"] == turnover["size"].max()]
    chosen = whole["median"].nlargest(SYMBOLS).index
    frame = frame[frame["symbol"].isin(chosen)].sort_values(["symbol", "session"]).reset_index(drop=True)
    frame["time"] = pd.to_datetime(frame["session"]).dt.tz_localize("UTC")
    values = parallel.panel(frame, FeatureSpec(columns=CHANNELS, tick=0.01), workers=1)
    return from_matrix(values, CHANNELS, frame["symbol"].to_numpy(object)), frame["time"].to_numpy("datetime64[ns]")


def main(weeks: int = WEEKS, steps: int = STEPS) -> None:
    """Measure, and print."""
    use_jax(2)
    from tasks.search.transfer import continual, pretraining  # noqa: PLC0415 - JAX, after its settings
    from tasks.search.transfer.networks import Spec  # noqa: PLC0415

    found = continual.compare(
        *bars(),
        Spec(architecture="tcn", length=24, width=16, depth=3, embedding=16),
        ("volatility",),
        pretraining.Budget(steps=steps, seconds=3600.0, batch=128),
        SEED,
        rounds=weeks,
        share=WEEK / SESSIONS,
    )
    low, high = found.difference
    print(f"| {weeks} weeks, {SYMBOLS} shares | steps | processor seconds | loss, weeks to come | forgotten |")
    print("|---|---|---|---|---|")
    for place, name in enumerate(("going on, with replay", "anew each week")):
        print(
            f"| {name} | {found.steps[place]:,} | {found.seconds[place]:.0f} | {found.target[place]:.4f} "
            f"| {found.forgetting[place]:+.4f} |"
        )
    print(f"| left as it was | 0 | 0 | {found.stale:.4f} | 0 |")
    print(
        f"\nOn {device()}. Losses in units of HAR's. Going on less anew: "
        f"{found.target[0] - found.target[1]:+.4f} [{low:+.4f}, {high:+.4f}], 95 % by date; anew costs "
        f"{found.seconds[1] / found.seconds[0]:.1f} times as much. Forgotten: how much higher than "
        f"{found.before:.4f}, the first backbone's, the loss on its held-out bars is in the end."
    )
    for each in found.rounds:
        print(
            f"up to {each.until[:10]}: weeks to come {each.target[0]:.4f} and anew {each.target[1]:.4f}; earlier bars "
            f"{each.earlier[0]:.4f} and {each.earlier[1]:.4f}"
        )


if __name__ == "__main__":
    main(*(int(each) for each in sys.argv[1:]))
