"""A service's model: it follows its alias without a pause, falls back and says so, shows a challenger to a share."""

from __future__ import annotations

import gc
import json
import pickle
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tasks.errors import ConfigurationError, IntegrityError, ModelInputError, RegistryError
from tasks.registry.client.events import Event
from tasks.registry.client.prediction_log import read_log
from tasks.registry.client.service import ASIDE_AFTER, Champion
from tasks.registry.client.share import sees_challenger
from tasks.registry.serving.folder import folder_digest
from tests.registry.client.conftest import BUNDLE, FAILS, Edit, Shelf, other_code, settings, variant
from tests.registry.conftest import NAME

Start = Callable[..., Champion]


@pytest.fixture
def events() -> list[Event]:
    """What the service was told."""
    return []


@pytest.fixture
def start(shelf: Shelf, events: list[Event]) -> Iterator[Start]:
    """Starts services on the shelf, and closes them."""
    started: list[Champion] = []

    def begin(**more: Any) -> Champion:
        started.append(Champion(NAME, **settings(shelf, on_event=events.append) | more))
        return started[-1]

    yield begin
    for champion in started:
        champion.close()


def kinds(events: list[Event]) -> list[str]:
    return [event.kind for event in events]


def failing(package: str) -> Edit:
    """A model that raises for the odd bars, and for no others."""
    return other_code(FAILS, package)


def odd(bars: pd.DataFrame) -> pd.DataFrame:
    """The same bars with the volume that some models here stumble over."""
    return bars.assign(volume=12_345.0)


def test_an_answer_carries_the_version_and_role_that_made_it(shelf: Shelf, start: Start, bars: pd.DataFrame) -> None:
    shelf.point(champion=shelf.put())
    champion = start()
    said = champion.predict(bars)
    assert list(said.columns) == ["time", "prediction", "version", "role"]
    assert said[["version", "role"]].to_numpy().tolist() == [["1", "champion"]]
    assert len(champion.predict(bars, rows="all")) > 100
    assert (champion.state.version, champion.state.degraded, champion.state.signed) == ("1", "", False)
    assert champion.predictor.bars_needed == 22


def test_what_the_model_says_is_what_the_client_says(shelf: Shelf, start: Start, bars: pd.DataFrame) -> None:
    from tasks.registry.serving.predictor import Predictor  # noqa: PLC0415

    shelf.point(champion=shelf.put())
    here = Predictor(shelf.sources["1"] / BUNDLE).predict(bars, rows="all")["prediction"]
    assert start().predict(bars, rows="all")["prediction"].tolist() == here.tolist()


def test_it_follows_the_alias_forth_and_back(
    shelf: Shelf, start: Start, bars: pd.DataFrame, events: list[Event]
) -> None:
    shelf.point(champion=shelf.put())
    shelf.put(-0.5)
    champion = start()
    first = champion.predict(bars)["prediction"].iloc[0]
    shelf.point(champion="2")
    assert champion.predict(bars)["version"].iloc[0] == "1", "nobody looked yet"
    assert champion.refresh().version == "2"
    assert champion.predict(bars)["prediction"].iloc[0] == pytest.approx(first - 0.25, rel=1e-12)
    shelf.point(champion="1")
    champion.refresh()
    assert champion.predict(bars)["prediction"].iloc[0] == first
    assert kinds(events) == ["loaded", "reloaded", "reloaded"]


def test_a_rollback_reaches_a_running_service_without_a_call(shelf: Shelf, start: Start, bars: pd.DataFrame) -> None:
    shelf.put(-0.5)
    shelf.point(champion=shelf.put())
    champion = start(refresh_seconds=0.05)
    shelf.point(champion="1")
    end = time.monotonic() + 20
    while champion.state.version != "1":
        assert time.monotonic() < end
        time.sleep(0.02)
    assert champion.predict(bars)["version"].iloc[0] == "1"


