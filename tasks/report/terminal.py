"""The night in a terminal of 80 columns: alerts, leaderboard, decision, links, and a snippet to copy.

Works from the night's JSON document (see ``document``), so that a past night can be told again. Text from outside is
cleaned of control characters and never read as markup.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tasks.report import words

STYLES = {
    "promoted": "green",
    "refreshed": "green",
    "kept": "cyan",
    "baseline": "yellow",
    "quarantined": "red",
    "unchanged": "cyan",
}
COLUMNS, SHORTEST_NAME = 80, 12
SHORT = 100
"""A cause is told in so many characters: the report has it whole."""

GAP = 1
"""Between columns: the divider."""

TEST = "Diebold-Mariano t"
"""What a reason says that only repeats a row of the gate's table."""

EXTRA_METRIC = ("r2", "r2_zero", "auc")
"""Of the metrics that do not rank, the one that fits into 80 columns."""


def night(document: dict[str, Any]) -> Iterator[RenderableType]:
    """Everything worth saying, in reading order, each part to be printed on its own."""
    if document["decision"]["outcome"] == "unchanged" and "unchanged_since" in document:
        yield from unchanged(document)
        return
    if document["alerts"]:
        yield alerts(document)
    yield leaderboard(document)
    if document.get("transfers", {}).get("lines"):  # nights of earlier versions tell of none
        yield transfers(document)
    if document["backtests"]:
        yield backtests(document)
    if document["gate"]:
        yield gate(document)
    yield decision(document)
    yield links(document)
    if document["snippet"]:
        yield snippet(document)


def alerts(document: dict[str, Any]) -> RenderableType:
    """What degraded, one paragraph each."""
    lines = []
    for alert in document["alerts"]:
        style = "bold red" if alert["level"] == "bad" else "bold yellow"
        detail = f": {words.clean(alert['detail'], 300)}" if alert["detail"] else ""
        lines.append(Text.assemble((words.clean(alert["title"]).upper(), style), detail))
    return Group(*lines)


def leaderboard(document: dict[str, Any]) -> Table:
    """The leaderboard; baselines dim, the best of them named, ``*`` before the leader, ``→`` before who is promoted."""
    scores = document["leaderboard"]
    ranking = words.metric(scores[0]["metric"]).short if scores else "score"
    extra = next((name for name in EXTRA_METRIC if any(name in score["metrics"] for score in scores)), "")
    ranked = document["ranking"]
    left = f"\nnot refitted, by the search's own rows: {len(ranked['not_refitted'])}" if ranked["not_refitted"] else ""
    table = Table(
        title=Text(f"Leaderboard: {words.clean(document['question'], 120)}", style="bold"),
        caption=Text(
            f"{len(ranked['folds'])} walk-forward folds (used to choose), {ranked['rows']:,} rows; by {ranking}\n"
            f"dim: baselines; p: against the hardest of them\ngate: never used to choose{left}"
        ),
        box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=0, title_justify="left", caption_justify="left",
    )  # fmt: skip
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("candidate", overflow="ellipsis", no_wrap=True)
    for name in (ranking, "skill", "95 %", "p", *([words.metric(extra).short] if extra else []), "gate"):
        table.add_column(Text(name), justify="right", no_wrap=True)
    for score in scores:
        table.add_row(*_row(score, extra), style=_style(score))
    _fit(table, scores, extra)
    return table


def _fit(table: Table, scores: list[dict[str, Any]], extra: str) -> None:
    """Figures are never cut: the candidate's name gets what they leave of the line."""
    rows = [_row(score, extra) for score in scores]
    for index, column in enumerate(table.columns):
        heads = str(column.header)
        column.min_width = max([len(heads), *(row[index].cell_len for row in rows)])
    others = sum((column.min_width or 0) + GAP for column in table.columns) - (table.columns[1].min_width or 0)
    name = table.columns[1]
    name.min_width = name.max_width = max(SHORTEST_NAME, min(name.min_width or 0, COLUMNS - others))


def _style(score: dict[str, Any]) -> str:
    if "now champion" in score["standing"]:
        return "bold green"
    return "dim" if score["engine"] == "baseline" else ""


