"""``python -m tests.audit``: are there known vulnerabilities in what ``requirements.lock`` pins?

1. A canary first: an old version that is known to be vulnerable. Unless the service says so, its silence about the
   other packages says nothing, and the verdict is that nothing could be audited (exit code 3).
2. pip-audit over the whole lock. A vulnerability is a failure, and so is a package that could not be audited, which
   pip-audit itself lets pass; exceptions stand with their reason in ``tests/audit.yaml`` (exit code 1).
3. Every package that applies here must have been looked at (exit code 1); otherwise all is well (exit code 0).

It asks whatever service pip-audit asks; nothing is installed and nothing is resolved.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).resolve().parent.parent
LOCK = PROJECT / "requirements.lock"
ACCEPTED = PROJECT / "tests" / "audit.yaml"
CANARY = "jinja2==2.10"
WELL, FAILED, NOTHING_AUDITED = 0, 1, 3
SECONDS = 900
_PIN = re.compile(r"^[A-Za-z0-9][^\s=]*==[^\\\n]+", re.MULTILINE)


class AuditError(Exception):
    """pip-audit ended without a verdict; the message is what it said."""


@dataclass(frozen=True)
class Accepted:
    """What is let pass, each with its reason: package names that are skipped, identifiers of vulnerabilities."""

    skipped: Mapping[str, str] = field(default_factory=dict)
    vulnerable: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """An exit code and the lines that explain it."""

    code: int
    lines: tuple[str, ...]


def accepted(path: Path) -> Accepted:
    """The exceptions of a file. Raises ValueError for one without a reason."""
    document: dict[str, dict[str, str]] = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    found = Accepted(**{name: entries or {} for name, entries in document.items()})
    bare = [name for name, reason in {**found.skipped, **found.vulnerable}.items() if not str(reason or "").strip()]
    if bare:
        raise ValueError(f"{path}: {', '.join(bare)}: an exception needs a reason")
    return found


def pins(lock: str) -> tuple[str, ...]:
    """``name==version`` of every package of the lock that this interpreter and system would install."""
    found = [Requirement(line.strip()) for line in _PIN.findall(lock)]
    return tuple(
        f"{canonicalize_name(each.name)}{each.specifier}"
        for each in found
        if each.marker is None or each.marker.evaluate()
    )


def audited(pinned: tuple[str, ...]) -> list[dict[str, Any]]:
    """What pip-audit says of each package. Raises AuditError if it says nothing.

    With a cache of its own: an answer of another day is none.
    """
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder) / "requirements.txt"
        requirements.write_text("\n".join(pinned) + "\n", encoding="utf-8")
        command = [
            sys.executable, "-m", "pip_audit", "--requirement", str(requirements), "--no-deps", "--disable-pip",
            "--format", "json", "--progress-spinner", "off", "--cache-dir", str(Path(folder) / "cache"),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    try:
        dependencies: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError) as error:
        raise AuditError(f"pip-audit ended with exit code {done.returncode}: {done.stderr.strip()[-500:]}") from error
    return dependencies


def verdict(pinned: tuple[str, ...], exceptions: Accepted) -> Verdict:
    """Canary, then everything."""
    silence = _silence()
    if silence:
        return Verdict(
            NOTHING_AUDITED, (f"NOTHING COULD BE AUDITED: {silence}", f"{len(pinned)} packages are unaudited")
        )
    try:
        found = audited(pinned)
    except AuditError as error:
        return Verdict(FAILED, (str(error),))
    problems = tuple(_problems(pinned, found, exceptions))
    told = f"{len(found)} packages looked at, {len(problems)} problems, {len(_used(found, exceptions))} exceptions used"
    return Verdict(FAILED if problems else WELL, (*problems, *_stale(found, exceptions), told))


def _silence() -> str:
    """Why the service is not to be believed; empty if it knows the canary."""
    try:
        (canary,) = audited((CANARY,))
    except AuditError as error:
        return f"the service does not answer for the canary {CANARY}: {error}"
    if "skip_reason" in canary:
        return f"the service does not answer for the canary {CANARY}: {canary['skip_reason']}"
    return "" if canary["vulns"] else f"the service knows no vulnerability of the canary {CANARY}, which has several"


def _problems(pinned: tuple[str, ...], found: list[dict[str, Any]], exceptions: Accepted) -> Iterator[str]:
    for each in found:
        if "skip_reason" in each and each["name"] not in exceptions.skipped:
            yield f"{each['name']}: could not be audited: {each['skip_reason']}"
        for flaw in each.get("vulns", ()):
            if not _names(flaw) & exceptions.vulnerable.keys():
                mended = ", ".join(flaw["fix_versions"]) or "no version"
                yield f"{each['name']} {each['version']}: {flaw['id']}, mended in {mended}: {flaw['description'][:200]}"
    seen = {canonicalize_name(each["name"]) for each in found}
    yield from (f"{pin}: was not looked at" for pin in pinned if pin.partition("==")[0] not in seen)


def _names(flaw: Mapping[str, Any]) -> set[str]:
    return {flaw["id"], *flaw["aliases"]}


def _used(found: list[dict[str, Any]], exceptions: Accepted) -> set[str]:
    skipped = {each["name"] for each in found if "skip_reason" in each}
    flaws = {name for each in found for flaw in each.get("vulns", ()) for name in _names(flaw)}
    return (exceptions.skipped.keys() & skipped) | (exceptions.vulnerable.keys() & flaws)


def _stale(found: list[dict[str, Any]], exceptions: Accepted) -> Iterator[str]:
    listed = {*exceptions.skipped, *exceptions.vulnerable}
    yield from (f"no longer needed in {ACCEPTED.name}: {name}" for name in sorted(listed - _used(found, exceptions)))


def main() -> int:
    """Print the verdict on the lock; its code is the exit code."""
    found = verdict(pins(LOCK.read_text(encoding="utf-8")), accepted(ACCEPTED))
    print(*found.lines, sep="\n")
    return found.code


if __name__ == "__main__":
    sys.exit(main())
