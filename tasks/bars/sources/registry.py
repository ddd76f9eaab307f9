"""Sources by the prefix of a problem's ``source``: the built-in ones, and those that installed packages add.

Light on purpose: which source is meant is known before pandas or a vendor's library is imported.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

from tasks.bars.describe import SourceDescription, split_source
from tasks.bars.refusal import printable
from tasks.errors import ConfigurationError

if TYPE_CHECKING:
    from tasks.bars.sources.source import Source

GROUP = "nocturne.sources"
BUILT_IN = {
    "": "tasks.bars.sources.local:LocalSource",
    "builtin": "tasks.bars.sources.local:LocalSource",
    "yfinance": "tasks.bars.sources.yahoo:YahooSource",
    "ccxt": "tasks.bars.sources.exchanges:ExchangeSource",
}


def find_source(description: SourceDescription) -> tuple[Source, str]:
    """The source that a description names, and the place within it (what follows the prefix).

    Raises ConfigurationError for a prefix that nothing is registered for, or a registration that cannot be loaded.
    """
    prefix, place = split_source(description.source)
    return _made(prefix, _target(prefix)), place


def source_names() -> tuple[str, ...]:
    """Every prefix that a problem's ``source`` may have, in order."""
    return tuple(sorted({*filter(None, BUILT_IN), *(point.name for point in _points())}))


def library(name: str, extra: str = "vendors") -> Any:
    """A vendor's library, imported when it is needed. Raises ConfigurationError that says how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.split(".", 1)[0]
        raise ConfigurationError(
            f"the package {package} is not installed: install nocturne with the extra '{extra}'"
        ) from error


def _points() -> importlib.metadata.EntryPoints:
    return importlib.metadata.entry_points(group=GROUP)


def _target(prefix: str) -> str:
    """Where the class lies. Built-in names cannot be taken by a package: a source must not change behind a problem."""
    if prefix in BUILT_IN:
        return BUILT_IN[prefix]
    found = {point.value for point in _points() if point.name == prefix}
    if not found:
        raise ConfigurationError(
            f"no source is called {printable(prefix)!r}; there are {', '.join(source_names())}, and files by their "
            f"path (a package adds one by the entry point group {GROUP})"
        )
    if len(found) > 1:
        raise ConfigurationError(f"the source {prefix!r} is registered twice: {', '.join(sorted(found))}; remove one")
    return found.pop()


def _made(prefix: str, target: str) -> Source:
    module, _, name = target.partition(":")
    try:
        made: Source = getattr(importlib.import_module(module), name)()
    except (ImportError, AttributeError, TypeError) as error:
        raise ConfigurationError(
            f"the source {prefix!r} cannot be loaded from {target}: {error}; it must be a class without arguments"
        ) from error
    if not callable(getattr(made, "fetch", None)):
        raise ConfigurationError(f"the source {prefix!r} ({target}) has no method fetch(request)")
    return made
