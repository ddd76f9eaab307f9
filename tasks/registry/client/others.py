"""The models that are asked as well and shown to nobody: in the background, from a copy of the bars, for the log.

Knows nothing of the ``Champion`` that hands the requests over: a service that is dropped can be collected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from ...errors import NocturneError
from .background import Background
from .events import Reporter
from .loading import Loaded
from .prediction_log import PredictionLog, Said

WAITING = 1_000
"""Requests whose other predictions may wait to be made; more are not logged, and that is said."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A request, and the models that are still to be asked, which nobody is shown. ``at``: ns UTC."""

    bars: pd.DataFrame
    options: dict[str, Any]
    key: str
    at: int
    models: Sequence[tuple[str, Loaded]] = ()


class Others:
    """Asks them and logs what they say; what they raise is reported and goes no further."""

    def __init__(self, name: str, log: PredictionLog | None, reporter: Reporter) -> None:
        self._name, self._log, self._reporter = name, log, reporter
        self._background: Background[Ask] = Background("nocturne-others", self._answer, size=WAITING)

    def ask(self, ask: Ask, models: Sequence[tuple[str, Loaded]]) -> None:
        """Ask these models too, soon. Never waits."""
        if not models or self._background.closed:
            return
        if not self._background.put(replace(ask, models=models, bars=ask.bars.copy())):
            self._reporter.incomplete("too many requests wait for the models that are not shown: one was not logged")

    def said(self, role: str, model: Loaded, answer: pd.DataFrame, ask: Ask, *, shown: bool) -> Said:
        """A model's answer as it is logged."""
        number = model.version.version
        return Said(self._name, number, role, answer, shown, ask.key, ask.at, zone=model.manifest.tz)

    def failed(self, model: Loaded, error: NocturneError) -> None:
        """Report what a challenger raised."""
        # Of bars that no model takes the champion says so to the caller; a challenger that needs more is worth knowing.
        self._reporter.say("challenger failed", f"the challenger: {error}", model.version.version)

    def flush(self) -> None:
        """Wait until all that was handed over is answered."""
        self._background.flush()

    def close(self) -> None:
        """Wait for the rest, and take nothing more."""
        self._background.close()

    def _answer(self, ask: Ask) -> None:
        assert self._log is not None, "nothing is asked where nothing is logged"
        for role, model in ask.models:
            options = {name: value for name, value in ask.options.items() if model.takes(name)}
            try:
                said = model.predict(ask.bars, **options)
            except NocturneError as error:
                if role == "challenger":
                    self.failed(model, error)
                continue
            self._log.put(self.said(role, model, said, ask, shown=False))
