"""Named errors. Whether a retry can help, and which exit code the command line ends with, belong to the type.

This module travels inside promoted models: standard library only.
"""

from __future__ import annotations

from typing import ClassVar


class NocturneError(Exception):
    """Anything this project refuses or fails at, in words that say what to do next."""

    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False


class ConfigurationError(NocturneError):
    """A problem, option or environment that cannot work; found before anything costly starts."""

    exit_code = 2


class DataError(NocturneError):
    """Bars that break a rule. Nothing was written."""

    exit_code = 3


class SourceUnavailableError(DataError):
    """The source did not answer; the same request may succeed later."""

    retryable = True


class EngineError(NocturneError):
    """A search engine failed, or none gave a result."""

    exit_code = 4


class EngineKilledError(EngineError):
    """The engine's process died under it (killed, out of memory); a second try may succeed."""

    retryable = True


class StorageError(NocturneError):
    """A file could not be written or read whole; names the path and what is left of the disk."""


class IntegrityError(StorageError):
    """A stored file differs from its recorded digest. It is never parsed."""


class RegistryError(NocturneError):
    """The model registry refused, or a registered model is not what was evaluated."""


class ModelInputError(NocturneError):
    """Bars that a promoted model cannot predict from: too few, wrong columns, missing values."""

    exit_code = 3
