"""How a source of bars is to be read: everything that a file cannot say about itself.

Light on purpose (standard library only): an unchanged night describes its source and compares digests, nothing more.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tasks.bars.sources.spelling import SPELLED, as_given
from tasks.errors import ConfigurationError

if TYPE_CHECKING:
    from tasks.problem import Problem

Label = Literal["end", "start"]
How = Literal["none", "splits", "splits_and_dividends"]

BARS: dict[str, timedelta] = {
    "1d": timedelta(days=1),
    "1h": timedelta(hours=1),
    "30min": timedelta(minutes=30),
    "15min": timedelta(minutes=15),
    "5min": timedelta(minutes=5),
    "1min": timedelta(minutes=1),
}
BUILTIN = "builtin:"
_PREFIX = re.compile(r"([a-z][a-z0-9_-]{1,31}):(.*)", re.DOTALL)
_SECRET = re.compile(
    r"(?i)(api[_-]?key|secret|token|passw(or)?d|passphrase|pwd|credentials?)\w*\s*[=:]"
    r"|[?&;]key\s*=|[^\s/:@]*:[^\s/@]+@"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceDescription:
    """Where bars come from and what their stamps and prices mean.

    ``label`` says whether an intraday bar is stamped with its end or its start; date-only stamps are session labels
    of ``calendar`` whichever it is. Prices in the file are divided by ``price_scale``. ``as_of`` (ISO 8601, UTC; a
    date means the end of that day) leaves out every bar that closed later. ``symbols`` are kept as the vendor spells
    them, so that they are found among its bars. ``actions`` is a CSV file of splits and
    dividends, for sources that bring none; ``adjust`` says what of them enters the prices of a snapshot.

    Raises ConfigurationError if a field cannot work.
    """

    source: str
    symbols: tuple[str, ...] = ()
    bar: str = "1d"
    calendar: str = "XNYS"
    tz: str = ""
    label: Label = "end"
    price_scale: float = 1.0
    negative_prices: bool = False
    as_of: str = ""
    actions: str = ""
    adjust: How = "splits"

    def __post_init__(self) -> None:
        if not self.source.strip():
            raise ConfigurationError("source is empty: name builtin:sp500, builtin:nasdaq, a file, a folder or a glob")
        if self.prefix and _SECRET.search(split_source(self.source)[1]):
            raise ConfigurationError(
                f"source {self.prefix}:… holds what looks like a password or key (it is not shown): sources take those "
                "from the environment, never from the problem"
            )
        if self.bar not in BARS:
            raise ConfigurationError(f"bar must be one of {', '.join(BARS)}, got {self.bar!r}")
        if self.label not in ("end", "start"):
            raise ConfigurationError(f"label must be 'end' or 'start', got {self.label!r}")
        if not (math.isfinite(self.price_scale) and self.price_scale > 0):
            raise ConfigurationError(f"price_scale must be a positive number, got {self.price_scale!r}")
        _check_zone(self.tz)
        parse_as_of(self.as_of)
        spelled = SPELLED.get(self.prefix, as_given)
        object.__setattr__(self, "symbols", tuple(dict.fromkeys(spelled(name) for name in self.symbols)))

    @property
    def daily(self) -> bool:
        """Whether a bar is a whole session."""
        return self.bar == "1d"

    @property
    def step(self) -> timedelta:
        """The nominal length of a bar."""
        return BARS[self.bar]

    @property
    def builtin(self) -> bool:
        """Whether the source ships with a dependency instead of lying in files of the user's."""
        return self.source.startswith(BUILTIN)

    @property
    def prefix(self) -> str:
        """Which registered source it is (builtin, yfinance, ccxt, …); empty for files."""
        return split_source(self.source)[0]

    def key(self) -> str:
        """Names the source in the bar store: a readable stem and a digest of all that changes what a bar means.

        ``symbols`` and ``as_of`` only select, ``actions`` and ``adjust`` act on what is stored: none of them enters.
        """
        fields = asdict(self)
        for name in ("symbols", "as_of", "actions", "adjust"):
            del fields[name]
        if not self.prefix:
            fields["source"] = str(Path(self.source).absolute())
        digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
        stem = "".join(c if c.isascii() and c.isalnum() else "-" for c in self.source)[-40:].strip("-")
        return f"{stem or 'source'}-{digest[:16]}"


def split_source(source: str) -> tuple[str, str]:
    """The prefix of a source and the place that it names: ("yfinance", "SPY,AAPL"); files have no prefix.

    A file that is there is a file, whatever its name looks like.
    """
    found = _PREFIX.fullmatch(source.strip())
    if not found or (source.isprintable() and Path(source).exists()):
        return "", source
    return found[1], found[2]


def from_problem(problem: Problem) -> SourceDescription:
    """The description of a problem's source. Raises ConfigurationError if a field cannot work."""
    return SourceDescription(
        source=problem.source,
        symbols=problem.symbols,
        bar=problem.bar,
        calendar=problem.calendar,
        tz=problem.tz,
        label=problem.label,
        price_scale=problem.price_scale,
        negative_prices=problem.negative_prices,
        as_of=problem.as_of,
        actions=problem.actions,
        adjust=problem.adjust,
    )


def from_options(
    source: str,
    *,
    tz: str = "",
    calendar: str = "",
    bar: str = "",
    price_scale: float | None = None,
    label: str = "",
) -> SourceDescription:
    """A description from command line options; what is empty or None takes its default.

    Raises ConfigurationError that names the option.
    """
    if label not in ("", "end", "start"):
        raise ConfigurationError(f"--label must be 'end' or 'start', got {label!r}")
    return SourceDescription(
        source=source,
        tz=tz,
        calendar=calendar or "XNYS",
        bar=bar or "1d",
        price_scale=1.0 if price_scale is None else price_scale,
        label="start" if label == "start" else "end",
    )


def parse_as_of(text: str) -> datetime | None:
    """The last instant at which a bar may have closed, aware and in UTC; None for empty text.

    A date alone means the end of that day, midnight included. A time without a zone is UTC. Raises ConfigurationError.
    """
    if not text.strip():
        return None
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise ConfigurationError(f"as_of must be an ISO 8601 date or time, got {text!r}") from error
    if len(text.strip()) <= len("2024-01-31"):
        moment += timedelta(days=1)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _check_zone(name: str) -> None:
    if not name:
        return
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigurationError(
            f"tz must be a time zone name such as America/New_York or UTC, got {name!r}"
        ) from error
