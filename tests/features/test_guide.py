"""The feature of the guide (tasks/features/README.md) is what the guide says of it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tasks.features import catalogue, matrix
from tasks.features.feature import Feature
from tasks.features.last import Last
from tests.features.market import TICK, cut, made_bars

GUIDE = Path(catalogue.__file__).with_name("README.md")


@pytest.fixture
def feature(monkeypatch: pytest.MonkeyPatch) -> Feature:
    """The guide's entry, put into the catalogue."""
    (code,) = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    names: dict[str, object] = {"__name__": "guide"}
    exec(compile(code, str(GUIDE), "exec"), names)
    found = names["FEATURE"]
    assert isinstance(found, Feature)
    monkeypatch.setitem(catalogue.CATALOGUE, found.name, found)
    return found


def test_it_is_the_published_formula_for_histories_and_for_the_last_bar(feature: Feature) -> None:
    bars = made_bars(3, 400)
    close = bars["close"]
    steps = np.abs(np.diff(close))
    wanted = [(close[at] - close[at - 10]) / steps[at - 10 : at].sum() for at in range(10, 400)]
    found = matrix.compute(bars, (feature.name,), TICK)[:, 0]
    assert np.isnan(found[:10]).all()
    np.testing.assert_allclose(found[10:], wanted, rtol=1e-9, atol=1e-12)
    tail = cut(bars, 400 - feature.lookback)
    assert Last((feature.name,), TICK).row(tail)[0] == pytest.approx(wanted[-1], rel=1e-9)


def test_a_price_that_stands_still_is_at_zero(feature: Feature) -> None:
    bars = {**made_bars(3, 60), **dict.fromkeys(("open", "high", "low", "close"), np.full(60, 5.0))}
    assert (matrix.compute(bars, (feature.name,), TICK)[10:, 0] == 0.0).all()
