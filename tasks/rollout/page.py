"""A rollout as one HTML page that needs nothing else: no network, no script, light and dark, desk and phone. Pure."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from tasks.rollout import drawings, words
from tasks.rollout.assess import Assessment
from tasks.templates import template

TEMPLATE = Path(__file__).with_name("page.html.j2")


def render(found: Assessment) -> str:
    """The page's HTML; the same evidence gives the same bytes. Text from outside is cleaned and escaped."""
    return template(TEMPLATE, clean=words.clean, sentence=words.sentence).render(
        found=found, plan=found.plan, headline=words.headline(found), time=words.time_left(found),
        facts=words.facts(found), changes=words.changes(found),
        e_values=Markup(drawings.e_values(found)),  # noqa: S704 - numbers and dates alone
        shares=Markup(drawings.shares(found)),  # noqa: S704
        gain=Markup(drawings.gain(found)),  # noqa: S704
    )  # fmt: skip