def test_no_prediction_waits_while_a_new_version_loads(shelf: Shelf, start: Start, bars: pd.DataFrame) -> None:
    """The new version's code waits for a file that is made only when predictions were given meanwhile."""
    go = shelf.folder / "go"
    wait = f"\nimport time, pathlib\nwhile not pathlib.Path({str(go)!r}).exists():\n    time.sleep(0.01)\n"
    shelf.point(champion=shelf.put())
    shelf.put(-0.5, edit=other_code(wait, "nocturne_model_0123456789c0"))
    champion = start()
    shelf.point(champion="2")
    looking = threading.Thread(target=champion.refresh)
    looking.start()
    versions = {champion.predict(bars)["version"].iloc[0] for _ in range(20)}
    assert looking.is_alive()
    go.touch()
    looking.join(30)
    assert versions == {"1"}
    assert champion.predict(bars)["version"].iloc[0] == "2"


def test_a_prediction_in_flight_ends_on_the_version_that_it_began_with(
    shelf: Shelf, start: Start, bars: pd.DataFrame
) -> None:
    go, begun = shelf.folder / "go", shelf.folder / "begun"
    slow = f"""

def _slow(self, bars, rows="last"):
    import time, pathlib
    if bars["volume"].iloc[-1] == 12_345:
        pathlib.Path({str(begun)!r}).touch()
        while not pathlib.Path({str(go)!r}).exists():
            time.sleep(0.01)
    return _quick(self, bars, rows)

_quick, Predictor.predict = Predictor.predict, _slow
"""
    shelf.point(champion=shelf.put(edit=other_code(slow, "nocturne_model_0123456789c1")))
    shelf.put(-0.5)
    champion = start()
    said: list[pd.DataFrame] = []
    asking = threading.Thread(target=lambda: said.append(champion.predict(odd(bars))))
    asking.start()
    while not begun.exists():
        time.sleep(0.01)
    shelf.point(champion="2")
    assert champion.refresh().version == "2"
    assert champion.predict(bars)["version"].iloc[0] == "2"
    go.touch()
    asking.join(30)
    assert said[0]["version"].iloc[0] == "1"


def test_a_champion_that_is_not_what_was_registered_leaves_the_fallback_in_its_place(
    shelf: Shelf, start: Start, bars: pd.DataFrame, events: list[Event], caplog: pytest.LogCaptureFixture
) -> None:
    shelf.point(champion=shelf.put(model_sha256="0" * 64), fallback=shelf.put(-0.5))
    champion = start()
    assert champion.predict(bars)[["version", "role"]].to_numpy().tolist() == [["2", "fallback"]]
    assert "altered or damaged" in champion.state.degraded
    assert kinds(events) == ["fallback", "loaded"]
    assert "version 2 (fallback) serves" in caplog.text
    shelf.point(champion=shelf.put(-0.1))
    assert champion.refresh().role == "champion"
    assert champion.state.degraded == ""
    assert "recovered" in kinds(events)


def test_a_new_champion_that_fails_its_health_check_is_not_shown(
    shelf: Shelf, start: Start, bars: pd.DataFrame
) -> None:
    def recorded(model: Path) -> None:
        (model / BUNDLE / "health.json").write_text(json.dumps({"predictions": [123.0]}))
        manifest = json.loads((model / BUNDLE / "manifest.json").read_bytes())
        manifest["files"]["health.json"] = ""
        (model / BUNDLE / "manifest.json").write_text(json.dumps(manifest))

    shelf.point(champion=shelf.put(), fallback=shelf.put(-0.5))
    champion = start()
    shelf.point(champion=shelf.put(edit=recorded))
    assert champion.refresh().version == "2"
    assert "fails its health check" in champion.state.degraded
    assert "recorded was [123.0]" in champion.state.degraded


def test_without_a_fallback_the_version_that_serves_goes_on(
    shelf: Shelf, start: Start, bars: pd.DataFrame, events: list[Event]
) -> None:
    shelf.point(champion=shelf.put())
    champion = start()
    shelf.point(champion=shelf.put(model_sha256="0" * 64))
    for _ in range(3):
        assert (champion.refresh().version, champion.state.role) == ("1", "champion")
    assert "was altered" in champion.state.degraded
    assert kinds(events) == ["loaded", "refused"], "the same thing is said once"


