"""The DAG as a picture, read from the nightly flow's own code: ``python -m flows.picture`` prints it for the README.

A box is a stage, its lines are the Prefect tasks that it calls (``‖``: several at once). An arrow says that a stage
takes something which another has made; what a longer way says already is left out.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tasks.storage import PROJECT

FLOW = PROJECT / "flows" / "nightly.py"
BEGIN, END = "<!-- the DAG: python -m flows.picture -->", "<!-- end of the DAG -->"


@dataclass(slots=True)
class StageBox:
    """A stage: its tasks in the order of their calls (True: submitted, so that others run beside it), what it reads."""

    name: str
    tasks: dict[str, bool] = field(default_factory=dict)
    reads: set[str] = field(default_factory=set)
    writes: set[str] = field(default_factory=set)


def mermaid(source: str) -> str:
    """The picture of a flow's source, as Mermaid's text."""
    boxes = stages(source)
    lines = ["```mermaid", "flowchart LR"]
    for box in boxes:
        tasks = "".join(f"<br/>{'‖ ' if beside else ''}{name}" for name, beside in box.tasks.items())
        lines.append(f'  {box.name}["<b>{box.name}</b>{tasks}"]')
    lines += [f"  {before} --> {after}" for before, after in _arrows(boxes)]
    return "\n".join([*lines, "```"])


def stages(source: str) -> list[StageBox]:
    """The stages of a flow: every ``with … .stage("name")`` block, in order."""
    tree = ast.parse(source)
    known = _task_names(tree)
    local = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    blocks = [(name, node) for node in ast.walk(tree) if isinstance(node, ast.With) and (name := _stage(node))]
    return [_box(name, block, known, local) for name, block in sorted(blocks, key=lambda pair: pair[1].lineno)]


def _task_names(tree: ast.Module) -> set[str]:
    """What the flow imports from the rooms' ``task.py`` and is a Prefect task there."""
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    rooms = [node for node in imports if (node.module or "").startswith("tasks.") and node.names]
    return {
        alias.asname or alias.name
        for node in rooms
        for alias in node.names
        if str(node.module).endswith(".task") and alias.name in _decorated(str(node.module))
    }


def _decorated(module: str) -> set[str]:
    """The functions of a module that ``@task`` makes into tasks."""
    tree = ast.parse((PROJECT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return {node.name for node in functions for mark in node.decorator_list if ast.unparse(mark).startswith("task")}


def _stage(node: ast.With) -> str:
    call = node.items[0].context_expr
    named = isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "stage"
    return str(call.args[0].value) if named and isinstance(call.args[0], ast.Constant) else ""  # type: ignore[attr-defined]


def _box(name: str, block: ast.With, known: set[str], local: dict[str, ast.FunctionDef]) -> StageBox:
    box = StageBox(name)
    for called, beside in _calls(block, known, local):
        box.tasks[called] = box.tasks.get(called, False) or beside
    for node in ast.walk(block):
        if isinstance(node, ast.Name):
            (box.writes if isinstance(node.ctx, ast.Store) else box.reads).add(node.id)
    return box


def _calls(node: ast.AST, known: set[str], local: dict[str, ast.FunctionDef]) -> Iterator[tuple[str, bool]]:
    """The tasks that are called below a node, and within the flow's own functions that it calls, in source order."""
    for child in ast.iter_child_nodes(node):
        yield from _calls(child, known, local)
    if not isinstance(node, ast.Call):
        return
    target, beside = node.func, False
    if isinstance(target, ast.Attribute) and target.attr == "submit":
        target, beside = target.value, True
    if isinstance(target, ast.Name) and target.id in known:
        yield target.id, beside
    elif isinstance(target, ast.Name) and target.id in local:
        yield from _calls(local[target.id], known, local)


def _arrows(boxes: list[StageBox]) -> list[tuple[str, str]]:
    """Which stage takes something that another has made, less what a longer way says already."""
    needs: dict[str, set[str]] = {}
    for at, box in enumerate(boxes):
        direct = {before.name for before in boxes[:at] if before.writes & box.reads}
        needs[box.name] = direct or {before.name for before in boxes[max(at - 1, 0) : at]}
    above = {name: _above(name, needs) for name in needs}
    return [
        (before, name)
        for name, direct in needs.items()
        for before in sorted(direct, key=list(needs).index)
        if not any(before in above[other] for other in direct)
    ]


def _above(name: str, needs: dict[str, set[str]]) -> set[str]:
    return needs[name] | {far for near in needs[name] for far in _above(near, needs)}


def drawn(page: str, picture: str) -> str:
    """A page with the picture between its two marks. Raises ValueError where it has none."""
    before, _, rest = page.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"the page has no {BEGIN} … {END}")
    return f"{before}{BEGIN}\n{picture}\n{END}{after}"


def main(pages: list[Path]) -> None:
    """Print the picture, or put it into the pages."""
    picture = mermaid(FLOW.read_text(encoding="utf-8"))
    for page in pages:
        page.write_text(drawn(page.read_text(encoding="utf-8"), picture), encoding="utf-8")
    if not pages:
        sys.stdout.write(picture + "\n")


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
