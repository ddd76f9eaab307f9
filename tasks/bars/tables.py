"""Files to Arrow tables, or the reason why not: empty, cut off, wrong encoding, not a table."""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from tasks.bars.columns import REQUIRED, match_columns
from tasks.bars.files import SourceFile, read_bytes
from tasks.bars.refusal import printable, refuse_file

# LEAN's files have no header.
LEAN_HEADER = ("time", "open", "high", "low", "close", "volume")
_LEAN_STAMP = re.compile(r"\d{8}( \d{2}:\d{2})?")


MARKUP = ("<!doctype", "<html", "<?xml", "<head", "{", "[")
LONGEST_HEADER = 20_000


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a CSV file is laid out: column names, delimiter, header lines to skip."""

    names: tuple[str, ...]
    delimiter: str
    skip: int


@dataclass(frozen=True, slots=True)
class Table:
    """A file's columns with their names as written, the data row number of each row, and rows that were no rows."""

    names: tuple[str, ...]
    columns: tuple[Any, ...]
    rows: tuple[int, ...] | range
    ragged: tuple[tuple[int, str], ...] = ()
    notes: tuple[tuple[str, str], ...] = ()


def read_table(source: str, file: SourceFile) -> Table:
    """Read one file. Raises BarsRefusedError if nothing in it can be used, SourceUnavailableError on I/O errors."""
    data = read_bytes(source, file)
    table = _parquet(source, file, data) if file.kind == "parquet" else _csv(source, file, data)
    if not table.columns or not len(table.rows):
        row, detail = table.ragged[0] if table.ragged else (None, "a header and no rows")
        raise refuse_file(source, file.name, "ragged-row" if table.ragged else "no-rows", detail, row)
    return table


def _parquet(source: str, file: SourceFile, data: bytes) -> Table:
    try:
        table = pq.read_table(pa.BufferReader(data))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise refuse_file(source, file.name, "truncated", f"not whole Parquet: {printable(str(error), 160)}") from error
    return Table(
        tuple(table.column_names), tuple(whole_column(column) for column in table.columns), range(1, len(table) + 1)
    )


def whole_column(column: Any) -> Any:
    """An Arrow column in one piece, its values written out."""
    whole = column.combine_chunks()
    whole = whole.combine_chunks() if isinstance(whole, pa.ChunkedArray) else whole
    return whole.dictionary_decode() if pa.types.is_dictionary(whole.type) else whole


def _csv(source: str, file: SourceFile, data: bytes) -> Table:
    if file.name.lower().endswith(".gz") or file.path.name.lower().endswith(".gz") or data[:2] == b"\x1f\x8b":
        data = _unzip(source, file, data)
    text, notes = _utf8(source, file, data)
    layout = _layout(source, file, text)
    if not layout.skip:
        notes = (*notes, ("no-header", f"no header: taken as {', '.join(layout.names)}"))
    return _rows(source, file, text, layout, notes)


def _unzip(source: str, file: SourceFile, data: bytes) -> bytes:
    try:
        return gzip.decompress(data)
    except (EOFError, zlib.error, OSError) as error:
        raise refuse_file(source, file.name, "truncated", f"not whole gzip: {printable(str(error), 120)}") from error


def _utf8(source: str, file: SourceFile, data: bytes) -> tuple[bytes, tuple[tuple[str, str], ...]]:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise refuse_file(source, file.name, "wrong-encoding", "it begins with a UTF-16 byte order mark", 1)
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start)
        detail = f"byte 0x{data[error.start]:02x} at offset {error.start:,} is not UTF-8"
        raise refuse_file(source, file.name, "wrong-encoding", detail, max(line, 1)) from error
    if b"\0" in data:
        at = data.index(b"\0")
        raise refuse_file(source, file.name, "wrong-encoding", f"a NUL byte at offset {at:,}", data.count(b"\n", 0, at))
    if not data.strip():
        raise refuse_file(source, file.name, "empty-file", "white space only")
    if data.startswith(b"\xef\xbb\xbf"):
        return data[3:].lstrip(b"\r\n"), (("byte-order-mark", "a UTF-8 byte order mark was dropped"),)
    return data.lstrip(b"\r\n"), ()


def _layout(source: str, file: SourceFile, data: bytes) -> _Layout:
    line = data.split(b"\n", 1)[0].rstrip(b"\r").decode()
    if line.lstrip().lower().startswith(MARKUP) or len(line) > LONGEST_HEADER:
        raise refuse_file(source, file.name, "not-a-table", f"it begins with {printable(line)!r}", 1)
    delimiter = max(",;\t|", key=line.count)
    names = tuple(next(csv.reader([line], delimiter=delimiter), []))
    if len(names) == len(LEAN_HEADER) and _LEAN_STAMP.fullmatch(names[0]):
        return _Layout(LEAN_HEADER, delimiter, 0)
    return _Layout(names, delimiter, 1)


def _rows(source: str, file: SourceFile, data: bytes, layout: _Layout, notes: tuple[tuple[str, str], ...]) -> Table:
    if layout.skip and not data[data.find(b"\n") % len(data) + 1 :].strip():
        raise refuse_file(source, file.name, "no-rows", "a header and no rows")
    ragged: list[tuple[int, str]] = []

    def keep(row: Any) -> str:
        cells = f"{row.actual_columns} cells where {row.expected_columns} are due: {printable(row.text)}"
        ragged.append((row.number - layout.skip, cells))
        return "skip"

    keys = [f"c{at}" for at in range(len(layout.names))]
    try:
        table = pacsv.read_csv(
            pa.BufferReader(data),
            # One thread: only then does the parser know the number of a row that it cannot use.
            read_options=pacsv.ReadOptions(use_threads=False, column_names=keys, skip_rows=layout.skip),
            parse_options=pacsv.ParseOptions(delimiter=layout.delimiter, invalid_row_handler=keep),
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(keys, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        raise refuse_file(source, file.name, "not-a-table", printable(str(error), 160)) from error
    rows = _numbers(len(table), [number for number, _ in ragged])
    return Table(layout.names, tuple(whole_column(column) for column in table.columns), rows, tuple(ragged), notes)


def _numbers(count: int, skipped: list[int]) -> tuple[int, ...] | range:
    if not skipped:
        return range(1, count + 1)
    gone = set(skipped)
    return tuple(number for number in range(1, count + len(skipped) + 1) if number not in gone)


def required_columns(source: str, file: SourceFile, table: Table) -> dict[str, int]:
    """Canonical name -> position. Raises BarsRefusedError that names what is missing and what there is."""
    found = match_columns(table.names)
    missing = [name for name in REQUIRED if name not in found]
    if missing:
        have = ", ".join(printable(name) or "(unnamed)" for name in table.names[:12])
        raise refuse_file(source, file.name, "missing-column", f"no column for {', '.join(missing)}; it has {have}")
    return found
