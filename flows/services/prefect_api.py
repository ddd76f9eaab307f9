"""The few questions that these commands ask Prefect's server, without importing Prefect, which takes seconds."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import httpx

from flows.services import passwords
from flows.services.failures import ServiceError
from flows.services.state import POOL, Services

UNFINISHED = ("RUNNING", "PENDING", "CANCELLING")
TRIES, SECONDS_BETWEEN = 4, 1.0
"""Of a question that the server had no time for: it says so while its database is at another's service."""

PAGE = 200
"""The most that Prefect's server gives out at once, unless it is told otherwise."""


class PrefectApi:
    """A connection to the server, with password and CSRF token. Raises ServiceError where it refuses.

    services: those of ``nocturne up``, or the address of an API. auth: user:password; that of ``nocturne up`` if empty.
    """

    def __init__(self, services: Services | str, seconds: float = 20, auth: str = "") -> None:
        user, password = (auth or passwords.prefect()).split(":", 1)
        self._url = services if isinstance(services, str) else services.api_url
        self._client = httpx.Client(base_url=self._url, auth=(user, password), timeout=seconds, trust_env=False)

    def __enter__(self) -> PrefectApi:
        me = str(uuid.uuid4())
        token = self.ask("GET", f"/csrf-token?client={me}")["token"]
        self._client.headers.update({"Prefect-Csrf-Token": token, "Prefect-Csrf-Client": me})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None, missing: Any = None) -> Any:
        """The answer as JSON (None for an empty one); ``missing`` where there is no such thing and it was given."""
        try:
            answer = self._client.request(method, path, json=body)
            for _ in range(TRIES - 1):
                if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                    break
                time.sleep(SECONDS_BETWEEN)
                answer = self._client.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise ServiceError(f"{self._url}: the Prefect server does not answer: {error}") from error
        if answer.status_code == httpx.codes.NOT_FOUND and missing is not None:
            return missing
        if answer.is_error:
            raise ServiceError(
                f"{self._url}{path}: the Prefect server answered {answer.status_code}: {answer.text[:300]}"
            )
        return answer.json() if answer.content else None

    def pool(self, queues: Sequence[str], limit: int) -> None:
        """Make the work pool and its queues, where they are not there. limit: runs of each queue at once.

        What is there keeps its limits, which are an operator's; but a pool that has none of the queues is an earlier
        release's, which limited the pool as a whole: that would let nights that wait hold up all the others.
        """
        found = self.ask("GET", f"/work_pools/{POOL}", missing=())
        if not found:
            self.ask("POST", "/work_pools/", {"name": POOL, "type": "process"})
        there = {each["name"] for each in self._all(f"/work_pools/{POOL}/queues/filter", {})}
        if found and there.isdisjoint(queues):
            self.ask("PATCH", f"/work_pools/{POOL}", {"concurrency_limit": None})
        for queue in queues:
            if queue not in there:
                self.ask("POST", f"/work_pools/{POOL}/queues", {"name": queue, "concurrency_limit": limit})

    def is_paused(self) -> bool:
        """Whether the pool gives out no runs."""
        found = self.ask("GET", f"/work_pools/{POOL}", missing=())
        return bool(found and found["is_paused"])

    def pause(self, paused: bool) -> bool:
        """Let the pool give out no more runs, or runs again; whether that changed anything."""
        found = self.ask("GET", f"/work_pools/{POOL}", missing=())
        if not found or found["is_paused"] == paused:
            return False
        self.ask("PATCH", f"/work_pools/{POOL}", {"is_paused": paused})
        return True

    def workers(self) -> list[dict[str, Any]]:
        """The pool's workers, with their last heartbeats."""
        return list(self.ask("POST", f"/work_pools/{POOL}/workers/filter", {}, missing=[]))

    def deployments(self) -> list[dict[str, Any]]:
        """All deployments of our pool."""
        return self._all("/deployments/filter", {"work_pools": {"name": {"any_": [POOL]}}})

    def remove(self, deployment: str) -> None:
        """Take a deployment away, with what it has scheduled."""
        self.ask("DELETE", f"/deployments/{deployment}")

    def unfinished(self) -> list[dict[str, Any]]:
        """Runs of our pool that have begun and not ended."""
        return self._all("/flow_runs/filter", _runs({"type": {"any_": list(UNFINISHED)}}, "START_TIME_DESC"))

    def coming(self, several: int) -> list[dict[str, Any]]:
        """The next scheduled runs, soonest first."""
        return self._all(
            "/flow_runs/filter", _runs({"type": {"any_": ["SCHEDULED"]}}, "EXPECTED_START_TIME_ASC"), several
        )

    def latest(self, deployment: str) -> dict[str, Any] | None:
        """The last run of a deployment that has begun."""
        question = {
            "deployments": {"id": {"any_": [deployment]}},
            "flow_runs": {"state": {"type": {"not_any_": ["SCHEDULED"]}}},
            "sort": "START_TIME_DESC",
            "limit": 1,
        }
        found = self.ask("POST", "/flow_runs/filter", question)
        return found[0] if found else None

    def crash(self, run: str, message: str) -> None:
        """Mark a run as crashed, whatever it says itself."""
        self.ask(
            "POST", f"/flow_runs/{run}/set_state", {"state": {"type": "CRASHED", "message": message}, "force": True}
        )

    def _all(self, path: str, question: Mapping[str, Any], most: int = 0) -> list[dict[str, Any]]:
        """Page by page, for the server gives out no more than PAGE at once; most: so many of them, 0 for all."""
        found: list[dict[str, Any]] = []
        while True:
            asked = min(PAGE, most - len(found)) if most else PAGE
            page = self.ask("POST", path, {**question, "limit": asked, "offset": len(found)}, missing=[])
            found += page
            if len(page) < asked or len(found) == most:
                return found


def _runs(of_state: Mapping[str, Any], sort: str) -> dict[str, Any]:
    return {"flow_runs": {"state": of_state}, "work_pools": {"name": {"any_": [POOL]}}, "sort": sort}
