"""What JAX compiles, heard from JAX itself: seconds that are told must hold none of it."""

from __future__ import annotations

import functools


@functools.cache
def compilations() -> list[str]:
    """What JAX has traced or compiled in this process since this was first asked: one list, which grows."""
    import jax  # noqa: PLC0415 - after the backend is chosen

    seen: list[str] = []

    def heard(event: str, duration_secs: float, **_: str | int) -> None:
        del duration_secs
        if "/compile/" in event:
            seen.append(event)

    jax.monitoring.register_event_duration_secs_listener(heard)
    return seen
