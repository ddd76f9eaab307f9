"""Sources to raw bars: columns found, text turned into numbers and stamps into dates or instants; nothing judged yet.

What cannot be read at all is refused here. What can be read and is wrong is left for the checks, with its row number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tasks.bars.cells import to_float
from tasks.bars.describe import SourceDescription
from tasks.bars.files import SourceFile, locate
from tasks.bars.raw import PRICES, BadCell, RawBars
from tasks.bars.refusal import BarsRefusedError, printable, refuse_file
from tasks.bars.stamps import read_stamps
from tasks.bars.tables import Table, read_table, required_columns, whole_column
from tasks.contracts import Finding


@dataclass(slots=True)
class _Part:
    columns: dict[str, Any]
    symbols: pd.Series[Any]
    cells: list[BadCell]
    ragged: list[Finding]
    findings: list[Finding] = field(default_factory=list)


def read_source(description: SourceDescription) -> RawBars:
    """Read every file of a source of files, or a built-in one.

    Raises BarsRefusedError naming file, row, rule and value if one cannot be read; SourceUnavailableError if the disk
    does not answer (a retry may help); ConfigurationError for an unknown built-in source.
    """
    files = locate(description.source)
    return _joined_parts(files, [_read_file(description, at, file) for at, file in enumerate(files)])


def read_frame(description: SourceDescription, name: str, frame: pd.DataFrame) -> RawBars:
    """A table that a source fetched, read as a file of that name would be: aliases, stamps, numbers, price scale.

    Raises BarsRefusedError naming row, rule and value if it cannot be read, or has no rows.
    """
    file = SourceFile(Path(name), name, "parquet", "")
    arrow = pa.Table.from_pandas(frame, preserve_index=False)
    if not len(arrow):
        raise refuse_file(description.source, name, "no-rows", "no bars")
    table = Table(
        tuple(arrow.column_names), tuple(whole_column(column) for column in arrow.columns), range(1, len(arrow) + 1)
    )
    return _joined_parts([file], [_read_part(description, 0, file, table)])


def _joined_parts(files: list[SourceFile], parts: list[_Part]) -> RawBars:
    starts = np.cumsum([0, *(len(part.symbols) for part in parts)])
    frame = pd.concat([pd.DataFrame(part.columns) for part in parts], ignore_index=True)
    codes, names = pd.factorize(pd.concat([part.symbols for part in parts], ignore_index=True), sort=True)
    frame.insert(0, "code", codes.astype(np.int32))
    cells = [
        BadCell(int(cell.position + start), cell.column, cell.rule, cell.text)
        for start, part in zip(starts, parts, strict=False)
        for cell in part.cells
    ]
    return RawBars(
        frame=frame,
        symbols=tuple(str(name) for name in names),
        files=tuple(file.name for file in files),
        cells=tuple(cells),
        ragged=tuple(finding for part in parts for finding in part.ragged),
        findings=tuple(finding for part in parts for finding in part.findings),
        has_volume=bool(frame["volume"].notna().any()),
        has_adjusted=bool(frame["adj_close"].notna().any()),
    )


def _read_file(description: SourceDescription, number: int, file: SourceFile) -> _Part:
    return _read_part(description, number, file, read_table(description.source, file))


def _read_part(description: SourceDescription, number: int, file: SourceFile, table: Table) -> _Part:
    found = required_columns(description.source, file, table)
    length = len(table.rows)
    columns: dict[str, Any] = {
        "file": np.full(length, number, dtype=np.int32),
        "row": np.asarray(table.rows, dtype=np.int64),
    }
    cells = _read_times(description, file, table, found, columns)
    for name in (*PRICES, "adj_close", "volume"):
        values, bad = _column(table, found, name, length)
        columns[name] = values if name == "volume" else values / description.price_scale
        cells.extend(bad)
    ragged = [
        Finding(rule="ragged-row", severity="set_aside", row=row, detail=f"{printable(file.name, 120)}: {detail}")
        for row, detail in table.ragged
    ]
    return _Part(columns, _symbols(table, found, file), cells, ragged, _notes(file, table, found))


def _column(
    table: Table, found: dict[str, int], name: str, length: int
) -> tuple[npt.NDArray[np.float64], list[BadCell]]:
    if name not in found:
        return np.full(length, np.nan), []
    values, bad = to_float(table.columns[found[name]], name)
    # Adjusted prices are kept beside the raw ones; what is wrong with them never costs a raw bar.
    return values, ([] if name == "adj_close" else bad)


def _read_times(
    description: SourceDescription, file: SourceFile, table: Table, found: dict[str, int], columns: dict[str, Any]
) -> list[BadCell]:
    column, name = table.columns[found["time"]], table.names[found["time"]]
    if "clock" in found:
        column = _joined(column, table.columns[found["clock"]])
    stamps = read_stamps(column, name, description, _refuser(description, file, table))
    columns["date"], columns["instant"] = stamps.date, stamps.instant
    return [
        BadCell(int(at), "time", rule, str(column[int(at)]))
        for rule, mask in stamps.faults.items()
        for at in np.flatnonzero(mask)
    ]


def _joined(dates: Any, clocks: Any) -> Any:
    return pc.binary_join_element_wise(dates.cast(pa.string()), clocks.cast(pa.string()), " ")


def _refuser(
    description: SourceDescription, file: SourceFile, table: Table
) -> Callable[[str, str, int | None], BarsRefusedError]:
    def refuse(rule: str, detail: str, row: int | None) -> BarsRefusedError:
        number = None if row is None else int(table.rows[row - 1])
        return refuse_file(description.source, file.name, rule, detail, number)

    return refuse


def _symbols(table: Table, found: dict[str, int], file: SourceFile) -> pd.Series[Any]:
    if "symbol" not in found:
        return pd.Series([file.symbol] * len(table.rows), dtype=object)
    text = pc.utf8_trim_whitespace(pc.fill_null(table.columns[found["symbol"]].cast(pa.string()), ""))
    # An empty symbol becomes None, which pandas codes as -1.
    return pd.Series(pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text).to_pandas(), dtype=object)


def _notes(file: SourceFile, table: Table, found: dict[str, int]) -> list[Finding]:
    used = set(found.values())
    name = printable(file.name, 120)
    notes = [Finding(rule=rule, severity="info", detail=f"{name}: {detail}") for rule, detail in table.notes]
    extra = [printable(column) for at, column in enumerate(table.names) if at not in used]
    notes += [
        Finding(rule="unknown-column", severity="warning", detail=f"{name}: column {column or '(unnamed)'} is not used")
        for column in extra
    ]
    renamed = [f"{printable(table.names[at])} as {key}" for key, at in found.items() if table.names[at] != key]
    if renamed:
        notes.append(Finding(rule="renamed-column", severity="info", detail=f"{name}: {', '.join(renamed)}"))
    return notes
