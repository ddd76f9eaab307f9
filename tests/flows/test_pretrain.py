"""Pre-training as a user runs it, on the built-in bars with a tiny network: registered, pulled, verified, resolved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.backbones import described
from tasks.contracts import FeatureMatrix, FeatureSpec, Ref, Rows, Window
from tasks.errors import ConfigurationError
from tasks.problem import Problem
from tasks.registry import backbones
from tasks.search.transfer.channels import CHANNELS
from tests.flows.conftest import document, nocturne

pytestmark = [
    pytest.mark.slow,
    # keras 3.15's variables and JAX's arrays lack NumPy 2's copy argument.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
]
TINY = tuple(
    part
    for change in (
        "name=tiny", "length=24", "width=4", "depth=1", "embedding=4", "steps=20", "batch=32", "seconds=60",
        "tasks=[volatility, direction]", "horizons=[1, 5]", "until=2009-12-31",
    )
    for part in ("--set", change)
)  # fmt: skip
NO_FILE = Ref(path="", sha256="", rows=0)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pretrained")


@pytest.fixture(scope="module")
def trained(home: Path) -> dict[str, Any]:
    """The command's document, of bars up to 2009."""
    found: dict[str, Any] = document(nocturne(home, "pretrain", "nasdaq", *TINY, "--json"))
    return found


def rows(validation: str, problem: Problem) -> Rows:
    windows = (Window(name="validation", first=validation, last="2018-12-31T21:00:00Z", rows=9, dates=9),)
    return Rows(ref=NO_FILE, target=problem.objective, windows=windows, purged=0, embargo=5, term_start="")


def test_a_backbone_is_registered_pulled_and_verified(trained: dict[str, Any]) -> None:
    listed = trained["backbone"]
    made = listed["backbone"]
    assert (made["name"], made["version"], made["bar"]) == ("tiny", "1", "1d")
    assert made["end"] == "2009-12-31T21:00:00+00:00", "no bar after 'until' was read"
    assert tuple(made["channels"]) == CHANNELS
    assert described(Path(made["folder"])).sha256 == made["sha256"]
    assert [(each["task"], each["horizon"]) for each in listed["evidence"]] == [
        ("volatility", 1), ("volatility", 5), ("direction", 1), ("direction", 5),
    ]  # fmt: skip
    assert all("2008" <= each["first"] < each["last"] <= made["end"] for each in listed["evidence"])
    manifest = json.loads(Path(made["folder"], "backbone.json").read_bytes())
    assert manifest["device"] == listed["device"]
    assert manifest["source"]["rows"] == 2767
    assert manifest["source"]["last"] == "2009-12-31T21:00:00Z"
    assert 0 < manifest["peak_mb"] < 4096


def test_a_problem_that_scores_later_bars_finds_it_and_an_earlier_one_is_told_both_dates(
    trained: dict[str, Any], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOCTURNE_HOME", str(home))
    problem = Problem(name="nasdaq", source="builtin:nasdaq", engines=("transfer",))
    matrix = FeatureMatrix(ref=NO_FILE, spec=FeatureSpec(columns=CHANNELS, tick=0.01), lookback=22)
    (found,) = backbones.resolve(problem, rows("2011-03-01T21:00:00Z", problem), matrix)
    assert found.sha256 == trained["backbone"]["backbone"]["sha256"]
    with pytest.raises(ConfigurationError) as refused:
        backbones.resolve(problem, rows("2009-06-01T20:00:00Z", problem), matrix)
    assert "2009-12-31T21:00:00+00:00" in str(refused.value)
    assert "2009-06-01T20:00:00Z" in str(refused.value)


def test_the_same_again_is_reused_and_an_update_goes_on_until_nothing_is_new(
    trained: dict[str, Any], home: Path
) -> None:
    assert document(nocturne(home, "pretrain", "nasdaq", *TINY, "--json"))["backbone"] == trained["backbone"]
    further = ("--set", "update=incremental", "--set", "until=", "--json")
    updated = document(nocturne(home, "pretrain", "nasdaq", *TINY, *further))["backbone"]
    assert (updated["backbone"]["version"], updated["parent"]) == ("2", "tiny:1")
    assert updated["backbone"]["end"] == "2018-12-31T21:00:00+00:00"
    assert all(each["first"] >= trained["backbone"]["backbone"]["end"] for each in updated["evidence"])
    held = json.loads(Path(updated["backbone"]["folder"], "backbone.json").read_bytes())["pretraining"]
    assert (held["steps"], held["held_out"], held["watched"]) == (10, 0.25, 0.15), "what held, not what the form said"
    another = nocturne(home, "pretrain", "nasdaq", *TINY, *further, "--set", "length=32")
    assert another.returncode == 2
    assert "length was 24 and is 32" in json.loads(another.stdout)["error"]["message"]
    unchanged = document(nocturne(home, "pretrain", "nasdaq", *TINY, *further))
    assert unchanged["backbone"] is None
    assert "0 are new" in unchanged["unchanged"]
    listed = nocturne(home, "backbones", "tiny")
    assert listed.returncode == 0
    assert all(len(line) <= 80 for line in listed.stdout.splitlines())
    assert "2009-12-31" in listed.stdout
    assert "2018-12-31" in listed.stdout
    assert document(nocturne(home, "models", "--json"))["models"] == [], "they serve nobody"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("nowhere",), 2, "no pre-training 'nowhere'"),
        (("nasdaq", "--set", "until=2999-01-01"), 2, "which has not come yet"),
        (("nasdaq", "--set", "until=soon"), 2, "must be an ISO 8601 date or time, got 'soon'"),
        (("nasdaq", *TINY, "--set", "until=2000-06-30"), 4, "too few bars to pre-train on"),
        (
            ("nasdaq", "--set", "architecture=image", "--set", "body=MobileNet", "--set", "weights_from=/no/such.h5"),
            2,
            "weights_from: /no/such.h5: cannot be read",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused_in_words(
    arguments: tuple[str, ...], code: int, words: str, home: Path
) -> None:
    done = nocturne(home, "pretrain", *arguments, "--json")
    assert done.returncode == code, done.stderr
    assert words in json.loads(done.stdout)["error"]["message"]
