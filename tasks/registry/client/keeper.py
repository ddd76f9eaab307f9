"""Which loaded models serve a name, and how that follows the registry. Predictions never wait for any of this.

One look:
1. Ask who holds which alias. No answer: what serves goes on serving; at the start, what the cache remembers does.
2. Ask for the facts of their versions: tags are mended, and a name may be deleted and made anew. Load what is new,
   after it was checked; ask it for its own example. What is loaded already, of the same digest, is kept.
3. A champion that is refused, does not load or is not healthy: the fallback takes over. One that only cannot be fetched
   now, because the registry is away or the disk full: the one that serves goes on. A challenger or fallback that fails
   is left out, and that is said.
4. An alias that was taken away: the fallback serves, or nothing does, and whoever asks is told so.
5. The new standing replaces the old one by one assignment; requests in flight end on the old one.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ...errors import ConfigurationError, IntegrityError, NocturneError, RegistryError, StorageError
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
Facts = Callable[[str], Version]
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
        """Role and model of what callers are shown, the challenger's share apart.

        Raises RegistryError if the name was taken out of service and has no fallback.
        """
        if self.champion is not None and not (self.falls_back and self.fallback is not None):
            return self.role, self.champion
        if self.fallback is None:
            raise RegistryError(f"{self.seen.name}: {self.why}, and there is no fallback: no model answers")
        return "fallback", self.fallback

    @property
    def answers(self) -> bool:
        """Whether there is a model to ask."""
        return self.champion is not None or self.fallback is not None

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
class _Place:
    """Where a look takes versions from: the facts of a number, and the model that they describe."""

    facts: Facts
    load: Load


@dataclass(frozen=True, slots=True)
class _Found:
    """What became of the champion: its model unless it was refused, and ``Serving``'s fields about it."""

    model: Loaded | None
    aside: bool = False
    late: str = ""
    why: str = ""
    error: NocturneError | None = None
    withdrawn: bool = False


