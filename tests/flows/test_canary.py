"""A canary's market has a state of its own, and every week another seed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flows.apart import HOME, apart
from flows.canary import place, this_week
from tasks.registry.chain_postgres import ledger_url
from tasks.registry.mlflow_place import tracking_uri
from tasks.storage import home


def test_no_two_markets_share_a_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME, str(tmp_path))
    homes = []
    for market in ("spx-202606", "spx-202607"):
        with apart(place(market)):
            homes.append(home())
    assert homes == [tmp_path / "canaries" / "state" / market for market in ("spx-202606", "spx-202607")]
    with pytest.raises(ValueError, match="broken"), apart(place("spx-202608")):
        raise ValueError("broken")
    assert os.environ[HOME] == str(tmp_path)


def test_a_market_of_noise_is_not_registered_on_the_tracking_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(HOME, str(tmp_path))
    monkeypatch.setenv("NOCTURNE_TRACKING_URI", "http://registry.example:5000")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://other.example:5000")
    monkeypatch.setenv("NOCTURNE_LEDGER_URL", "postgresql://desk@db.example/quant")
    with apart(place("spx-202606")):
        assert ledger_url() is None, "its reads and promotions are not the desk's either"
        assert tracking_uri() == f"sqlite:///{tmp_path}/canaries/state/spx-202606/mlflow/mlflow.db"
    assert tracking_uri() == "http://registry.example:5000"
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://other.example:5000"
    assert str(ledger_url()) == "postgresql://desk@db.example:5432/quant"


def test_the_week_is_a_seed() -> None:
    year, week = divmod(this_week(), 100)
    assert year > 2000
    assert 1 <= week <= 53
