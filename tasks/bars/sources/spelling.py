"""How vendors spell what users call a symbol: ``btc-usd`` is the exchanges' ``BTC/USD``. Light, as descriptions are."""

from __future__ import annotations

from collections.abc import Callable


def ticker(name: str) -> str:
    """Yahoo's: capital letters."""
    return name.strip().upper()


def market(name: str) -> str:
    """ccxt's: base and quote parted by a slash."""
    upper = name.strip().upper()
    return upper if "/" in upper else upper.replace("-", "/", 1)


def as_given(name: str) -> str:
    """Files and sources of others: names are what they are."""
    return name


SPELLED: dict[str, Callable[[str], str]] = {"yfinance": ticker, "ccxt": market}
"""By a source's prefix."""