class Keeper:
    """Follows one name at one source. ``look`` must not run twice at the same time."""

    def __init__(
        self, name: str, *, alias: str, version: str, source: Source, cache: Cache, keys: Keys, reporter: Reporter
    ) -> None:
        self._name, self._alias, self._pinned = name, alias, version
        self._source, self._cache, self._keys, self._reporter = source, cache, keys, reporter
        self._role = PINNED if version else alias
        self._place = f"{source.id}-{self._role}{version}"

    def first(self) -> Serving:
        """What serves at the start. Raises the error of the champion, if neither it nor anything instead can serve."""
        try:
            serving = self._serving(self._seen(), None, self._registry())
        except NocturneError as error:
            if not _may_pass(error):
                raise
            serving = self._remembered(error)
        role, model = serving.main
        self._reporter.say("loaded", f"version {model.version.version} serves as {role}", model.version.version)
        return serving

    def look(self, now: Serving) -> Serving:
        """What is to serve from here on; ``now`` itself, with a note, if the registry is away. Never raises."""
        try:
            seen = self._seen()
            serving = self._serving(seen, now, self._registry())
        except RegistryAwayError as error:
            self._reporter.say("registry away", f"{error}; {_serves(now)} goes on serving")
            return dataclasses.replace(now, late=str(error))
        except NocturneError as error:
            self._reporter.say("refused", f"{error}; {_serves(now)} goes on serving")
            return dataclasses.replace(now, late=str(error))
        if self._reporter.forget("registry away"):
            self._reporter.say("registry back", f"{self._source.shown} answers again")
        if serving.answers and now.answers and serving.main[1] is not now.main[1] and serving.why == now.why:
            self._reporter.say(
                "reloaded", f"{_serves(serving)} instead of {_serves(now)}", serving.main[1].version.version
            )
        return serving

    def _seen(self) -> Seen:
        if self._pinned:
            return Seen(name=self._name, aliases={PINNED: self._pinned})
        return self._source.seen(self._name)

    def _remembered(self, error: NocturneError) -> Serving:
        """The standing that the cache remembers, from the cache alone. Raises the error if there is none."""
        last = self._cache.remembered(self._place, self._name)
        if last is None or not last[0].aliases:
            raise error
        seen, facts = last
        place = _Place(facts.__getitem__, lambda version: Loaded(from_cache(version, self._cache, self._keys)))
        try:
            serving = self._serving(seen, None, place)
        except NocturneError as failure:
            raise RegistryAwayError(f"{error}; and the last good version: {failure}") from failure
        note = f"{error}; {_serves(serving)}, the last good version on this disk, serves"
        self._reporter.say("registry away", note)
        return dataclasses.replace(serving, late=str(error))

    def _serving(self, seen: Seen, now: Serving | None, place: _Place) -> Serving:
        found = self._champion(seen, now, place)
        challenger, fallback = self._others(seen, now, place)
        if found.model is None and fallback is None:
            assert found.error is not None, "a champion that is not there has a reason"
            if now is None or (now.champion is None and not found.withdrawn):
                raise found.error
            if not found.withdrawn:
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
        if found.withdrawn or (not found.why and not found.late):
            self._remember(seen, serving)
        self._tell(serving, now)
        return serving

    def _champion(self, seen: Seen, now: Serving | None, place: _Place) -> _Found:
        """The champion if it can serve; one that cannot be fetched now leaves the one that serves in its place."""
        if self._role not in seen.aliases:
            return self._withdrawn(seen)
        model: Loaded | None = None
        try:
            model = self._loaded(seen.aliases[self._role], now, place)
            if now is None or model is not now.champion or now.aside:
                model.require_healthy()
        except NocturneError as error:
            return self._failed(model, error, now)
        return _Found(model)

    def _failed(self, model: Loaded | None, error: NocturneError, now: Serving | None) -> _Found:
        if now is not None and now.champion is not None and _may_pass(error):
            return _Found(now.champion, aside=now.aside, late=str(error), why=now.why if now.aside else "")
        if isinstance(error, RegistryAwayError):
            raise error
        if now is not None and now.aside and model is now.champion:
            return _Found(model, aside=True, why=str(error))
        return _Found(None, why=str(error), error=error)

    def _withdrawn(self, seen: Seen) -> _Found:
        held = ", ".join(sorted(seen.aliases)) or "none"
        where = f"'{self._name}' at {self._source.shown}"
        return _Found(
            None,
            why=f"{where} was taken out of service: the alias '{self._alias}' was taken away",
            error=ConfigurationError(f"{where} has no alias '{self._alias}'; it has {held}"),
            withdrawn=True,
        )

    def _others(self, seen: Seen, now: Serving | None, place: _Place) -> tuple[Loaded | None, Loaded | None]:
        """Challenger and fallback, each if there is one that is not the champion itself, and it can serve."""
        if self._role != "champion":
            return None, None
        champion = seen.aliases.get(self._role)
        held = {role: number for role, number in seen.aliases.items() if number != champion}
        if champion is None:  # nobody is shown a challenger of nothing
            held.pop("challenger", None)
        challenger = self._other("challenger", held["challenger"], now, place) if "challenger" in held else None
        fallback = self._other("fallback", held["fallback"], now, place) if "fallback" in held else None
        return challenger, fallback

    def _other(self, role: str, number: str, now: Serving | None, place: _Place) -> Loaded | None:
        try:
            model = self._loaded(number, now, place)
            if now is None or all(model is not known for known in (now.champion, now.challenger, now.fallback)):
                model.require_healthy()
        except NocturneError as error:
            message = f"the {role}, version {number}, cannot be used: {error}"
            self._reporter.say("challenger failed" if role == "challenger" else "refused", message, number)
            before = _known(number, now)
            return before if _may_pass(error) else None
        return model

    def _tell(self, serving: Serving, now: Serving | None) -> None:
        version = serving.seen.aliases.get(self._role, "")
        of = f"version {version}: " if version else ""
        if serving.late:
            self._reporter.say("refused", f"{of}{serving.late}; {_serves(serving)} goes on serving", version)
        if not serving.answers:
            self._reporter.say("withdrawn", f"{serving.why}; there is no fallback, so nothing answers")
        elif serving.why and (now is None or now.why != serving.why):
            shown = f"{_serves(serving)} serves" if serving.fallback else "there is no fallback, so it goes on serving"
            self._reporter.say("fallback", f"{of}{serving.why}; {shown}", version)
        elif now is not None and now.why and not serving.why:
            self._reporter.forget("withdrawn")
            self._reporter.say("recovered", f"{_serves(serving)} serves again", version)

    def _loaded(self, number: str, now: Serving | None, place: _Place) -> Loaded:
        facts, known = place.facts(number), _known(number, now)
        if known is None:
            return place.load(facts)
        if known.version.model_sha256 == facts.model_sha256:
            return known
        if self._pinned:
            raise IntegrityError(
                f"version {number} of '{self._name}' is another model by now ({facts.model_sha256[:12]}… instead of "
                f"{known.version.model_sha256[:12]}…), and this one is pinned"
            )
        return place.load(facts)

    def _registry(self) -> _Place:
        return _Place(lambda number: self._source.version(self._name, number), self._obtain)

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


def _known(number: str, now: Serving | None) -> Loaded | None:
    """The model that is loaded under this number."""
    models = (now.champion, now.challenger, now.fallback) if now else ()
    return next((model for model in models if model is not None and model.version.version == number), None)


def _may_pass(error: NocturneError) -> bool:
    """Whether the same may succeed later: the registry is away or the disk full, and nothing is wrong with a model."""
    return isinstance(error, (RegistryAwayError, StorageError)) and not isinstance(error, IntegrityError)


def _serves(serving: Serving) -> str:
    if not serving.answers:
        return "nothing"
    role, model = serving.main
    return f"version {model.version.version} ({role})"
