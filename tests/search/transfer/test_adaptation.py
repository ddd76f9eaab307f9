"""What is done about a shift: each method against its formula, and on markets where it must help."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
from typing import Any

import numpy as np
import pytest

from tasks.contracts import Target
from tasks.search.auto_keras import use_jax
from tasks.search.transfer.channels import BODY, KNOWN, LOG_RANGE, RETURN, Bars, levels, usable, windows
from tasks.search.transfer.shift import scale_free
from tasks.search.transfer.two_samples import Coral, Floats, classifier_auc, density_ratio, standardised
from tests.search.transfer.shifted import ends, market

if importlib.util.find_spec("autokeras") is None:
    pytest.skip("the engines extra is not installed", allow_module_level=True)
# keras 3.15's variables and JAX's arrays lack NumPy 2's copy argument.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)
LENGTH = 16
VOLATILITY = Target(name="volatility", horizon=5, kind="regression", loss="mse")


@pytest.fixture(scope="module", autouse=True)
def keras() -> None:
    use_jax(1)


@pytest.fixture(scope="module")
def ad(keras: None) -> Any:
    from tasks.search.transfer import adaptation  # noqa: PLC0415 - JAX is chosen first

    return adaptation


def sample(bars: Bars, y: Floats | None = None, **changes: Any) -> Any:
    from tasks.search.transfer.steps import Sample  # noqa: PLC0415

    rows = ends(bars, LENGTH)
    label = bars.values[:, LOG_RANGE].astype(np.float64)[rows] if y is None else y
    return Sample(**{"bars": bars, "ends": rows, "y": label, **changes})


def test_windows_are_made_free_of_scale_as_the_encoders_do_it(keras: None) -> None:
    from tasks.search.transfer import networks  # noqa: PLC0415

    bars = market(200, volume=False)
    raw = windows(bars, ends(bars, LENGTH), LENGTH)
    steps, level = networks.scale_free(raw)
    ours, own = scale_free(raw)
    np.testing.assert_allclose(ours, np.asarray(steps), atol=2e-5)
    np.testing.assert_allclose(own, np.asarray(level)[:, 0], atol=1e-5)


def test_the_coral_penalty_is_its_formula(ad: Any) -> None:
    random = np.random.default_rng(1)
    ours, theirs = random.normal(size=(40, 4)), random.normal(size=(30, 4)) * [1, 2, 3, 4] + 5.0
    gap = np.cov(ours, rowvar=False) - np.cov(theirs, rowvar=False)
    assert float(ad.coral_penalty(ours, theirs)) == pytest.approx(np.sum(gap**2) / (4 * 16), rel=1e-4)
    assert float(ad.coral_penalty(ours, ours + 3.0)) == pytest.approx(0.0, abs=1e-6)


def test_the_mmd_penalty_is_its_formula_and_its_descent_brings_samples_together(ad: Any) -> None:
    import jax  # noqa: PLC0415

    random, penalty = np.random.default_rng(2), jax.jit(ad.mmd_penalty)
    ours, theirs = random.normal(size=(30, 3)), random.normal(1.0, 1.0, size=(20, 3))
    both = np.concatenate([ours, theirs])
    distance = ((both[:, None] - both[None]) ** 2).sum(axis=2)
    kernel = np.mean([np.exp(-distance / (c * np.median(distance))) for c in (0.5, 1.0, 2.0)], axis=0)
    wanted = kernel[:30, :30].mean() + kernel[30:, 30:].mean() - 2 * kernel[:30, 30:].mean()
    assert float(penalty(ours, theirs)) == pytest.approx(wanted, rel=1e-4)
    assert float(penalty(theirs, theirs)) == pytest.approx(0.0, abs=1e-6)
    down = -np.asarray(jax.jit(jax.grad(lambda shift: ad.mmd_penalty(ours + shift, theirs)))(np.zeros(3)))
    assert (down > 0).all()


def test_augmented_rows_are_the_rows_again_with_a_little_noise(ad: Any) -> None:
    bars = market(300, 2)
    given = sample(bars)
    given = dataclasses.replace(given, weight=np.linspace(0.5, 1.5, len(given.ends)))
    made = ad.augmented(given, seed=3)
    half, n = len(given.ends), len(bars.values)
    assert (made.bars.values[:n] == bars.values).all()
    assert (made.bars.starts == [0, 300, 600, 900]).all()
    for field in ("y", "weight"):
        assert (getattr(made, field)[:half] == getattr(made, field)[half:]).all()
    assert usable(made.bars, LENGTH)[made.ends].all()
    assert (made.ends[half:] == given.ends + n).all()
    assert (made.bars.values[n:, KNOWN] == bars.values[:, KNOWN]).all()
    moved = made.bars.values[n:, LOG_RANGE] - bars.values[:, LOG_RANGE]
    assert moved.std() == pytest.approx(0.05, rel=0.15)
    assert (ad.augmented(given, seed=3).bars.values == made.bars.values).all()
    assert (ad.augmented(given, seed=4).bars.values != made.bars.values).any()


def test_what_is_not_known_stays_unknown_with_noise(ad: Any) -> None:
    bars = market(300, 2, opens=False, volume=False)
    made = ad.augmented(sample(bars), seed=3)
    assert not made.bars.values[:, BODY:].any()


def kept(bars: Bars, horizons: tuple[int, ...] = (1, 5)) -> dict[str, Any]:
    from tasks.search.transfer.source import sample as keep  # noqa: PLC0415
    from tasks.search.transfer.source import source_of  # noqa: PLC0415

    times = np.tile(np.arange(len(bars.values) // len(bars.starts)), len(bars.starts)) * 86_400 * 10**9
    return keep(source_of(bars, times, LENGTH, horizons), seed=1)


def test_source_rows_have_labels_of_the_targets_kind(ad: Any) -> None:
    bars = market(1500, 2)
    mine = sample(market(400, seed=5))
    row, horizon = 700, 5
    ahead = bars.values[row + 1 : row + 1 + horizon].astype(np.float64)

    def label(name: Any, **changes: Any) -> float:
        target = dataclasses.replace(VOLATILITY, name=name, **changes)
        found, labelled = ad.source_sample(kept(bars), target, LENGTH, mine)
        assert labelled
        return float(found.y[np.flatnonzero(found.ends == row)[0]])

    assert label("return") == pytest.approx(ahead[:, RETURN].sum(), rel=1e-6)
    assert label("direction", kind="classification", loss="log_loss") == float(ahead[:, RETURN].sum() > 0)
    found, _ = ad.source_sample(kept(bars), VOLATILITY, LENGTH, mine)
    plain = 0.5 * np.log(np.mean(np.exp(2 * ahead[:, LOG_RANGE])))
    place = int(np.flatnonzero(found.ends == row)[0])
    moved = found.y - levels(found.bars, found.ends, LENGTH)
    own = mine.y - levels(mine.bars, mine.ends, LENGTH)
    assert moved.mean() == pytest.approx(own.mean(), abs=1e-6)
    later, _ = ad.source_sample(kept(bars), VOLATILITY, LENGTH, dataclasses.replace(mine, y=mine.y + 0.25))
    assert later.y[place] - found.y[place] == pytest.approx(0.25, abs=1e-6)
    assert abs(found.y[place] - plain) < 0.5


def test_a_barrier_has_no_label_in_the_bars_alone(ad: Any) -> None:
    bars, mine = market(1500), sample(market(400, seed=5))
    barrier = Target(name="triple_barrier", horizon=5, kind="classification", loss="log_loss", profit=2.0, stop=2.0)
    found, labelled = ad.source_sample(kept(bars), barrier, LENGTH, mine)
    assert not labelled
    assert np.isnan(found.y).all()
    coral = ad.companion("coral", found, mine, LENGTH, seed=1)
    assert coral.alignment is ad.coral_penalty
    assert not ad.has_head_rows(coral)
    neutral = Target(name="return", horizon=5, kind="regression", loss="mse", neutral=True)
    assert not ad.source_sample(kept(bars), neutral, LENGTH, mine)[1]


def test_source_rows_are_at_most_so_many(ad: Any) -> None:
    found, _ = ad.source_sample(kept(market(1500)), VOLATILITY, LENGTH, sample(market(400, seed=5)), most=100)
    assert len(found.ends) == len(found.y) == 100
    assert np.diff(found.ends).min() > 5


def test_weights_prefer_the_source_that_is_like_the_target(ad: Any) -> None:
    calm, lean = market(1500, 1, 1), market(1500, 1, 2, lean=0.5)
    both = Bars(values=np.concatenate([calm.values, lean.values]), starts=np.array([0, 1500]))
    source = sample(both)
    found = ad.row_weights(source, sample(market(900, 1, 3, lean=0.5)), LENGTH)
    assert found.mean() == pytest.approx(1.0)
    assert found[source.ends >= 1500].mean() > 3 * found[source.ends < 1500].mean()
    made = ad.companion("weights", source, sample(market(900, 1, 3, lean=0.5)), LENGTH, seed=1)
    assert (made.sample.weight == found).all()
    assert made.mixed == ad.MIXED["weights"]


def test_each_method_has_its_companion(ad: Any) -> None:
    source, target = sample(market(300)), sample(market(300, seed=2))
    make = functools.partial(ad.companion, source=source, target=target, length=LENGTH, seed=1)
    assert make("none") is None
    assert make("mix").mixed > 0
    assert len(make("mix").sample.ends) == 2 * len(source.ends)
    assert (make("coral").alignment, make("mmd").alignment) == (ad.coral_penalty, ad.mmd_penalty)
    assert make("adversarial").adversarial
    assert not any(make(each).mixed for each in ("coral", "mmd", "adversarial"))


def test_one_call_measures_and_chooses(ad: Any) -> None:
    source, target = sample(market(2400)), sample(market(900, seed=2))
    found = ad.chosen_for(source, target, LENGTH, seed=1)
    assert (found.method, found.reaches_heads) == ("mix", True)
    assert f"AUC {found.shift.auc:.2f}" in found.reason
    assert ad.chosen_for(None, target, LENGTH, seed=1).reason == "No rows of the source are known: nothing is adapted."
    few = ad.chosen_for(source, sample(market(100, seed=2)), LENGTH, seed=1)
    assert (few.method, few.reaches_heads) == ("none", False)
    assert "the target has 6 windows of 16 bars that share no bar" in few.reason


@pytest.mark.parametrize("method", ["none", "mix", "weights", "coral", "mmd", "adversarial"])
@pytest.mark.parametrize("labelled", [True, False])
def test_what_reaches_a_head_in_closed_form_is_what_changes_its_rows(ad: Any, method: str, labelled: bool) -> None:
    """No adaptation is told of a head that did not see it."""
    source = sample(market(300))
    if not labelled:
        source = dataclasses.replace(source, y=np.full(len(source.ends), np.nan))
    told = ad.Adaptation(method=method, reason="", labelled=labelled)
    made = ad.companion(method, source, sample(market(300, seed=2)), LENGTH, seed=1)
    assert told.reaches_heads is bool(ad.has_head_rows(made))


def test_weights_look_at_so_many_target_rows_and_no_more(ad: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A panel's train rows are not all in memory, window by window; evenly chosen ones tell the same."""
    source, target = sample(market(300)), sample(market(900, 1, 3, lean=0.5))
    every = ad.row_weights(source, target, LENGTH)
    seen: list[int] = []

    def counted(bars: Bars, rows: Any, length: int) -> Any:
        seen.append(len(rows))
        return windows(bars, rows, length)

    monkeypatch.setattr(ad, "windows", counted)
    monkeypatch.setattr(ad, "MOST", 200)
    thinned = ad.row_weights(source, target, LENGTH)
    assert seen == [len(source.ends), 200]
    assert np.corrcoef(every, thinned)[0, 1] > 0.8