def _row(score: dict[str, Any], extra: str) -> list[Text]:
    mark = "→ " if "now champion" in score["standing"] else "* " if "leader" in score["standing"] else "  "
    metrics = [words.metric_value(extra, _number(score["metrics"].get(extra)))] if extra else []
    low, high = score["skill_interval"]
    cells = [
        str(score["rank"]),
        mark + words.clean(score["candidate"], 60),
        words.figure(_number(score["score"]), 5),
        words.percent(_number(score["skill"]), plus=True),
        words.interval((_number(low), _number(high))),
        words.probability(_number(score["hardest_p"])),
        *metrics,
        words.figure(_number(score["gate_loss"]), 4),
    ]
    return [Text(cell) for cell in cells]


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def transfers(document: dict[str, Any]) -> Table:
    """What each transfer was worth against the same without pre-training."""
    told = document["transfers"]
    notes = sorted({line["note"] for line in told["lines"] if line["note"]})
    table = Table(
        title=Text("What the transfers were worth", style="bold"),
        caption=Text(words.folded("; ".join([f"{told['said']}. Gain: share of the control's loss", *notes]), 76)),
        box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=0, title_justify="left", caption_justify="left",
    )  # fmt: skip
    table.add_column("candidate", overflow="ellipsis", no_wrap=True, max_width=24)
    for name in ("frozen", "gain", "p helps", "p hurts"):
        table.add_column(Text(name), justify="right", no_wrap=True, min_width=len(name) + 2)
    table.add_column("verdict", no_wrap=True)
    for line in told["lines"]:
        cells = (
            words.clean(line["candidate"], 60),
            words.percent(_number(line["frozen"])),
            words.percent(_number(line["gain"]), plus=True),
            words.probability(_number(line["helps_p"])),
            words.probability(_number(line["hurts_p"])),
            line["verdict"],
        )
        table.add_row(
            *(Text(cell) for cell in cells), style={"helps": "green", "hurts": "red"}.get(line["verdict"], "")
        )
    return table


def backtests(document: dict[str, Any]) -> Table:
    """What trading on the predictions would have earned after costs, over the walk-forward rows."""
    tests = document["backtests"]
    why = next((test["illustrative"] for test in tests if test["illustrative"]), "")
    table = Table(
        title=Text(f"After costs: rule '{words.clean(tests[0]['rule'], 60)}'", style="bold"),
        caption=Text(words.folded(f"Illustrative: {why}" if why else "a year; alpha against buy-and-hold", 64)),
        box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=0, title_justify="left", caption_justify="left",
    )  # fmt: skip
    table.add_column("candidate", overflow="ellipsis", no_wrap=True, max_width=18)
    for name in ("over cash", "Sharpe", "DSR", "drawdown", "turnover", "b/e bp", "alpha"):
        table.add_column(Text(name), justify="right", no_wrap=True)
    for test in tests:
        table.add_row(*(Text(cell) for cell in _tested(test)))
    return table


def _tested(test: dict[str, Any]) -> list[str]:
    return [
        words.clean(test["candidate"], 60),
        words.percent(_number(test["excess_return"]), plus=True),
        words.signed(f"{_number(test['sharpe']):.2f}") if test["sharpe"] is not None else words.NOTHING,
        words.share(_number(test["deflated_sharpe"])),
        words.percent(_number(test["max_drawdown"])),
        words.figure(_number(test["turnover"]), 3),
        words.figure(_number(test["break_even_bps"]), 3),
        words.percent(_number(test["alpha"]), plus=True),
    ]


def gate(document: dict[str, Any]) -> Table:
    """The challenger against each rival on the gate window."""
    rivals = document["gate"]
    table = Table(
        title=Text(f"At the gate: {words.clean(document['reading']['challenger'], 60)} against", style="bold"),
        caption=Text(
            f"{rivals[0]['dates']:,} dates that chose nothing; one-sided p, needed for every\n"
            f"rival: below {words.figure(_number(document['reading']['level']), 3)}"
        ),
        box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=0, title_justify="left", caption_justify="left",
    )  # fmt: skip
    table.add_column("rival", overflow="ellipsis", no_wrap=True, max_width=24)
    for name in ("its loss", "challenger's", "DM t", "p"):
        table.add_column(Text(name), justify="right", no_wrap=True, min_width=len(name) + 2)
    table.add_column("challenger is", no_wrap=True)
    for item in rivals:
        cells = (
            words.clean(item["rival"], 60),
            words.figure(_number(item["rival_loss"]), 5),
            words.figure(_number(item["challenger_loss"]), 5),
            words.signed(f"{_number(item['statistic']):.2f}"),
            words.probability(_number(item["p_value"])),
            item["verdict"],
        )
        table.add_row(*(Text(cell) for cell in cells), style="" if item["verdict"] == "clearly better" else "dim")
    return table


