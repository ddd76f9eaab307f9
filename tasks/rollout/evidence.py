"""The evidence of a rollout: what both models said of every date before its outcome, and what they lost by it. Pure.

Forecasts of a date come in when its bars are there, in time order; outcomes when labels have ended, in any order. A
date counts once its outcome and those of all dates before it are there, so that the order in which they arrive changes
nothing. Rows that the champion does not predict are not compared.

A date on which the challenger is silent about a row that the champion predicts counts as lost by the whole clip bound
at least: no forecast could have cost E more, so that nothing is gained by silence on hard rows. In the sum of the
differences as they were, each silent row is charged the largest row loss that either model had on that date.

Both models are scored on every date, whatever share of requests sees the challenger: the share limits exposure, not
evidence.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.errors import DataError
from tasks.statistics.losses import row_losses

FloatArray = npt.NDArray[np.float64]
KEYS = ["symbol", "time", "session"]
FORECASTS = (*KEYS, "champion", "challenger", "share")
OUTCOMES = (*KEYS, "label", "label_end", "champion_loss", "challenger_loss", "difference")
TOLERANCE = 1e-6
GRACE = 5
"""So many sessions after a date's labels should have ended, rows that still have none are struck for both models."""


def no_forecasts() -> pd.DataFrame:
    """A table of forecasts without rows."""
    return _empty(FORECASTS)


def no_outcomes() -> pd.DataFrame:
    """A table of outcomes without rows."""
    return _empty(OUTCOMES)


def new_forecasts(
    rows: pd.DataFrame,
    champion: FloatArray,
    challenger: FloatArray,
    known: pd.DataFrame,
    *,
    after: str,
    learned: str,
    share: float,
    scored: pd.DataFrame | None = None,
    closed: str = "",
) -> pd.DataFrame:
    """What both models say of bars later than ``after`` that no forecast is known of, columns ``FORECASTS``.

    No date comes in before one that is known already. A bar that arrives late (a panel's name, a day after the others)
    joins its date unless that has been scored (``scored``: the outcomes known): what was acted on never changes.
    ``closed``: the last session (ISO date) that is over; of one that is not, nothing is said yet. Empty: all are.

    rows: columns ``symbol, time, session``, a row a bar; champion and challenger (n,), aligned with it, NaN where a
    model has no forecast. ``after``: a date or time (ISO). ``learned``: the close (ISO) of the last bar that a model
    learned from: a bar that closed earlier is in a sample and left out for both, as is one that the champion has no
    forecast for. Raises DataError if the arrays are not aligned.
    """
    if not len(rows) == len(champion) == len(challenger):
        raise DataError(
            f"{len(rows):,} rows, {len(champion):,} and {len(challenger):,} predictions: score both models on the "
            "snapshot that the rows belong to"
        )
    fresh = (rows["session"] > _day(after)) & (rows["time"] >= _instant(learned))
    fresh &= rows["session"] <= (_day(closed) if closed else rows["session"].max())
    new = fresh.to_numpy(bool) & _unsaid(rows, known, scored) & np.isfinite(champion)
    found = rows.loc[new, KEYS].assign(champion=champion[new], challenger=challenger[new], share=share)
    return found.sort_values(["session", "time", "symbol"], kind="stable").reset_index(drop=True)


def new_outcomes(
    rows: pd.DataFrame,
    forecasts: pd.DataFrame,
    known: pd.DataFrame,
    *,
    loss: Literal["mse", "log_loss"],
    bound: float,
    streams: int,
) -> pd.DataFrame:
    """The outcomes of forecast dates that have none yet and whose labels have ended, columns ``OUTCOMES``.

    rows: columns ``symbol, time, session, label, label_end``. A date is complete when each of its rows has a label, or
    when ``streams`` and five sessions have passed: what has no label then never counts.
    """
    open_rows = forecasts[~forecasts["session"].isin(known["session"])]
    found = open_rows.merge(rows[[*KEYS, "label", "label_end"]], how="left", on=KEYS, validate="one_to_one")
    if not len(found):
        return no_outcomes()
    sessions = np.unique(rows["session"].to_numpy())
    passed = len(sessions) - np.searchsorted(sessions, found["session"].to_numpy(), side="right")
    whole = np.isfinite(found["label"].to_numpy(np.float64))
    complete = pd.Series(whole, index=found.index).groupby(found["session"]).transform("all").to_numpy(bool)
    return _scored(found[complete | (passed >= streams + GRACE)], loss, bound)


def differences(forecasts: pd.DataFrame, outcomes: pd.DataFrame) -> pd.Series:
    """Champion's loss less the challenger's by date, in the order in which dates count, indexed by session.

    Only the dates before the first that has no outcome yet. A date all of whose rows were struck counts as 0.
    """
    dates = np.unique(forecasts["session"].to_numpy())
    known = np.isin(dates, outcomes["session"].to_numpy())
    dates = dates[: len(dates) if known.all() else int(np.argmin(known))]
    means = outcomes.groupby("session")["difference"].mean()
    return means.reindex(pd.DatetimeIndex(dates)).fillna(0.0).astype(np.float64)


def date_means(sessions: npt.NDArray[np.datetime64], values: FloatArray) -> pd.Series:
    """The mean of finite values (n,) by date, in time order; dates without any are left out."""
    return pd.Series(values, index=pd.DatetimeIndex(sessions)).dropna().groupby(level=0).mean()