def test_weighted_rows_fit_a_line_where_the_target_lies(ad: Any) -> None:
    """y = x² has no one slope: unweighted, source rows at 0 spoil the line for target rows at 1."""
    random = np.random.default_rng(4)
    source, target = random.normal(0.0, 1.0, (4000, 1)), random.normal(1.0, 1.0, (60, 1))
    truth = random.normal(1.0, 1.0, (4000, 1))
    ours = (target, target[:, 0] ** 2 + random.normal(0.0, 1.0, 60), np.ones(60))

    def loss(weights: Floats) -> float:
        x, y, weight = ad.head_rows(beside(ad, "weights"), ours, (source, source[:, 0] ** 2, weights))
        design = np.column_stack([np.ones(len(x)), x]) * np.sqrt(weight)[:, None]
        line = np.linalg.lstsq(design, y * np.sqrt(weight))[0]
        return float(np.mean((line[0] + line[1] * truth[:, 0] - truth[:, 0] ** 2) ** 2))

    assert loss(density_ratio(*standardised(source, target))) < 0.9 * loss(np.ones(4000))


def beside(ad: Any, method: str) -> Any:
    given = sample(market(300))
    return ad.companion(method, given, given, LENGTH, seed=1)


def test_source_rows_stand_beside_the_targets_where_a_head_is_fitted(ad: Any) -> None:
    random = np.random.default_rng(5)
    target = (random.normal(size=(60, 3)), random.normal(size=60), np.ones(60))
    source = (random.normal(2.0, 3.0, (400, 3)), random.normal(size=400), random.uniform(0.1, 2.0, 400))
    for method in ("mix", "weights", "coral"):
        x, y, weight = ad.head_rows(beside(ad, method), target, source)
        assert ad.has_head_rows(beside(ad, method))
        assert weight[60:].sum() == pytest.approx(60 * ad.MIXED.get(method, ad.MIXED["mix"]))
        np.testing.assert_allclose(weight[60:] / weight[60], source[2] / source[2][0])
        np.testing.assert_array_equal(y, np.concatenate([target[1], source[1]]))
        wanted = Coral.of(source[0], target[0]).apply(source[0]) if method == "coral" else source[0]
        np.testing.assert_allclose(x[60:], wanted)
    assert not any(ad.has_head_rows(beside(ad, method)) for method in ("none", "mmd", "adversarial"))


