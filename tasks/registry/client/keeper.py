"""Which loaded models serve a name, and how that follows the registry. Predictions never wait for any of this.

One look:
1. Ask who holds which alias. No answer: what serves goes on serving; at the start, what the cache remembers does.
2. Load what is new, after it was checked; ask it for its own example. What is loaded already is kept.
3. A champion that is refused, does not load or is not healthy: the fallback takes over. One that only cannot be fetched
   now: the one that serves goes on. A challenger or fallback that fails is left out, and that is said.
4. The new standing replaces the old one by one assignment; requests in flight end on the old one.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ...errors import ConfigurationError, NocturneError
from .cache import Cache
from .events import Reporter
from .loading import Loaded
from .pulling import Keys, from_cache, obtain
from .records import Seen, Version
from .share import sees_challenger
from .sources import RegistryAwayError, Source

PINNED = "pinned"
DRIFTED = "the monitor says that its inputs or losses left what it was trained on (nocturne.drift)"
Load = Callable[[Version], Loaded]
log = logging.getLogger("nocturne.client")


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What serves at one moment. ``aside``: the champion failed callers, so that it is not asked until it is healthy.

    ``late``: in words, why this may not be what the registry says by now; ``why``: why the fallback is shown.
    """

    seen: Seen
    role: str
    champion: Loaded | None
    challenger: Loaded | None = None
    fallback: Loaded | None = None
    aside: bool = False
    late: str = ""
    why: str = ""
    checked_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @property
    def main(self) -> tuple[str, Loaded]:
        """Role and model of what callers are shown, the challenger's share apart."""
        if self.champion is not None and not (self.falls_back and self.fallback is not None):
            return self.role, self.champion
        assert self.fallback is not None, "there is always one of the two"
        return "fallback", self.fallback

    @property
    def falls_back(self) -> bool:
        """Whether the champion is not to be shown."""
        return self.champion is None or self.aside or self.seen.drifted

    def shown(self, key: str) -> tuple[str, Loaded]:
        """Role and model of what a request with this key is shown."""
        if self.challenger and not self.falls_back and sees_challenger(self.seen.name, key, self.seen.share):
            return "challenger", self.challenger
        return self.main

    def others(self, shown: Loaded) -> list[tuple[str, Loaded]]:
        """Champion and challenger as far as they are not the one shown: they are asked too, and logged."""
        pairs = ((self.role, self.champion), ("challenger", self.challenger))
        return [(role, model) for role, model in pairs if model is not None and model is not shown]


@dataclass(frozen=True, slots=True)
class _Found:
    """What became of the champion: its model unless it was refused, and ``Serving``'s fields about it."""

    model: Loaded | None
    aside: bool = False
    late: str = ""
    why: str = ""
    error: NocturneError | None = None


