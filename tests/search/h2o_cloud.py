"""A cloud of two H2O nodes on loopback, as somebody else would run it: behind a password, with little memory."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import json
import os
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.documents import to_json
from tasks.holder import Holder, me
from tasks.search.h2o_server import _free_port, ask, h2o_jar, java
from tasks.search.lifeline import tethered
from tasks.storage import home, write_json

USER, PASSWORD = "somebody", "a secret of the cloud"
GONE = dataclasses.replace(me(), pid=2**22 + 1, born="1")
"""A process that was killed here."""

ELSEWHERE = dataclasses.replace(GONE, host="another-pod", kernel="another boot pid:[1]")
"""A process in another space of numbers: that there is none of its number here says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloud:
    """url: of its first node. nodes: their processes."""

    url: str
    nodes: tuple[subprocess.Popen[bytes], ...]

    def get(self, path: str) -> Any:
        return ask(self.url + path, USER, PASSWORD)

    def keys(self) -> set[str]:
        """Frames and models that lie in it."""
        frames = {each["frame_id"]["name"] for each in self.get("/3/Frames")["frames"]}
        return frames | {each["model_id"]["name"] for each in self.get("/3/Models")["models"]}

    def put(self, key: str) -> None:
        """A frame of that name."""
        session = self._post("/4/sessions", {})["session_key"]
        self._post("/99/Rapids", {"ast": f"(assign {key} (seq_len 3))", "session_id": session})

    def _post(self, path: str, values: dict[str, str]) -> Any:
        token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        body = urllib.parse.urlencode(values).encode()
        request = urllib.request.Request(self.url + path, body, {"Authorization": f"Basic {token}"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


def lease_of(name: str, holder: Holder, url: str, *, unseen: float = 0.0) -> Path:
    """The lease that a search on a cluster has left, renewed so many seconds ago."""
    path = home() / "h2o" / f"{name}.json"
    write_json(path, {"url": url, "holder": to_json(holder)})
    seen = path.stat().st_mtime - unseen
    os.utime(path, (seen, seen))
    return path


@contextmanager
def two_nodes(folder: Path, memory_mb: int = 600) -> Iterator[Cloud]:
    """Both nodes up and one cloud, ended with the block."""
    digest = hashlib.md5(PASSWORD.encode(), usedforsecurity=False).hexdigest()
    (folder / "realm.properties").write_text(f"{USER}: MD5:{digest},user\n")
    ports = [_free_port(), _free_port()]
    (folder / "flatfile").write_text("".join(f"127.0.0.1:{port}\n" for port in ports))
    nodes = tuple(_node(folder, port, memory_mb) for port in ports)
    cloud = Cloud(url=f"http://127.0.0.1:{ports[0]}", nodes=nodes)
    try:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if cloud.get("/3/Cloud")["cloud_size"] == 2:
                    break
            time.sleep(0.3)
        else:
            raise AssertionError((folder / f"{ports[0]}.log").read_text()[-2000:])
        yield cloud
    finally:
        for node in nodes:
            node.kill()
            node.wait()


def _node(folder: Path, port: int, memory_mb: int) -> subprocess.Popen[bytes]:
    loopback = ["-ip", "127.0.0.1", "-web_ip", "127.0.0.1", "-port", str(port), "-flatfile", str(folder / "flatfile")]
    guarded = ["-hash_login", "-login_conf", str(folder / "realm.properties"), "-disable_flow"]
    alone = ["-name", f"cloud-{folder.name}", "-ice_root", str(folder / f"ice-{port}"), "-nthreads", "1"]
    options = [f"-Xmx{memory_mb}m", "-Dsys.ai.h2o.ext.core.toggle.XGBoost=False"]
    with (folder / f"{port}.log").open("wb") as log:
        return subprocess.Popen(
            tethered([java(), *options, "-jar", str(h2o_jar()), *loopback, *guarded, *alone]),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