def earlier_differences(
    rows: pd.DataFrame, champion: FloatArray, challenger: FloatArray, loss: Literal["mse", "log_loss"], first: str
) -> pd.Series:
    """The differences by date of two fits that had learned from no bar as late as ``first`` (ISO), on rows since then.

    rows: columns ``session, time, label``; champion and challenger (n,), aligned. For the clip bound and the outlook:
    none of these dates counts.
    """
    label = rows["label"].to_numpy(np.float64)
    late = (rows["time"] > _instant(first)).to_numpy()
    found = np.where(late, row_losses(loss, label, champion) - row_losses(loss, label, challenger), np.nan)
    return date_means(rows["session"].to_numpy(), found)


def disagreements(
    logged: pd.DataFrame, forecasts: pd.DataFrame, versions: tuple[str, str], zone: str = ""
) -> tuple[str, ...]:
    """What clients logged and the house computed otherwise: a sentence a model, none where they agree to 1e-6 relative.

    logged: columns of ``tasks.live.LOGGED``; versions: champion's and challenger's. zone: the exchange's, for daily
    bars, since clients may log the session's date and not its close; empty: bars are known by their close.
    """
    keys = ["symbol", "session"] if zone else ["symbol", "time"]
    dated = logged.assign(session=logged["time"].dt.tz_convert(zone or "UTC").dt.tz_localize(None).dt.normalize())
    told = []
    for version, column in zip(versions, ("champion", "challenger"), strict=True):
        mine = forecasts[[*keys, column]].rename(columns={column: "house"})
        theirs = dated.loc[dated["version"].astype(str) == version, [*keys, "prediction"]]
        both = theirs.merge(mine, on=keys).dropna(subset=["prediction", "house"])
        told += _differing(version, both, keys[1]) if len(both) else []
    return tuple(told)


def _differing(version: str, both: pd.DataFrame, key: str) -> list[str]:
    house, theirs = both["house"].to_numpy(np.float64), both["prediction"].to_numpy(np.float64)
    bad = np.flatnonzero(np.abs(theirs - house) > TOLERANCE * np.maximum(np.abs(house), np.sqrt(np.mean(house**2))))
    if not len(bad):
        return []
    row, first = both.iloc[bad[0]], int(bad[0])
    return [
        f"{len(bad):,} of {len(both):,} logged predictions of version {version} are not the house's own, first "
        f"{row['symbol']} {row[key]:%Y-%m-%d %H:%M}: {theirs[first]:.9g} logged, {house[first]:.9g} here: were the "
        "bars the same?"
    ]


def _unsaid(rows: pd.DataFrame, known: pd.DataFrame, scored: pd.DataFrame | None) -> npt.NDArray[np.bool_]:
    """Bars of dates after the last one known, or of an open one among them, that no forecast is known of: (n,)."""
    if not len(known):
        return np.ones(len(rows), dtype=bool)
    open_dates = known["session"] if scored is None else known.loc[~known["session"].isin(scored["session"]), "session"]
    may = (rows["session"] > known["session"].max()) | rows["session"].isin(open_dates)
    said = pd.MultiIndex.from_frame(rows[["symbol", "time"]]).isin(pd.MultiIndex.from_frame(known[["symbol", "time"]]))
    return np.asarray(may.to_numpy(bool) & ~said, dtype=bool)


def _scored(found: pd.DataFrame, loss: Literal["mse", "log_loss"], bound: float) -> pd.DataFrame:
    label = found["label"].to_numpy(np.float64)
    champion, challenger = (
        row_losses(loss, label, found[name].to_numpy(np.float64)) for name in ("champion", "challenger")
    )
    scored = found.assign(champion_loss=champion, challenger_loss=challenger, difference=champion - challenger)
    silent = np.isfinite(label) & ~np.isfinite(found["challenger"].to_numpy(np.float64))
    scored["difference"] = _charged(scored, silent, bound)
    return scored[list(OUTCOMES)].reset_index(drop=True)


def _charged(scored: pd.DataFrame, silent: npt.NDArray[np.bool_], bound: float) -> pd.Series:
    """The differences, with silent rows charged so that their dates' means are at most ``-bound``; (n,)."""
    dates = scored["session"]
    worst = scored[["champion_loss", "challenger_loss"]].max(axis=1).groupby(dates).transform("max")
    charged: pd.Series = scored["difference"].where(~silent, scored["champion_loss"] - worst)
    spared = charged.groupby(dates).transform("mean") + bound
    rows, quiet = charged.notna().groupby(dates).transform("sum"), pd.Series(silent).groupby(dates).transform("sum")
    return charged.where(~silent | (spared <= 0.0), charged - spared * rows / quiet.clip(lower=1))


def silence(outcomes: pd.DataFrame) -> tuple[int, int]:
    """On how many rows, of how many dates, the challenger said nothing where the champion did; of those with labels."""
    rows = outcomes[outcomes["champion_loss"].notna() & outcomes["challenger_loss"].isna()]
    return len(rows), int(rows["session"].nunique())


def _empty(columns: tuple[str, ...]) -> pd.DataFrame:
    kinds = {"symbol": "object", "time": "datetime64[ns, UTC]", "session": "datetime64[ns]"}
    kinds["label_end"] = "datetime64[ns, UTC]"
    return pd.DataFrame({name: pd.Series(dtype=kinds.get(name, "float64")) for name in columns})


def _instant(text: str) -> pd.Timestamp:
    """An ISO date or time as an instant; what names no zone is UTC."""
    stamp = pd.Timestamp(text)
    return stamp.tz_localize("UTC") if stamp.tzinfo is None else stamp.tz_convert("UTC")


def _day(text: str) -> pd.Timestamp:
    return pd.Timestamp(pd.Timestamp(text).date())