def test_at_the_start_nothing_is_better_than_the_wrong_model(shelf: Shelf, start: Start) -> None:
    shelf.point(champion=shelf.put(model_sha256="0" * 64))
    with pytest.raises(IntegrityError, match="was altered or damaged"):
        start()
    with pytest.raises(ConfigurationError, match="has no alias 'fallback'; it has champion"):
        start(alias="fallback")


def test_a_version_whose_tags_are_mended_is_taken_at_the_next_look(
    shelf: Shelf, start: Start, bars: pd.DataFrame
) -> None:
    shelf.point(champion=shelf.put())
    champion = start()
    version = shelf.put(-0.5, model_sha256="0" * 64)
    shelf.point(champion=version)
    assert champion.refresh().version == "1"
    shelf.store.client.set_model_version_tag(NAME, version, "model_sha256", folder_digest(shelf.sources[version]))
    assert (champion.refresh().version, champion.state.degraded) == ("2", "")


def test_another_model_under_the_same_number_takes_the_place_of_the_one_before(
    shelf: Shelf, start: Start, bars: pd.DataFrame
) -> None:
    shelf.point(champion=shelf.put())
    champion, pinned = start(), start(version="1")
    before = champion.predict(bars)["prediction"].iloc[0]
    shelf.store.client.delete_registered_model(NAME)
    path = variant(shelf.logged, shelf.folder / "anew", -0.5)
    shelf.sources.clear()
    shelf.point(champion=shelf.register(path))
    assert champion.refresh().version == "1"
    assert champion.predict(bars)["prediction"].iloc[0] == pytest.approx(before - 0.25, rel=1e-12)
    assert "is another model by now" in pinned.refresh().degraded
    assert pinned.predict(bars)["prediction"].iloc[0] == before


def test_a_name_that_is_taken_out_of_service_is_answered_by_its_fallback(
    shelf: Shelf, start: Start, bars: pd.DataFrame, events: list[Event]
) -> None:
    shelf.point(champion=shelf.put(), fallback=shelf.put(-0.5), challenger=shelf.put(-0.1))
    shelf.tag(share="1")
    champion = start()
    shelf.point(champion="")
    assert champion.refresh().role == "fallback"
    assert champion.predict(bars, "key")[["version", "role"]].to_numpy().tolist() == [["2", "fallback"]]
    assert "was taken out of service" in champion.state.degraded
    assert start().predict(bars)["role"].iloc[0] == "fallback", "who starts meanwhile does the same"
    shelf.point(champion="1")
    assert (champion.refresh().role, champion.state.degraded) == ("champion", "")
    assert [kind for kind in kinds(events) if kind != "loaded"] == ["fallback", "fallback", "recovered"]


def test_a_name_that_is_taken_out_of_service_without_a_fallback_answers_nobody(
    shelf: Shelf, start: Start, bars: pd.DataFrame, events: list[Event]
) -> None:
    shelf.point(champion=shelf.put())
    champion = start()
    shelf.point(champion="")
    for _ in range(2):
        state = champion.refresh()
        assert (state.version, state.role, state.champion) == ("", "", "")
        assert "was taken out of service" in state.degraded
        with pytest.raises(RegistryError, match=r"taken out of service.*there is no fallback"):
            champion.predict(bars)
    assert kinds(events) == ["loaded", "withdrawn"], "it is said once"
    with pytest.raises(ConfigurationError, match="has no alias 'champion'"):
        start()
    shelf.point(champion="1")
    assert champion.refresh().version == "1"
    assert champion.predict(bars)["role"].iloc[0] == "champion"


def test_a_full_disk_leaves_the_champion_in_service(
    shelf: Shelf, start: Start, bars: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    shelf.point(champion=shelf.put(), fallback=shelf.put(-0.5))
    champion = start()
    shelf.point(champion=shelf.put(-0.1))
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "mkdtemp", full)
        assert (champion.refresh().version, champion.state.role) == ("1", "champion")
        assert "No space left on device" in champion.state.degraded
    assert (champion.refresh().version, champion.state.degraded) == ("3", "")


