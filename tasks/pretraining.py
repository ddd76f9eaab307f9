"""What a backbone is pre-trained on: Prefect form, YAML file and command line at once, as ``problem.py`` is for nights.

Flat on purpose (see there). The bars' fields are a problem's own, so that bars are read, checked and stored as for any
night.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from tasks.errors import ConfigurationError, StorageError
from tasks.form import field, titles
from tasks.problem import Problem
from tasks.storage import sha256_file

Task = Literal["masked", "contrastive", "volatility", "direction"]

GROUPS = {0: "Bars", 20: "Training", 30: "Network", 40: "Evidence", 50: "Update"}
"""Positions of the form: a group's fields begin at its number, and their titles with its name."""

TITLES = {
    "tz": "time zone",
    "bar": "size",
    "label": "stamped with their",
    "until": "none after",
    "adjust": "adjusted for",
    "seconds": "at most, seconds",
    "steps": "at most, steps",
    "batch": "windows a step",
    "rate": "learning rate",
    "length": "bars a window",
    "body": "what looks at candles",
    "pixels": "pixels a side",
    "weights_from": "weights from a file",
    "other_bars": "bars of other sizes",
    "update": "of an earlier version",
    "replay": "share of earlier bars",
    "elastic": "weights held",
}
BARS = (
    "source", "symbols", "bar", "calendar", "tz", "label", "price_scale", "tick", "actions", "adjust",
)  # fmt: skip
LASTING = (
    "bar", "calendar", "tick", "adjust", "tasks", "horizons", "architecture", "length", "width", "depth", "embedding",
    "dropout", "body", "pixels", "other_bars",
)  # fmt: skip
"""What every version of an incremental chain shares: bars that can be told from the earlier ones only by their dates, a
network that the weights fit, tasks that the heads were trained for."""

OWN_BODIES = ("own", "autokeras")
LEAST_PIXELS = {"Xception": 71}


