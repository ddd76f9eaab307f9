"""The proof: what a registered model says in a clean process is what was evaluated, whole and from tails."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.errors import RegistryError
from tasks.features.matrix import panel
from tasks.registry import mlflow_store, model_log, parity, proof
from tasks.registry.bundle import entry_facts
from tasks.registry.proof import Proof
from tasks.registry.records import Entry, Night, Registered
from tasks.storage import read_parquet, sha256_json


def register(store: mlflow_store.Store, night: Night, entry: Entry) -> tuple[Registered, str]:
    """Both fits logged, the shipped one registered."""
    run = mlflow_store.new_run(store, mlflow_store.experiment(store, night.problem.name), "run", {})
    uris = [
        model_log.log_model(run, "shipped", night, entry.shipped, entry_facts(entry, "shipped")),
        model_log.log_model(run, "gated", night, entry.gated, entry_facts(entry, "gated")),
    ]
    version = mlflow_store.create_version(
        store, night.problem.name, source=uris[0], run_id=run, tags={}, description=""
    )
    name = night.problem.name
    registered = Registered(
        name=name,
        version=version,
        model_uri=f"models:/{name}/{version}",
        gated_uri=uris[1],
        tracking_uri=store.tracking_uri,
    )
    return registered, run


def test_the_proof_is_kept_with_the_version(store: mlflow_store.Store, night: Night, entry: Entry) -> None:
    registered, run = register(store, night, entry)
    (proofs,) = proof.prove_all([(registered, entry)], night)
    assert isinstance(proofs, tuple)
    shipped, gated = proofs
    assert (shipped.role, gated.role) == ("shipped", "gated")
    assert shipped.rows == gated.rows == 320 - 21
    assert max(shipped.difference, gated.difference) <= shipped.tolerance == 1e-12
    assert (shipped.columns, shipped.values, shipped.unequal) == (4, 4 * 320, 0)
    assert shipped.tail_rows == shipped.tail_dates == 60
    assert shipped.tail_difference <= 1e-9
    assert gated.values == gated.tail_rows == 0

    tags = proof.record(store, registered, run, proofs)
    version = store.client.get_model_version(registered.name, registered.version)
    assert version.tags.items() >= tags.items()
    assert "1,280 feature values equal bit for bit; 60 predictions from tails on 60 gate dates" in tags["parity"]
    file = store.client.download_artifacts(run, tags["parity_file"])
    kept = json.loads(Path(file).read_text())
    assert sha256_json(kept) == tags["parity_sha256"]
    assert kept["models"][0]["rows"] == 299


def said(night: Night, entry: Entry, **changes: object) -> parity.Said:
    """What a perfect model would say, but for the changes."""
    rows = read_parquet(night.snapshot.bars)
    predictions = pd.read_parquet(entry.shipped.predictions.path)["prediction"].to_numpy()
    tails = np.where(np.arange(len(rows)) >= len(rows) - 60, predictions, np.nan)
    features = panel(rows, night.features.spec)
    perfect = parity.Said(
        uri="models:/x/1", predictions=predictions, error="", seconds=0.5, features=features, tails=tails
    )
    return dataclasses.replace(perfect, **changes)  # type: ignore[arg-type]


def prove_with(answer: parity.Said, night: Night, entry: Entry, monkeypatch: pytest.MonkeyPatch) -> Proof:
    one = dataclasses.replace(entry, gated=entry.shipped)
    monkeypatch.setattr(proof, "ask", lambda *_: [answer])
    registered = Registered(name="x", version="1", model_uri="models:/x/1", gated_uri="", tracking_uri="")
    (proofs,) = proof.prove_all([(registered, one)], night)
    if isinstance(proofs, RegistryError):
        raise proofs
    (found,) = proofs
    return found


def test_one_bit_of_a_feature_is_counted_and_told(
    night: Night, entry: Entry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    features = said(night, entry).features.copy()
    features[100, 2] = np.nextafter(features[100, 2], np.inf)
    found = prove_with(said(night, entry, features=features), night, entry, monkeypatch)
    assert (found.unequal, found.values) == (1, 1280)
    assert 0 < found.feature_difference < 1e-13
    assert "1 feature values are not equal bit for bit" in caplog.text
    assert "1 not equal bit for bit" in proof.gist([found])


@pytest.mark.parametrize("wrong", [lambda value: value + 1e-6, lambda _: np.nan])
def test_another_feature_is_refused_by_name_and_row(
    night: Night, entry: Entry, monkeypatch: pytest.MonkeyPatch, wrong: object
) -> None:
    features = said(night, entry).features.copy()
    features[100, 2] = wrong(features[100, 2])  # type: ignore[operator]
    with pytest.raises(RegistryError, match=r"another feature 'har_22' of the same bars, first in row 100"):
        prove_with(said(night, entry, features=features), night, entry, monkeypatch)
    with pytest.raises(RegistryError, match=r"features of shape \(320, 3\), not \(320, 4\)"):
        prove_with(said(night, entry, features=features[:, :3]), night, entry, monkeypatch)


def test_a_tail_that_predicts_otherwise_is_refused(night: Night, entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    tails = said(night, entry).tails.copy()
    tails[-7] *= 1 + 1e-7
    with pytest.raises(RegistryError, match=r"its lookback is too short"):
        prove_with(said(night, entry, tails=tails), night, entry, monkeypatch)
    with pytest.raises(RegistryError, match=r"on no gate date from its last bars alone"):
        prove_with(said(night, entry, tails=np.full(320, np.nan)), night, entry, monkeypatch)


def test_of_a_large_panel_some_columns_are_compared(
    night: Night, entry: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof, "MOST_VALUES", 700)
    features = said(night, entry).features[:, ::2]
    found = prove_with(said(night, entry, features=features), night, entry, monkeypatch)
    assert (found.columns, found.values) == (2, 640)
