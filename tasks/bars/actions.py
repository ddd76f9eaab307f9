"""Corporate actions as events: splits and cash dividends by symbol and session, and what is wrong with some of them.

An event stands on its **ex-session**, the first one whose prices are without it. A split's ``value`` is how many shares
one share became (4 for 4:1, 0.1 for a consolidation of ten into one); a dividend's is in currency a share as quoted on
that session, so after a split of the same session. Nothing is read or written here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.contracts import Finding, Severity
from tasks.errors import DataError

Kind = Literal["split", "dividend"]
KINDS: tuple[Kind, ...] = ("split", "dividend")
ACTION_KEYS = ("symbol", "session", "kind")
ACTION_COLUMNS = (*ACTION_KEYS, "value")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class CorporateAction:
    """A split or a cash dividend of a symbol, on its ex-session.

    Raises DataError naming symbol, session and value for a split that is not positive or is 1, a dividend that is
    negative, a value that is not finite, or a kind that is neither.
    """

    symbol: str
    session: date
    kind: Kind
    value: float

    def __post_init__(self) -> None:
        wrong = _wrong(self.kind, self.value)
        if wrong:
            raise DataError(f"{self.symbol} {self.session:%Y-%m-%d}: {wrong}")


def actions_frame(actions: Sequence[CorporateAction]) -> pd.DataFrame:
    """Columns symbol (object), session (datetime64[ns]), kind (object), value (float64), sorted by the first three."""
    frame = pd.DataFrame(
        {
            "symbol": pd.Series([action.symbol for action in actions], dtype=object),
            "session": np.array([action.session for action in actions], dtype="datetime64[ns]"),
            "kind": pd.Series([action.kind for action in actions], dtype=object),
            "value": np.array([action.value for action in actions], dtype=np.float64),
        }
    )
    return frame.sort_values(list(ACTION_KEYS), kind="stable", ignore_index=True) if len(frame) > 1 else frame


def actions_of(frame: pd.DataFrame) -> tuple[CorporateAction, ...]:
    """The events of a frame as ``actions_frame`` gives it. Raises DataError as ``CorporateAction`` does."""
    rows = zip(*(frame[name] for name in ACTION_COLUMNS), strict=True)
    return tuple(
        CorporateAction(symbol=str(symbol), session=pd.Timestamp(session).date(), kind=kind, value=float(value))
        for symbol, session, kind, value in rows
    )


def each_once(actions: Sequence[CorporateAction]) -> tuple[CorporateAction, ...]:
    """The events in order, equal ones once. Raises DataError if two of one symbol, session and kind differ."""
    found: dict[tuple[str, date, str], CorporateAction] = {}
    for action in sorted(actions):
        key = (action.symbol, action.session, action.kind)
        first = found.setdefault(key, action)
        if first != action:
            raise DataError(
                f"{action.symbol} {action.session}: two {action.kind}s, {first.value:.15g} and {action.value:.15g}: "
                "give one row a symbol, session and kind (dividends of one day added up)"
            )
    return tuple(found.values())


def wrong_actions(
    actions: Sequence[CorporateAction],
    labels: npt.NDArray[np.datetime64],
    bars: pd.DataFrame,
    severity: Severity = "set_aside",
) -> dict[CorporateAction, Finding]:
    """The events that cannot be: action -> what is wrong with it.

    ``labels``: the calendar's sessions in order, which must hold an event's (those outside their range are left alone).
    ``bars``: canonical bars as quoted (columns symbol, session, close); a dividend must be less than the symbol's last
    close before its session.
    """
    found = {}
    days = labels.astype("datetime64[D]")
    closes = {str(symbol): rows for symbol, rows in bars.groupby("symbol", sort=False)}
    for action in actions:
        why = _off_session(action, days) or _too_large(action, closes.get(action.symbol))
        if why:
            found[action] = Finding(
                rule=f"wrong-{action.kind}",
                severity=severity,
                symbol=action.symbol,
                time=str(action.session),
                detail=f"{action.kind} {action.value:.15g}: {why}",
            )
    return found


def _wrong(kind: str, value: float) -> str:
    if kind not in KINDS:
        return f"a corporate action is a split or a dividend, got {kind!r}"
    if not math.isfinite(value):
        return f"{kind} {value!r}: give a number"
    if kind == "split" and (value <= 0 or value == 1):
        return f"split {value:.15g}: give how many shares one became, more than 0 and not 1 (4 for 4:1, 0.1 for 1:10)"
    if kind == "dividend" and value < 0:
        return f"dividend {value:.15g}: give the cash a share, 0 or more"
    return ""


def _off_session(action: CorporateAction, days: npt.NDArray[np.datetime64]) -> str:
    day = np.datetime64(action.session)
    if not len(days) or not days[0] <= day <= days[-1]:
        return ""
    return "" if days[np.searchsorted(days, day)] == day else "the exchange was closed on that day"


def _too_large(action: CorporateAction, bars: pd.DataFrame | None) -> str:
    if action.kind != "dividend" or bars is None:
        return ""
    before = bars.loc[bars["session"] < pd.Timestamp(action.session), "close"]
    if not len(before) or action.value < abs(float(before.iloc[-1])):
        return ""
    return f"not less than the last close before it, {before.iloc[-1]:.15g}"
