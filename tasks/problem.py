"""The one typed description of what to predict: Prefect form, YAML file and command line at once.

Flat on purpose: Prefect's form renders unions and nested models badly and does not run validators, so every rule that
a form cannot show is checked again when the run starts, before anything costly.
"""

from __future__ import annotations

import hashlib
import json
from datetime import date
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from tasks.contracts import CrossSection, EngineBudget, Target, TargetName
from tasks.errors import ConfigurationError
from tasks.form import field, titles

BudgetName = Literal["demo", "nightly"]
Engine = Literal["baseline", "linear", "h2o", "autokeras", "transfer"]

BUDGETS: dict[BudgetName, dict[str, Any]] = {
    "demo": {
        "h2o_models": 10,
        "h2o_seconds": 180,
        "autokeras_trials": 5,
        "autokeras_epochs": 60,
        "autokeras_seconds": 180,
        "transfer_trials": 6,
        "transfer_seconds": 180,
        "leaders": 3,
        "refit_ensembles": False,
    },
    "nightly": {
        "h2o_models": 20,
        "h2o_seconds": 3600,
        "autokeras_trials": 100,
        "autokeras_epochs": 1000,
        "autokeras_seconds": 3600,
        "transfer_trials": 20,
        "transfer_seconds": 1800,
        "leaders": 10,
        "refit_ensembles": True,
    },
}


GROUPS = {
    0: "Bars",
    20: "Target",
    25: "Features",
    30: "Search",
    40: "Windows",
    44: "Ranking",
    47: "Transfer",
    50: "Promotion",
    60: "Backtest",
}
"""Positions of the form: a group's fields begin at its number, and their titles with its name."""

TITLES = {
    "tz": "time zone",
    "bar": "size",
    "label": "stamped with their",
    "fresh_within": "fresh within, sessions",
    "wait_hours": "hours to wait if late",
    "adjust": "adjusted for",
    "target": "what to predict",
    "h2o_models": "H2O, models",
    "h2o_seconds": "H2O, seconds",
    "autokeras_trials": "AutoKeras, trials",
    "autokeras_epochs": "AutoKeras, epochs",
    "autokeras_seconds": "AutoKeras, seconds",
    "autokeras_workers": "AutoKeras, workers",
    "memory_mb": "H2O, memory in MB",
    "transfer_trials": "strategies",
    "transfer_seconds": "seconds",
    "gate_sessions": "sessions of the gate",
    "commission_bps": "commission",
    "spread_bps": "spread",
    "borrow_bps": "cost of borrowing",
}