def test_a_champion_that_fails_is_answered_for_and_then_set_aside_until_it_is_healthy(
    shelf: Shelf, start: Start, bars: pd.DataFrame, events: list[Event]
) -> None:
    shelf.point(champion=shelf.put(edit=failing("nocturne_model_0123456789c2")), fallback=shelf.put(-0.5))
    champion = start()
    assert champion.predict(odd(bars))["role"].iloc[0] == "fallback"
    assert champion.predict(bars)["role"].iloc[0] == "champion", "one failure is one request's"
    for _ in range(ASIDE_AFTER):
        assert champion.predict(odd(bars))["role"].iloc[0] == "fallback"
    assert champion.predict(bars)["role"].iloc[0] == "fallback"
    assert "RuntimeError: a defect" in champion.state.degraded
    assert champion.refresh().role == "champion", "it predicts from its own example"
    assert kinds(events) == ["loaded", *["fallback"] * 4, "recovered"]


def test_bars_that_cannot_be_predicted_from_are_the_callers_matter(
    shelf: Shelf, start: Start, bars: pd.DataFrame, events: list[Event]
) -> None:
    shelf.point(champion=shelf.put(), fallback=shelf.put(-0.5))
    champion = start()
    for _ in range(5):
        with pytest.raises(ModelInputError, match="needs at least 22 bars of SPX, got 3"):
            champion.predict(bars.iloc[:3])
    assert kinds(events) == ["loaded"]
    assert champion.predict(bars)["role"].iloc[0] == "champion"


def test_without_a_fallback_a_failure_is_the_callers(shelf: Shelf, start: Start, bars: pd.DataFrame) -> None:
    shelf.point(champion=shelf.put(edit=failing("nocturne_model_0123456789c3")))
    with pytest.raises(RegistryError, match=r"version 1 of .* failed: RuntimeError: a defect"):
        start().predict(odd(bars))


def test_drift_past_its_limit_shows_the_fallback_until_the_monitor_says_otherwise(
    shelf: Shelf, start: Start, bars: pd.DataFrame, events: list[Event]
) -> None:
    shelf.point(champion=shelf.put(), fallback=shelf.put(-0.5))
    champion = start()
    shelf.tag(drift="exceeded")
    champion.refresh()
    assert champion.predict(bars)["role"].iloc[0] == "fallback"
    assert "nocturne.drift" in champion.state.degraded
    shelf.tag(drift="within")
    champion.refresh()
    assert champion.predict(bars)["role"].iloc[0] == "champion"
    assert kinds(events) == ["loaded", "fallback", "recovered"]


def test_a_new_champion_is_not_judged_by_the_drift_of_the_one_before(
    shelf: Shelf, start: Start, bars: pd.DataFrame
) -> None:
    first, second = shelf.put(), shelf.put(0.5)
    shelf.point(champion=first, fallback=shelf.put(-0.5))
    shelf.tag(**{"drift": "exceeded", "drift.version": first})
    champion = start()
    assert champion.predict(bars)["role"].iloc[0] == "fallback"
    shelf.point(champion=second)
    champion.refresh()
    assert champion.predict(bars)["role"].iloc[0] == "champion"


def test_drift_where_no_fallback_is_ready_is_said_and_the_champion_goes_on(
    shelf: Shelf, start: Start, bars: pd.DataFrame, events: list[Event]
) -> None:
    shelf.point(champion=shelf.put(), challenger=shelf.put(-0.5))
    shelf.tag(drift="exceeded", share="1")
    champion = start()
    assert champion.predict(bars, "key")["role"].iloc[0] == "champion", "nobody is shown a challenger meanwhile"
    assert "there is no fallback, so it goes on serving" in events[0].message


