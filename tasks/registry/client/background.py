"""Work that callers hand over and do not wait for: a bounded queue and one thread, which a forked child starts anew."""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")
log = logging.getLogger("nocturne.client")


class _Mark:
    """In the queue: a caller waits until all before it is done; ``last``: and the thread ends then."""

    def __init__(self, *, last: bool = False) -> None:
        self.done, self.last = threading.Event(), last


class Background(Generic[T]):
    """Calls ``work(item)`` for each item in order, and ``tick(asked)`` every ``seconds``; asked is True in a flush.

    What ``work`` and ``tick`` raise is logged: nobody is there to catch it. The thread is a daemon; close or flush what
    must not be lost. The thread ends with ``close``, after which nothing more is taken.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[T], None],
        *,
        size: int,
        tick: Callable[[bool], None] | None = None,
        seconds: float = 60.0,
    ) -> None:
        self._name, self._work, self._tick, self._size, self._seconds = name, work, tick, size, seconds
        self._lock = threading.Lock()
        self._closed = False
        self._begin()

    @property
    def closed(self) -> bool:
        """Whether nothing more is taken."""
        return self._closed

    def put(self, item: T) -> bool:
        """Hand over an item; False if it was not taken: the queue is full, or closed. Never waits."""
        self._mine()
        with self._lock:
            if self._closed:
                return False
            self._ensure()
            try:
                self._queue.put_nowait(item)
            except queue.Full:
                return False
        return True

    def flush(self, seconds: float = 30.0) -> bool:
        """Wait until all that was handed over before is done; whether it was in time."""
        return self._wait(_Mark(), seconds)

    def close(self, seconds: float = 30.0) -> bool:
        """Take nothing more, wait until the rest is done, and end the thread; whether that was in time."""
        self._mine()
        with self._lock:
            self._closed = True
        return self._wait(_Mark(last=True), seconds)

    def _wait(self, mark: _Mark, seconds: float) -> bool:
        if not self._runs():
            return True
        try:
            self._queue.put(mark, timeout=seconds)
        except queue.Full:
            return False
        end = time.monotonic() + seconds
        while not mark.done.wait(0.1):
            if not self._runs() or time.monotonic() > end:  # closed by another thread meanwhile
                break
        return mark.done.is_set() or not self._runs()

    def _runs(self) -> bool:
        return self._pid == os.getpid() and self._thread is not None and self._thread.is_alive()

    def _begin(self) -> None:
        self._queue: queue.Queue[T | _Mark] = queue.Queue(self._size)
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

    def _mine(self) -> None:
        if self._pid != os.getpid():  # the parent's lock may be held for ever in a forked child, its thread is not here
            self._lock = threading.Lock()
            self._begin()

    def _ensure(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, args=(self._queue,), name=self._name, daemon=True)
            self._thread.start()

    def _run(self, items: queue.Queue[T | _Mark]) -> None:
        while True:
            try:
                item = items.get(timeout=self._seconds)
            except queue.Empty:
                self._safely(self._ticks, False)
                continue
            if not isinstance(item, _Mark):
                self._safely(self._work, item)
                continue
            self._safely(self._ticks, True)
            item.done.set()
            if item.last:
                return

    def _ticks(self, asked: bool) -> None:
        if self._tick is not None:
            self._tick(asked)

    def _safely(self, call: Callable[[Any], None], argument: Any) -> None:
        try:
            call(argument)
        except Exception:  # the boundary of a thread: the next item must be done all the same
            log.exception("%s: failed", self._name)
