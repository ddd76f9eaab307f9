"""A registered model as a service uses it: pinned or following its alias, checked, hot, and never without an answer.

1. At the start the version is pulled, checked, loaded and asked for its own example; without the registry, the last
   good version on this disk serves, and that is said.
2. A thread looks at the registry every ``refresh_seconds``. What it loads replaces what serves by one assignment:
   no prediction waits for it, and those in flight end on what they began with.
3. With a challenger both models score every request. The key's stable hash decides which one is shown; the other is
   asked in the background, from a copy of the bars, and both predictions are logged.
4. Where the champion fails, or the monitor says that it drifted, the fallback answers: the answer's ``role`` says so,
   and so do the log ``nocturne.client``, ``on_event`` and ``state``.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from ...errors import ModelInputError, NocturneError, RegistryError
from .cache import Cache
from .events import Event, Reporter, State
from .keeper import Keeper, Serving
from .loading import Loaded
from .others import Ask, Others
from .prediction_log import PredictionLog
from .signature import read_trusted
from .sources import open_source

ASIDE_AFTER = 3
"""Failures in a row after which the champion is not asked again until it passed its health check."""
log = logging.getLogger("nocturne.client")


class Champion:
    """The model that serves under a name. May be used from several threads, and be sent to other processes."""

    def __init__(
        self,
        name: str,
        *,
        alias: str = "champion",
        version: str = "",
        tracking_uri: str = "",
        trusted_keys: Path | str | None = None,
        cache: Path | str | None = None,
        refresh_seconds: float = 60.0,
        log: Path | str | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        """alias: followed, unless ``version`` pins one. tracking_uri: of MLflow, or a folder that ``pull`` made.

        trusted_keys: PEM file or folder of public keys; without any, signatures are not checked. log: folder of logged
        predictions. on_event: is told what happens, from whichever thread it happens in; refresh_seconds 0: never look
        again. Empty arguments are taken from NOCTURNE_TRACKING_URI, NOCTURNE_TRUSTED_KEYS and NOCTURNE_CACHE.

        Raises ConfigurationError for an unknown name, IntegrityError for a model that is not what was registered,
        RegistryError if nothing can be had: no registry, no copy on this disk, no fallback.
        """
        self._settings = {
            "alias": alias, "version": str(version), "tracking_uri": tracking_uri, "trusted_keys": trusted_keys,
            "cache": cache, "refresh_seconds": refresh_seconds, "log": log, "on_event": on_event,
        }  # fmt: skip
        self.name = name
        self._reporter = Reporter(name, on_event)
        self._keeper = _keeper(name, self._settings, self._reporter)
        self._log = PredictionLog(log, on_problem=self._reporter.incomplete) if log else None
        self._others = Others(name, self._log, self._reporter)
        weakref.finalize(self, _let_go, self._others, self._log).atexit = False
        self._looking, self._swapping = threading.Lock(), threading.Lock()
        self._failures = 0
        self._serving = self._keeper.first()
        self._refresh_seconds = 0.0 if version else refresh_seconds
        self._follow()

    def predict(self, bars: pd.DataFrame, key: object = None, **options: Any) -> pd.DataFrame:
        """The model's answer (see ``Predictor.predict``), with columns ``version`` and ``role`` of who gave it.

        bars: raw bars, as the model takes them; key: what the challenger's share is divided by, for example a customer
        or an order; without one the challenger is never shown. options: the model's own, such as ``rows="all"``.
        Raises ModelInputError for bars that cannot be predicted from and keys that are no text, RegistryError if
        neither champion nor fallback can answer.
        """
        if self._pid != os.getpid() and not self._stop.is_set():
            self._follow()
        serving, text = self._serving, _text(key)
        role, model, said = self._answer(serving, text, bars, options)
        if self._log is not None:
            ask = Ask(bars, options, text, time.time_ns())
            self._log.put(self._others.said(role, model, said, ask, shown=True))
            self._others.ask(ask, serving.others(model))
        return _attributed(said, model.version.version, role)

    @property
    def state(self) -> State:
        """What serves now, and whether anything is wrong."""
        serving = self._serving
        role, model = serving.main if serving.answers else ("", None)
        number = [
            one.version.version if one else "" for one in (serving.champion, serving.challenger, serving.fallback)
        ]
        return State(
            name=self.name,
            version=model.version.version if model else "",
            role=role,
            champion=number[0],
            challenger=number[1],
            fallback=number[2],
            share=serving.seen.share if serving.challenger is not None else 0.0,
            epoch=serving.seen.epoch,
            signed=model.signed if model else False,
            degraded="; ".join(part for part in (serving.why, serving.late) if part),
            checked_at=serving.checked_at,
        )

    @property
    def predictor(self) -> Any:
        """The native class of the model that is shown, for its manifest, its speed, or ``explain``."""
        return self._serving.main[1].predictor

    def refresh(self) -> State:
        """Look at the registry now, in this thread, and return the state after it. Predictions go on meanwhile."""
        with self._looking:
            before = self._serving
            after = self._keeper.look(before)
            with self._swapping:
                self._failures = 0
                self._serving = after
        return self.state

    def flush(self) -> None:
        """Wait until every prediction so far is logged on disk. Raises StorageError if it cannot be."""
        self._others.flush()
        if self._log is not None:
            self._log.flush()

    def close(self) -> None:
        """Stop following the registry and write what is left of the log.

        Predictions still work, but are no longer logged, which each says (``log incomplete``).
        """
        self._stop.set()
        self._others.close()
        if self._log is not None:
            self._log.close()

    def __enter__(self) -> Champion:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """What another process needs to make its own: name and settings, not the loaded model."""
        return _again, (self.name, self._settings)

    def _answer(
        self, serving: Serving, key: str, bars: pd.DataFrame, options: dict[str, Any]
    ) -> tuple[str, Loaded, pd.DataFrame]:
        role, model = serving.shown(key)
        if role == "challenger" and model is serving.challenger:
            try:
                return role, model, model.predict(bars, **options)
            except NocturneError as error:
                self._others.failed(model, error)
            role, model = serving.main
        try:
            said = model.predict(bars, **options)
        except ModelInputError:
            raise
        except NocturneError as error:
            if serving.fallback is None or model is serving.fallback:
                raise
            return "fallback", serving.fallback, self._fall_back(serving, error, bars, options)
        if model is serving.champion:
            self._failures = 0
        return role, model, said

    def _fall_back(
        self, serving: Serving, failure: NocturneError, bars: pd.DataFrame, options: dict[str, Any]
    ) -> pd.DataFrame:
        fallback = serving.fallback
        assert fallback is not None, "the caller has looked"
        try:
            said = fallback.predict(bars, **options)
        except NocturneError as error:
            raise RegistryError(f"{self.name}: the champion failed: {failure}; and the fallback: {error}") from failure
        with self._swapping:
            self._failures += 1
            aside = self._failures >= ASIDE_AFTER and self._serving is serving
            if aside:
                self._serving = replace(serving, aside=True, why=str(failure))
        rest = "; it is set aside until it is healthy" if aside else ""
        self._reporter.say("fallback", f"{failure}; version {fallback.version.version} answers{rest}", _number(serving))
        return said

    def _follow(self) -> None:
        """Look at the registry from time to time, in a thread of this process, until closed or collected."""
        self._pid, self._stop = os.getpid(), threading.Event()
        if self._refresh_seconds <= 0:
            return
        self._looking, self._swapping = threading.Lock(), threading.Lock()  # a forked child's may be held for ever
        arguments = (weakref.ref(self), self._stop, self._refresh_seconds)
        threading.Thread(target=_look_again, args=arguments, name="nocturne-refresh", daemon=True).start()


def _let_go(others: Others, log: PredictionLog | None) -> None:
    """Of a service that nobody holds any more: end its threads, once what it said is written. Waits for nothing."""
    if log is not None:
        threading.Thread(target=_close, args=(others, log), name="nocturne-end", daemon=True).start()


def _close(others: Others, log: PredictionLog) -> None:
    others.close()
    log.close()


def _look_again(of: weakref.ref[Champion], stop: threading.Event, seconds: float) -> None:
    while not stop.wait(seconds):
        champion = of()
        if champion is None:
            return
        try:
            champion.refresh()
        except Exception:  # the boundary of a thread: it must look again
            log.exception("%s: the registry could not be looked at", champion.name)
        del champion


def _text(key: object) -> str:
    """The key as it is hashed and logged: both take UTF-8 alone."""
    text = "" if key is None else str(key)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ModelInputError(f"the key is not text that can be encoded: {error.reason} at {error.start}") from error
    return text


def _attributed(said: pd.DataFrame, version: str, role: str) -> pd.DataFrame:
    """The answer with who gave it, as a new frame: adding columns to a small one costs twice as much."""
    columns: dict[str, Any] = {str(name): said[name] for name in said.columns}
    who = {"version": [version] * len(said), "role": [role] * len(said)}
    return pd.DataFrame(columns | who, copy=False)


def _keeper(name: str, settings: dict[str, Any], reporter: Reporter) -> Keeper:
    return Keeper(
        name,
        alias=settings["alias"],
        version=settings["version"],
        source=open_source(settings["tracking_uri"]),
        cache=Cache(settings["cache"]),
        keys=read_trusted(settings["trusted_keys"] or ""),
        reporter=reporter,
    )


def _again(name: str, settings: dict[str, Any]) -> Champion:
    return Champion(name, **settings)


def _number(serving: Serving) -> str:
    return serving.champion.version.version if serving.champion else ""