class Keeper:
    """Follows one name at one source. ``look`` must not run twice at the same time."""

    def __init__(
        self, name: str, *, alias: str, version: str, source: Source, cache: Cache, keys: Keys, reporter: Reporter
    ) -> None:
        self._name, self._alias, self._pinned = name, alias, version
        self._source, self._cache, self._keys, self._reporter = source, cache, keys, reporter
        self._facts: dict[str, Version] = {}
        self._role = PINNED if version else alias
        self._place = f"{source.id}-{self._role}{version}"

    def first(self) -> Serving:
        """What serves at the start. Raises the error of the champion, if neither it nor anything instead can serve."""
        try:
            serving = self._serving(self._seen(), None, self._obtain)
        except RegistryAwayError as error:
            serving = self._remembered(error)
        role, model = serving.main
        self._reporter.say("loaded", f"version {model.version.version} serves as {role}", model.version.version)
        return serving

    def look(self, now: Serving) -> Serving:
        """What is to serve from here on; ``now`` itself, with a note, if the registry is away. Never raises."""
        try:
            seen = self._seen()
            serving = self._serving(seen, now, self._obtain)
        except RegistryAwayError as error:
            self._reporter.say("registry away", f"{error}; {_serves(now)} goes on serving")
            return dataclasses.replace(now, late=str(error))
        except NocturneError as error:
            self._reporter.say("refused", f"{error}; {_serves(now)} goes on serving")
            return dataclasses.replace(now, late=str(error))
        if self._reporter.forget("registry away"):
            self._reporter.say("registry back", f"{self._source.shown} answers again")
        if serving.main[1] is not now.main[1] and serving.why == now.why:
            self._reporter.say(
                "reloaded", f"{_serves(serving)} instead of {_serves(now)}", serving.main[1].version.version
            )
        return serving

    def _seen(self) -> Seen:
        if self._pinned:
            return Seen(name=self._name, aliases={PINNED: self._pinned})
        seen = self._source.seen(self._name)
        if self._alias not in seen.aliases:
            held = ", ".join(sorted(seen.aliases)) or "none"
            raise ConfigurationError(
                f"'{self._name}' at {self._source.shown} has no alias '{self._alias}'; it has {held}"
            )
        return seen

    def _remembered(self, error: RegistryAwayError) -> Serving:
        """The standing that the cache remembers, from the cache alone. Raises the error if there is none."""
        last = self._cache.remembered(self._place, self._name)
        if last is None or self._role not in last[0].aliases:
            raise error
        seen, self._facts = last[0], dict(last[1])
        try:
            serving = self._serving(seen, None, lambda version: Loaded(from_cache(version, self._cache, self._keys)))
        except NocturneError as failure:
            raise RegistryAwayError(f"{error}; and the last good version: {failure}") from failure
        note = f"{error}; {_serves(serving)}, the last good version on this disk, serves"
        self._reporter.say("registry away", note)
        self._facts = {}
        return dataclasses.replace(serving, late=str(error))

    def _serving(self, seen: Seen, now: Serving | None, load: Load) -> Serving:
        found = self._champion(seen, now, load)
        challenger, fallback = self._others(seen, now, load)
        if found.model is None and fallback is None:
            assert found.error is not None, "a champion that is not there has a reason"
            if now is None or now.champion is None:
                raise found.error
            found = _Found(now.champion, late=found.why)
        serving = Serving(
            seen=seen,
            role=self._role,
            champion=found.model,
            challenger=challenger,
            fallback=fallback,
            aside=found.aside,
            late=found.late,
            why=found.why or (DRIFTED if seen.drifted else ""),
        )
        if not found.why and not found.late:
            self._remember(seen, serving)
        self._tell(serving, now)
        return serving

    def _champion(self, seen: Seen, now: Serving | None, load: Load) -> _Found:
        """The champion if it can serve; one that cannot be fetched now leaves the one that serves in its place."""
        model: Loaded | None = None
        try:
            model = self._loaded(seen.aliases[self._role], now, load)
            if now is None or model is not now.champion or now.aside:
                model.require_healthy()
        except RegistryAwayError as error:
            if now is None or now.champion is None:
                raise
            return _Found(now.champion, aside=now.aside, late=str(error))
        except NocturneError as error:
            if now is not None and now.aside and model is now.champion:
                return _Found(model, aside=True, why=str(error))
            return _Found(None, why=str(error), error=error)
        return _Found(model)

    def _others(self, seen: Seen, now: Serving | None, load: Load) -> tuple[Loaded | None, Loaded | None]:
        """Challenger and fallback, each if there is one that is not the champion itself, and it can serve."""
        if self._role != "champion":
            return None, None
        held = {role: number for role, number in seen.aliases.items() if number != seen.aliases[self._role]}
        challenger = self._other("challenger", held["challenger"], now, load) if "challenger" in held else None
        fallback = self._other("fallback", held["fallback"], now, load) if "fallback" in held else None
        return challenger, fallback

    def _other(self, role: str, number: str, now: Serving | None, load: Load) -> Loaded | None:
        try:
            model = self._loaded(number, now, load)
            if now is None or all(model is not known for known in (now.champion, now.challenger, now.fallback)):
                model.require_healthy()
        except NocturneError as error:
            message = f"the {role}, version {number}, cannot be used: {error}"
            self._reporter.say("challenger failed" if role == "challenger" else "refused", message, number)
            return None
        return model

    def _tell(self, serving: Serving, now: Serving | None) -> None:
        version = serving.seen.aliases[self._role]
        if serving.late:
            self._reporter.say(
                "refused", f"version {version}: {serving.late}; {_serves(serving)} goes on serving", version
            )
        if serving.why and (now is None or now.why != serving.why):
            shown = f"{_serves(serving)} serves" if serving.fallback else "there is no fallback, so it goes on serving"
            self._reporter.say("fallback", f"version {version}: {serving.why}; {shown}", version)
        elif now is not None and now.why and not serving.why:
            self._reporter.say("recovered", f"{_serves(serving)} serves again", version)

    def _loaded(self, number: str, now: Serving | None, load: Load) -> Loaded:
        for model in (now.champion, now.challenger, now.fallback) if now else ():
            if model is not None and model.version.version == number:
                return model
        if number not in self._facts:
            self._facts[number] = self._source.version(self._name, number)
        return load(self._facts[number])

    def _obtain(self, version: Version) -> Loaded:
        return Loaded(obtain(self._source, version, self._cache, self._keys))

    def _remember(self, seen: Seen, serving: Serving) -> None:
        models = (serving.champion, serving.challenger, serving.fallback)
        facts = {model.version.version: model.version for model in models if model is not None}
        held = {alias: number for alias, number in seen.aliases.items() if number in facts}
        try:
            self._cache.remember(self._place, dataclasses.replace(seen, aliases=held), facts)
        except NocturneError as error:
            log.warning("%s: the standing cannot be kept for when the registry is away: %s", self._name, error)


def _serves(serving: Serving) -> str:
    role, model = serving.main
    return f"version {model.version.version} ({role})"