def test_another_alias_is_followed_alone(shelf: Shelf, start: Start, bars: pd.DataFrame) -> None:
    shelf.point(champion=shelf.put(), challenger=shelf.put(-0.5), fallback=shelf.put(-0.1))
    champion = start(alias="challenger")
    assert champion.predict(bars, "key")[["version", "role"]].to_numpy().tolist() == [["2", "challenger"]]
    assert (champion.state.champion, champion.state.fallback) == ("2", "")


def test_a_share_of_keys_is_shown_the_challenger_and_both_are_logged_for_every_request(
    shelf: Shelf, start: Start, bars: pd.DataFrame, tmp_path: Path
) -> None:
    shelf.point(champion=shelf.put(), challenger=shelf.put(-0.5))
    shelf.tag(share="0.25")
    champion = start(log=tmp_path / "log")
    keys = [f"customer-{number}" for number in range(40)]
    shown = {key: champion.predict(bars, key)["role"].iloc[0] for key in keys}
    assert champion.predict(bars)["role"].iloc[0] == "champion", "no key"
    champion.flush()
    assert {key for key, role in shown.items() if role == "challenger"} == {
        key for key in keys if sees_challenger(NAME, key, 0.25)
    }
    assert 1 <= list(shown.values()).count("challenger") <= 20
    found = read_log(tmp_path / "log")
    assert found.groupby("at")["version"].agg(set).tolist() == [{"1", "2"}] * 41
    assert found.groupby("at")["shown"].sum().tolist() == [1] * 41
    by_key = found[found["shown"]].set_index("key")["role"]
    assert by_key.drop("").to_dict() == shown
    difference = found.pivot(index="at", columns="version", values="prediction")
    assert (difference["1"] - difference["2"]).to_numpy() == pytest.approx(0.25, rel=1e-9)


@pytest.mark.parametrize("share", ["0", "1"])
def test_a_key_that_no_text_can_hold_is_refused_and_the_log_goes_on(
    shelf: Shelf, start: Start, bars: pd.DataFrame, tmp_path: Path, share: str
) -> None:
    shelf.point(champion=shelf.put(), challenger=shelf.put(-0.5))
    shelf.tag(share=share)
    champion = start(log=tmp_path / "log")
    with pytest.raises(ModelInputError, match="the key is not text"):
        champion.predict(bars, "\ud800")
    champion.predict(bars, "key")
    champion.flush()
    assert set(read_log(tmp_path / "log")["key"]) == {"key"}


@pytest.mark.parametrize("closed", [True, False])
def test_a_service_that_nobody_holds_is_collected_and_its_log_written(
    shelf: Shelf, bars: pd.DataFrame, tmp_path: Path, closed: bool
) -> None:
    shelf.point(champion=shelf.put(), challenger=shelf.put(-0.5))
    before = set(threading.enumerate())
    champion = Champion(NAME, **settings(shelf, refresh_seconds=30, log=tmp_path / "log"))
    champion.predict(bars, "key")
    champion.flush()
    champion.predict(bars, "key")
    if closed:
        champion.close()
    gone = weakref.ref(champion)
    del champion
    gc.collect()
    assert gone() is None
    end = time.monotonic() + 20
    while [one for one in threading.enumerate() if one not in before and one.name != "nocturne-refresh"]:
        assert time.monotonic() < end
        time.sleep(0.02)
    shown = read_log(tmp_path / "log")
    assert shown["shown"].sum() == 2


def test_what_a_closed_service_says_is_not_logged_and_that_is_said(
    shelf: Shelf, start: Start, bars: pd.DataFrame, tmp_path: Path, events: list[Event]
) -> None:
    shelf.point(champion=shelf.put(), challenger=shelf.put(-0.5))
    champion = start(log=tmp_path / "log", refresh_seconds=30)
    champion.predict(bars)
    champion.close()
    assert len(champion.predict(bars)) == 1
    assert [event.message for event in events][1:] == ["the log is closed: one was not logged"]


