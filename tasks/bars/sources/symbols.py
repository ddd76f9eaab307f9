"""What vendors' sources share in reading a request: the symbols meant, and the side on which bars are stamped."""

from __future__ import annotations

from collections.abc import Callable

from tasks.bars.raw import SYMBOL
from tasks.bars.refusal import printable
from tasks.bars.sources.source import BarRequest
from tasks.errors import ConfigurationError


def listed(request: BarRequest, spelled: Callable[[str], str], place: str | None = None) -> tuple[str, ...]:
    """The symbols to ask for, spelled the vendor's way: those that ``place`` lists, or else the problem's.

    ``place`` is the request's own where it is not given. Where both list some, the problem's choose among the place's.
    Raises ConfigurationError if neither lists any, or one is no ticker.
    """
    names = (request.place if place is None else place).split(",")
    here = tuple(dict.fromkeys(spelled(name.strip()) for name in names if name.strip()))
    chosen = tuple(dict.fromkeys(spelled(name) for name in request.symbols))
    symbols = tuple(name for name in here if name in chosen) if here and chosen else here or chosen
    if here and chosen and not symbols:
        raise ConfigurationError(f"{request.description.source}: none of symbols ({', '.join(chosen[:5])}) is in it")
    if not symbols:
        raise ConfigurationError(
            f"{request.description.source}: which symbols? Name them in the source, separated by commas, or in symbols"
        )
    wrong = [name for name in symbols if not SYMBOL.fullmatch(name)]
    if wrong:
        raise ConfigurationError(f"{printable(wrong[0])!r} is no symbol: letters, digits and . _ - ^ = / : & only")
    return symbols


def starts_only(request: BarRequest, vendor: str) -> None:
    """Refuse a problem whose intraday bars are declared as stamped with their end: vendors stamp their start.

    Raises ConfigurationError.
    """
    if not request.description.daily and request.description.label != "start":
        raise ConfigurationError(f"{vendor} stamps bars of {request.bar} with their start: set label to 'start'")
