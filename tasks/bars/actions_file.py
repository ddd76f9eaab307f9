"""Corporate actions of a user's own: a CSV file with ``symbol, session, kind, value``, one event a row.

``kind`` is ``split`` (``value``: how many shares one became) or ``dividend`` (cash a share as paid on the ex-session).
The file is held to the same rules as bars: one wrong row refuses it, and the message says which.
"""

from __future__ import annotations

import csv
import io
from datetime import date
from pathlib import Path

from tasks.bars.actions import ACTION_COLUMNS, CorporateAction, each_once
from tasks.bars.files import locate, read_bytes
from tasks.bars.refusal import printable
from tasks.errors import DataError

EXAMPLES = 5


def read_actions(path: str) -> tuple[CorporateAction, ...]:
    """The events of a file, in order.

    Raises DataError naming the file and, for up to five rows, what is wrong with them; BarsRefusedError and
    SourceUnavailableError as for files of bars.
    """
    files = locate(str(Path(path).expanduser()))
    if len(files) != 1 or files[0].kind != "csv":
        raise DataError(f"{printable(path, 200)}: corporate actions are one CSV file, with {', '.join(ACTION_COLUMNS)}")
    try:
        text = read_bytes(path, files[0]).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{printable(path, 200)}: not UTF-8 text: save the file as UTF-8") from error
    return parse_actions(text, printable(path, 200))


def parse_actions(text: str, origin: str) -> tuple[CorporateAction, ...]:
    """The events of a CSV text; ``origin`` is named in errors. Raises DataError as ``read_actions``."""
    table = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    found: list[CorporateAction] = []
    wrong: list[str] = []
    try:
        missing = [name for name in ACTION_COLUMNS if name not in (table.fieldnames or ())]
        if missing:
            raise DataError(f"{origin}: corporate actions lack the columns {missing}; it has {table.fieldnames or []}")
        for row, line in enumerate(table, start=1):
            try:
                found.append(_action(line))
            except (ValueError, DataError) as error:
                wrong.append(f"row {row}: {printable(str(error), 200)}")
    except csv.Error as error:
        raise DataError(f"{origin}: line {table.line_num}: not a CSV file: {error}") from error
    if wrong:
        more = f"; and {len(wrong) - EXAMPLES} more" if len(wrong) > EXAMPLES else ""
        raise DataError(f"{origin}: {'; '.join(wrong[:EXAMPLES])}{more}")
    try:
        return each_once(found)
    except DataError as error:
        raise DataError(f"{origin}: {error}") from error


def _action(line: dict[str, str | None]) -> CorporateAction:
    cells = {name: (line.get(name) or "").strip() for name in ACTION_COLUMNS}
    if not cells["symbol"]:
        raise ValueError("no symbol")
    kind = cells["kind"].lower()
    if kind not in ("split", "dividend"):
        raise ValueError(f"kind is split or dividend, got {cells['kind']!r}")
    try:
        session = date.fromisoformat(cells["session"])
    except ValueError as error:
        raise ValueError(f"session is a date such as 2020-08-31, got {cells['session']!r}") from error
    try:
        value = float(cells["value"])
    except ValueError as error:
        raise ValueError(f"value is a plain number, got {cells['value']!r}") from error
    return CorporateAction(
        symbol=cells["symbol"], session=session, kind="split" if kind == "split" else "dividend", value=value
    )