FORKS = """
import os, sys, threading
import pandas as pd
from tasks.registry.client.service import Champion

uri, name, log, bars = sys.argv[1:]
champion = Champion(name, tracking_uri=uri, log=log, refresh_seconds=30)
table = pd.read_parquet(bars)
champion.predict(table)
champion.close()
child = os.fork()
if child == 0:
    champion.predict(table)
    os._exit(sum(thread.name == "nocturne-refresh" for thread in threading.enumerate()))
print("child", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_closed_service_stays_closed_in_a_forked_child(shelf: Shelf, bars: pd.DataFrame, tmp_path: Path) -> None:
    shelf.point(champion=shelf.put())
    bars.to_parquet(tmp_path / "bars.parquet")
    said = subprocess.run(  # a process of its own: a fork of the test runner would copy threads of other libraries
        [sys.executable, "-W", "error", "-c", FORKS, shelf.store.tracking_uri, NAME, tmp_path / "log",
         tmp_path / "bars.parquet"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert said.stdout.split() == ["child", "0"], said.stderr


def test_in_shadow_the_challenger_predicts_and_nobody_sees_it(
    shelf: Shelf, start: Start, bars: pd.DataFrame, tmp_path: Path
) -> None:
    shelf.point(champion=shelf.put(), challenger=shelf.put(-0.5))
    champion = start(log=tmp_path / "log")
    assert {champion.predict(bars, number)["role"].iloc[0] for number in range(20)} == {"champion"}
    champion.flush()
    assert (read_log(tmp_path / "log")["role"] == "challenger").sum() == 20


def test_a_challengers_failure_never_reaches_the_caller(
    shelf: Shelf, start: Start, bars: pd.DataFrame, events: list[Event], tmp_path: Path
) -> None:
    shelf.point(champion=shelf.put(), challenger=shelf.put(-0.5, edit=failing("nocturne_model_0123456789c4")))
    for share in ("1", "0"):  # shown to all, and to nobody
        shelf.tag(share=share)
        champion = start(log=tmp_path / share)
        assert champion.predict(odd(bars), "key")["role"].iloc[0] == "champion"
        champion.flush()
        assert read_log(tmp_path / share)["role"].unique().tolist() == ["champion"]
    assert kinds(events) == ["loaded", "challenger failed"] * 2


def test_a_challenger_that_cannot_be_loaded_is_left_out(
    shelf: Shelf, start: Start, bars: pd.DataFrame, events: list[Event]
) -> None:
    shelf.point(champion=shelf.put(), challenger=shelf.put(model_sha256="0" * 64))
    shelf.tag(share="1")
    champion = start()
    assert champion.predict(bars, "key")["role"].iloc[0] == "champion"
    assert (champion.state.challenger, champion.state.share) == ("", 0.0)
    assert kinds(events) == ["challenger failed", "loaded"]


@pytest.mark.parametrize("text", ["lots", "1.5", "-0.1", "nan"])
def test_a_share_that_is_none_shows_nobody_the_challenger(
    shelf: Shelf, start: Start, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    shelf.point(champion=shelf.put(), challenger=shelf.put(-0.5))
    shelf.tag(share=text)
    assert start().state.share == 0.0
    assert "not a number in [0, 1]" in caplog.text


def test_a_pinned_version_stays(shelf: Shelf, start: Start, bars: pd.DataFrame) -> None:
    shelf.put()
    shelf.point(champion=shelf.put(-0.5), fallback="1")
    champion = start(version="1")
    shelf.tag(drift="exceeded")
    assert champion.refresh().role == "pinned"
    assert champion.predict(bars)[["version", "role"]].to_numpy().tolist() == [["1", "pinned"]]


def test_another_process_makes_its_own_from_the_settings(shelf: Shelf, start: Start, bars: pd.DataFrame) -> None:
    shelf.point(champion=shelf.put())
    champion = start(on_event=None)
    with pickle.loads(pickle.dumps(champion)) as copy:
        assert copy.predict(bars).equals(champion.predict(bars))


def test_a_listener_that_fails_disturbs_nobody(shelf: Shelf, start: Start, bars: pd.DataFrame) -> None:
    def listen(event: Event) -> None:
        raise RuntimeError("the pager is down")

    shelf.point(champion=shelf.put())
    assert len(start(on_event=listen).predict(bars)) == 1
