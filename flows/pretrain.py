"""Pre-training: from bars to a backbone in the registry that any problem's transfer may start from.

```
ingest ─ features (the channels alone) ─ pretrain ─ register ─ evidence
```

1. Guard: what cannot work is refused, ``until`` among it: no bar that closed after it is read. An update of other bars
   or of another network than the version's it goes on from is refused, and a file of weights that is not there.
2. Ingest and features: a night's own stages, restricted to what a backbone looks at.
3. Pretrain: a process of its own, bounded by its seconds (``tasks/search/transfer``). With ``update: incremental`` it
   goes on from the newest version; where too few bars are new the run ends as Unchanged and says so.
4. Register: the next version of ``backbone-<name>`` in MLflow, with what it saw, until when, and its evidence.
5. Evidence: an artifact that a person reads in a minute.

What it does not do: judge whether a backbone helps. That is measured where it is used, against the same network from
scratch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows import guard, settings
from flows.automations import tell_failure
from tasks.backbones import contents
from tasks.bars.task import ingest
from tasks.contracts import Backbone
from tasks.features.task import build_features
from tasks.masking import at_the_edge
from tasks.pretraining import Pretraining
from tasks.registry.backbones import Listed, markdown
from tasks.registry.task import newest_backbone, register_backbone
from tasks.search.transfer.channels import CHANNELS
from tasks.search.transfer.task import nothing_new, pretrain_backbone


@flow(
    name="pretrain",
    flow_run_name="pretrain {pretraining.name}",
    on_failure=[tell_failure],
    on_crashed=[tell_failure],
    on_cancellation=[tell_failure],
)
@at_the_edge
def pretrain(pretraining: Pretraining) -> Listed | State[None]:
    """Pre-train a backbone and register it; the artifact ``backbone-<name>`` shows what it can do on held-out bars.

    A run with ``update: incremental`` and too few new bars returns a state that says so.
    """
    settings.reserve()
    pretraining.refuse_the_future()
    problem = pretraining.problem()
    guard.refuse(problem)
    parent: Backbone | None = newest_backbone(pretraining.name) if pretraining.update == "incremental" else None
    if parent is not None:
        pretraining.refuse_another(contents(Path(parent.folder)).document, f"version {parent.version}")
    else:
        pretraining.weights_sha256()
    snapshot = ingest(problem)
    features = build_features(problem, snapshot, CHANNELS)
    if parent is not None and (reason := nothing_new(features, parent)):
        return Completed(name="Unchanged", message=reason)
    listed = register_backbone(pretrain_backbone(pretraining, snapshot, features, parent))
    create_markdown_artifact(
        key=f"backbone-{pretraining.name}", markdown=markdown(listed), description="What it can do on held-out bars"
    )
    return listed


def run(pretraining: Pretraining) -> dict[str, Any]:
    """A pre-training for who is no deployment's run: the registered version, or why there is no new one."""
    found: Any = pretrain(pretraining, return_state=True)
    if found.name == "Unchanged":
        return {"unchanged": found.message, "backbone": None}
    from tasks.documents import to_json  # noqa: PLC0415

    return {"unchanged": "", "backbone": to_json(found.result())}
