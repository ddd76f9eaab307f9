"""Promoters that race: each decided on the same standing, all move it at once, and exactly one may win each time.

``python -m tests.registry.race`` runs ten thousand races of two processes on the ledger alone, and some in which MLflow
shows every move; ``--ledger URL`` races on a PostgreSQL ledger. It prints the counts, and ends with 1 if any is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from tasks.registry import promotions
from tasks.registry.ledger import Ledger
from tasks.registry.mlflow_store import Store, open_store
from tasks.registry.projection import shown
from tasks.registry.standings import StaleEpochError, standing, swap
from tasks.storage import PROJECT
from tests.registry.shown import make_versions

NAME = "raced"
VERSIONS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Of so many races: how often nobody, one, or several won; each promoter's wins; seconds; rows in the ledger."""

    races: int
    nobody: int
    one: int
    several: int
    wins: tuple[int, ...]
    rows: int
    seconds: float

    @property
    def right(self) -> bool:
        """Whether exactly one won each race, and the ledger has a row for each."""
        return self.one == self.rows == self.races and sum(self.wins) == self.races

    def __str__(self) -> str:
        return (
            f"{self.races:,} races of {len(self.wins)} promoters: {self.one:,} with one winner, {self.nobody:,} with "
            f"none, {self.several:,} with several; wins {', '.join(f'{won:,}' for won in self.wins)}; {self.rows:,} "
            f"rows in the ledger, every one verified; {self.seconds:.1f} s"
        )


def promoter(number: int, races: int, wait: Callable[[], object], projected: bool) -> list[bool]:
    """One promoter's races: whether it won each. All look at the standing, wait for each other, and then move it.

    Whoever has moved, or was told that another has, sees the next epoch: one wait a race is enough.
    """
    store = open_store() if projected else None
    won = []
    with Ledger.open() as ledger:
        for race in range(races):
            expected = standing(ledger, NAME)
            assert expected.epoch == race, f"race {race} begins in epoch {expected.epoch}"
            change = replace(expected, champion=str(1 + (race + number) % VERSIONS))
            wait()
            won.append(_moves(ledger, store, expected, change, f"promoter {number}"))
    return won


def _moves(ledger: Ledger, store: Store | None, expected: Any, change: Any, by: str) -> bool:
    try:
        if store is None:
            swap(ledger, expected, change, "promoted", (), "", by)
        else:
            promotions.move(ledger, store, expected, change, "promoted", (), "", by)
    except StaleEpochError:
        return False
    return True


def in_processes(promoters: int, races: int, *, projected: bool = False) -> Counts:
    """Promoters that share nothing but the ledger (and MLflow), in the state folder of the environment."""
    command = [sys.executable, "-m", "tests.registry.race", "--races", str(races), *(["--shown"] if projected else [])]
    running = [
        subprocess.Popen(
            [*command, "--promoter", str(number)],
            cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for number in range(promoters)
    ]  # fmt: skip
    try:
        return _counted(races, lambda: _run(running, races))
    finally:
        for process in running:
            process.kill()
            process.communicate()


def _run(running: list[subprocess.Popen[str]], races: int) -> list[list[bool]]:
    """Let all go at once, as often as there are races, and hear how each fared."""
    for _ in range(races):
        for process in running:
            said = process.stdout.readline() if process.stdout else ""
            assert said == "ready\n", f"a promoter ended: {said}"
        for process in running:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
    return [json.loads(process.stdout.readline()) for process in running if process.stdout]


def be_promoter(number: int, races: int, projected: bool) -> None:
    """The other side of ``in_processes``."""

    def wait() -> None:
        print("ready", flush=True)
        sys.stdin.readline()

    print(json.dumps(promoter(number, races, wait, projected)), flush=True)


def in_threads(promoters: int, races: int) -> Counts:
    """The same in one process: a connection each."""
    barrier = threading.Barrier(promoters)
    with ThreadPoolExecutor(promoters) as pool:
        running = [
            pool.submit(promoter, number, races, lambda: barrier.wait(120), False) for number in range(promoters)
        ]
        return _counted(races, lambda: [future.result() for future in running])


def _counted(races: int, run: Callable[[], list[list[bool]]]) -> Counts:
    Ledger.open().__exit__()
    begun = time.perf_counter()
    won = run()
    seconds = time.perf_counter() - begun
    winners = [sum(one) for one in zip(*won, strict=True)]
    with Ledger.open() as ledger:
        rows = len(ledger.chain.rows("promotions", "name = ?", (NAME,)))
    return Counts(
        races=races,
        nobody=winners.count(0),
        one=winners.count(1),
        several=sum(count > 1 for count in winners),
        wins=tuple(sum(mine) for mine in won),
        rows=rows,
        seconds=seconds,
    )


def shows_the_last(store: Store) -> bool:
    """Whether MLflow shows what the ledger says."""
    with Ledger.open() as ledger:
        return shown(store, NAME) == standing(ledger, NAME)


def main() -> int:
    """Race, print, and say whether all was right."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--races", type=int, default=10_000)
    parser.add_argument("--promoters", type=int, default=2)
    parser.add_argument("--projected", type=int, default=200, help="races in which MLflow shows every move")
    parser.add_argument("--ledger", default="", help="postgresql://… instead of SQLite: a database without a ledger")
    parser.add_argument("--promoter", type=int, default=-1, help=argparse.SUPPRESS)
    parser.add_argument("--shown", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.promoter >= 0:
        be_promoter(asked.promoter, asked.races, asked.shown)
        return 0
    right = []
    for projected, races in ((False, asked.races), (True, asked.projected)):
        if not races:
            continue
        with tempfile.TemporaryDirectory() as folder:
            os.environ |= {"NOCTURNE_HOME": folder, "NOCTURNE_LEDGER_URL": asked.ledger, "NOCTURNE_TRACKING_URI": ""}
            if projected:
                make_versions(open_store(), NAME, *[{}] * VERSIONS)
            counts = in_processes(asked.promoters, races, projected=projected)
            print("ledger and MLflow:" if projected else "ledger alone:", counts)
            right.append(counts.right and (not projected or shows_the_last(open_store())))
        if asked.ledger:
            break  # a second count would begin where the first one ended
    return 0 if all(right) else 1


if __name__ == "__main__":
    sys.exit(main())
