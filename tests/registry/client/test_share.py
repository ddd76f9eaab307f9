"""The share of requests: stable, monotone, uniform, and independent between models."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.registry.client.share import place, sees_challenger

PLACE = 0.003507639639515947
STEPS = (0.01, 0.05, 0.25, 0.5, 1.0)


@given(st.text(min_size=1), st.text(min_size=1))
def test_who_sees_the_challenger_at_one_step_sees_it_at_every_later_one(name: str, key: str) -> None:
    seen = [sees_challenger(name, key, share) for share in STEPS]
    assert seen == sorted(seen)
    assert seen[-1]
    assert not sees_challenger(name, key, 0.0)


@pytest.mark.parametrize("share", STEPS[:-1])
def test_the_share_of_keys_is_the_share(share: float) -> None:
    """20,000 keys: five standard errors."""
    keys = 20_000
    seen = sum(sees_challenger("m", str(key), share) for key in range(keys))
    assert abs(seen / keys - share) < 5 * (share * (1 - share) / keys) ** 0.5


def test_places_are_those_of_every_machine_and_release() -> None:
    """Written down: a change of the hash would show other customers the challenger in the middle of a rollout."""
    assert place("sp500-volatility", "customer-1") == pytest.approx(PLACE, abs=1e-15)


def test_two_models_divide_the_same_keys_differently() -> None:
    both = sum(sees_challenger("a", str(key), 0.5) == sees_challenger("b", str(key), 0.5) for key in range(10_000))
    assert 4_700 < both < 5_300


def test_without_a_key_nobody_sees_the_challenger() -> None:
    assert not sees_challenger("m", "", 1.0)
