"""A process that tries networks for a search that another one leads.

``python -m tasks.search.keras_worker FOLDER NAME``: the folder is the one that the chief shares (``scratch/workers`` of
its search). It holds the task, with the chief's address and token, and the rows. It must have the same path on every
machine, for what is tried is saved beside it.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path

import numpy as np

from tasks.search import keras_search
from tasks.search.auto_keras import keep_compiled, use_jax

log = logging.getLogger("nocturne.search.keras")


def work(folder: Path, name: str) -> None:
    """Try what the chief hands out until there is nothing left; ends with SystemExit."""
    task = json.loads((folder / "task.json").read_text())
    os.environ["KERASTUNER_ORACLE_IP"], _, os.environ["KERASTUNER_ORACLE_PORT"] = task["address"].rpartition(":")
    os.environ["KERASTUNER_TUNER_ID"] = name
    space = use_jax(task["threads"])
    from tasks.search.keras_crew import ARRAYS, Worker  # noqa: PLC0415 - after keras's backend is settled

    keep_compiled(folder.parent / "compiled")
    with np.load(folder / ARRAYS, allow_pickle=False) as stored:
        arrays = dict(stored)
    auto = keras_search.auto_model(space, task, overwrite=False, on_trial=_silent, tuner=Worker, token=task["token"])
    log.info("%s asks %s for trials", name, task["address"])
    keras_search.fit(space, auto, task, arrays)


def _silent(_done: int, _best: float | None) -> None:
    """The chief tells how far the search is."""


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s %(message)s")
    work(Path(sys.argv[1]), sys.argv[2])
