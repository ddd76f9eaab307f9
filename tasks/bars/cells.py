"""Text to numbers, exactly, with every cell that is not one kept and named."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.bars.raw import BadCell

MISSING = ("", "nan", "na", "n/a", "#n/a", "null", "none", "nil", "-", "--", "nat", "<na>")
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$|^[+-]?inf(inity)?$"
_THOUSANDS = re.compile(r"[+-]?\d{1,3}([,' ]\d{3})+(\.\d+)?")
_COMMA = re.compile(r"[+-]?(\d{1,3}(\.\d{3})+|\d+),\d+")


def to_float(values: Any, column: str) -> tuple[npt.NDArray[np.float64], list[BadCell]]:
    """An Arrow column as float64 (n,), NaN where missing or unreadable, and the unreadable cells.

    Integers up to 2^53 are kept exactly. Infinity is kept: a later rule refuses it with its row.
    """
    if not _is_text(values.type):
        return _from_numbers(values, column)
    text = pc.utf8_trim_whitespace(values.cast(pa.string()))
    lower = pc.utf8_lower(text)
    missing = pc.fill_null(pc.is_in(lower, value_set=pa.array(MISSING)), True)
    number = pc.fill_null(pc.match_substring_regex(lower, _NUMBER), False)
    readable = pc.if_else(number, lower, pa.scalar(None, pa.string()))
    bad = np.flatnonzero(~_bools(missing) & ~_bools(number))
    cells = [BadCell(int(at), column, *_classify(text[int(at)].as_py())) for at in bad]
    return _doubles(readable), cells


def _from_numbers(values: Any, column: str) -> tuple[npt.NDArray[np.float64], list[BadCell]]:
    if pa.types.is_boolean(values.type) or pa.types.is_temporal(values.type) or pa.types.is_nested(values.type):
        cells = [BadCell(at, column, "not-a-number", f"a column of {values.type}") for at in range(len(values))]
        return np.full(len(values), np.nan), cells
    return _doubles(values), []


def _doubles(values: Any) -> npt.NDArray[np.float64]:
    doubles = pc.fill_null(values.cast(pa.float64(), safe=False), np.nan)
    return np.array(doubles.to_numpy(zero_copy_only=False), dtype=np.float64)


def _bools(values: Any) -> npt.NDArray[np.bool_]:
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.bool_)


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _classify(text: str) -> tuple[str, str]:
    # One separator with three digits after it reads either way: called a thousands separator, refused like the other.
    if _THOUSANDS.fullmatch(text):
        return "thousands-separator", text
    if _COMMA.fullmatch(text):
        return "decimal-comma", text
    return "not-a-number", text
