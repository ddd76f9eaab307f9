"""What a description promises, looked at before anything is read: a refusal in words within the first second.

The form shows types and bounds; that a file is there, or a calendar known, it cannot show.
"""

from __future__ import annotations

from pathlib import Path

from tasks.bars.describe import SourceDescription
from tasks.bars.files import locate
from tasks.bars.refusal import printable
from tasks.bars.sources.registry import find_source
from tasks.errors import ConfigurationError


def check_source(description: SourceDescription) -> None:
    """Raise ConfigurationError for an unknown calendar or source, and as ``files.locate`` does for missing files."""
    _check_calendar(description.calendar)
    find_source(description)
    if not description.prefix or description.builtin:
        locate(description.source)


def check_file(field: str, path: str) -> None:
    """Raise ConfigurationError if an optional field names a file that is not there; empty text names none."""
    if path and not (path.isprintable() and Path(path).expanduser().is_file()):
        raise ConfigurationError(f"{field}: there is no file {printable(path, 200)}")


def _check_calendar(name: str) -> None:
    import exchange_calendars  # noqa: PLC0415 - 0.2 s, which a night answered from its record need not spend

    if name not in exchange_calendars.get_calendar_names(include_aliases=True):
        raise ConfigurationError(f"calendar {name!r} is unknown; examples: XNYS, XNAS, XLON, XTKS, CMES, 24/7, 24/5")
