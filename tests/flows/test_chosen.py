"""What a command takes for a problem, and what it says to those who mistype one."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.chosen import named
from tasks.errors import ConfigurationError

SHIPPED = "nasdaq-volatility, sp500-direction, sp500-volatility"


def test_a_shipped_problem_by_its_name_and_ones_own_by_its_file_with_changes(tmp_path: Path) -> None:
    own = tmp_path / "mine.yaml"
    own.write_text("name: mine\nsource: builtin:nasdaq\n")
    assert named("sp500-direction", None, None, "demo").target == "direction"
    found = named("", own, ["horizon=5", "engines=[baseline, linear]"], "demo")
    assert (found.name, found.horizon, found.engines) == ("mine", 5, ("baseline", "linear"))


@pytest.mark.parametrize(
    ("name", "file", "changes", "words"),
    [
        ("sp500", None, [], rf"no problem 'sp500' in .*deployments/problems; there are: {SHIPPED}$"),
        ("mine.yaml", None, [], rf"there are: {SHIPPED}; a file of yours is given with --file mine.yaml$"),
        ("../prefect", None, [], r"no problem '\.\./prefect'"),
        ("", None, [], rf"name a problem \({SHIPPED}\) or give --file problem.yaml, one of the two"),
        ("sp500-direction", Path("mine.yaml"), [], "one of the two"),
        ("sp500-direction", None, ["horizn=5"], "--set horizn: a problem has no such field; did you mean 'horizon'?"),
        ("sp500-direction", None, ["colour=red"], "--set colour: a problem has no such field; it has name, source,"),
        ("sp500-direction", None, ["horizon"], "--set takes field=value, got 'horizon'"),
        ("sp500-direction", None, ["engines=[baseline"], "--set engines: value '.baseline' is not readable as YAML"),
    ],
)
def test_what_is_mistyped_is_told_with_what_there_is(
    name: str, file: Path | None, changes: list[str], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words.replace("?", r"\?")):
        named(name, file, changes, "demo")
