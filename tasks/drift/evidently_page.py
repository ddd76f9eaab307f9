"""Distributions of the last window beside the training reference, drawn by evidently: a second page, ours links to it.

Evidently's own thresholds are not used: what it calls detected is what passes this monitor's limits, and its score is
the share of the limit. It is an extra and takes seconds to import. Its telemetry heeds ``DO_NOT_TRACK``, which is set
before the import; the page carries its scripts within itself.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.drift.values import DriftReport

METHOD = "share of the limit"
MOST_ROWS = 5_000
"""Of the reference, evenly spaced: enough for a histogram."""


def distributions(reference: pd.DataFrame, window: pd.DataFrame, report: DriftReport) -> tuple[str, str]:
    """The page, and an empty reason; or nothing, and why there is none. Columns of both frames are those shown."""
    if importlib.util.find_spec("evidently") is None:
        return "", "no page of distributions: evidently is not installed (pip install 'nocturne[monitor]')"
    if not len(window):
        return "", "no page of distributions: no row of the last window has every feature"
    os.environ["DO_NOT_TRACK"] = "1"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # evidently's own, of its dependencies' deprecations
        return _drawn(reference.iloc[:: max(len(reference) // MOST_ROWS, 1)], window, report), ""


def _drawn(reference: pd.DataFrame, window: pd.DataFrame, report: DriftReport) -> str:
    from evidently import Report  # noqa: PLC0415 - an extra, and seconds
    from evidently.presets import DataDriftPreset  # noqa: PLC0415

    _register({each.column: each.ratio for each in report.columns})
    shown = list(window.columns)
    preset = DataDriftPreset(columns=shown, method=METHOD, threshold=1.0, drift_share=1.0 / len(shown))
    result = Report([preset]).run(window, reference)
    with tempfile.TemporaryDirectory(prefix="nocturne-drift-") as scratch:
        path = Path(scratch) / "distributions.html"
        result.save_html(str(path))
        return path.read_text(encoding="utf-8")


def _register(ratios: dict[str, float]) -> None:
    """Teach evidently this report's verdicts under the method's name; the last report's are forgotten."""
    from evidently.legacy.calculations.stattests import StatTest, register_stattest  # noqa: PLC0415
    from evidently.legacy.core import ColumnType  # noqa: PLC0415

    def verdict(reference: Any, _window: Any, _kind: Any, threshold: float) -> tuple[float, bool]:
        ratio = ratios[str(reference.name)]
        return ratio, ratio > threshold

    kinds = [ColumnType.Numerical, ColumnType.Categorical]
    register_stattest(StatTest(name=METHOD, display_name=METHOD, allowed_feature_types=kinds), default_impl=verdict)
