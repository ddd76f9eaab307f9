"""Several processes that try networks of one search: they share its trials, and nobody else takes part."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.errors import ConfigurationError, EngineError
from tasks.search.auto_keras import use_jax
from tests.search.conftest import Ask, execute

if importlib.util.find_spec("autokeras") is None:  # importing it here would settle keras's backend
    pytest.skip("the engines extra is not installed", allow_module_level=True)
pytestmark = [
    # keras-tuner 1.4.8 asks for the thread's name the old way.
    pytest.mark.filterwarnings("ignore:(currentThread|getName)\\(\\) is deprecated:DeprecationWarning"),
]


@pytest.mark.slow
def test_a_chief_and_a_worker_try_all_networks_and_leave_whole_candidates(ask: Ask, tmp_path: Path) -> None:
    """Bringing keras up takes most of it, in each process: two are few enough, and enough to share an oracle."""
    request = ask("autokeras", models=2, seconds=200)
    budget = dataclasses.replace(request.budget, epochs=2, workers=2)
    result = execute(dataclasses.replace(request, budget=budget), tmp_path)
    assert not result.error
    assert result.whole
    assert not result.reproducible
    assert result.notes == ("2 processes tried networks: not reproducible",)
    assert len(result.candidates) == 2  # all trials were handed in, and each could be rebuilt and served
    for item in result.candidates:
        assert item.engine == "autokeras"
        assert item.recipe["epochs"] <= 2
        assert item.train_seconds > 0
        assert (Path(item.model) / "model.onnx").is_file()
    log = (tmp_path / "engine.log").read_text()
    assert "the oracle is served on 127.0.0.1:" in log
    assert "worker-1 asks 127.0.0.1:" in log
    assert not (tmp_path / "scratch").exists()


@pytest.fixture
def crew(tmp_path: Path) -> Any:
    use_jax(1)
    from tasks.search.keras_crew import Crew  # noqa: PLC0415 - after keras's backend is settled

    made = Crew(tmp_path, 0, {"threads": 1}, {})
    yield made
    made.close()


class Oracle:
    """An oracle that has one trial under way, of a worker that is gone."""

    ongoing_trials: dict[str, Any] = {"worker-1": SimpleNamespace(trial_id="7")}  # noqa: RUF012

    def get_space(self) -> Any:
        import keras_tuner  # noqa: PLC0415

        return keras_tuner.HyperParameters()


def test_a_call_without_the_token_gets_nothing(crew: Any, tmp_path: Path) -> None:
    import grpc  # noqa: PLC0415
    from keras_tuner.src import protos  # noqa: PLC0415

    from tasks.search.keras_crew import TOKEN  # noqa: PLC0415

    crew.begin(SimpleNamespace(oracle=Oracle()))
    task = tmp_path / "task.json"
    told = json.loads(task.read_text())
    assert task.stat().st_mode & 0o777 == 0o600
    assert told["address"].startswith("127.0.0.1:")
    service, space = protos.get_service_grpc(), protos.get_service().GetSpaceRequest()
    with grpc.insecure_channel(told["address"]) as channel:
        stub = service.OracleStub(channel)
        for given in (None, [(TOKEN, "guessed")], [(TOKEN, "")]):
            with pytest.raises(grpc.RpcError, match="UNAUTHENTICATED"):
                stub.GetSpace(space, metadata=given, timeout=20)
        assert stub.GetSpace(space, metadata=[(TOKEN, told["token"])], timeout=20) is not None
    crew.close()
    assert not task.exists()


def test_a_worker_that_is_gone_is_not_waited_for_past_the_limit(
    crew: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tasks.search.keras_crew.LAST_TRIAL_SECONDS", 0.0)
    with caplog.at_level(logging.WARNING, logger="nocturne.search"):
        crew.end(SimpleNamespace(oracle=Oracle()), deadline=0.0)
    assert "trial 7 was begun by a worker that never handed it in" in caplog.text


@pytest.mark.parametrize("told", ["localhost", "127.0.0.1:", ":80", "127.0.0.1:http"])
def test_an_address_that_is_none_is_refused_in_words(told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use_jax(1)
    from tasks.search.keras_crew import address  # noqa: PLC0415

    monkeypatch.setenv("NOCTURNE_KERAS_CHIEF", told)
    with pytest.raises(ConfigurationError, match="NOCTURNE_KERAS_CHIEF must be HOST:PORT"):
        address()


def test_a_port_that_is_taken_is_an_error_in_words(crew: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket  # noqa: PLC0415

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv("NOCTURNE_KERAS_CHIEF", f"127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(EngineError, match="cannot be listened on"):
            crew.begin(SimpleNamespace(oracle=Oracle()))
