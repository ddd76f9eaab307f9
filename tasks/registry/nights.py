"""A night in the registry: what is logged and what is registered. No alias moves here; see ``places``.

1. ``log_night``: one parent run with what went in, a child run a candidate, the models of the leading three.
2. ``register``: the shipped model and its gated fit are logged and sealed; the shipped one becomes the next version.

A kill on the way leaves models without a version, or a version without a place: nobody is shown either, and the next
night sees to them (``orphans``).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.contracts import Candidate
from tasks.documents import digest, to_json
from tasks.evaluation import Score
from tasks.registry import cards
from tasks.registry.bundle import entry_facts, without_nan
from tasks.registry.card_tags import version_tags
from tasks.registry.coverage import coverage_tags, with_coverage
from tasks.registry.ledger import Ledger
from tasks.registry.metrics import candidate_metrics, night_metrics
from tasks.registry.mlflow_place import shown_uri
from tasks.registry.mlflow_store import (
    Store,
    create_version,
    experiment,
    finish,
    is_own,
    log_document,
    log_values,
    new_run,
)
from tasks.registry.model_log import log_model
from tasks.registry.orphans import NIGHT_TAG
from tasks.registry.records import Entry, LoggedNight, Night, Registered
from tasks.registry.serving.model_folder import read_document
from tasks.registry.serving.predictor import bars_needed
from tasks.registry.signatures import record_signature
from tasks.registry.signing import Seal, seal
from tasks.storage import lock_digest

LEADING = 3


def log_night(store: Store, night: Night) -> LoggedNight:
    """Log a night's facts, every candidate's figures, and the leading candidates' models. Raises RegistryError."""
    experiment_id = experiment(store, night.problem.name)
    started = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    mine = {NIGHT_TAG: night.flow_run}
    run_id = new_run(store, experiment_id, f"night {started}", {"kind": "night", **mine, **_night_tags(night)})
    log_values(store, run_id, params=_night_params(night), metrics={**_seconds(night), **night_metrics(night)})
    scores = {score.candidate: score for score in night.leaderboard.scores}
    uris = []
    for candidate in _candidates(night):
        score = scores.pop(candidate.name, None)
        refused = night.leaderboard.refused.get(candidate.name, "")
        child = new_run(store, experiment_id, candidate.name, mine | _candidate_tags(candidate, refused), run_id)
        log_values(store, child, params=_recipe(candidate), metrics=_metrics(night, candidate, score))
        if score is not None and score.rank <= LEADING:
            uris.append((candidate.name, log_model(child, candidate.name, night, candidate, _searched(night, score))))
        finish(store, child)
    for name, score in scores.items():  # walked, but not found by tonight's search: the champion's recipe
        walked = mine | {"kind": "candidate", "engine": score.engine}
        child = new_run(store, experiment_id, name, walked, parent=run_id)
        log_values(store, child, params={}, metrics=candidate_metrics(night.leaderboard, name))
        finish(store, child)
    finish(store, run_id)
    ui = _shown_at(store)
    url = f"{ui.rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}" if ui else ""
    return LoggedNight(
        run_id=run_id,
        experiment_id=experiment_id,
        tracking_uri=shown_uri(),
        url=url,
        model_uris=tuple(uris),
    )


def _shown_at(store: Store) -> str:
    """Where its UI is: its own address, or the server that shows our own file (NOCTURNE_MLFLOW_URL); empty for none."""
    if not store.local:
        return shown_uri()
    return os.environ.get("NOCTURNE_MLFLOW_URL", "") if is_own(store) else ""


def register(store: Store, night: Night, logged: LoggedNight, entry: Entry) -> Registered:
    """Log an entry's two fits and register the shipped one under the problem's name, without an alias.

    The digests of both go into the ledger, that of the shipped one with its signature on the version too. Raises
    RegistryError if MLflow refuses, IntegrityError if a model folder is damaged, ConfigurationError for a signing key
    that cannot be used.
    """
    name = night.problem.name
    entry = with_coverage(entry, night)
    gated_uri = _log_fit(logged, night, entry, "gated")
    source = gated_uri if entry.one_fit else _log_fit(logged, night, entry, "shipped")
    sealed = {uri: seal(store, uri) for uri in dict.fromkeys((gated_uri, source))}
    needed = _needed(entry)
    page, card_tags = cards.keep(store, logged.run_id, night, entry)
    tags = {
        **version_tags(night, entry, gated_uri), "bars_needed": str(needed), **_seal_tags(sealed[source]),
        **coverage_tags(entry), **_recipe_kept(store, logged, entry), **card_tags,
    }  # fmt: skip
    version = create_version(store, name, source=source, run_id=logged.run_id, tags=tags, description=page)
    _note_seals(name, {gated_uri.removeprefix("models:/"): sealed[gated_uri], version: sealed[source]})
    return Registered(
        name=name,
        version=version,
        model_uri=f"models:/{name}/{version}",
        gated_uri=gated_uri,
        tracking_uri=store.tracking_uri,
        bars_needed=needed,
    )


