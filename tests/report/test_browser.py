"""The page in a real browser: no sideways scrolling, the right shape of picture, nothing executed."""

from __future__ import annotations

import dataclasses
import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tasks.report.night import Night
from tasks.report.page import render
from tests.report import nights

pytestmark = pytest.mark.needs_browser

WIDTHS = (360, 768, 1280)
EVIL = "<img src=x onerror=document.title='pwned'>" + "W" * 150
MEASURE = """
onload = () => {
  const found = [...document.querySelectorAll('iframe')].map(frame => {
    const page = frame.contentDocument, root = page.documentElement;
    page.querySelectorAll('details').forEach(each => each.open = true);
    const boxes = [...page.querySelectorAll('.scroll')];
    const seen = [...page.querySelectorAll('figure svg')].filter(svg => svg.getBoundingClientRect().width > 0);
    const text = [...page.querySelectorAll('figure svg text')].map(t => t.getBoundingClientRect().height);
    return {
      name: frame.name, title: page.title, over: root.scrollWidth - root.clientWidth,
      shapes: seen.map(svg => svg.viewBox.baseVal.width), smallest: Math.min(...text.filter(h => h > 0)),
      cut: boxes.filter(box => box.scrollWidth > box.clientWidth).length, boxes: boxes.length,
      images: page.images.length, ink: getComputedStyle(page.body).color,
    };
  });
  document.body.innerHTML = '<pre>' + JSON.stringify(found).replaceAll('<', '\\\\u003c') + '</pre>';
};
"""


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """Every night at every width, measured in one start of the browser."""
    pages = {target: render(nights.night(target)) for target in ("volatility", "return", "direction")}
    pages["evil"] = render(_evil())
    pages["dark"] = pages["volatility"].replace('<html lang="en">', '<html lang="en" data-theme="dark">')
    frames = [
        f'<iframe name="{name}-{width}" style="width:{width}px;height:900px" srcdoc="{html.escape(page)}"></iframe>'
        for name, page in pages.items()
        for width in WIDTHS
    ]
    folder = tmp_path_factory.mktemp("browser")
    (folder / "all.html").write_text(
        f"<!doctype html><style>iframe{{border:0}}</style><body>{''.join(frames)}<script>{MEASURE}</script>", "utf-8"
    )
    found = re.search(r"<pre>(\[.*?\])</pre>", _dom(folder / "all.html", folder / "profile"), flags=re.DOTALL)
    assert found is not None, "the browser gave no measurements"
    return {entry["name"]: entry for entry in json.loads(html.unescape(found[1]))}


def _dom(page: Path, profile: Path) -> str:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert browser is not None
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
        f"--user-data-dir={profile}", "--window-size=1400,1000", "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def _evil() -> Night:
    made = nights.night("direction", symbols=(EVIL,))
    scores = tuple(dataclasses.replace(s, candidate=f"{s.rank}{EVIL}") for s in made.facts.leaderboard.scores)
    facts = dataclasses.replace(
        made.facts,
        leaderboard=dataclasses.replace(made.facts.leaderboard, scores=scores),
        decision=dataclasses.replace(made.facts.decision, promote=EVIL, reasons=(EVIL,)),
        importance=((EVIL, 1.0),),
        importance_of=EVIL,
        versions={EVIL: EVIL},
        seconds={EVIL: 1.0},
        warnings=(EVIL,),
        tracking_uri=EVIL,
    )
    return dataclasses.replace(made, facts=facts)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["volatility", "return", "direction", "evil"])
def test_the_page_never_scrolls_sideways(measured: dict[str, dict[str, object]], name: str, width: int) -> None:
    assert measured[f"{name}-{width}"]["over"] == 0


@pytest.mark.parametrize("name", ["volatility", "return", "direction", "dark"])
def test_on_a_desk_every_table_is_seen_whole(measured: dict[str, dict[str, object]], name: str) -> None:
    boxes = measured[f"{name}-1280"]["boxes"]
    assert isinstance(boxes, int)
    assert boxes >= 5
    assert measured[f"{name}-1280"]["cut"] == 0
    assert measured[f"{name}-360"]["cut"] != 0, "a table that fits a phone says that nothing was measured"


@pytest.mark.parametrize(("width", "shape"), [(360, 350), (768, 920), (1280, 920)])
def test_each_width_gets_its_shape_with_readable_text(
    measured: dict[str, dict[str, object]], width: int, shape: int
) -> None:
    entry = measured[f"volatility-{width}"]
    assert entry["shapes"] == [shape] * 3
    assert isinstance(entry["smallest"], (int, float))
    assert entry["smallest"] >= 9


def test_hostile_names_run_nothing(measured: dict[str, dict[str, object]]) -> None:
    for width in WIDTHS:
        assert measured[f"evil-{width}"]["images"] == 0
        assert measured[f"evil-{width}"]["title"] != "pwned"


def test_dark_is_dark(measured: dict[str, dict[str, object]]) -> None:
    assert measured["volatility-1280"]["ink"] == "rgb(23, 26, 32)"
    assert measured["dark-1280"]["ink"] == "rgb(233, 236, 241)"
