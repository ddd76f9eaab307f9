"""The pages' templates: everything put into one is escaped, and a name that it does not know is an error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2


def template(path: Path, **filters: Callable[..., Any]) -> jinja2.Template:
    """The template in `path`, whose includes lie beside it, with these filters."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(path.parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters)
    return environment.get_template(path.name)