@pytest.fixture(scope="module")
def told_apart(ad: Any) -> Any:
    """How well embeddings of source and target are told apart after a training with a companion."""
    from tasks.search.transfer import networks  # noqa: PLC0415
    from tasks.search.transfer.steps import Companion  # noqa: PLC0415
    from tasks.search.transfer.training import Schedule, Trainer  # noqa: PLC0415

    spec = networks.Spec(architecture="tcn", length=LENGTH, width=8, depth=1, embedding=4)
    source, target = sample(market(700, 1, 1)), sample(market(700, 1, 2, lean=0.8))

    @functools.cache
    def trained(method: str) -> float:
        encoder = networks.encoder(spec, 1)
        network = networks.head(encoder, "volatility")
        trainer = Trainer(network, encoder, "regression", functools.partial(networks.inputs_of, spec))
        made = Companion(sample=source, mixed=1e-6)
        if method != "none":
            made = ad.companion(method, source, target, LENGTH, seed=1)
        trainer.fit(target, Schedule(learning_rate=1e-2), epochs=15, batch=128, seed=1, companion=made)
        found = [networks.embed(encoder, each.bars, each.ends)[:, :-1].astype(np.float64) for each in (source, target)]
        return classifier_auc(*standardised(*found))[0]

    return trained


@pytest.mark.parametrize("method", ["mmd", "adversarial"])
def test_aligned_embeddings_are_harder_to_tell_apart(told_apart: Any, method: str) -> None:
    assert told_apart("none") > 0.85
    assert told_apart(method) < told_apart("none") - 0.1


def test_density_ratios_of_the_same_rows_are_one(ad: Any) -> None:
    rows = np.random.default_rng(1).normal(size=(300, 3))
    np.testing.assert_allclose(density_ratio(rows, rows), 1.0, atol=1e-6)
