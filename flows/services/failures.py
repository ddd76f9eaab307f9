"""How the services' failures are told."""

from __future__ import annotations

from tasks.errors import NocturneError


class ServiceError(NocturneError):
    """A server or worker that does not come up, or does not do what it is asked to; names its log."""
