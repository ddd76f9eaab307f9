"""Run the commands of the README as a new user would: every line of its ``sh`` blocks, in order, in this checkout.

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
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
ELSEWHERE = ("git clone", "cd ", "make test", "make check", "make bench")


def commands(text: str) -> list[list[str]]:
    """The commands of a page, in order: shell lines as they stand, python blocks whole."""
    found: list[list[str]] = []
    for language, body in BLOCK.findall(text):
        if language == "python":
            found.append([sys.executable, "-c", body])
            continue
        lines = body.replace("\\\n", " ").splitlines()
        plain = [line.split("  #")[0].strip() for line in lines]
        found += [["bash", "-euo", "pipefail", "-c", line] for line in plain if line and not line.startswith("#")]
    return found


def main() -> int:
    """Run them all; the first that fails ends with its exit code."""
    environment = {**os.environ, "PATH": f"{PROJECT / '.venv' / 'bin'}:{os.environ['PATH']}"}
    for command in commands((PROJECT / "README.md").read_text(encoding="utf-8")):
        if command[0] == "bash" and command[-1].startswith(ELSEWHERE):
            continue
        begun = time.monotonic()
        print(f"$ {command[-1].strip()}", flush=True)
        done = subprocess.run(command, cwd=PROJECT, env=environment, check=False)
        print(f"-- exit {done.returncode} after {time.monotonic() - begun:.1f} s\n", flush=True)
        if done.returncode:
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