def decision(document: dict[str, Any]) -> Panel:
    """The decision with its reasons."""
    decided = document["decision"]
    style = STYLES.get(decided["outcome"], "cyan")
    tested = bool(document["gate"])  # the tests have a table of their own
    said = [reason for reason in decided["reasons"] if not (tested and TEST in reason)]
    reasons = [Text(f"• {words.clean(reason, 600)}") for reason in said]
    headline = Text(words.clean(decided["headline"], 300), style="bold")
    title = Text(f"decision: {words.clean(decided['outcome'], 20)}", style=f"bold {style}")
    reading = document["reading"]
    told = [
        ("gate", _reading(reading, decided["reasons"])),
        ("refresh", _unless_told(reading.get("licence", ""), decided["reasons"])),
    ]
    reasons += [Text(f"• {name}: {words.clean(text, 400)}") for name, text in told if text]
    return Panel(Group(headline, *reasons), title=title, title_align="left", border_style=style)


def _reading(reading: dict[str, Any], reasons: Sequence[str]) -> str:
    """Which read of the gate this was, or why there was none, unless the decision's reasons say that already.

    Of several causes the first is named; the report has them all.
    """
    cause = str(reading.get("not_read", ""))
    if reading.get("read") or not cause:
        return str(reading.get("said", ""))
    told = [part for part in cause.split("; ") if _unless_told(part, reasons)]
    if not told or not _unless_told(cause, reasons):
        return ""
    more = f" and {len(told) - 1} more, in the report" if len(told) > 1 else ""
    return f"not read: {words.clean(told[0], SHORT)}{more}"


def _unless_told(text: str, reasons: Sequence[str]) -> str:
    """The text, or nothing where one of the reasons contains it."""
    return "" if any(text in reason for reason in reasons) else text


def links(document: dict[str, Any]) -> RenderableType:
    """Where the report, the runs and the model are; paths stand alone on their lines, so that they can be copied."""
    decided = document["decision"]
    version = f"version {decided['champion_version']} is champion" if decided["champion_version"] else "no champion"
    if decided["version"] and decided["version"] != decided["champion_version"]:
        version += f"; tonight's challenger is version {decided['version']}, not promoted"
    seconds = sum(_number(value) for value in document["seconds"].values())
    lines = [
        ("report", document["report"]),
        *([("backtest", document["tear_sheet"])] if document["tear_sheet"] else []),
        ("MLflow", document["run_url"] or document["tracking_uri"]),
        ("model", f"{document['model_uri']} ({version})"),
        ("predicts", document["unit"]),
        ("run", document["run_id"]),
        ("time", words.duration(seconds)),
    ]
    texts = [
        Text.assemble((f"{name:9}", "bold"), words.clean(text, 1000) or words.NOTHING, no_wrap=True, overflow="ignore")
        for name, text in lines
    ]
    return Group(*texts)


def unchanged(document: dict[str, Any]) -> Iterator[RenderableType]:
    """A night on which nothing changed, told in a few lines."""
    champion = document["decision"]["champion_version"]
    yield Text.assemble(
        ("Nothing changed ", "bold cyan"),
        f"since run {words.clean(document['unchanged_since'])}: same bars, problem, code, lock and champion"
        + (f" (version {words.clean(champion)})" if champion else "")
        + ". Nothing was run, and nothing was promoted.",
    )
    yield links(document)
    if document["snippet"]:
        yield snippet(document)


def snippet(document: dict[str, Any]) -> RenderableType:
    """Python to copy, without a frame, so that a selection takes nothing else along."""
    code = Text(document["snippet"], no_wrap=True, overflow="ignore", style="green")
    return Group(Text("Predict with the champion:", style="bold"), Text(""), code, Text(""))
