"""What a description promises is looked at before a bar is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.bars.describe import SourceDescription
from tasks.bars.preflight import check_file, check_source
from tasks.errors import ConfigurationError, NocturneError


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"source": "bloomberg:SPX"}, "no source is called 'bloomberg'"),
        ({"source": "builtin:ftse"}, "builtin:ftse"),
        ({"source": "bars/nowhere.csv"}, "nowhere.csv"),
        ({"source": "builtin:sp500", "calendar": "NYSE2"}, "calendar 'NYSE2' is unknown; examples: XNYS"),
    ],
)
def test_what_is_not_there_is_refused_by_name(fields: dict[str, str], words: str) -> None:
    with pytest.raises(NocturneError) as refusal:
        check_source(SourceDescription(**fields))  # type: ignore[arg-type]
    assert words in str(refusal.value)


def test_what_is_there_passes_unread(tmp_path: Path) -> None:
    broken = tmp_path / "bars.csv"
    broken.write_bytes(b"\x00 no bars at all")
    check_source(SourceDescription(source=str(broken)))
    check_source(SourceDescription(source="builtin:sp500"))
    check_source(SourceDescription(source="yfinance:SPY"))  # nobody is asked
    check_file("membership", "")
    check_file("membership", str(broken))
    with pytest.raises(ConfigurationError, match=r"membership: there is no file who\.csv"):
        check_file("membership", "who.csv")
