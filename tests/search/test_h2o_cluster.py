"""A cluster that somebody else runs: what is asked of it, and that it is left as it was found."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.errors import ConfigurationError, EngineError, EngineKilledError
from tasks.search import h2o_cluster, training
from tasks.search.h2o_cluster import H2OCluster
from tasks.storage import home, read_predictions
from tests.search.conftest import Ask, execute
from tests.search.h2o_cloud import ELSEWHERE, GONE, PASSWORD, USER, Cloud, lease_of, two_nodes

WHOLE = {"version": "3.46.0.11", "cloud_size": 1, "cloud_healthy": True, "bad_nodes": 0, "nodes": [{"max_mem": 2**30}]}


class Answers(BaseHTTPRequestHandler):
    """Tells of a cluster what the server's ``cloud`` says; 401 where that is None."""

    def do_GET(self) -> None:
        cloud = self.server.cloud  # type: ignore[attr-defined]
        self.send_response(401 if cloud is None else 200)
        self.end_headers()
        self.wfile.write(b"<html>" if cloud == "no cluster" else json.dumps(cloud).encode())

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Any]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("cloud", "kind", "said"),
    [
        ({**WHOLE, "version": "3.46.0.12"}, ConfigurationError, "is H2O 3.46.0.12, and 3.46.0.11 is wanted"),
        ({**WHOLE, "cloud_healthy": False}, EngineError, "is not healthy"),
        ({**WHOLE, "bad_nodes": 1}, EngineError, "is not healthy"),
        (None, ConfigurationError, "refuses user 'me': set NOCTURNE_H2O_USER and NOCTURNE_H2O_PASSWORD"),
    ],
)
def test_a_cluster_that_cannot_be_used_is_refused_in_words(server: Any, cloud: Any, kind: Any, said: str) -> None:
    server.cloud = cloud
    with pytest.raises(kind, match=said):
        H2OCluster(f"http://127.0.0.1:{server.server_port}", "me", "it")


BAD_URLS = [
    *("localhost:54321", "ftp://host:1", "http://host", "http://host:0", "http://host:99999", "http://host:port"),
    *("http://[::1:54321", "http://me:it@host:54321", "http://me:it/x@host:54321"),
]


@pytest.mark.parametrize("url", BAD_URLS)
def test_a_url_that_cannot_be_one_or_tells_a_secret_is_refused_without_telling_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match="NOCTURNE_H2O_URL must") as refused:
        H2OCluster(url, "", "")
    assert "it" not in str(refused.value).replace("with a port", "")


@pytest.mark.parametrize("answer", ["no cluster", ["a", "list"], {}])
def test_a_server_that_is_no_cluster_is_refused_in_words(server: Any, answer: Any) -> None:
    server.cloud = answer
    with pytest.raises(ConfigurationError, match="is no H2O cluster"):
        H2OCluster(f"http://127.0.0.1:{server.server_port}", "me", "it")


def test_a_cluster_that_does_not_answer_is_an_error_of_the_engine() -> None:
    with pytest.raises(EngineError, match="does not answer"):
        H2OCluster("http://127.0.0.1:9", "", "")


def test_a_cluster_that_loses_a_node_interrupts_who_waits_for_it(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As H2O tells of it, a minute after the node was last heard; its client would wait for ever."""
    monkeypatch.setattr(h2o_cluster, "EVERY_SECONDS", 0.02)
    server.cloud = {**WHOLE, "cloud_size": 2, "nodes": [{"max_mem": 2**30}] * 2}
    before = signal.getsignal(signal.SIGUSR1)
    try:
        cluster = H2OCluster(f"http://127.0.0.1:{server.server_port}", "me", "it")
        assert cluster.nodes == 2
        server.cloud = {**server.cloud, "bad_nodes": 1, "cloud_healthy": False}
        with pytest.raises(EngineKilledError, match="was lost: 1 of 2 nodes are left"):
            time.sleep(30)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_without_a_url_there_is_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOCTURNE_H2O_URL", raising=False)
    assert h2o_cluster.configured() is None


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, quick_java: None) -> Iterator[Cloud]:
    with two_nodes(tmp_path_factory.mktemp("cloud")) as made:
        yield made


@pytest.fixture
def named(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    values = {"NOCTURNE_H2O_URL": cloud.url, "NOCTURNE_H2O_USER": USER, "NOCTURNE_H2O_PASSWORD": PASSWORD}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return cloud


@pytest.mark.needs_java
@pytest.mark.slow
def test_two_nodes_find_what_one_finds_and_are_left_as_they_were(
    named: Cloud, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease_of("killed", GONE, named.url)
    lease_of("running", ELSEWHERE, named.url)
    others = {"nocturne_running_rows_0", "nocturne_strange_rows_0", "somebody_elses"}
    for key in ("nocturne_killed_rows_0", *others):
        named.put(key)
    request = ask("h2o", models=2, memory_mb=600)
    result = execute(request, tmp_path / "two")
    assert not result.error
    assert "version 3.46.0.11, 2 nodes" in result.notes[0]
    assert PASSWORD not in (tmp_path / "two" / "engine.log").read_text() + str(result)
    assert not result.reproducible
    assert named.keys() == others
    assert [path.stem for path in (home() / "h2o").iterdir()] == ["running"]
    assert named.get("/3/Cloud")["cloud_size"] == 2
    monkeypatch.delenv("NOCTURNE_H2O_URL")
    alone = execute(request, tmp_path / "one")
    assert not alone.error
    rows = training.load(request).rows("selection")
    ours = {item.name: read_predictions(item.predictions)[rows] for item in result.candidates}
    theirs = {item.name: read_predictions(item.predictions)[rows] for item in alone.candidates}
    assert ours.keys() == theirs.keys()
    for name, predicted in ours.items():
        # H2O promises the same only for the same nodes and cores: rows are summed in another order, trees may differ.
        assert np.max(np.abs(predicted - theirs[name])) <= 0.05 * np.std(theirs[name]), name


@pytest.mark.needs_java
@pytest.mark.slow
def test_a_cluster_that_goes_down_is_a_failure_in_words_and_not_an_endless_wait(
    named: Cloud, ask: Ask, tmp_path: Path
) -> None:
    """Comes last: the cloud is not whole after it."""

    def lose(progress: Any) -> None:
        if progress.message == "searching":
            named.nodes[0].kill()

    failed = execute(ask("h2o", models=200, seconds=100), tmp_path, lose)
    assert f"the H2O cluster at {named.url} was lost: it does not answer" in failed.error
