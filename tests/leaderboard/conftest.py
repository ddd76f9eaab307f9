"""Rows that several tests look at; none of them changes what it is given."""

from __future__ import annotations

import pandas as pd
import pytest

from tests.leaderboard.walks import rows_of


@pytest.fixture
def rows() -> pd.DataFrame:
    return rows_of()
