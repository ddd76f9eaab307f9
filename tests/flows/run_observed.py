"""What the tests of notifications do in processes of their own, under the server that PREFECT_API_URL names.

``python -m tests.flows.run_observed told <webhook> <words>``: register twice and tell four outcomes; a run that fails.
``python -m tests.flows.run_observed sleeper``: a run with heartbeats that says "up" and waits to be killed.
"""

from __future__ import annotations

import logging
import os
import sys
import time

from flows import settings

settings.apply()

from prefect import flow, task  # noqa: E402 - Prefect reads its settings when it is imported
from prefect.cache_policies import NO_CACHE  # noqa: E402

from flows import automations  # noqa: E402
from flows.logs import run_log  # noqa: E402
from tasks.masking import at_the_edge  # noqa: E402

KEY = os.environ.get("VENDOR_API_KEY", "")


@task(cache_policy=NO_CACHE)
@at_the_edge
def asks() -> None:
    """A vendor that says the key aloud, in words that are no argument of the error too."""
    try:
        raise FileNotFoundError(2, "refused", f"/vendor/{KEY}")
    except FileNotFoundError as error:
        logging.getLogger("nocturne.trial").exception("asked with %s", KEY)
        raise ValueError(f"no engine gave a result with {KEY}") from error


@flow(name="nightly")
@at_the_edge
def nightly(problem: dict[str, str], waits: float = 0.0) -> None:
    """A night that fails, at once or later."""
    print("up", flush=True)
    time.sleep(waits)
    with run_log("spx", "run-1"):
        asks()


def told(webhook: str, words: str) -> None:
    """Register twice and tell everything once."""
    environment = {"NOCTURNE_NOTIFY_WEBHOOK": webhook, "NOCTURNE_NOTIFY_WEBHOOK_ON": automations_asked()}
    first = automations.register(environment)
    assert automations.register(environment) == first
    time.sleep(6)  # the server looks for new automations every few seconds
    for outcome in ("promoted", "kept", "quarantined", "late", "skipped"):
        automations.tell(outcome, "spx", headline=f"{outcome}: {words}", reasons=["why"], champion_version="7")
    try:
        nightly({"name": "spx"})
    except ValueError:
        return


def automations_asked() -> str:
    """All outcomes of the issue, and not the one that is told besides them."""
    return "promoted, kept, quarantined, failed, late"


if __name__ == "__main__":
    if sys.argv[1] == "told":
        told(sys.argv[2], sys.argv[3])
    else:
        nightly({"name": "spx"}, waits=600.0)
