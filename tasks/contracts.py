"""The frozen values that cross stages. Tasks pass these and never frames, models or open handles.

Everything here is immutable and survives JSON (``documents.py``). What a night finds out is in ``evaluation.py``.
This module travels inside promoted models: standard library only.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from typing import Any, Literal

TargetName = Literal["volatility", "return", "direction", "triple_barrier"]
EngineName = Literal["baseline", "linear", "h2o", "autokeras", "transfer"]
WindowName = Literal["train", "validation", "blending", "selection", "fold", "gate"]
CrossSection = Literal["none", "rank", "zscore"]
Severity = Literal["refused", "quarantined", "set_aside", "warning", "info"]

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

    ``sessions`` is how many sessions the longest symbol's history has. ``quarantined_from`` gives, for each quarantined
    symbol, the first session (ISO date) from which its bars are left out: what came before stays. ``survivors_only``
    marks several symbols that all reach the last session: those that vanished meanwhile are missing. ``events``:
    corporate actions that the bars' prices do not say, in the bars' terms (columns symbol, session, dividend, split).
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
    quarantined_from: dict[str, str] = field(default_factory=dict)
    survivors_only: bool = False
    findings: Ref | None = None
    finding_counts: dict[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    events: Ref | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spell:
    """A symbol's stay in a universe: ISO dates, both included. An empty ``last``: still a member."""

    symbol: str
    first: str
    last: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSpec:
    """What fixes the values of every feature column besides the bars; it travels inside the model.

    ``cross_section`` says how a panel's columns are put on one scale within each date, from that date alone;
    ``universe`` names the symbols that a model of a panel was trained on, of which it must be given most. ``spells``
    say who is compared on which date, as known at the last bar: others stand in no rank and get none. Empty: all are.
    """

    columns: tuple[str, ...]
    tick: float
    bar: str = "1d"
    cross_section: CrossSection = "none"
    universe: tuple[str, ...] = ()
    spells: tuple[Spell, ...] = ()

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
    """A stretch of label rows in time order: first and last bar time (ISO, UTC), rows and distinct dates.

    ``effective`` is the sum of its labels' average uniqueness (López de Prado 2018, chapter 4), averaged over symbols:
    how many labels that share no bar the window is worth.
    """

    name: WindowName
    first: str
    last: str
    rows: int
    dates: int
    effective: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is predicted. ``kind`` tells engines how to fit; ``loss`` is the ranking loss, lower is better.

    ``profit`` and ``stop`` are the barriers of ``triple_barrier`` in units of past volatility over the horizon;
    ``neutral`` means that the date's mean over a panel was taken off the label.
    """

    name: TargetName
    horizon: int
    kind: Literal["regression", "classification"]
    loss: Literal["mse", "log_loss"]
    profit: float = 0.0
    stop: float = 0.0
    neutral: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Labels and windows, one row a bar, aligned with the snapshot's rows.

    The file has the columns ``symbol, time, session, label, label_end, weight, window, scored_by`` and one boolean
    column for each name in ``fits``. ``window`` is a WindowName or empty (purged, embargoed, inside the lookback, or
    without a label). ``weight`` is the label's average uniqueness, in (0, 1]; it is handed to the engines where
    ``weighted``.

    ``fits``, in time order: ``fit_fold_1`` … ``fit_fold_K``, ``fit_gate``, ``fit_origin_1`` … ``fit_origin_M``,
    ``fit_all``. Each column marks what that fit may learn from: labels that end, with the embargo, before the stretch
    that it is scored on. ``scored_by`` names the fit whose predictions count on the row: ``fit_fold_k`` on fold k;
    in the gate window ``fit_gate`` until the first origin, then ``fit_origin_j``; empty elsewhere.
    """

    ref: Ref
    target: Target
    windows: tuple[Window, ...]
    purged: int
    embargo: int
    term_start: str
    fits: tuple[str, ...] = ("fit_gate", "fit_all")
    folds: tuple[Window, ...] = ()
    weighted: bool = False
    floored_share: float = 0.0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineBudget:
    """How much an engine may try: models (or trials), wall seconds, epochs a trial, threads, JVM megabytes.

    ``workers`` is how many processes try at once, among which the threads are divided.
    """

    models: int
    seconds: int
    epochs: int = 0
    threads: int = 2
    memory_mb: int = 3072
    workers: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RefitJob:
    """One recipe to be fitted again on the rows that a column of ``Rows.fits`` marks.

    ``shuffle``, if not zero, is the seed of a permutation of all labels by blocks of dates (a canary: whatever such a
    fit seems to know of the permuted labels, it knows by a leak).
    """

    name: str
    recipe: dict[str, Any]
    rows: str
    shuffle: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmRecipe:
    """A leading recipe of an earlier night, to be fitted before tonight's search explores.

    ``name`` is what its candidate is called tonight; ``night`` the last session (ISO date) of the night that kept it.
    """

    name: str
    recipe: dict[str, Any]
    night: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Backbone:
    """A pre-trained encoder as it lies on this disk: which it is, what it saw, and where its verified folder is.

    ``sha256`` is the digest of the folder's manifest, which names every file's. ``end``: the last bar (ISO, UTC) that
    pre-training saw; no row after it may have been scored before it. ``bar``: the size of the bars that it saw;
    ``other_bars`` says by which rule it takes bars of another size, empty if it takes none. ``channels``: the feature
    columns of one step, ``length`` how many steps it looks at. ``tasks``: what it was trained to do, in order.
    """

    name: str
    version: str
    sha256: str
    folder: str
    end: str
    bar: str
    channels: tuple[str, ...]
    length: int
    tasks: tuple[str, ...]
    architecture: str
    other_bars: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backbones:
    """What a search may start a transfer from, the preferred first, or why there is nothing, in words.

    ``recalled``: others that given recipes start from, for these alone. ``notes``: the choice.
    """

    found: tuple[Backbone, ...] = ()
    recalled: tuple[Backbone, ...] = ()
    refused: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRequest:
    """The whole input of an engine's process. ``warm``: what a search fits before it explores.

    ``backbones``: the encoders that a transfer may start from, the preferred first; ``recalled``: those that recipes in
    ``warm`` and ``jobs`` name besides, for these alone. Other engines get none.
    """

    engine: str
    mode: Literal["search", "refit", "explain"]
    features: FeatureMatrix
    rows: Rows
    budget: EngineBudget
    seed: int
    jobs: tuple[RefitJob, ...] = ()
    explain: str = ""
    warm: tuple[WarmRecipe, ...] = ()
    backbones: tuple[Backbone, ...] = ()
    recalled: tuple[Backbone, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A fitted recipe. ``model`` is a folder in the serving format; ``predictions`` aligns with the snapshot's rows.

    ``rows`` says which fit of ``Rows.fits`` a refit is (empty for what a search returns), ``shuffle`` is the job's,
    ``job_seconds`` what all of it took: fit, export, check of the export, predictions (0.0 for what a search returns).
    ``night`` is the last session of the earlier night that kept this recipe, empty where tonight's search alone has it.
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
    shuffle: int = 0
    job_seconds: float = 0.0
    notes: tuple[str, ...] = ()
    night: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineResult:
    """What an engine's process leaves behind: candidates, or the error that stopped it.

    ``whole`` says that the same request would get the same answer again: every job was fitted, or its recipe refused.
    It is False where a job went without for lack of time, or for something that may go well another time. A search is
    whole wherever its budget ended it. ``missing`` names what should have been a candidate by rule (a baseline) and is
    none, with the reason.
    """

    engine: str
    candidates: tuple[Candidate, ...] = ()
    work_seconds: float = 0.0
    start_seconds: float = 0.0
    error: str = ""
    reproducible: bool = True
    whole: bool = True
    notes: tuple[str, ...] = ()
    importance: tuple[tuple[str, float], ...] = ()
    missing: tuple[str, ...] = ()


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
