"""SQL carries no values: whatever is put into a statement's text is named here, and is this project's own word.

Values are bound. Names of tables and columns cannot be; they come from the schema in the code, never from outside.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
VERBS = "SELECT|INSERT|UPDATE|DELETE|CREATE|DROP|ALTER|PRAGMA|VACUUM|ATTACH|COPY|WITH|SET|GRANT"
VERB = re.compile(rf"\s*({VERBS})\s[^a-z]?")
OWN = {
    "flows/services/databases.py": {"wanted"},
    "tasks/registry/chain.py": {"table", "where", "marks"},
    "tasks/registry/chain_database.py": {"table", "listed", "key"},
    "tasks/registry/chain_postgres.py": {
        "LOCK",
        "SCHEMA",
        "_COUNT",
        "key",
        "table",
        "listed",
        "alone",
        "trigger",
        "setting",
        "value",
    },
    "tasks/registry/chain_sqlite.py": {"table", "listed", "alone", "verb", "verb.lower()", "schema.version"},
    "tasks/registry/leases.py": {"change", "where"},
    "tasks/search/h2o_cluster.py": {"urllib.parse.quote(name, safe='')"},
}
"""By file, what is formatted: tables, columns and keys of our schema, its version, constants, marks for values
(``?, ?``), conditions that stand in the code; settings of a connection and their numbers (SET takes no bound value);
a lock's number made of a digest; a database's name that a pattern has passed; and what is no SQL but an address that
begins like it (H2O's ``DELETE /3/DKV/…``), quoted."""


def formatted(text: str) -> Iterator[str]:
    """What is put into the texts of a module that begin like SQL."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.JoinedStr) and _is_sql(node):
            yield from (ast.unparse(part.value) for part in node.values if isinstance(part, ast.FormattedValue))
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod | ast.Add) and _is_sql(node.left):
            yield ast.unparse(node.right)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
            yield from (ast.unparse(each) for each in node.args if _is_sql(node.func.value))


def _is_sql(node: ast.expr) -> bool:
    first = node.values[0] if isinstance(node, ast.JoinedStr) and node.values else node
    return isinstance(first, ast.Constant) and isinstance(first.value, str) and bool(VERB.match(first.value))


def test_nothing_from_outside_is_put_into_a_statement() -> None:
    found: dict[str, set[str]] = defaultdict(set)
    for folder in ("flows", "tasks", "deployments"):
        for path in sorted((PROJECT / folder).rglob("*.py")):
            for what in formatted(path.read_text(encoding="utf-8")):
                found[str(path.relative_to(PROJECT))].add(what)
    assert {name: sorted(each) for name, each in found.items()} == {name: sorted(each) for name, each in OWN.items()}


@pytest.mark.parametrize(
    "line", ["f'SELECT * FROM t WHERE name = {name}'", "'DELETE FROM t WHERE a = %s' % a", "'UPDATE t '.format(a)"]
)
def test_a_value_in_a_statement_is_seen(line: str) -> None:
    assert [*formatted(line)]


def test_the_linter_looks_for_the_same() -> None:
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["lint"]
    assert "S" in settings["select"]
    assert "S608" not in settings["ignore"]
    assert not [each for path, each in settings["per-file-ignores"].items() if path != "tests/**" and "S608" in each]
