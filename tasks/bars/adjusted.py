"""Series derived from raw bars and corporate actions: what a holder earned, from prices that jump at every split.

```
as quoted      100  102 │ 25.5  26.0        a 4:1 split before the third bar
how = splits   25   25.5│ 25.5  26.0        earlier prices divided by 4, volumes multiplied: the last bars are as quoted
```

Factors are those of CRSP (CRSP US Stock Databases, Data Descriptions Guide, "Factor to Adjust Price"): a split divides
what came before by its ratio; a dividend d multiplies it by p / (p + d), with p the first close without it, as if it
had been reinvested there. So the adjusted return over the ex-session is (p + d) / p[-1] - 1, exactly.

Only events whose ex-session has come, for bars of that symbol, have any effect: what is announced changes nothing, and
returns up to a bar do not depend on later events. Nothing is read or written here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.bars.actions import ACTION_COLUMNS, CorporateAction, actions_frame, actions_of
from tasks.bars.describe import How
from tasks.bars.raw import PRICES
from tasks.bars.schema import symbol_spans

FloatArray = npt.NDArray[np.float64]

QUOTED_DIGITS = 6
"""Significant digits of recovered quotes."""


def adjusted(
    bars: pd.DataFrame,
    actions: Sequence[CorporateAction],
    as_of: pd.Timestamp | None = None,
    how: How = "splits",
) -> pd.DataFrame:
    """Canonical bars with prices, and volumes for splits, brought to the terms of each symbol's last bar.

    ``bars``: canonical, as quoted, sorted by symbol and time. ``actions``: what was known (``ActionStore.read``), one a
    symbol, session and kind. ``as_of`` (aware): bars that closed later are left out first. Rows without a price keep
    NaN. Where nothing applies, the values are the same bits.
    """
    if as_of is not None:
        bars = bars[bars["time"] <= as_of].reset_index(drop=True)
    if how == "none" or not actions:
        return bars
    shares, cash = factors(bars, actions, dividends=how == "splits_and_dividends")
    scaled = {name: bars[name].to_numpy(np.float64) / shares * cash for name in PRICES}
    return bars.assign(**scaled, volume=bars["volume"].to_numpy(np.float64) * shares)


def factors(
    bars: pd.DataFrame, actions: Sequence[CorporateAction], dividends: bool = True
) -> tuple[FloatArray, FloatArray]:
    """For each row (n,): how many of today's shares one share was, and the factor of the dividends that follow.

    ``bars`` as for ``adjusted``. Both are 1 from each symbol's last event on.
    """
    splits, paid = _placed(bars, actions)
    close = bars["close"].to_numpy(np.float64)
    step = np.ones(len(bars))
    if dividends:
        with np.errstate(divide="ignore", invalid="ignore"):
            step = np.where(paid > 0, close / (close + paid), 1.0)
        step = np.where(np.isfinite(step) & (step > 0), step, 1.0)
    return _still_to_come(bars, splits), _still_to_come(bars, step)


def events(bars: pd.DataFrame, actions: Sequence[CorporateAction], how: How = "splits") -> pd.DataFrame:
    """What the adjusted bars do not say yet, as the backtest takes it: symbol, session, dividend, split; a row each.

    ``bars``: as quoted, as for ``adjusted``. Dividends are in the terms of the bars adjusted that ``how``; splits are 1
    unless it is ``none``. With ``splits_and_dividends`` there are none.
    """
    splits, paid = _placed(bars, actions)
    shares = _still_to_come(bars, splits)
    if how != "none":
        paid, splits = paid / shares, np.ones(len(bars))
    if how == "splits_and_dividends":
        paid = np.zeros(len(bars))
    some = (paid != 0) | (splits != 1)
    found = bars.loc[some, ["symbol", "session"]].assign(dividend=paid[some], split=splits[some])
    return found.reset_index(drop=True)


def as_quoted(frame: pd.DataFrame, splits: Sequence[CorporateAction]) -> pd.DataFrame:
    """Bars that a vendor gave split-adjusted through the day of the reading, as they were quoted on their day.

    ``frame``: columns symbol, session (datetime64, naive), prices and, where there are any, volume and ``dividend``
    (currency a share); other columns stay. ``splits``: all that the vendor has applied, those of the reading's day
    included; events of other kinds are ignored. Prices are rounded to six significant digits (never coarser than a
    cent), volumes to whole numbers: vendors send single precision, and a reading after the next split must recover the
    same quotes as one before it.
    """
    shares = _shares_since(frame, splits)
    found = frame.copy()
    for name in (*PRICES, "dividend"):
        if name in frame:
            found[name] = _rounded(frame[name].to_numpy(np.float64) * shares)
    if "volume" in frame:
        found["volume"] = np.round(frame["volume"].to_numpy(np.float64) / shares)
    return found


def dividends_as_paid(actions: Sequence[CorporateAction]) -> tuple[CorporateAction, ...]:
    """Events of which the dividends were given in today's shares, as they were paid: times the splits that followed."""
    frame = actions_frame(actions)
    shares = _shares_since(frame, actions)
    paid = np.where(frame["kind"] == "dividend", _rounded(frame["value"].to_numpy() * shares), frame["value"])
    return actions_of(frame.assign(value=paid))


def _shares_since(frame: pd.DataFrame, splits: Sequence[CorporateAction]) -> FloatArray:
    """For each row the product of its symbol's splits after its session, however far ahead of the last row."""
    symbol, session = frame["symbol"].to_numpy(), frame["session"].to_numpy().astype("datetime64[D]")
    product = np.ones(len(frame))
    for split in sorted(action for action in splits if action.kind == "split"):
        product[(symbol == split.symbol) & (session < np.datetime64(split.session))] *= split.value
    return product


def _rounded(values: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.floor(np.log10(np.abs(values)))
    unit = 10.0 ** np.clip(np.where(np.isfinite(size), QUOTED_DIGITS - 1 - size, 2), 2, 15)
    return np.asarray(np.round(values * unit) / unit)


def _placed(bars: pd.DataFrame, actions: Sequence[CorporateAction]) -> tuple[FloatArray, FloatArray]:
    """Each row's split ratio (1) and dividend (0): those of events since the symbol's row before, on the first after.

    A dividend is in the terms of the row that it stands on: one of an earlier session without a bar is divided by
    splits in between. Events before a symbol's first row, or after its last, stand nowhere.
    """
    splits, paid = np.ones(len(bars)), np.zeros(len(bars))
    frame = actions_frame(actions)
    symbol, session = bars["symbol"].to_numpy(), bars["session"].to_numpy().astype("datetime64[ns]")
    edges = symbol_spans(symbol)
    frame = frame[frame["symbol"].isin(list(edges))]
    # In the order of sessions, and splits before the dividends of their session, which are in new shares.
    frame = frame.sort_values(["session", "kind"], ascending=[True, False], kind="stable")
    for name, ex, kind, value in zip(*(frame[column] for column in ACTION_COLUMNS), strict=True):
        first, end = edges[str(name)]
        at = first + int(np.searchsorted(session[first:end], ex.to_datetime64(), side="left"))
        if not first < at < end:
            continue
        if kind == "split":
            splits[at] *= value
            paid[at] /= value
        else:
            paid[at] += value
    return splits, paid


def _still_to_come(bars: pd.DataFrame, step: FloatArray) -> FloatArray:
    """For each row the product of the steps on its symbol's later rows."""
    product = np.ones(len(step))
    for first, end in symbol_spans(bars["symbol"].to_numpy()).values():
        if (step[first:end] != 1).any():
            product[first : end - 1] = np.cumprod(step[first + 1 : end][::-1])[::-1]
    return product
