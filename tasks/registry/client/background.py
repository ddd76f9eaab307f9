"""Work that callers hand over and do not wait for: a bounded queue and one thread, which a forked child starts anew."""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")
log = logging.getLogger("nocturne.client")


class Background(Generic[T]):
    """Calls ``work(item)`` for each item in order, and ``tick(asked)`` every ``seconds``; asked is True in a flush.

    What ``work`` and ``tick`` raise is logged: nobody is there to catch it. The thread is a daemon; close or flush what
    must not be lost.
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
        self._begin()

    def put(self, item: T) -> bool:
        """Hand over an item; False if the queue is full and it was not taken. Never waits."""
        self._ensure()
        try:
            self._queue.put_nowait(item)
        except queue.Full:
            return False
        return True

    def flush(self, seconds: float = 30.0) -> bool:
        """Wait until all that was handed over before is done; whether it was in time."""
        if self._thread is None or self._pid != os.getpid():
            return True
        done = threading.Event()
        try:
            self._queue.put(done, timeout=seconds)
        except queue.Full:
            return False
        return done.wait(seconds)

    def _begin(self) -> None:
        self._queue: queue.Queue[T | threading.Event] = queue.Queue(self._size)
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

    def _ensure(self) -> None:
        if self._thread is not None and self._pid == os.getpid():
            return
        if self._pid != os.getpid():
            self._lock = threading.Lock()  # the parent's may be held for ever in a forked child
        with self._lock:
            if self._pid != os.getpid():
                self._begin()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, args=(self._queue,), name=self._name, daemon=True)
                self._thread.start()

    def _run(self, items: queue.Queue[T | threading.Event]) -> None:
        while True:
            try:
                item = items.get(timeout=self._seconds)
            except queue.Empty:
                self._safely(self._ticks, False)
                continue
            if isinstance(item, threading.Event):
                self._safely(self._ticks, True)
                item.set()
            else:
                self._safely(self._work, item)

    def _ticks(self, asked: bool) -> None:
        if self._tick is not None:
            self._tick(asked)

    def _safely(self, call: Callable[[Any], None], argument: Any) -> None:
        try:
            call(argument)
        except Exception:  # the boundary of a thread: the next item must be done all the same
            log.exception("%s: failed", self._name)