class Problem(BaseModel):
    """What to predict, from which bars, how hard to search, and what it takes to be promoted."""

    model_config = ConfigDict(frozen=True, extra="forbid", field_title_generator=titles(GROUPS, TITLES))

    name: str = field(
        ...,
        1,
        "Name of the problem and of its registered model: lower-case letters, digits and hyphens.",
        pattern=r"^[a-z0-9][a-z0-9-]{0,62}$",
    )
    source: str = field(
        ...,
        2,
        "Where bars come from: builtin:sp500, yfinance:SPY,QQQ, ccxt:coinbaseexchange/BTC-USD, a file, folder or glob.",
    )
    symbols: tuple[str, ...] = field((), 3, "Symbols to use; empty means all that the source has.")
    bar: Literal["1d", "1h", "30min", "15min", "5min", "1min"] = field("1d", 4, "Size of a bar.")
    calendar: str = field("XNYS", 5, "Exchange calendar (exchange-calendars name; 24/7 for crypto, 24/5 for FX).")
    tz: str = field("", 6, "Time zone of stamps that carry none (for example America/New_York).")
    label: Literal["end", "start"] = field("end", 7, "Whether a bar is stamped with its end or its start.")
    price_scale: float = field(1.0, 8, "Prices in the file are divided by this.", gt=0)
    negative_prices: bool = field(False, 9, "Accept zero and negative prices (never for volatility or return).")
    tick: float = field(0.01, 10, "Smallest price step; the floor of a bar's range.", gt=0)
    as_of: str = field("", 11, "Use no bar that closed after this date or time (ISO 8601, UTC); empty means all.")

    fresh_within: int = field(
        0,
        12,
        "Scheduled nights: the newest bar must reach the close of one of the last so many sessions; 0 does not ask.",
        ge=0,
        le=260,
    )
    wait_hours: float = field(
        6.0, 13, "Scheduled nights whose bars are late: so many hours they are waited for.", ge=0, le=48
    )
    actions: str = field(
        "", 14, "CSV file with symbol, session, kind (split, dividend), value, where the source brings no such events."
    )
    adjust: Literal["none", "splits", "splits_and_dividends"] = field(
        "splits", 15, "Which corporate actions known at the time enter the prices; dividends make returns total ones."
    )

    target: TargetName = field("volatility", 20, "Volatility, return, direction, or which barrier is touched first.")
    horizon: int = field(1, 21, "How many bars ahead the label looks (triple_barrier: the time limit).", ge=1, le=260)
    variance: Literal["range", "total"] = field(
        "range", 22, "Volatility only: trading-session range, or with the overnight return squared added."
    )
    profit: float = field(2.0, 23, "Triple barrier only: profit barrier in units of past volatility.", gt=0, le=20)
    stop: float = field(2.0, 24, "Triple barrier only: stop barrier in units of past volatility.", gt=0, le=20)
    cross_section: CrossSection = field(
        "none", 25, "Panels: put every feature on one scale within its date, from that date alone."
    )
    neutral: bool = field(False, 26, "Panels, return only: take the date's mean off the label.")
    max_lookback: int = field(756, 27, "Leave out features that need more bars than this.", ge=22, le=756)
    membership: str = field(
        "", 28, "Panels: CSV file with symbol, from, to (dates): who belonged to the universe when."
    )

    engines: tuple[Engine, ...] = field(
        ("baseline", "linear", "h2o", "autokeras"), 30, "Which engines compete; baselines always do."
    )
    h2o_models: int = field(20, 31, "H2O AutoML: at most so many models.", ge=1, le=500)
    h2o_seconds: int = field(3600, 32, "H2O AutoML: at most so many seconds.", ge=10, le=86_400)
    autokeras_trials: int = field(100, 33, "AutoKeras: at most so many trials.", ge=1, le=2000)
    autokeras_epochs: int = field(1000, 34, "AutoKeras: at most so many epochs a trial (stopped early).", ge=1, le=5000)
    autokeras_seconds: int = field(3600, 35, "AutoKeras: at most so many seconds.", ge=10, le=86_400)
    autokeras_workers: int = field(
        1,
        39,
        "AutoKeras: so many processes try networks at once; with more than one it is not reproducible.",
        ge=1,
        le=64,
    )
    seed: int = field(1, 36, "Seed of every engine. Zero is not allowed: AutoKeras ignores it.", ge=1, le=2**31 - 1)
    threads: int = field(2, 37, "Threads an engine may use.", ge=1, le=256)
    memory_mb: int = field(3072, 38, "Memory of H2O's JVM in megabytes.", ge=512, le=1_000_000)

    folds: int = field(5, 40, "Walk-forward folds after the search, on which recipes are ranked.", ge=5, le=50)
    embargo: int = field(5, 41, "Bars left out before each window, besides the purge by label end.", ge=0, le=260)
    gate_sessions: int = field(504, 42, "The gate window holds at least so many dates.", ge=60, le=5000)
    term: int = field(252, 43, "Sessions for which the gate window's start stays fixed.", ge=21, le=1000)

    leaders: int = field(10, 44, "So many leading candidates of the search are refitted on every fold.", ge=1, le=100)
    refit_ensembles: bool = field(True, 45, "Whether ensembles are among those refitted.")

    warm_start: int = field(
        5,
        46,
        "So many leading recipes of earlier nights are fitted by each engine before it searches; 0: none.",
        ge=0,
        le=20,
    )

    backbone: str = field(
        "",
        47,
        "Transfer: the pre-trained backbone's name, or name:version; empty: chosen among those that fit.",
    )
    transfer_trials: int = field(20, 48, "Transfer: at most so many strategies are tried.", ge=2, le=500)
    transfer_seconds: int = field(1800, 49, "Transfer: at most so many seconds.", ge=10, le=86_400)

    alpha: float = field(
        0.05, 50, "Chance of any false promotion a term; read k of the gate gets alpha / (k (k + 1)).", gt=0, le=0.2
    )
    refit: Literal["through_gate", "none"] = field(
        "through_gate", 51, "Ship the gated recipe refitted through the last bar, or the gated fit itself."
    )
    allow_partial: bool = field(False, 52, "Promote even if an engine failed or much of a panel is in quarantine.")
    waive_survivorship: bool = field(
        False, 54, "Promote return models of a universe of survivors; the waiver is recorded."
    )
    takeover: Literal["at_once", "gradual"] = field(
        "at_once", 55, "How a new recipe that the gate approved replaces a champion: at once, or by a rollout."
    )
    positions: Literal["sign", "proportional", "decile", "volatility_target"] = field(
        "sign", 60, "How the backtest turns predictions into positions."
    )
    commission_bps: float = field(0.5, 61, "Commission, basis points of what is traded.", ge=0, le=500)
    spread_bps: float = field(2.0, 62, "Full bid-ask spread in basis points; half is paid.", ge=0, le=1000)
    impact: float = field(0.1, 63, "Square-root impact, in daily volatilities at 100 % of volume.", ge=0, le=10)
    borrow_bps: float = field(50.0, 64, "What shorts pay a year, basis points.", ge=0, le=10_000)
    capital: float = field(1e6, 65, "Capital in the currency of the prices.", gt=0)
    owner: str = field("", 53, "Who answers for this model; shown on the registry entry.", max_length=200)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.negative_prices and self.target in ("volatility", "return", "triple_barrier"):
            raise ValueError(f"negative_prices cannot be combined with target {self.target}: it takes logarithms")
        if self.neutral and self.target != "return":
            raise ValueError(f"neutral takes the date's mean off a return; the target is {self.target}")
        if self.name.startswith("backbone-"):
            raise ValueError(f"name is {self.name}: 'backbone-' begins a pre-trained encoder's; name it otherwise")
        if not self.engines:
            raise ValueError("engines is empty: name at least one of baseline, linear, h2o, autokeras, transfer")
        if self.backbone and "transfer" not in self.engines:
            raise ValueError(f"backbone is {self.backbone}, but transfer is not among the engines: add it")
        if len(set(self.symbols)) != len(self.symbols):
            raise ValueError("symbols lists a symbol twice")
        return self

    @property
    def objective(self) -> Target:
        """The target with how it is fitted and what ranks it."""
        classify = self.target in ("direction", "triple_barrier")
        barriers = self.target == "triple_barrier"
        return Target(
            name=self.target,
            horizon=self.horizon,
            kind="classification" if classify else "regression",
            loss="log_loss" if classify else "mse",
            profit=self.profit if barriers else 0.0,
            stop=self.stop if barriers else 0.0,
            neutral=self.neutral,
        )

    def budget(self, engine: str) -> EngineBudget:
        """The budget of one engine; baselines and linear models have a fixed, generous one."""
        if engine == "h2o":
            models, seconds, epochs = self.h2o_models, self.h2o_seconds, 0
        elif engine == "autokeras":
            models, seconds, epochs = self.autokeras_trials, self.autokeras_seconds, self.autokeras_epochs
        elif engine == "transfer":
            models, seconds, epochs = self.transfer_trials, self.transfer_seconds, self.autokeras_epochs
        else:
            models, seconds, epochs = 100, 1800, 0
        threads = self.threads if engine in ("h2o", "autokeras", "transfer") else 1
        return EngineBudget(
            models=models,
            seconds=seconds,
            epochs=epochs,
            threads=threads,
            memory_mb=self.memory_mb,
            workers=self.autokeras_workers if engine == "autokeras" else 1,
        )

    @property
    def predicts(self) -> str:
        """What a model of this problem predicts, in words: equal words mean that forecasts can be compared."""
        kinds = {
            "volatility": f" ({self.variance}, tick {self.tick:g})",
            "triple_barrier": f" (profit {self.profit:g}, stop {self.stop:g})",
            "return": " (less the date's mean)" if self.neutral else "",
        }
        kind = kinds.get(self.target, "")
        return f"{self.target}{kind} over {self.horizon} x {self.bar} on {self.calendar}"

    def digest(self) -> str:
        """SHA-256 of the description, the same for the same values however they were given."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def build(values: dict[str, Any], budget: BudgetName, overrides: dict[str, Any], origin: str) -> Problem:
    """A problem from a file's values: the budget fills what the file leaves open, overrides win over both.

    Raises ConfigurationError that names the origin, each offending field, the rule and the value.
    """
    given = {**BUDGETS[budget], **values, **overrides}
    try:
        return Problem.model_validate({name: _text_of_date(value) for name, value in given.items()})
    except ValidationError as error:
        lines = [_explain(item) for item in error.errors()]
        raise ConfigurationError(f"{origin}: " + "; ".join(lines)) from error


def load(path: Path, budget: BudgetName, overrides: dict[str, Any]) -> Problem:
    """Read a problem from a YAML file. Raises ConfigurationError if it is missing, not a mapping, or breaks a rule."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigurationError(f"{path}: no such problem file") from error
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigurationError(f"{path}: not readable as YAML: {error}") from error
    if not isinstance(document, dict):
        raise ConfigurationError(f"{path}: must hold a mapping of fields to values, got {type(document).__name__}")
    return build(document, budget, overrides, str(path))


def _text_of_date(value: Any) -> Any:
    """YAML reads 2015-06-30 as a date; the fields want text."""
    return value.isoformat() if isinstance(value, date) else value


def _explain(item: Any) -> str:
    where = ".".join(str(part) for part in item["loc"]) or "problem"
    if item["type"] == "extra_forbidden":
        return f"unknown field '{where}'; known fields: {', '.join(Problem.model_fields)}"
    if item["type"] == "missing":
        return f"field '{where}' is missing"
    return f"field '{where}': {item['msg']}, got {item['input']!r}"
