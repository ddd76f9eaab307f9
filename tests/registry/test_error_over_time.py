"""Many nights under the null: with the ledger, something false is promoted in few terms; without it, in most."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tasks.contracts import Target
from tasks.registry.evidence import Champion, GatedFit, GateRows, evidence_digest, gather, read_gate
from tasks.registry.families import Family, Term
from tasks.registry.gate import Policy, decide
from tasks.registry.ledger import Asked, Ledger

TARGET = Target(name="return", horizon=1, kind="regression", loss="mse")
TERM = Term(first="2018-12-12", next="2019-12-12", before="2017-12-11")
UNIVERSES, NIGHTS, START = 40, 20, 504
DAYS = pd.bdate_range("2017-01-05", periods=START + 5 * NIGHTS)
POLICY = Policy()


def universe(seed: int) -> tuple[bool, bool]:
    """Twenty weekly nights, each with a challenger of its own that knows nothing; is one promoted, by gate or naively?

    Forecasts of rival and challengers are noise of the same size about the truth, which is zero: their expected losses
    are equal, so that no challenger is better and every promotion is false.
    """
    rng = np.random.default_rng(seed)
    n = len(DAYS)
    label = rng.normal(size=n)
    rivals = 0.1 * rng.normal(size=n)
    family = Family(predicts="return", symbols=frozenset({str(seed)}), series=frozenset(), term=TERM)
    by_gate = naively = False
    with Ledger.in_memory() as ledger:
        for night in range(NIGHTS):
            last = START + 5 * (night + 1)
            frame = pd.DataFrame({"symbol": "A", "session": DAYS[:last], "label": label[:last], "window": "gate"})
            gate = GateRows.of(frame, TARGET)
            challenger = GatedFit(
                name="net",
                engine="autokeras",
                recipe_sha256=str(night),
                predictions=np.sqrt(0.01) * rng.normal(size=n)[:last],
            )
            baselines = [GatedFit(name="zero", engine="baseline", recipe_sha256="z", predictions=rivals[:last])]
            champion = Champion(name="old", recipe_sha256="z", predictions=rivals[:last])
            known = gather(gate, challenger, baselines, "zero", champion, required_dates=504, effective=504.0)
            reading = ledger.spend(
                Asked(
                    problem="p", family=family, recipe=str(night), alpha=0.05,
                    evidence=evidence_digest(gate, challenger, baselines, champion),
                    dates=[str(day) for day in gate.dates.astype("datetime64[D]")],
                )
            )  # fmt: skip
            found = read_gate(known, gate, challenger, baselines, champion, read=reading.k, level=reading.level)
            assert reading.k == night + 1
            by_gate |= decide(found, POLICY).outcome == "promoted"
            naively |= all(item.p_value < 0.05 for item in found.comparisons)
    return by_gate, naively


@pytest.mark.slow
def test_the_ledger_holds_the_error_of_a_term_and_repeated_five_per_cent_tests_do_not() -> None:
    outcomes = np.array([universe(seed) for seed in range(UNIVERSES)])
    by_gate, naively = outcomes.sum(axis=0)
    # Of 40 at a rate of 5 %, more than 6 have a probability of 0.3 %. Challengers share the rival's noise, so that
    # twenty tests at 5 % err less often than twenty independent ones (64 %), and still several times as often.
    assert by_gate <= 6
    assert naively >= 8