class Pretraining(BaseModel):
    """Which bars an encoder is pre-trained on, to do what, how large it is and how long it may take."""

    model_config = ConfigDict(frozen=True, extra="forbid", field_title_generator=titles(GROUPS, TITLES))

    name: str = field(
        ...,
        1,
        "Name of the backbone, registered as backbone-<name>: lower-case letters, digits and hyphens.",
        pattern=r"^[a-z0-9][a-z0-9-]{0,52}$",
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
    tick: float = field(0.01, 9, "Smallest price step; the floor of a bar's range.", gt=0)
    until: str = field(
        "",
        10,
        "Read no bar that closed after this date or time (ISO 8601, UTC); empty means all. A problem may use the "
        "backbone only where it scores later bars.",
    )
    actions: str = field(
        "", 11, "CSV file with symbol, session, kind (split, dividend), value, where the source brings no such events."
    )
    adjust: Literal["none", "splits", "splits_and_dividends"] = field(
        "splits", 12, "Which corporate actions known at the time enter the prices."
    )

    tasks: tuple[Task, ...] = field(
        ("masked", "volatility", "direction"),
        20,
        "What it learns to do, one or several at once: tell hidden bars, find neighbours in time, forecast volatility, "
        "forecast direction.",
    )
    horizons: tuple[int, ...] = field((1, 5, 22), 21, "Volatility and direction of so many next bars, ascending.")
    seconds: int = field(600, 22, "Training ends after so many seconds; with fewer steps done it is not reproducible.",
                          ge=5, le=86_400)  # fmt: skip
    steps: int = field(3000, 23, "At most so many gradient steps; it stops early where it no longer improves.",
                        ge=10, le=1_000_000)  # fmt: skip
    batch: int = field(128, 24, "Windows that each step looks at.", ge=8, le=4096)
    rate: float = field(1e-3, 25, "The highest learning rate; it is warmed up and lowered again.", gt=0, le=1)
    seed: int = field(1, 26, "Seed of weights and draws.", ge=1, le=2**31 - 1)
    threads: int = field(2, 27, "Threads it may use.", ge=1, le=256)

    architecture: Literal["tcn", "patches", "image"] = field(
        "tcn", 30, "Dilated convolutions, attention over patches of bars, or a network that looks at drawn candles."
    )
    length: int = field(64, 31, "Bars that the network looks at.", ge=24, le=512)
    width: int = field(32, 32, "Width of its layers.", ge=4, le=512)
    depth: int = field(4, 33, "How many blocks it has.", ge=1, le=12)
    embedding: int = field(32, 34, "Numbers that it makes of a window.", ge=2, le=512)
    dropout: float = field(0.0, 35, "Share of numbers left out at random while training.", ge=0, le=0.9)
    body: Literal["own", "autokeras", "MobileNet", "MobileNetV2", "EfficientNetB0", "ResNet50V2", "Xception"] = field(
        "own",
        36,
        "Of the architecture image: a small network of its own, AutoKeras's image blocks, or an application of keras.",
    )
    pixels: int = field(96, 37, "Side of an application's picture.", ge=32, le=160)
    weights_from: str = field(
        "",
        38,
        "File on this machine with the application's weights, for example ImageNet's: keras's own .h5 without the top, "
        "or what Model.save_weights wrote. Empty: random weights. Nothing is downloaded.",
        max_length=1000,
    )
    other_bars: Literal["scaled", "refused"] = field(
        "scaled",
        39,
        "Whether problems whose bars have another size may use it (each window is divided by its own volatility).",
    )

    held_out: float = field(0.15, 40, "Share of the bars, the latest, that only evidence is measured on.",
                             ge=0.05, le=0.5)  # fmt: skip
    watched: float = field(0.1, 41, "Share of the bars, those before, by which the best weights are chosen.",
                            ge=0.02, le=0.4)  # fmt: skip

    update: Literal["anew", "incremental"] = field(
        "anew",
        50,
        "Train anew on all bars, or go on from the newest version on bars that it has not seen, with a tenth of the "
        "steps at a third of the rate; without one, anew.",
    )
    replay: float = field(0.5, 51, "Update: share of windows of bars that the earlier version saw.", ge=0, le=0.9)
    elastic: float = field(
        0.0,
        52,
        "Update: how strongly weights are held where the earlier version had them, each by how much that one's tasks "
        "depend on it (elastic weight consolidation); 0 is not at all.",
        ge=0,
        le=100,
    )
    owner: str = field("", 53, "Who answers for this backbone; shown in the registry.", max_length=200)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.tasks or len(set(self.tasks)) != len(self.tasks):
            raise ValueError("tasks must name at least one of masked, contrastive, volatility, direction, none twice")
        if not self.horizons or list(self.horizons) != sorted(set(self.horizons)):
            raise ValueError("horizons must name at least one number of bars, in ascending order")
        if self.horizons[0] < 1 or self.horizons[-1] > 260:
            raise ValueError("horizons must lie between 1 and 260 bars")
        if self.architecture == "patches" and (self.length % 4 or self.width % 4):
            raise ValueError("patches need a length and a width that are multiples of 4")
        if self.architecture != "image" and (self.body != "own" or self.weights_from):
            raise ValueError(f"body and weights_from are of the architecture image, and it is {self.architecture}")
        if self.weights_from and self.body in OWN_BODIES:
            raise ValueError(f"weights_from needs an application of keras as body, and it is {self.body}")
        if self.pixels < (least := LEAST_PIXELS.get(self.body, 0)):
            raise ValueError(f"{self.body} takes pictures from {least} pixels a side, not {self.pixels}")
        if self.held_out + self.watched > 0.6:
            raise ValueError("held_out and watched leave less than 40 % of the bars to learn from")
        return self

    def problem(self) -> Problem:
        """The bars as a problem, by which they are read, checked and stored. Raises ConfigurationError as a problem."""
        given = {name: getattr(self, name) for name in BARS}
        try:
            return Problem(
                name=self.name, as_of=self.until, engines=("baseline",), cross_section="none", seed=self.seed, **given
            )
        except ValidationError as error:
            raise ConfigurationError(f"pre-training {self.name}: {error.errors()[0]['msg']}") from error

    @property
    def looks(self) -> str:
        """The body as a network's description has it (``networks.Spec.body``)."""
        if self.body in OWN_BODIES:
            return "" if self.body == "own" else self.body
        return f"{self.body}@{self.pixels}"

    def weights_sha256(self) -> str:
        """The digest of ``weights_from``, empty without one. Raises ConfigurationError for a file that is not there."""
        if not self.weights_from:
            return ""
        try:
            return sha256_file(Path(self.weights_from))
        except StorageError as error:
            raise ConfigurationError(
                f"weights_from: {error}; nothing is downloaded: put the file there, or leave the field empty"
            ) from error

    def refuse_another(self, parent: Mapping[str, Any], called: str) -> None:
        """Raise ConfigurationError where an update would not be of the backbone that the manifest ``parent`` is of."""
        known, own = parent.get("pretraining", {}), self.model_dump(mode="json")
        other = [name for name in LASTING if name in known and _plain(known[name]) != _plain(own[name])]
        if self.weights_from and self.weights_from != known.get("weights_from"):
            other.append("weights_from")
        if other:
            told = "; ".join(f"{name} was {known.get(name, '')!r} and is {own[name]!r}" for name in other[:5])
            raise ConfigurationError(
                f"pre-training {self.name}: {called} cannot be gone on from: {told}. Leave these as they were, or "
                "train anew, or name the backbone otherwise"
            )

    def refuse_the_future(self) -> None:
        """Raise ConfigurationError where ``until`` is no time, or one that has not come."""
        if not self.until.strip():
            return
        try:
            moment = datetime.fromisoformat(self.until.strip())
        except ValueError as error:
            raise ConfigurationError(f"until must be an ISO 8601 date or time, got {self.until!r}") from error
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        if moment > datetime.now(UTC):
            raise ConfigurationError(
                f"until is {self.until}, which has not come yet (it is {datetime.now(UTC):%Y-%m-%d %H:%M} UTC): name a "
                "time that is over, or leave it empty"
            )


def build(values: dict[str, Any], overrides: dict[str, Any], origin: str) -> Pretraining:
    """A description from a file's values and changes. Raises ConfigurationError that names origin, field and rule."""
    try:
        given = {**values, **overrides}
        return Pretraining.model_validate(
            {name: value.isoformat() if isinstance(value, date) else value for name, value in given.items()}
        )
    except ValidationError as error:
        lines = [_explain(item) for item in error.errors()]
        raise ConfigurationError(f"{origin}: " + "; ".join(lines)) from error


def load(path: Path, overrides: dict[str, Any]) -> Pretraining:
    """Read a description from a YAML file. Raises ConfigurationError if it is missing, no mapping, or breaks a rule."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigurationError(f"{path}: no such file") from error
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigurationError(f"{path}: not readable as YAML: {error}") from error
    if not isinstance(document, dict):
        raise ConfigurationError(f"{path}: must hold a mapping of fields to values, got {type(document).__name__}")
    return build(document, overrides, str(path))


def _plain(value: Any) -> Any:
    """Lists whose order says nothing, in one order."""
    return sorted(value) if isinstance(value, list) else value


def _explain(item: Any) -> str:
    where = ".".join(str(part) for part in item["loc"]) or "pretraining"
    if item["type"] == "extra_forbidden":
        return f"unknown field '{where}'; known fields: {', '.join(Pretraining.model_fields)}"
    if item["type"] == "missing":
        return f"field '{where}' is missing"
    return f"field '{where}': {item['msg']}, got {item['input']!r}"
