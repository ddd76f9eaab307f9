"""How a field of a form is written: its place, what it means in words with its bounds, the group that it belongs to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import Field
from pydantic.fields import ComputedFieldInfo, FieldInfo


def field(default: Any, position: int, description: str, **bounds: Any) -> Any:
    """A field of a pydantic model at `position` of the form, described with its bounds (ge, gt, le)."""
    told = f"{description} {_range(bounds)}".strip()
    return Field(default, description=told, json_schema_extra={"position": position}, **bounds)


def titles(groups: Mapping[int, str], names: Mapping[str, str]) -> Callable[[str, FieldInfo | ComputedFieldInfo], str]:
    """What makes a field's title of its group (the last that begins at or before its position) and its name."""

    def title(name: str, info: FieldInfo | ComputedFieldInfo) -> str:
        extra = info.json_schema_extra
        position = extra["position"] if isinstance(extra, dict) else 0
        assert isinstance(position, int)
        group = groups[max(first for first in groups if first <= position)]
        return f"{group}: {names.get(name, name.replace('_', ' '))}" if position > 1 else "Name"

    return title


def _range(bounds: dict[str, Any]) -> str:
    """The bounds in words: the form shows them nowhere else before it refuses."""
    least = bounds.get("ge")
    most = f"{bounds['le']:,}" if "le" in bounds else ""
    if least is None:
        return f"Above {bounds['gt']}{f', at most {most}' if most else ''}." if "gt" in bounds else ""
    return f"{least:,} to {most}." if most else f"At least {least:,}."