def _needed(entry: Entry) -> int:
    model = read_document(Path(entry.shipped.model))
    return bars_needed(tuple(model["columns"]), int(model["history"]))


def _note_seals(name: str, seals: Mapping[str, Seal]) -> None:
    """Into the ledger, the version's last: a version that is known there has a gated fit that is known there."""
    with Ledger.open() as ledger:
        for what, sealed in seals.items():
            record_signature(ledger, name, what, sealed.model_sha256, sealed.signature, sealed.signing_key)


def _log_fit(logged: LoggedNight, night: Night, entry: Entry, role: Any) -> str:
    candidate = entry.shipped if role == "shipped" else entry.gated
    return log_model(logged.run_id, f"{candidate.name}-{role}", night, candidate, entry_facts(entry, role))


def _seal_tags(sealed: Seal) -> dict[str, str]:
    tags = {
        "model_sha256": sealed.model_sha256, "signature": sealed.signature, "signing_key": sealed.signing_key
    }  # fmt: skip
    return {name: value for name, value in tags.items() if value}


def _candidate_tags(candidate: Candidate, refused: str) -> dict[str, str]:
    return {
        "kind": "candidate",
        "engine": candidate.engine,
        "refused": refused,
        "reproducible": str(candidate.reproducible).lower(),
        "notes": json.dumps(candidate.notes),
    }


def _recipe(candidate: Candidate) -> dict[str, str]:
    return {f"recipe.{name}": json.dumps(value)[:500] for name, value in to_json(candidate.recipe).items()}


def _candidates(night: Night) -> Iterable[Candidate]:
    for result in night.results:
        yield from result.candidates


def _recipe_kept(store: Store, logged: LoggedNight, entry: Entry) -> dict[str, str]:
    """Keep the recipe as a file of the night's run, from which it can be fitted again without loading the model."""
    path = f"recipes/{digest(entry.gated.recipe)}.json"
    log_document(store, logged.run_id, path, to_json(entry.gated.recipe))
    return {"recipe_file": path}


def _metrics(night: Night, candidate: Candidate, score: Score | None) -> dict[str, float]:
    own = {"train_seconds": candidate.train_seconds, "predict_us_per_row": candidate.predict_us_per_row}
    if score is not None:
        return own | candidate_metrics(night.leaderboard, candidate.name)
    behind = night.leaderboard.not_refitted.get(candidate.name)
    return own if behind is None else own | {"selection_loss": behind}


def _night_tags(night: Night) -> Mapping[str, str]:
    engines = {result.engine: result.error or "finished" for result in night.results}
    return {
        "problem": night.problem.name,
        "engines": json.dumps(engines),
        "reproducible": str(all(result.reproducible for result in night.results)).lower(),
        "quarantined": json.dumps(night.snapshot.quarantined),
        "notes": json.dumps(night.notes),
        "alarms": json.dumps(night.leaderboard.alarms) if night.leaderboard.alarms else "",
        "survivorship_biased": "true" if night.snapshot.survivors_only else "",
    }


def _night_params(night: Night) -> dict[str, str]:
    windows = {f"window.{w.name}": f"{w.first} to {w.last}, {w.rows} rows" for w in night.rows.windows}
    problem = {
        f"problem.{name}": json.dumps(value)[:500] for name, value in night.problem.model_dump(mode="json").items()
    }
    return {
        "snapshot_sha256": night.snapshot.sha256,
        "problem_sha256": night.problem.digest(),
        "leaderboard_sha256": night.leaderboard.sha256,
        "code_version": night.code_version,
        "lock_sha256": lock_digest(),
        "features": str(len(night.features.spec.columns)),
        **windows,
        **problem,
    }


def _seconds(night: Night) -> dict[str, float]:
    return {f"seconds.{result.engine}": result.work_seconds for result in night.results}


def _searched(night: Night, score: Score) -> dict[str, Any]:
    """Manifest fields of a model as the search fitted it: it saw nothing later than the windows before selection."""
    seen = [window.last for window in night.rows.windows if window.name in ("train", "validation", "blending")]
    return {
        "role": "searched",
        "training_end": max(seen, default=""),
        "evidence": without_nan({"walk_forward": to_json(score)}),
        "notes": ("As the search fitted it; neither gated nor refitted.",),
    }
