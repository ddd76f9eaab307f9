"""Evidence: out of sample, both models or none, in any order; kept in parts that nobody changes."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import ConfigurationError, DataError, IntegrityError, StorageError
from tasks.rollout import evidence
from tasks.rollout.assess import assess
from tasks.rollout.plan import Ending, Plan
from tasks.rollout.reading import last_closed
from tasks.rollout.store import RolloutStore, begin, current, latest, lease
from tests.conftest import PROJECT

Floats = npt.NDArray[np.float64]
BOUND = 2.0


def rows(dates: int, symbols: tuple[str, ...] = ("A",), horizon: int = 1) -> pd.DataFrame:
    sessions = pd.bdate_range("2020-01-01", periods=dates)
    frame = pd.DataFrame([(name, day) for name in symbols for day in sessions], columns=["symbol", "session"])
    frame["time"] = frame["session"].dt.tz_localize("UTC") + pd.Timedelta(hours=21)
    frame["label_end"] = frame["time"] + pd.Timedelta(days=horizon)
    frame["label"] = np.linspace(-1, 1, len(frame))
    return frame


def plan(**changes: object) -> Plan:
    agreed = Plan(
        id="20200101T000000Z-v2", name="a", mode="gradual", champion="1", challenger="2", predicts="p", loss="mse",
        started="2020-01-01T00:00:00+00:00", after="2019-12-31", streams=1, bound=BOUND, level=0.025, limit=30,
        read=1, read_row=1, prior=tuple(np.linspace(-1, 1, 80)),
    )  # fmt: skip
    return dataclasses.replace(agreed, **changes)  # type: ignore[arg-type]


def said(frame: pd.DataFrame, seed: int = 1) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal(len(frame)), rng.standard_normal(len(frame))


def forecasts(frame: pd.DataFrame, known: pd.DataFrame | None = None, **changes: str) -> pd.DataFrame:
    asked: dict[str, Any] = {"after": "2020-01-01", "learned": "2020-01-01T21:00:00+00:00"} | changes
    champion, challenger = said(frame)
    before = evidence.no_forecasts() if known is None else known
    return evidence.new_forecasts(frame, champion, challenger, before, **asked, share=0.01)


def outcomes(
    frame: pd.DataFrame, spoken: pd.DataFrame, known: pd.DataFrame | None = None, streams: int = 1
) -> pd.DataFrame:
    before = evidence.no_outcomes() if known is None else known
    return evidence.new_outcomes(frame, spoken, before, loss="mse", bound=BOUND, streams=streams)


def test_only_dates_after_the_beginning_and_after_what_either_learned_count() -> None:
    frame = rows(10)
    days = frame["session"]
    assert forecasts(frame, after=f"{days[3]:%Y-%m-%d}")["session"].min() == days[4]
    learned = frame["time"][6].isoformat()
    assert forecasts(frame, learned=learned)["session"].min() == days[6]
    assert not len(forecasts(frame, after=f"{days[9]:%Y-%m-%d}"))


def test_the_same_night_again_adds_nothing() -> None:
    frame = rows(10)
    first = forecasts(frame)
    assert not len(forecasts(frame, known=first))
    scored = outcomes(frame, first)
    assert len(scored) == len(first)
    assert not len(outcomes(frame, first, known=scored))


def test_an_outcome_waits_for_its_label() -> None:
    frame = rows(10)
    spoken = forecasts(frame)
    frame.loc[8:, "label"] = np.nan
    scored = outcomes(frame, spoken)
    assert scored["session"].max() == frame["session"][7]
    difference = (scored["champion_loss"] - scored["challenger_loss"]).to_numpy()
    assert scored["difference"].to_numpy() == pytest.approx(difference)


def test_a_date_of_a_panel_waits_for_its_last_name_and_then_goes_without_it() -> None:
    frame = rows(20, ("A", "B"))
    spoken = forecasts(frame)
    lost = (frame["symbol"] == "B") & (frame["session"] >= frame["session"][10])
    frame.loc[lost, "label"] = np.nan
    early = frame[frame["session"] <= frame["session"][12]]
    assert outcomes(early, spoken[spoken["session"] <= frame["session"][12]])["session"].max() == frame["session"][9]
    late = outcomes(frame, spoken)
    assert late["session"].max() == frame["session"][13]
    one = late[late["session"] == frame["session"][12]]
    found = evidence.differences(spoken, late)
    assert found[frame["session"][12]] == pytest.approx(one.loc[one["symbol"] == "A", "difference"].iloc[0])


def test_a_session_under_way_is_not_forecast_until_it_has_closed() -> None:
    """15-minute bars of a day-long session, asked while it is under way, and again when it is over."""
    times = pd.date_range("2020-01-06 00:15", "2020-01-08 00:00", freq="15min", tz="UTC")
    frame = pd.DataFrame({"symbol": "A", "time": times, "label": 0.0, "label_end": times + pd.Timedelta("15min")})
    frame["session"] = (times - pd.Timedelta("15min")).tz_localize(None).normalize()
    seen, spoken, scored = frame.head(96 + 10), evidence.no_forecasts(), evidence.no_outcomes()
    for part in (seen, frame):
        zeros = np.zeros(len(part))
        new = evidence.new_forecasts(
            part, zeros, zeros, spoken, after="2020-01-05", learned="2020-01-05", share=0.0, scored=scored,
            closed=last_closed("24/7", part),
        )  # fmt: skip
        spoken = pd.concat([spoken, new], ignore_index=True) if len(spoken) else new
        more = outcomes(part, spoken, scored)
        scored = pd.concat([scored, more], ignore_index=True) if len(scored) else more
    assert spoken.groupby("session").size().tolist() == [96, 96]
    assert scored.groupby("session").size().tolist() == [96, 96]
    assert (last_closed("24/7", seen), last_closed("24/7", frame.head(10))) == ("2020-01-06", "2020-01-05")


def test_a_bar_that_comes_a_day_late_joins_its_date_unless_that_has_been_scored() -> None:
    frame = rows(8, ("A", "B"))
    days = frame["session"].unique()
    on_time = frame[(frame["symbol"] == "A") | (frame["session"] < days[5])]
    now = on_time[on_time["session"] <= days[5]]
    first = forecasts(now.reset_index(drop=True))
    assert (first["session"] == days[5]).sum() == 1
    again = frame[frame["session"] <= days[6]].reset_index(drop=True)
    none = evidence.no_outcomes()
    champion, challenger = said(again)
    asked: dict[str, Any] = {"after": "2020-01-01", "learned": "2020-01-01", "share": 0.0}
    late = evidence.new_forecasts(again, champion, challenger, first, **asked, scored=none)
    assert [(row.symbol, row.session) for row in late.itertuples()] == [
        ("B", days[5]), ("A", days[6]), ("B", days[6]),
    ]  # fmt: skip
    scored = outcomes(again, first)
    settled = evidence.new_forecasts(again, champion, challenger, first, **asked, scored=scored)
    assert set(settled["session"]) == {days[6]}, "what has been scored never changes"
    skipped = first[first["session"] != days[3]]
    filled = evidence.new_forecasts(again, champion, challenger, skipped, **asked, scored=none)
    assert days[3] not in set(filled["session"]), "no date comes in before one that is known"


def test_a_date_on_which_the_challenger_is_silent_is_lost_and_a_silent_champion_is_not_compared() -> None:
    frame = rows(6, ("A", "B"))
    champion, challenger = said(frame)
    champion[frame["session"] == frame["session"][2]] = np.nan
    challenger[(frame["session"] == frame["session"][3]) & (frame["symbol"] == "B")] = np.nan
    spoken = evidence.new_forecasts(
        frame, champion, challenger, evidence.no_forecasts(), after="2020-01-01", learned="2020-01-01", share=0.0
    )
    assert frame["session"][2] not in set(spoken["session"])
    scored = outcomes(frame, spoken)
    assert evidence.differences(spoken, scored)[frame["session"][3]] <= -BOUND
    assert evidence.silence(scored) == (1, 1)
    honest = scored[scored["session"] != frame["session"][3]]
    assert honest["difference"].to_numpy() == pytest.approx(honest["champion_loss"] - honest["challenger_loss"])


def test_silence_on_the_worst_rows_gains_nothing() -> None:
    """50 names, a challenger a little better on most rows and far worse on 2 % of them, which it leaves out."""
    names = tuple(f"N{number:02}" for number in range(50))
    frame = rows(120, names).assign(label=0.0)
    rng = np.random.default_rng(3)
    champion = rng.standard_normal(len(frame))
    challenger, bad = 0.95 * champion, rng.random(len(frame)) < 0.02
    challenger[bad] = 15.0
    found = {}
    for name, said_ in {"honest": challenger, "silent": np.where(bad, np.nan, challenger)}.items():
        spoken = evidence.new_forecasts(
            frame, champion, said_, evidence.no_forecasts(), after="2020-01-01", learned="2020-01-01", share=0.0
        )
        scored = evidence.new_outcomes(frame, spoken, evidence.no_outcomes(), loss="mse", bound=BOUND, streams=1)
        found[name] = evidence.differences(spoken, scored).clip(-BOUND, BOUND)
        assert found[name].mean() < 0
    assert (found["silent"] <= found["honest"] + 1e-12).all(), "date by date"
    assert (found["silent"] == found["honest"]).mean() > 0.2, "dates without a silent row are what they were"


def test_arrays_that_are_not_aligned_are_refused() -> None:
    frame = rows(5)
    with pytest.raises(DataError, match="5 rows, 4 and 5"):
        evidence.new_forecasts(
            frame,
            np.zeros(4),
            np.zeros(5),
            evidence.no_forecasts(),
            after="2020-01-01",
            learned="2020-01-01",
            share=0.0,
        )


@settings(max_examples=30, deadline=None)
@given(order=st.permutations(range(11)), nights=st.integers(1, 11))
def test_the_order_in_which_outcomes_arrive_does_not_matter(order: list[int], nights: int) -> None:
    frame = rows(12)
    spoken = forecasts(frame)
    whole = outcomes(frame, spoken)
    straight = assess(plan(), spoken, whole)
    shuffled = pd.concat([whole.iloc[[place]] for place in order], ignore_index=True)
    again = assess(plan(), spoken, shuffled)
    assert again == straight
    part = assess(plan(), spoken, shuffled.head(nights))
    assert straight.steps[: len(part.steps)] == part.steps
    assert straight.differences[: len(part.steps)] == part.differences


def test_night_by_night_ends_where_one_go_does() -> None:
    frame = rows(40, ("A", "B"))
    spoken, scored = evidence.no_forecasts(), evidence.no_outcomes()
    for night in range(2, 41):
        seen = frame[frame["session"] <= frame["session"][night - 1]].copy()
        seen.loc[seen["session"] == seen["session"].max(), "label"] = np.nan
        champion, challenger = (values[seen.index] for values in said(frame))
        new = evidence.new_forecasts(
            seen, champion, challenger, spoken, after="2020-01-01", learned="2020-01-01", share=0.01
        )
        spoken = pd.concat([spoken, new], ignore_index=True)
        scored = pd.concat([scored, outcomes(seen, spoken, scored)], ignore_index=True)
    last = frame.copy()
    last.loc[last["session"] == last["session"].max(), "label"] = np.nan
    once = forecasts(last)
    assert assess(plan(), spoken, scored) == assess(plan(), once, outcomes(last, once))


def test_what_clients_logged_is_compared_with_the_house() -> None:
    frame = rows(8)
    spoken = forecasts(frame)
    logged = pd.DataFrame(
        {"version": "2", "symbol": spoken["symbol"], "time": spoken["time"], "prediction": spoken["challenger"]}
    )
    assert evidence.disagreements(logged, spoken, ("1", "2")) == ()
    bare = logged.assign(time=spoken["session"].dt.tz_localize("America/New_York") + pd.Timedelta(hours=23))
    assert evidence.disagreements(bare.assign(time=bare["time"].dt.tz_convert("UTC")), spoken, ("1", "2")) == ()
    bare["prediction"] += np.where(np.arange(len(bare)) == 2, 0.5, 0.0)
    bare["time"] = bare["time"].dt.tz_convert("UTC")
    told = evidence.disagreements(bare, spoken, ("1", "2"), "America/New_York")
    assert len(told) == 1
    assert "1 of 7 logged predictions of version 2" in told[0]
    assert evidence.disagreements(bare.assign(version="9"), spoken, ("1", "2"), "America/New_York") == ()


def test_a_folder_keeps_what_came_in_and_finds_what_was_altered() -> None:
    store, frame = begin(plan()), rows(12)
    spoken = forecasts(frame)
    for part in (spoken.head(4), spoken.iloc[4:]):
        store.append("forecasts", part)
    assert store.append("forecasts", spoken.head(0)) == 0
    pd.testing.assert_frame_equal(store.read("forecasts"), spoken)
    assert store.read("outcomes").columns.tolist() == list(evidence.OUTCOMES)
    sidecar = store.folder / "forecasts-00001.json"
    kept = sidecar.read_text()
    sidecar.write_text(json.dumps(json.loads(kept) | {"rows": 5}))
    with pytest.raises(IntegrityError, match="part 2"):
        store.read("forecasts")
    sidecar.unlink()
    with pytest.raises(IntegrityError, match="part 1"):
        store.read("forecasts")
    sidecar.write_text(kept)
    table = store.folder / "forecasts-00002.parquet"
    table.write_bytes(table.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError, match="SHA-256"):
        store.read("forecasts")


def test_a_part_that_was_not_finished_counts_for_nothing_and_is_written_anew() -> None:
    store, spoken = begin(plan()), forecasts(rows(12))
    store.append("forecasts", spoken.head(4))
    (store.folder / "forecasts-00002.parquet").write_bytes(b"half of it")
    assert len(store.read("forecasts")) == 4
    store.append("forecasts", spoken.iloc[4:])
    assert len(store.read("forecasts")) == len(spoken)


def test_one_rollout_at_a_time_and_the_same_plan_again_is_the_same() -> None:
    first = begin(plan())
    assert begin(plan()).folder == first.folder
    assert first.plan == plan()
    other = plan(id="20200201T000000Z-v3", challenger="3")
    with pytest.raises(ConfigurationError, match="version 2 has been going on since 2020-01-01"):
        begin(other)
    ended = first.end(Ending(outcome="stopped", at="2020-01-05T00:00:00+00:00", dates=3, why=("enough",)))
    assert first.end(Ending(outcome="promoted", at="", dates=9)) == ended
    assert current("a") is None
    second = begin(other)
    assert latest("a") is not None
    assert RolloutStore(second.folder).plan == other


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "a\0"])
def test_a_name_that_is_no_folder_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="no name"):
        current(name)


HOLDER = """
import sys
from tasks.rollout.store import lease
with lease("a"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lease_is_one_processes_and_ends_with_it() -> None:
    with lease("a"):
        pass
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER], cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(StorageError, match="another process"), lease("a"):
        pass
    holder.kill()
    holder.wait()
    holder.stdout.close()
    holder.stdin.close()
    with lease("a"):
        pass
