"""The monitor: has the world, or the model, drifted since the champion's recipe came in?

```
champion ─┬─ ingest ─ features ─ labels ─┬─ measure ─ page ─ tag ─ event?
          └─ predictions ────────────────┘
```

1. Who serves: the champion, the columns that it looks at, the version that is ready to take over.
2. Live bars by the night's own ingest, features and labels; predictions on them of registered models, each session by a
   version in service that had not seen it: a champion that is refreshed every night has seen everything itself.
3. Measure: every session since the recipe came in is judged again, by limits that training itself seldom passed.
4. Page, artifact, and the registered model's tags ``nocturne.drift`` (``exceeded`` sends clients to the fallback) and
   ``nocturne.coverage``: how often the recipe's intervals have held since.
5. Where an alarm begins: the event ``nocturne.drift.exceeded``, on which an automation starts a night.

What this flow does not do: fit anything, move an alias, or promote.
"""

from __future__ import annotations

from prefect import flow

from flows import guard, settings
from flows.automations import tell_failure
from tasks.bars.task import ingest
from tasks.drift.measure import WINDOW, Subject
from tasks.drift.task import ask_for_retraining, measure_drift, publish_drift
from tasks.drift.values import DriftReport
from tasks.features.task import build_features
from tasks.masking import at_the_edge
from tasks.problem import Problem
from tasks.registry import mlflow_store
from tasks.registry.service import InService
from tasks.registry.task import coverage_in_service, service_predictions
from tasks.registry.watched import Watched, show_drift, watched
from tasks.splits.task import make_rows


@flow(
    name="monitor",
    flow_run_name="monitor {problem.name}",
    on_failure=[tell_failure],
    on_crashed=[tell_failure],
    on_cancellation=[tell_failure],
)
@at_the_edge
def monitor(problem: Problem, window: int = WINDOW) -> DriftReport:
    """Judge the champion's recipe on every session since it came in; the module's text lists the steps.

    A run whose schedule's day has no session is skipped. Raises RegistryError without a champion, and what ingest,
    features and labels raise.
    """
    settings.reserve()
    if reason := guard.reason_to_skip(problem, guard.scheduled()):
        return guard.skipped(problem, reason, told=False)  # type: ignore[return-value]
    store = mlflow_store.open_store()
    served = watched(store, problem.name)
    snapshot = ingest(problem)
    features = build_features(problem, snapshot)
    rows = make_rows(problem, snapshot, features)
    spoke = service_predictions(served, snapshot)
    report = measure_drift(
        _subject(served, spoke), snapshot=snapshot, features=features, rows=rows,
        columns=served.columns, predictions=spoke.predictions, window=window,
    )  # fmt: skip
    told = publish_drift(report, features, rows, spoke.predictions)
    show_drift(store, told.name, told.version, told.verdict)
    ask_for_retraining(told, problem.model_dump(mode="json"))
    coverage_in_service(served.champion, spoke, snapshot, features, rows)
    return told


def _subject(served: Watched, spoke: InService) -> Subject:
    champion, first = served.champion, spoke.champion[0]
    return Subject(
        name=champion.name,
        version=champion.version,
        candidate=champion.candidate,
        since_version=first.version,
        training_end=first.training_end,
        gated_training_end=first.gated_training_end,
        fallback_version=served.fallback_version,
        fallback_training_end=spoke.fallback[0].training_end if spoke.fallback else "",
    )
