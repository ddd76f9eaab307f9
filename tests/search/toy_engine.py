"""An engine that does what NOCTURNE_TOY says, to see how the harness takes it. Run as a module by the tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from tasks.contracts import EngineBudget, RefitJob
from tasks.errors import EngineError, EngineKilledError
from tasks.search import linear_fit
from tasks.search.child import run_engine
from tasks.search.engine import Fitted, Progress, TrainingData

BEHAVIOUR = os.environ.get("NOCTURNE_TOY", "")


class Toy:
    """Predicts the mean of what it may see."""

    name = "toy"
    notes: tuple[str, ...] = ("a note",)

    def limit(self, budget: EngineBudget, seed: int) -> None:
        self.notes = (*self.notes, f"left {budget.models} {budget.seconds} {seed}")

    def start(self, budget: EngineBudget, seed: int, scratch: Path) -> None:
        (scratch / "left-behind").write_text("x")

    def search(self, data: TrainingData, out: Path, progress: Progress) -> list[Fitted]:
        progress(1, 2, 0.5, "half way")
        if BEHAVIOUR == "talkative":
            progress(2, 2, 0.5, "done")
        self._misbehave(out)
        seen = sorted(set(data.window[np.isfinite(data.y)]))
        return [self._fitted(data, out, "first", 0.0, seen), self._fitted(data, out, "liar", 1e-3, seen)]

    def refit(self, data: TrainingData, job: RefitJob, out: Path) -> Fitted:
        flaw = job.recipe.get("flaw")
        if flaw == "fails":
            raise EngineError("the fit did not converge")
        if flaw == "bug":
            raise ZeroDivisionError("a bug")
        if flaw == "flaky" and BEHAVIOUR == "flaky":
            raise OSError("the disk was busy")
        if flaw == "dies":
            raise EngineKilledError("the backend is gone")
        lie = 1e-3 if flaw == "lies" or BEHAVIOUR == "lie" else 0.0
        fitted = self._fitted(data, out, "whatever", lie, sorted(set(data.window[np.isfinite(data.y)])))
        if job.rows == "fit_search":
            return replace(fitted, recipe=fitted.recipe | job.recipe)
        return replace(fitted, recipe=fitted.recipe | {"labels": data.y[data.job_rows(job.rows)][:3].tolist()})

    def close(self) -> None:
        pass

    def _fitted(self, data: TrainingData, out: Path, name: str, lie: float, seen: list[str]) -> Fitted:
        model = linear_fit.constant(float(np.nanmean(data.y)))
        model.write(out / name)
        return Fitted(
            name=name,
            engine="linear",
            recipe={"seen": seen},
            model=out / name,
            train_seconds=0.5,
            native=np.full(10, model.intercept + lie),
            native_rows=np.arange(100, 110),
            tolerance=1e-9,
        )

    def _misbehave(self, out: Path) -> None:
        match BEHAVIOUR:
            case "chatter":
                print("not a progress line")
                os.write(1, b"nor this\n")
            case "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "exit":
                os._exit(3)
            case "raise":
                raise EngineError("the optimiser gave up")
            case "bug":
                raise ZeroDivisionError("a bug")
            case "memory":
                raise MemoryError
            case "no memory":
                sys.stderr.write("java.lang.OutOfMemoryError: Java heap space\n")
                os._exit(3)
            case "hang":
                # A grandchild that would outlive a kill of the child alone.
                sleeper = subprocess.Popen(["sleep", "600"])
                (out / "sleeper").write_text(str(sleeper.pid))
                time.sleep(600)


if __name__ == "__main__":
    run_engine(Toy())
