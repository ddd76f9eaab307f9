"""``python -m deployments.client [FOLDER]``: build the client's wheel (into ``dist/``) and print where it is."""

from __future__ import annotations

import sys
from pathlib import Path

from deployments.client.wheel import build
from tasks.errors import NocturneError

try:
    built = build(Path(sys.argv[1] if len(sys.argv) > 1 else "dist"))
except NocturneError as error:
    sys.exit(f"error {type(error).__name__}: {error}")
sys.stdout.write(f"{built}\n")
