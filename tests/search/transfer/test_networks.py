"""Encoders: free of the window's scale, deaf to a volume that is not known, the same from the same seed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tasks.errors import ConfigurationError, IntegrityError
from tasks.search.auto_keras import use_jax
from tasks.search.transfer.channels import (
    CHANNELS,
    LOG_RANGE,
    MASKS,
    MEDIAN,
    RETURN,
    VOLUME,
    from_matrix,
    levels,
    usable,
    windows,
)
from tests.search.transfer.windows import KERAS_WARNING, bars_of_two, candles, disturbed, matrix_of

if importlib.util.find_spec("autokeras") is None:
    pytest.skip("the engines extra is not installed", allow_module_level=True)
pytestmark = pytest.mark.filterwarnings(KERAS_WARNING)
LENGTH = 32
SIZES: dict[str, Any] = {"length": LENGTH, "width": 16, "depth": 1, "embedding": 8}
SEQUENCES = ("tcn", "patches")
ARCHITECTURES = (*SEQUENCES, "image")
FLOAT32 = 2e-5
"""How far embeddings of about one lie apart when float32 inputs are rounded otherwise."""

Raw = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def networks() -> ModuleType:
    use_jax(2)
    from tasks.search.transfer import networks  # noqa: PLC0415 - keras's backend is settled by now

    return networks


@pytest.fixture(scope="module")
def made(networks: ModuleType) -> dict[str, Any]:
    """An encoder of each architecture, as if trained."""
    return {name: disturbed(networks.encoder(networks.Spec(architecture=name, **SIZES), 3)) for name in ARCHITECTURES}


@pytest.fixture(scope="module")
def raw() -> Raw:
    bars = bars_of_two()
    return windows(bars, np.flatnonzero(usable(bars, LENGTH))[:64], LENGTH)


def embedded(networks: ModuleType, encoder: Any, raw: Raw) -> tuple[Raw, Raw]:
    embedding, level = encoder.predict_on_batch(networks.prepared(encoder.name, raw))
    return np.asarray(embedding), np.asarray(level)


@pytest.mark.parametrize("name", SEQUENCES)
@pytest.mark.parametrize("factor", [0.05, 3.0, 16.0])
def test_the_windows_volatility_is_in_the_level_alone(
    networks: ModuleType, made: dict[str, Any], raw: Raw, name: str, factor: float
) -> None:
    moved = raw.copy()
    moved[:, :, [RETURN, MEDIAN]] *= np.float32(factor)
    moved[:, :, LOG_RANGE] += np.float32(np.log(factor))
    (before, level), (after, higher) = (embedded(networks, made[name], each) for each in (raw, moved))
    np.testing.assert_allclose(after, before, rtol=0, atol=FLOAT32)
    np.testing.assert_allclose(higher - level, np.log(factor), atol=FLOAT32)
    assert np.ptp(before, axis=0).min() > 1e-2, "windows are told apart"


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("factor", [1e-3, 4.0, 1e4])
def test_the_prices_unit_is_nowhere(networks: ModuleType, made: dict[str, Any], name: str, factor: float) -> None:
    found = []
    for unit in (1.0, factor):
        bars = {key: values * (1.0 if key == "volume" else unit) for key, values in candles(120, 5).items()}
        values = matrix_of(bars)
        steps = from_matrix(values, CHANNELS, np.full(len(values), "A", dtype=object))
        found.append(embedded(networks, made[name], windows(steps, np.flatnonzero(usable(steps, LENGTH)), LENGTH)))
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=0, atol=FLOAT32)
    np.testing.assert_allclose(found[1][1], found[0][1], rtol=0, atol=FLOAT32)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize(("channel", "mask"), MASKS)
def test_an_unknown_volume_or_body_is_not_heard_and_one_of_zero_is(
    networks: ModuleType, made: dict[str, Any], raw: Raw, name: str, channel: int, mask: int
) -> None:
    unknown, whatever, zeros = raw.copy(), raw.copy(), raw.copy()
    unknown[:, :, [channel, mask]] = 0.0
    whatever[:, :, mask] = 0.0
    zeros[:, :, channel] = 0.0
    silent, heard, none = (embedded(networks, made[name], each)[0] for each in (unknown, whatever, zeros))
    np.testing.assert_array_equal(heard, silent)
    assert np.abs(none - silent).max(axis=1).min() > 1e-3


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_level_is_the_windows_mean(networks: ModuleType, made: dict[str, Any], raw: Raw, name: str) -> None:
    _, level = embedded(networks, made[name], raw)
    assert level.shape == (len(raw), 1)
    np.testing.assert_allclose(level[:, 0], raw[:, :, LOG_RANGE].mean(axis=1), rtol=1e-6)


@pytest.mark.parametrize("name", SEQUENCES)
def test_every_bar_and_channel_of_the_window_counts(
    networks: ModuleType, made: dict[str, Any], raw: Raw, name: str
) -> None:
    before = embedded(networks, made[name], raw[:1])[0]
    for bar, channel in [(at, RETURN) for at in range(LENGTH)] + [(9, other) for other in range(VOLUME + 1)]:
        touched = raw[:1].copy()
        touched[0, bar, channel] += 0.02 if channel in (RETURN, MEDIAN) else 0.5
        assert np.abs(embedded(networks, made[name], touched)[0] - before).max() > 1e-5, (bar, channel)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_batches_of_embeddings_are_those_of_one(networks: ModuleType, made: dict[str, Any], name: str) -> None:
    bars = bars_of_two()
    ends = np.flatnonzero(usable(bars, LENGTH))[::5]
    whole = networks.embed(made[name], bars, ends)
    assert whole.shape == (len(ends), 9)
    assert whole.dtype == np.float32
    np.testing.assert_allclose(networks.embed(made[name], bars, ends, batch=32), whole, rtol=0, atol=1e-5)
    np.testing.assert_allclose(whole[:, -1], levels(bars, ends, LENGTH), rtol=1e-6)
    assert networks.embed(made[name], bars, ends[:0]).shape == (0, 9)
    # Bit for bit, whatever else is asked for: embeddings of some rows are those of all.
    np.testing.assert_array_equal(networks.embed(made[name], bars, ends[7::3]), whole[7::3])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_seed_fixes_the_weights(networks: ModuleType, name: str) -> None:
    spec = networks.Spec(architecture=name, **SIZES)
    one, again, other = (networks.weights(networks.encoder(spec, seed)) for seed in (7, 7, 8))
    assert list(one) == list(again) == list(other)
    assert all((one[key] == again[key]).all() for key in one)
    assert any((one[key] != other[key]).any() for key in one)


def test_heads_speak_the_labels_unit(networks: ModuleType, made: dict[str, Any], raw: Raw) -> None:
    encoder = made["tcn"]
    embedding, level = embedded(networks, encoder, raw)
    for kind in ("volatility", "return", "probability"):
        model = networks.head(encoder, kind)
        silent = np.asarray(model(raw))
        naive = {"volatility": level, "return": np.zeros_like(level), "probability": np.full_like(level, 0.5)}[kind]
        np.testing.assert_allclose(silent, naive, rtol=1e-6, err_msg="a head that learnt nothing says the naive thing")
        kernel = np.random.default_rng(1).normal(size=(8, 1)).astype(np.float32)
        model.get_layer("head").kernel.assign(kernel)
        s = embedding @ kernel
        wanted = {"volatility": level + s, "return": np.exp(level) * s, "probability": 1 / (1 + np.exp(-s))}[kind]
        np.testing.assert_allclose(np.asarray(model(raw)), wanted, rtol=1e-4, atol=1e-6)
        shift, unit = networks.scale_of(level[:, 0].astype(float), kind)
        if kind != "probability":
            np.testing.assert_allclose((wanted[:, 0] - shift) / unit, s[:, 0], rtol=1e-3, atol=1e-5)


def test_a_head_may_look_at_the_level(networks: ModuleType, made: dict[str, Any], raw: Raw) -> None:
    model = networks.head(made["tcn"], "probability", level=(-4.0, 0.5))
    kernel = np.zeros((9, 1), dtype=np.float32)
    kernel[-1] = 2.0
    model.get_layer("head").kernel.assign(kernel)
    _, level = embedded(networks, made["tcn"], raw)
    np.testing.assert_allclose(np.asarray(model(raw)), 1 / (1 + np.exp(-2.0 * (level + 4.0) / 0.5)), rtol=1e-4)
    with pytest.raises(ConfigurationError, match="not 'price'"):
        networks.head(made["tcn"], "price")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_lowest_share_is_frozen(networks: ModuleType, name: str) -> None:
    encoder = networks.encoder(networks.Spec(architecture=name, **SIZES), 1)
    model = networks.head(encoder, "volatility")
    layers = [layer.name for layer in networks.lowest_first(encoder)]
    assert layers[-1] == "embedding"
    assert layers[0] == ("block_0" if name == "image" else "stem")
    fixed = networks.freeze(encoder, 0.8)
    assert fixed == layers[: round(0.8 * len(layers))]
    learning = {variable.path.split("/")[0] for variable in model.trainable_variables}
    assert learning == {*layers[len(fixed) :], "head"}
    assert networks.freeze(encoder, 1.0) == layers
    assert [variable.path for variable in model.trainable_variables] == ["head/kernel", "head/bias"]
    assert networks.freeze(encoder, 0.0) == []
    with pytest.raises(ConfigurationError, match=r"between 0 and 1, got 1\.5"):
        networks.freeze(encoder, 1.5)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_weights_go_through_a_file_without_pickle(
    networks: ModuleType, made: dict[str, Any], raw: Raw, name: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "weights.npz", **networks.weights(made[name]))
    fresh = networks.encoder(networks.Spec(architecture=name, **SIZES), 99)
    with np.load(tmp_path / "weights.npz", allow_pickle=False) as arrays:
        networks.load_weights(fresh, arrays)
    for found, expected in zip(embedded(networks, fresh, raw), embedded(networks, made[name], raw), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_weights_that_do_not_match_are_refused_and_none_is_taken(networks: ModuleType, made: dict[str, Any]) -> None:
    arrays, fresh = networks.weights(made["tcn"]), networks.encoder(networks.Spec(architecture="tcn", **SIZES), 1)
    before = networks.weights(fresh)
    names = list(arrays)
    cases: list[tuple[dict[str, Any], str]] = [
        ({key: value for key, value in arrays.items() if key != names[3]}, rf"'{names[3]}' \(16,\) is missing"),
        (arrays | {names[2]: np.zeros((2, 2)), names[4]: np.zeros(1)}, rf"'{names[2]}' is \(2, 2\), the network has"),
        (arrays | {names[5]: np.full(16, np.nan)}, rf"'{names[5]}' holds numbers that are not finite"),
        (arrays | {"block_9_a/kernel": np.zeros(3)}, "'block_9_a/kernel' is not in this network"),
    ]
    for wrong, message in cases:
        with pytest.raises(IntegrityError, match=message):
            networks.load_weights(fresh, wrong)
    assert all((before[key] == value).all() for key, value in networks.weights(fresh).items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "transformer"}, "must be tcn, patches or image"),
        ({"architecture": "patches", "length": 30}, "multiple of 4"),
        ({"architecture": "patches", "width": 18}, "width of 4"),
        ({"architecture": "tcn", "length": 1}, "at least 2"),
        ({"architecture": "tcn", "depth": 0}, "at least 1"),
        ({"architecture": "tcn", "dropout": 1.0}, r"dropout in \[0, 1\)"),
    ],
)
def test_what_cannot_be_built_is_refused(networks: ModuleType, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        networks.Spec(**changes)


def test_dropout_is_for_training_alone(networks: ModuleType, raw: Raw) -> None:
    spec = networks.Spec(architecture="tcn", **SIZES, dropout=0.5)
    encoder = networks.encoder(spec, 3)
    assert list(networks.weights(encoder)) == list(
        networks.weights(networks.encoder(networks.Spec(architecture="tcn", **SIZES), 3))
    ), "a generator's state is no weight"
    once, again = (np.asarray(encoder(raw, training=False)[0]) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    assert np.abs(np.asarray(encoder(raw, training=True)[0]) - once).max() > 1e-3
