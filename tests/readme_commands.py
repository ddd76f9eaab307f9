"""Run the commands of the README and the guides as a new user would: every line of their ``sh`` blocks, in order.

Blocks without a language are examples: they name hosts, keys or files that only their reader has.

``make test`` is left to the continuous integration itself, which calls it once, and ``git clone`` and ``cd`` have
been done by whoever runs this. Lines of ``python`` blocks marked with ``# run`` are run with the environment's Python.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"^ *```(sh|python)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
GUIDES = (
    "deployments/problems/README.md",
    "tasks/features/README.md",
    "tasks/bars/sources/README.md",
    "tasks/search/README.md",
    "data/README.md",
    "docs/*.md",
    "deployments/README.md",
)
ELSEWHERE = ("git clone", "cd ", "make test", "make check", "make bench")


def pages() -> list[Path]:
    """The README, then the guides."""
    return [PROJECT / "README.md", *(page for guide in GUIDES for page in sorted(PROJECT.glob(guide)))]


def commands(text: str, *, python: bool) -> list[list[str]]:
    """The commands of a page, in order: shell lines as they stand; python blocks whole, where they are programs."""
    found: list[list[str]] = []
    for language, body in BLOCK.findall(text):
        if language == "python":
            found += [[sys.executable, "-c", body]] if python else []
            continue
        lines = body.replace("\\\n", " ").splitlines()
        plain = [line.split("  #")[0].strip() for line in lines]
        found += [["bash", "-euo", "pipefail", "-c", line] for line in plain if line and not line.startswith("#")]
    return found


def main() -> int:
    """Run them all; the first that fails ends with its exit code."""
    environment = {**os.environ, "PATH": f"{PROJECT / '.venv' / 'bin'}:{os.environ['PATH']}"}
    for page in pages():
        text = page.read_text(encoding="utf-8")
        for command in commands(text, python=page.parent == PROJECT):
            if command[0] == "bash" and command[-1].startswith(ELSEWHERE):
                continue
            failed = _run(command, page, environment)
            if failed:
                return failed
    return 0


def _run(command: list[str], page: Path, environment: dict[str, str]) -> int:
    begun = time.monotonic()
    print(f"{page.relative_to(PROJECT)}\n$ {command[-1].strip()}", flush=True)
    done = subprocess.run(command, cwd=PROJECT, env=environment, check=False)
    print(f"-- exit {done.returncode} after {time.monotonic() - begun:.1f} s\n", flush=True)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
