"""Rows that should have every feature and have not: counted and told, refused where they are many."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.errors import DataError

ALLOWED = 0.01
"""Share of the rows beyond the lookback that may be unusable: more would be another sample than the bars."""
NAMED = 3
LEAST_SHARE = 0.9
"""Of the universe, on a date that is scored: models of a panel are served with as many or not at all."""
LEAST_NAMES = 20
"""Fewer names on a date have no cross-section: its features are not defined there (see the matrix of features)."""


def lost_rows(
    symbols: pd.Series,
    beyond: npt.NDArray[np.bool_],
    usable: npt.NDArray[np.bool_],
    columns: Mapping[str, int],
) -> tuple[str, ...]:
    """A sentence about rows beyond the lookback that are not usable, none if all are.

    symbols, beyond, usable: (n,); columns: how many rows beyond the lookback each column has no finite value in.
    Raises DataError, naming symbols and columns, if more than 1 % of the rows beyond the lookback are not usable.
    """
    lost = beyond & ~usable
    count, total = int(lost.sum()), int(beyond.sum())
    if not count:
        return ()
    of_symbols = {str(name): int(n) for name, n in symbols[lost].value_counts().items()}
    told = (
        f"{count:,} of {total:,} rows beyond the features' lookback have a feature without a finite value and are left "
        f"out (symbols: {_largest(of_symbols)}; columns: {_largest(columns)})"
    )
    if count > ALLOWED * total:
        raise DataError(f"{told}: more than {ALLOWED:.0%}. Look at these symbols' bars, or leave the symbols out")
    return (told,)


def with_section(
    dates: npt.NDArray[np.datetime64], beyond: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.bool_], tuple[str, ...]]:
    """Of the rows beyond the lookback those on dates with enough names, and a sentence about the others if any.

    dates, beyond: (n,). For features that compare names within a date: on other dates nothing is expected of them.
    """
    _, date = np.unique(dates, return_inverse=True)
    names = np.bincount(date, weights=beyond)[date]
    thin = beyond & (names < LEAST_NAMES)
    if not thin.any():
        return beyond, ()
    few = len(np.unique(date[thin]))
    return beyond & ~thin, (
        f"{int(thin.sum()):,} rows on {few:,} dates with fewer than {LEAST_NAMES} names beyond the features' "
        "lookback are left out: there is no cross-section to compare them with",
    )


def whole_sections(
    dates: npt.NDArray[np.datetime64], there: npt.NDArray[np.bool_], universe: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.bool_], tuple[str, ...]]:
    """Which rows (n,) lie on dates that a model of the whole universe would predict, and a sentence about the others.

    dates: (n,); there: rows of the universe's names that have every feature; universe: int64 (n,), how many names it
    has on the row's date (where membership is known, of today's members those that were members then). A model waits
    for 90 % of them: from the first date that has so many, dates with fewer (a vendor's bad day, say) are left out, so
    that what is scored is what will be served. Before it the universe was still growing: nothing is left out.
    """
    first, date = np.unique(dates, return_index=True, return_inverse=True)[1:]
    enough = (np.bincount(date, weights=there) >= LEAST_SHARE * universe[first]) & (universe[first] > 0)
    served = np.ones(len(enough), dtype=bool)
    if enough.any():
        served[int(np.argmax(enough)) :] = enough[int(np.argmax(enough)) :]
    kept = served[date]
    lost = there & ~kept
    if not lost.any():
        return kept, ()
    return kept, (
        f"{int(lost.sum()):,} rows on {int((~served).sum()):,} dates with less than {LEAST_SHARE:.0%} of the "
        f"{int(universe.max())} names are left out: a model of the whole cross-section would not predict there",
    )


def _largest(counts: Mapping[str, int]) -> str:
    ranked = sorted(((name, n) for name, n in counts.items() if n), key=lambda item: (-item[1], item[0]))
    more = f", and {len(ranked) - NAMED} more" if len(ranked) > NAMED else ""
    return ", ".join(f"{name} {n:,}" for name, n in ranked[:NAMED]) + more
