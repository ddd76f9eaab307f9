"""A transfer made to hurt: pre-trained on shuffled labels it is worse than from scratch, says so, and is not promoted.

Networks are really trained, small ones. The honest pre-training beside it shows that it is the labels that hurt.
"""

from __future__ import annotations

import functools
import importlib.util

import numpy as np
import numpy.typing as npt
import pytest

from tasks.documents import digest
from tasks.evaluation import Evidence, GateComparison, TransferWorth
from tasks.leaderboard.transfers import worth
from tasks.registry.gate import Policy, decide, obstacles
from tasks.search.auto_keras import use_jax
from tasks.search.transfer.channels import LOG_RANGE, Bars, Rows, levels
from tests.search.transfer.shifted import ends, market

if importlib.util.find_spec("autokeras") is None:
    pytest.skip("the engines extra is not installed", allow_module_level=True)
# keras 3.15's variables and JAX's arrays lack NumPy 2's copy argument.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)
LENGTH, FITTED, BARS = 16, 600, 1200
Floats = npt.NDArray[np.float64]
SCRATCH = {"strategy": "scratch", "backbone": {}, "architecture": "tcn"}
FEATURES = {
    "strategy": "features", "backbone": {"name": "liquid", "version": "1"}, "control": digest(SCRATCH)
}  # fmt: skip


def labelled(bars: Bars, rows: Rows) -> Floats:
    """The next bar's log range."""
    return np.asarray(bars.values[rows + 1, LOG_RANGE], dtype=np.float64)


@pytest.fixture(scope="module")
def lines() -> dict[str, TransferWorth]:
    """What feature extraction was worth after an honest pre-training, and after one on shuffled labels."""
    use_jax(1)
    from tasks.search.transfer import networks  # noqa: PLC0415 - JAX is chosen first
    from tasks.search.transfer.steps import Sample  # noqa: PLC0415
    from tasks.search.transfer.training import Schedule, Trainer  # noqa: PLC0415

    spec = networks.Spec(architecture="tcn", length=LENGTH, width=8, depth=1, embedding=1)
    encoder = networks.encoder(spec, 3)
    network = networks.head(encoder, "volatility")
    start = networks.weights(network)
    trainer = Trainer(network, encoder, "regression", functools.partial(networks.inputs_of, spec))

    def trained(bars: Bars, rows: Rows, y: Floats) -> None:
        networks.load_weights(network, start)
        sample = Sample(bars=bars, ends=rows, y=y)
        trainer.fit(sample, Schedule(learning_rate=1e-2), epochs=15, batch=128, seed=1)

    source, target = market(2000, 1, 1, roughness=0.1), market(BARS, 1, 2, roughness=0.1)
    seen, fit = ends(source, LENGTH, last=1999), ends(target, LENGTH, last=FITTED)
    scored = ends(target, LENGTH, FITTED + 1, BARS - 1)
    truth = labelled(target, scored)

    def features() -> Floats:
        known, asked = (networks.embed(encoder, target, rows).astype(np.float64)
                        for rows in (fit, scored))  # fmt: skip
        design = np.column_stack([np.ones(len(fit)), known[:, :-1]])
        head = np.linalg.lstsq(design, labelled(target, fit) - known[:, -1])[0]
        return np.asarray(np.column_stack([np.ones(len(scored)), asked[:, :-1]]) @ head + asked[:, -1])

    trained(target, fit, labelled(target, fit))
    control = (trainer.predict(target, scored) - truth) ** 2
    told = {}
    for name, y in (("honest", labelled(source, seen)), ("shuffled", _shuffled(source, seen))):
        trained(source, seen, y)
        losses = {"transfer-features-1": (features() - truth) ** 2, "transfer-scratch-1": control}
        (told[name],) = worth(losses, {"transfer-features-1": FEATURES, "transfer-scratch-1": SCRATCH}, 0, 1)
    return told


def _shuffled(bars: Bars, rows: Rows) -> Floats:
    """Each window with another's outcome, relative to its own level."""
    level = levels(bars, rows, LENGTH)
    return np.asarray(level + np.random.default_rng(5).permutation(labelled(bars, rows) - level))


def evidence(line: TransferWorth) -> Evidence:
    """All that a gate could want besides: the challenger is far better than the one baseline."""
    test = GateComparison(
        rival="lhar", role="baseline", rival_loss=0.2, challenger_loss=0.1, difference=0.1, statistic=9.0,
        p_value=1e-9, dates=504, lag=5,
    )  # fmt: skip
    return Evidence(
        challenger="transfer-features-1", challenger_engine="transfer", challenger_recipe_sha256="r",
        best_baseline="lhar", comparisons=(test,), dates=504, effective=400.0, level=0.025, worth=line,
    )  # fmt: skip


def test_shuffled_source_labels_make_the_guard_fire(lines: dict[str, TransferWorth]) -> None:
    line = lines["shuffled"]
    assert line.verdict == "hurts"
    assert line.interval[1] < 0
    decision = decide(evidence(line), Policy())
    assert (decision.outcome, decision.promote) == ("baseline", "lhar")
    (said,) = obstacles(evidence(line), Policy())
    assert said.startswith(f"The transfer hurts: on {line.dates} walk-forward dates transfer-features-1")
    assert said in decision.reasons


def test_the_same_with_honest_labels_does_not_hurt_and_may_be_promoted(lines: dict[str, TransferWorth]) -> None:
    line = lines["honest"]
    assert line.verdict != "hurts"
    assert line.difference > lines["shuffled"].difference
    assert decide(evidence(line), Policy()).outcome == "promoted"
