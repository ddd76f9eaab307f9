"""Run the tests of some faults, tell what became of each fault, and look at the champion after each test."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import pytest

from tasks import storage
from tasks.registry import mlflow_store
from tasks.registry.ledger import Ledger
from tasks.registry.standings import names, standing
from tasks.registry.verification import passed
from tests.faults.outcome import Outcome
from tests.faults.table import FAULTS

Told = Callable[[Outcome], None]


def run(numbers: Iterable[int], told: Told) -> list[Outcome]:
    """Each fault's outcome, told as soon as its last test has ended."""
    session = _Session({number: [] for number in numbers}, told)
    tests = list(dict.fromkeys(test for number in session.left for test in FAULTS[number].tests))
    options = ["-q", "-n", "0", "-p", "no:cacheprovider", "--rootdir", str(storage.PROJECT)]
    # The bad inputs before have imported what some plugins would have rewritten: none of their asserts is a test's.
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    if tests:
        os.chdir(storage.PROJECT)
        pytest.main([*options, *tests], plugins=[session])
    for number in list(session.left):
        session.tell(number)
    return session.outcomes


@dataclass(eq=False)
class _Session:
    """A plugin: which tests of which fault are still to come, and what the others said."""

    left: dict[int, list[str]]
    told: Told
    outcomes: list[Outcome] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    happened: dict[str, list[str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    all: dict[int, list[str]] = field(default_factory=dict)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Note which tests each fault has."""
        for number in self.left:
            wanted = FAULTS[number].tests
            self.left[number] = [item.nodeid for item in items if _is_one_of(item.nodeid, wanted)]
        self.all = {number: list(tests) for number, tests in self.left.items()}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self) -> None:
        """While the test's state folder is still the present one: is the champion whole?"""
        require_whole_champions()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Hear how a part of a test ended."""
        name = report.nodeid
        self.seconds[name] = self.seconds.get(name, 0.0) + report.duration
        if report.failed:
            self.failed[name] = report.longreprtext.strip().splitlines()[-1] if report.longreprtext else "failed"
        if report.skipped:
            self.skipped[name] = str(report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longrepr)
        if report.when == "teardown":
            self.happened[name] = [str(value) for key, value in report.user_properties if key == "happened"]
            self._over(name)

    def _over(self, name: str) -> None:
        self.ended.add(name)
        for number in [number for number, tests in self.left.items() if tests and set(tests) <= self.ended]:
            self.tell(number)

    def tell(self, number: int) -> None:
        """A fault whose tests have all ended, or never began."""
        fault, tests = FAULTS[number], self.all.get(number, [])
        del self.left[number]
        wrong = [self.failed[name] for name in tests if name in self.failed]
        wrong += [f"not injected: {self.skipped[name]}" for name in tests if name in self.skipped]
        wrong += ["not injected: there is no such test"] if not tests else []
        wrong += [f"not injected: {name} did not run" for name in tests if name not in self.ended]
        figures = [text for name in tests for text in self.happened.get(name, [])]
        said = "; ".join(wrong[:3]) or "; ".join(([fault.says] if fault.says else []) + figures)
        took = sum(self.seconds.get(name, 0.0) for name in tests)
        outcome = Outcome(number, fault.words, not wrong, f"{len(tests)} injected: {said}", took)
        self.outcomes.append(outcome)
        self.told(outcome)


def _is_one_of(name: str, wanted: tuple[str, ...]) -> bool:
    return any(name == test or name.startswith((f"{test}::", f"{test}[")) for test in wanted)


def require_whole_champions() -> None:
    """Raise AssertionError if, below the present state folder, a champion is not the ledger's, or was never proved.

    The ledger's chain is verified on opening. Names that MLflow does not know have no consumers.
    """
    if os.environ.get("NOCTURNE_LEDGER_URL") or not (storage.home() / "ledger" / "ledger.db").exists():
        return
    with Ledger.open() as ledger:
        champions = {name: standing(ledger, name).champion for name in names(ledger)}
    if not champions or not (storage.home() / "mlflow" / "mlflow.db").exists():
        return
    store = mlflow_store.open_store()
    for name, version in champions.items():
        if mlflow_store.registered_model(store, name) is None or mlflow_store.is_deleted(store, name, version):
            continue
        shown = mlflow_store.holder(store, name, "champion")
        assert shown == version, f"{name}: MLflow shows version {shown or 'none'}, the ledger has {version or 'none'}"
        tags = mlflow_store.version_tags(store, name, version) if version else None
        assert tags is None or passed(tags), f"{name}: version {version} is champion and was never proved"
