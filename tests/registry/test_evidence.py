"""What the gate decides from: the same rows for all, champions only where they learned nothing from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.contracts import Target
from tasks.errors import EngineError
from tasks.registry.evidence import Champion, GatedFit, GateRows, distance, evidence_digest, gather, read_gate
from tasks.statistics.overlap import label_overlap

TARGET = Target(name="return", horizon=1, kind="regression", loss="mse")
RNG = np.random.default_rng(7)
DATES = 60


def frame(symbols: int = 1) -> pd.DataFrame:
    """Rows of which the last ``DATES`` dates of every symbol are the gate."""
    sessions = pd.bdate_range("2020-01-01", periods=2 * DATES)
    parts = [
        pd.DataFrame(
            {
                "symbol": f"S{number}",
                "session": sessions,
                "label": RNG.normal(size=len(sessions)),
                "window": ["train"] * DATES + ["gate"] * DATES,
            }
        )
        for number in range(symbols)
    ]
    return pd.concat(parts, ignore_index=True)


def fit(name: str, predictions: np.ndarray, engine: Any = "baseline") -> GatedFit:
    return GatedFit(name=name, engine=engine, recipe_sha256=name, predictions=predictions)


def evidence(rows: pd.DataFrame, challenger: np.ndarray, champion: Champion | None = None) -> Any:
    zero = np.zeros(len(rows))
    return scored(rows, fit("net", challenger, "autokeras"), [fit("zero", zero), fit("mean", zero + 0.1)], champion)


def scored(
    rows: pd.DataFrame, challenger: GatedFit, baselines: list[GatedFit], champion: Champion | None, target: Any = TARGET
) -> Any:
    """The evidence before the read, and after it."""
    gate = GateRows.of(rows, target)
    known = gather(gate, challenger, baselines, baselines[0].name, champion, required_dates=DATES)
    assert (known.read, known.level, known.comparisons) == (0, 0.0, ())
    return read_gate(known, gate, challenger, baselines, champion, read=2, level=0.01)


def test_losses_are_those_of_the_gate_rows_alone() -> None:
    rows = frame()
    label = rows["label"].to_numpy()
    oracle = np.where(rows["window"] == "gate", label, 1e6)
    found = evidence(rows, oracle)
    assert found.dates == DATES
    by_rival = {item.rival: item for item in found.comparisons}
    assert set(by_rival) == {"zero", "mean"}
    gate = label[DATES:]
    assert by_rival["zero"].challenger_loss == 0.0
    assert by_rival["zero"].rival_loss == pytest.approx(np.mean(gate**2))
    assert by_rival["mean"].rival_loss == pytest.approx(np.mean((gate - 0.1) ** 2))


def test_a_panel_is_averaged_by_date_first() -> None:
    rows = frame(symbols=3)
    found = evidence(rows, np.full(len(rows), 0.5))
    gate = rows[rows["window"] == "gate"]
    by_date = ((gate["label"] - 0.5) ** 2).groupby(gate["session"]).mean()
    assert found.dates == DATES
    assert found.comparisons[0].challenger_loss == pytest.approx(by_date.mean())


def test_a_challenger_that_is_a_baseline_is_not_compared_with_itself() -> None:
    rows = frame()
    zero = np.zeros(len(rows))
    found = scored(rows, fit("zero", zero), [fit("zero", zero), fit("mean", zero + 0.1)], None)
    assert [item.rival for item in found.comparisons] == ["mean"]


def test_the_champion_is_one_of_the_rivals() -> None:
    rows = frame()
    champion = Champion(name="old (version 3)", recipe_sha256="r", predictions=np.full(len(rows), 0.2))
    found = evidence(rows, np.zeros(len(rows)), champion)
    assert [item.role for item in found.comparisons if item.rival == "old (version 3)"] == ["champion"]
    assert found.champion_unscored == ""


@pytest.mark.parametrize("why", ["its gated fit learned from bars up to 2021", ""])
def test_a_champion_that_cannot_be_scored_is_named_and_not_compared(why: str) -> None:
    rows = frame()
    predictions = np.full(len(rows), 0.2)
    predictions[-1] = np.nan
    champion = Champion(name="old", recipe_sha256="", predictions=predictions, why=why)
    found = evidence(rows, np.zeros(len(rows)), champion)
    assert all(item.role == "baseline" for item in found.comparisons)
    assert found.champion == "old"
    assert found.champion_unscored == (why or f"it gave no prediction on 1 of {DATES} gate dates")


def test_a_gated_fit_without_a_prediction_cannot_be_judged() -> None:
    rows = frame()
    predictions = np.zeros(len(rows))
    predictions[DATES + 3] = np.nan
    with pytest.raises(EngineError, match=r"net.*1 of 60 gate dates"):
        evidence(rows, predictions)


def test_before_the_read_nothing_of_the_challenger_is_scored() -> None:
    """Not even an absurd challenger, or one without predictions, changes what is known before the read."""
    rows = frame()
    zero = np.zeros(len(rows))
    gate, baselines = GateRows.of(rows, TARGET), [fit("zero", zero)]
    champion = Champion(name="old", recipe_sha256="r", predictions=zero + 0.3)
    seen = [
        gather(gate, fit("net", challenger, "autokeras"), baselines, "zero", champion)
        for challenger in (zero, zero + 99.0, np.full(len(rows), np.nan))
    ]
    assert seen[0] == seen[1] == seen[2]
    label = rows["label"].to_numpy()[DATES:]
    assert seen[0].gate_losses == {
        "zero": pytest.approx(np.mean(label**2)),
        "old": pytest.approx(np.mean((label - 0.3) ** 2)),
    }


def test_the_read_adds_the_challengers_loss_and_its_level() -> None:
    rows = frame()
    found = evidence(rows, np.full(len(rows), 0.2))
    assert set(found.gate_losses) == {"zero", "mean", "net"}
    assert found.gate_losses["net"] == pytest.approx(found.comparisons[0].challenger_loss)
    assert (found.read, found.level) == (2, 0.01)


def test_a_champion_of_another_term_must_be_beaten_as_registered_and_as_refitted() -> None:
    rows = frame()
    old, new = np.full(len(rows), 0.2), np.full(len(rows), 0.3)
    for refitted, names in ((new, ["old", "old, refitted"]), (old, ["old"]), (np.full(len(rows), np.nan), ["old"])):
        champion = Champion(name="old", recipe_sha256="r", predictions=old, refitted=fit("champion", refitted))
        found = evidence(rows, np.zeros(len(rows)), champion)
        assert [item.rival for item in found.comparisons if item.role == "champion"] == names
    inside = Champion(
        name="old", recipe_sha256="r", predictions=None, why="learned inside", refitted=fit("champion", new)
    )
    found = evidence(rows, np.zeros(len(rows)), inside)
    assert [item.rival for item in found.comparisons if item.role == "champion"] == ["old, refitted"]
    assert found.champion_unscored == "", "its recipe could be scored"


def test_reported_tests_are_computed_where_they_are_defined() -> None:
    rows = frame()
    label = rows["label"].to_numpy()
    good, bad = fit("net", 0.5 * label, "h2o"), [fit("zero", np.zeros(len(rows)))]
    item = scored(rows, good, bad, None).comparisons[0]
    assert item.clark_west_p < 0.01
    assert item.hln_p < 0.01
    assert item.qlike_worse_p == 1.0
    sides = rows.assign(label=(label > 0).astype(float))
    target = Target(name="direction", horizon=1, kind="classification", loss="log_loss")
    probability = fit("net", np.clip(0.5 + 0.2 * label, 0.1, 0.9), "h2o")
    item = scored(sides, probability, [fit("zero", np.full(len(rows), 0.5))], None, target).comparisons[0]
    assert np.isnan(item.clark_west_p), "Clark and West's is for squared errors"
    assert item.p_value < 1e-6


@pytest.mark.parametrize(("factor", "low", "high"), [(1.0, 0.05, 1.0), (3.0, 0.0, 1e-6), (np.nan, np.nan, np.nan)])
def test_a_wrong_smearing_factor_shows_in_qlike_alone(factor: float, low: float, high: float) -> None:
    """The same forecasts of the log: only the factor that turns them into variances differs."""
    rows = frame()
    rows["label"] = rows["label"] * 0.3 - 5.0
    target = Target(name="volatility", horizon=1, kind="regression", loss="mse")
    right = float(np.exp(2 * 0.3**2))
    noise = RNG.normal(0, 0.01, len(rows))
    mine = GatedFit(name="net", engine="h2o", recipe_sha256="n", predictions=noise - 5.0, smearing=right * factor)
    theirs = GatedFit(name="har", engine="baseline", recipe_sha256="h", predictions=noise - 5.001, smearing=right)
    item = scored(rows, mine, [theirs], None, target).comparisons[0]
    if np.isnan(factor):
        assert np.isnan(item.qlike_worse_p)
    else:
        assert low <= item.qlike_worse_p <= high


def test_evidence_is_the_same_for_the_same_recipe_labels_and_predictions() -> None:
    rows = frame()
    gate = GateRows.of(rows, TARGET)
    zero = np.zeros(len(rows))
    baselines = [fit("zero", zero)]

    def digest(predictions: np.ndarray = zero, name: str = "net", champion: str = "", at: GateRows = gate) -> str:
        holder = Champion(name="old", recipe_sha256=champion, predictions=zero) if champion else None
        return evidence_digest(at, fit(name, predictions), baselines, holder)

    base = digest()
    before = np.where(rows["window"] == "gate", 0.0, 7.0)
    assert digest(before) == base, "what happens before the gate is no evidence"
    assert digest(champion="zero") == base, "a champion that is among tonight's baselines is no other rival"
    assert digest(zero + 1e-12) == base
    assert len({base, digest(zero + 1e-6), digest(name="other"), digest(champion="r")}) == 4
    longer = GateRows.of(pd.concat([rows, rows.tail(1)], ignore_index=True), TARGET)
    assert digest(np.zeros(len(rows) + 1), at=longer) != base


def test_distance_is_over_the_gate_rows() -> None:
    rows = frame()
    one = np.zeros(len(rows))
    other = np.where(rows["window"] == "gate", 0.3, 99.0)
    assert distance(GateRows.of(rows, TARGET), one, other) == pytest.approx(0.3)


def sessions_of(*sizes: int, symbol: str = "A") -> pd.DataFrame:
    days = pd.bdate_range("2020-01-01", periods=len(sizes))
    return pd.DataFrame({"symbol": symbol, "session": days.repeat(sizes)})


@pytest.mark.parametrize(
    ("sizes", "horizon", "overlap"),
    [
        ((1,) * 30, 1, 0),
        ((1,) * 30, 5, 4),
        ((7,) * 30, 1, 0),
        ((7,) * 30, 8, 1),
        ((7,) * 30, 9, 2),
        # An early close, and two of them side by side as at the end of the year.
        ((*(7,) * 10, 4, *(7,) * 10), 8, 2),
        ((*(7,) * 10, 4, *(7,) * 10), 6, 2),
        ((*(7,) * 10, 2, 2, *(7,) * 10), 6, 3),
        # The last session lacks the bars that have no label: that is no early close.
        ((*(7,) * 10, 1), 7, 1),
        ((), 5, 0),
        ((1,) * 3, 9, 2),
    ],
)
def test_the_overlap_counts_the_sessions_that_labels_reach(sizes: tuple[int, ...], horizon: int, overlap: int) -> None:
    assert label_overlap(sessions_of(*sizes), horizon) == overlap
    assert label_overlap(sessions_of(*sizes), horizon) == _counted(sizes, horizon)


def _counted(sizes: tuple[int, ...], horizon: int) -> int:
    """Label by label: sessions of rows whose first bar lies within another session's last label."""
    session = [number for number, size in enumerate(sizes) for _ in range(size)]
    shared = [
        session[later] - session[row]
        for row in range(len(session))
        for later in range(row, min(row + horizon, len(session)))
    ]
    return max(shared, default=0)


def test_a_symbol_that_hardly_trades_does_not_lengthen_the_overlap() -> None:
    rows = pd.concat([sessions_of(*(7,) * 20), sessions_of(*(1,) * 20, symbol="B")], ignore_index=True)
    assert label_overlap(rows, 8) == 1
