"""The frozen values that cross stages. Tasks pass these and never frames, models or open handles.

Everything here is immutable and survives JSON: ``to_json`` and ``from_json`` are inverses.
This module travels inside promoted models: standard library only.
"""

from __future__ import annotations

import dataclasses
import os
import types
import typing
from dataclasses import dataclass, field
from typing import Any, Literal

TargetName = Literal["volatility", "return", "direction"]
EngineName = Literal["baseline", "linear", "h2o", "autokeras"]
WindowName = Literal["train", "validation", "blending", "selection", "gate"]
Severity = Literal["refused", "quarantined", "set_aside", "warning", "info"]
Outcome = Literal["promoted", "kept", "baseline", "quarantined", "unchanged"]

SEARCH_WINDOWS: tuple[WindowName, ...] = ("train", "validation", "blending", "selection")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ref:
    """A stored file: where it is, the SHA-256 of its bytes, and how many rows or entries it holds."""

    path: str
    sha256: str
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing the data checks found. ``time`` is ISO 8601 UTC; ``row`` counts the source's data rows from 1."""

    rule: str
    severity: Severity
    symbol: str = ""
    time: str = ""
    row: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """An immutable, content-addressed set of bars. ``sha256`` depends on the bars' values alone, not on the file.

    ``sessions`` is how many sessions the longest symbol's history has.
    """

    sha256: str
    bars: Ref
    symbols: tuple[str, ...]
    first: str
    last: str
    bar: str
    calendar: str
    true_opens: bool
    has_volume: bool
    sessions: int = 0
    quarantined: tuple[str, ...] = ()
    findings: Ref | None = None
    finding_counts: dict[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSpec:
    """What fixes the values of every feature column besides the bars; it travels inside the model."""

    columns: tuple[str, ...]
    tick: float
    bar: str = "1d"

    def __post_init__(self) -> None:
        if not self.tick > 0:
            raise ValueError(f"tick must be positive, got {self.tick}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureMatrix:
    """One row a bar, aligned with the snapshot's rows; NaN only inside a column's lookback."""

    ref: Ref
    spec: FeatureSpec
    lookback: int
    left_out: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A stretch of label rows in time order: first and last bar time (ISO, UTC), rows and distinct dates."""

    name: WindowName
    first: str
    last: str
    rows: int
    dates: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is predicted. ``kind`` tells engines how to fit; ``loss`` is the ranking loss, lower is better."""

    name: TargetName
    horizon: int
    kind: Literal["regression", "classification"]
    loss: Literal["mse", "log_loss"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Labels and windows, one row a bar, aligned with the snapshot's rows.

    The file has the columns ``symbol, time, session, label, label_end, window, fit_gate, fit_all``: ``window`` is a
    WindowName or empty (purged, embargoed, inside the lookback, or without a label); ``fit_gate`` marks what the
    gated fit may learn from (everything that ends before the gate), ``fit_all`` what the shipped fit may.
    """

    ref: Ref
    target: Target
    windows: tuple[Window, ...]
    purged: int
    embargo: int
    term_start: str
    floored_share: float = 0.0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineBudget:
    """How much an engine may try: models (or trials), wall seconds, epochs a trial, threads, JVM megabytes."""

    models: int
    seconds: int
    epochs: int = 0
    threads: int = 2
    memory_mb: int = 3072


@dataclass(frozen=True, slots=True, kw_only=True)
class RefitJob:
    """One recipe to be fitted again on ``fit_gate`` or ``fit_all`` rows."""

    name: str
    recipe: dict[str, Any]
    rows: Literal["fit_gate", "fit_all"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRequest:
    """The whole input of an engine's process."""

    engine: str
    mode: Literal["search", "refit", "explain"]
    features: FeatureMatrix
    rows: Rows
    budget: EngineBudget
    seed: int
    jobs: tuple[RefitJob, ...] = ()
    explain: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A fitted recipe. ``model`` is a folder in the serving format; ``predictions`` aligns with the snapshot's rows.

    ``held_out_smearing`` is Duan's factor (volatility only) from residuals on rows that an earlier fit of the recipe
    had not seen; None where the candidate's own predictions on validation and blending rows serve. ``rows`` says which
    mask a refit learned from (``fit_gate``, ``fit_all``); it is empty for what a search returns.
    """

    name: str
    engine: EngineName
    recipe: dict[str, Any]
    model: str
    predictions: Ref
    train_seconds: float
    predict_us_per_row: float
    reproducible: bool = True
    rows: str = ""
    held_out_smearing: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineResult:
    """What an engine's process leaves behind: candidates, or the error that stopped it."""

    engine: str
    candidates: tuple[Candidate, ...] = ()
    work_seconds: float = 0.0
    start_seconds: float = 0.0
    error: str = ""
    reproducible: bool = True
    notes: tuple[str, ...] = ()
    importance: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A candidate's standing on the selection rows. ``metrics`` holds the target's whole set, by name."""

    rank: int
    candidate: str
    engine: EngineName
    metric: str
    direction: Literal["minimize", "maximize"]
    score: float
    skill: float
    metrics: dict[str, float] = field(default_factory=dict)
    fold_scores: tuple[float, ...] = ()
    train_seconds: float = 0.0
    predict_us_per_row: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaderboard:
    """Every candidate on the same selection rows. ``sha256`` leaves timings out.

    ``refused`` names candidates that could not be scored on every row, with the reason; they have no rank.
    """

    scores: tuple[Score, ...]
    rows: int
    dates: int
    sha256: str
    smearing: dict[str, float] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class GateComparison:
    """The challenger against one rival on the gate window, losses averaged by date first.

    ``difference`` is rival's mean loss less the challenger's (positive: the challenger is better), ``statistic`` the
    Diebold-Mariano t, ``p_value`` one-sided.
    """

    rival: str
    role: Literal["champion", "baseline"]
    rival_loss: float
    challenger_loss: float
    difference: float
    statistic: float
    p_value: float
    dates: int
    lag: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that the gate's decision depends on, besides the policy.

    ``champion_unscored`` says why the champion could not be scored on the gate rows (no predictions, fitted on rows
    inside the gate); it is empty where it was scored or where there is none. ``required_dates`` is what ``dates``
    must reach before anything is replaced.
    """

    challenger: str
    challenger_engine: EngineName
    challenger_recipe_sha256: str
    best_baseline: str
    comparisons: tuple[GateComparison, ...]
    dates: int
    champion: str = ""
    champion_recipe_sha256: str = ""
    champion_unscored: str = ""
    required_dates: int = 504
    partial: tuple[str, ...] = ()
    alarms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the gate decided and why. ``promote`` names the candidate that takes the alias, empty if none does."""

    outcome: Outcome
    promote: str
    reasons: tuple[str, ...]


def to_json(value: Any) -> Any:
    """A JSON-ready copy of a contract value: dataclasses become dictionaries, tuples become lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    return value


def from_json(kind: Any, document: Any) -> Any:
    """Rebuild a contract value of type ``kind`` from what ``to_json`` gave.

    Raises TypeError if the document holds a field that the type does not have, or lacks one that it needs.
    """
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        if document is None:
            return None
        inner = next(arg for arg in typing.get_args(kind) if arg is not type(None))
        return from_json(inner, document)
    if origin is tuple:
        args = typing.get_args(kind)
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(from_json(args[0], item) for item in document)
        return tuple(from_json(arg, item) for arg, item in zip(args, document, strict=True))
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        unknown = set(document) - set(hints)
        if unknown:
            raise TypeError(f"{kind.__name__} has no field {sorted(unknown)}")
        return kind(**{name: from_json(hints[name], item) for name, item in document.items()})
    return document


def resolved(value: Any, folder: str) -> Any:
    """A copy in which every relative ``Ref.path`` and ``Candidate.model`` is taken as lying below ``folder``.

    A stage's output folder is published under its key by a rename, so what lies in it refers to itself relatively.
    """
    if isinstance(value, Ref):
        return dataclasses.replace(value, path=os.path.join(folder, value.path))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changes = {f.name: resolved(getattr(value, f.name), folder) for f in dataclasses.fields(value)}
        if isinstance(value, Candidate):
            changes["model"] = os.path.join(folder, value.model)
        return dataclasses.replace(value, **changes)
    if isinstance(value, tuple):
        return tuple(resolved(item, folder) for item in value)
    return value
