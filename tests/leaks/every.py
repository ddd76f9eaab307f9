"""Every leak that must be caught, in the order in which they are listed."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from tests.leaks import in_bars, in_engines, in_features, in_labels
from tests.leaks.night import Night, night
from tests.leaks.outcome import Outcome


@cache
def _prepared(target: str, horizon: int = 1, folds: int = 5) -> Night:
    return night(target, horizon, folds=folds)


LEAKS: dict[str, Callable[[], Outcome]] = {
    "label-early": lambda: in_labels.label_one_bar_early(_prepared("return"), _prepared("volatility")),
    "scaler": lambda: in_engines.scaled_on_all_rows(_prepared("return")),
    "selection": lambda: in_engines.selected_on_all_rows(_prepared("direction")),
    "encoding": lambda: in_engines.encoded_symbols(_prepared("return")),
    "centred": in_features.centred,
    "shift": in_features.shifted,
    "stamp": in_bars.stamped_with_the_open,
    "join": in_features.joined_too_soon,
    "dividends": in_bars.future_dividends,
    "survivors": in_bars.survivors_only,
    "overlap": lambda: in_labels.overlapping_labels(_prepared("return", 20, folds=10)),
    "stopping": lambda: in_engines.stopped_on_selection(_prepared("direction")),
    "seed": lambda: in_labels.seeds_by_the_gate(_prepared("return")),
    "duplicates": in_bars.duplicated_across_windows,
    "recipes": lambda: in_engines.recipes_chosen_on_the_folds(_prepared("direction")),
    "filling": in_bars.filled_from_the_future,
}


def plant(name: str) -> Outcome:
    """Plant one of them below the state folder of the moment."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        return LEAKS[name]()
    finally:
        logging.disable(previous)


def forget() -> None:
    """Let go of prepared nights: their files lie below a state folder that is about to vanish."""
    _prepared.cache_clear()


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A state folder for as long as a planting takes; sources are written below it."""
    folder = tempfile.TemporaryDirectory(prefix="leaks-")
    (Path(folder.name) / "home").mkdir()
    return folder
