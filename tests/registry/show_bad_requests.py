"""Print each kind of bad request and what a consumer reads: ``python -m tests.registry.show_bad_requests``."""

from __future__ import annotations

import logging
import tempfile
import textwrap
from pathlib import Path

from tasks.errors import NocturneError
from tests.registry.bad_requests import PACKAGES, REQUESTS, load_changed, models, send


def main() -> None:
    """One block a kind: the model that was asked, the title, the message."""
    logging.disable()
    with tempfile.TemporaryDirectory() as folder:
        made = models(Path(folder))
        for request in REQUESTS:
            try:
                send(request, made)
            except NocturneError as error:
                show(request.model, request.title, error)
            else:
                raise SystemExit(f"{request.title}: was answered")
        for title, (before, after, _) in PACKAGES.items():
            try:
                load_changed(made["one"].bundle, before, after)
            except NocturneError as error:
                show("load", title, error)
            else:
                raise SystemExit(f"{title}: was loaded")


def show(where: str, title: str, error: NocturneError) -> None:
    """Two lines or more for the terminal."""
    print(f"{where:5} {title} [{type(error).__name__}]")
    print(textwrap.fill(str(error), 118, initial_indent="        ", subsequent_indent="        "))


if __name__ == "__main__":
    main()
