"""Embeddings are computed once for a backbone and its bars, and what was damaged is computed again."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from tasks.search.transfer.channels import STEP, Bars
from tasks.search.transfer.embeddings import CODE, FILE, Embeddings, digest_of
from tasks.storage import PROJECT, StageStore

LENGTH = 5


def bars_of(rows: int = 30) -> Bars:
    return Bars(values=np.arange(rows * STEP, dtype=np.float32).reshape(rows, STEP) * 0 + 1, starts=np.array([0, 20]))


class Counting:
    """Embeds a row as its number, and counts how often and for how many rows it is asked."""

    def __init__(self) -> None:
        self.asked = self.rows = 0

    def __call__(self, ends: Any) -> Any:
        self.asked += 1
        self.rows += len(ends)
        return np.column_stack([ends, ends * 2.0]).astype(np.float32)


def test_one_table_serves_every_process_and_rows_without_a_window_are_unknown(tmp_path: Path) -> None:
    embed, store = Counting(), StageStore(tmp_path)
    first = Embeddings(bars_of(), LENGTH, store).every("net", embed)
    again = Embeddings(bars_of(), LENGTH, store).every("net", embed)
    assert embed.asked == 1
    np.testing.assert_array_equal(first, again)
    assert np.isnan(first[:4]).all()
    assert np.isnan(first[20:24]).all(), "a window does not reach into another symbol"
    assert first[24, 0] == 24.0


def test_another_encoder_and_other_bars_have_tables_of_their_own(tmp_path: Path) -> None:
    embed, store = Counting(), StageStore(tmp_path)
    other = dataclasses.replace(bars_of(), values=bars_of().values * 2)
    Embeddings(bars_of(), LENGTH, store).every("net", embed)
    Embeddings(bars_of(), LENGTH, store).every("other net", embed)
    Embeddings(other, LENGTH, store).every("net", embed)
    assert embed.asked == 3
    assert digest_of(bars_of()) != digest_of(other)
    assert digest_of(bars_of()) != digest_of(dataclasses.replace(bars_of(), starts=np.array([0, 21])))


def test_a_damaged_table_is_computed_again(tmp_path: Path) -> None:
    embed, store = Counting(), StageStore(tmp_path)
    first = Embeddings(bars_of(), LENGTH, store).every("net", embed)
    (path,) = tmp_path.glob(f"*/*/{FILE}")
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    np.testing.assert_array_equal(Embeddings(bars_of(), LENGTH, store).every("net", embed), first)
    assert embed.asked == 2


def test_few_rows_are_embedded_when_they_are_asked_for_and_all_once_they_are_many(tmp_path: Path) -> None:
    embed, store = Counting(), StageStore(tmp_path)
    bars = bars_of(400)
    few, more, most = np.array([9, 4, 30]), np.array([30, 31]), np.arange(30, 230)
    lazy = Embeddings(bars, LENGTH, store)
    np.testing.assert_array_equal(lazy.of("net", embed, few)[:, 0], few)
    np.testing.assert_array_equal(lazy.of("net", embed, more)[:, 0], more)
    assert embed.rows == 4, "what is known is not embedded again, and what is not asked for never"
    assert lazy.of("net", embed, few[:0]).shape == (0, 2)
    assert not list(tmp_path.glob(f"*/*/{FILE}"))
    np.testing.assert_array_equal(lazy.of("net", embed, most)[:, 0], most)
    assert len(list(tmp_path.glob(f"*/*/{FILE}"))) == 1
    asked = embed.asked
    np.testing.assert_array_equal(Embeddings(bars, LENGTH, store).of("net", embed, few)[:, 0], few)
    lazy.of("other net", embed, few)
    lazy.of("net", embed, most)
    assert embed.asked == asked + 1, "another encoder's are its own, and those that were kept are read"


WORDS_AND_FILES = {"tasks/errors.py", "tasks/storage.py", "tasks/search/engine.py"}
"""Imported by what embeds for its errors, its store and the name of a type: no number of an embedding is theirs."""


def imported(path: str) -> set[str]:
    """The project's modules that a module imports, wherever in it."""
    package, found = path.removesuffix(".py").split("/")[:-1], set()
    for node in ast.walk(ast.parse((PROJECT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            whole = "/".join([*base, *(node.module or "").replace(".", "/").split("/")])
            found |= {whole, *(f"{whole}/{each.name}" for each in node.names)}
        elif isinstance(node, ast.Import):
            found |= {each.name.replace(".", "/") for each in node.names}
    return {f"{name}.py" for name in found if name.startswith("tasks/") and (PROJECT / f"{name}.py").is_file()}


def test_whatever_embeds_is_part_of_the_address() -> None:
    """A body that was changed must not find yesterday's embeddings."""
    own = [f"tasks/search/transfer/{name}.py" for name in ("networks", "export", "embeddings")]
    reached: set[str] = set()
    left = [*own, "tasks/registry/serving/embedded.py"]
    while left:
        path = left.pop()
        if path not in reached | WORDS_AND_FILES:
            reached.add(path)
            left.extend(imported(path))
    assert {"tasks/search/transfer/bodies.py", "tasks/search/transfer/images.py"} <= reached, "imports are followed"
    covered = {path for path in reached if any(path == each or path.startswith(f"{each}/") for each in CODE)}
    assert reached - covered == set()
