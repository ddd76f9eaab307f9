"""How the report says things: numbers, names of metrics, verdicts. Shared by page, terminal and artifacts.

A number is never recomputed here, only written: what is shown rounds what was given.
"""

from __future__ import annotations

import math
import textwrap
import unicodedata
from dataclasses import dataclass
from typing import Literal

from tasks.contracts import Candidate, EngineResult
from tasks.evaluation import Evidence, GateComparison, Score, ZiplineCheck
from tasks.report.facts import Facts, best_baseline, has_champion, is_baseline, is_reproducible, transfer_of

LONGEST_NAME = 200
MOST_NAMES = 12
LINE = 80
NOTHING = "–"


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric's short name, what it means, and how many digits it is shown with."""

    short: str
    meaning: str
    style: Literal["figure", "share", "percent"] = "figure"


METRICS: dict[str, Metric] = {
    "mse": Metric("MSE", "mean squared error; lower is better"),
    "rmse": Metric("RMSE", "root mean squared error; lower is better"),
    "mae": Metric("MAE", "mean absolute error; lower is better"),
    "r2": Metric("R²", "share of the outcome's variance explained, about the mean of the same rows", "share"),
    "r2_zero": Metric("R² vs 0", "share of squared outcomes explained, against a forecast of zero", "share"),
    "qlike": Metric("QLIKE", "quasi-likelihood loss of the variance forecast, smearing applied; lower is better"),
    "correlation": Metric("Rank corr.", "Spearman rank correlation of forecast and outcome over time", "share"),
    "ic": Metric("IC", "correlation of forecast and outcome within a date, averaged over dates", "share"),
    "rank_ic": Metric("Rank IC", "rank correlation of forecast and outcome within a date, averaged", "share"),
    "icir": Metric("ICIR", "mean of the daily rank correlation over its standard deviation", "share"),
    "decile_spread": Metric("D10−D1", "mean outcome of the top decile less the bottom decile, per date"),
    "turnover": Metric("Rank turnover", "1 less the rank correlation with the next date's forecasts", "share"),
    "effective_sample": Metric("Eff. n", "what the overlapping labels are worth: as many that share no bar"),
    "hit_rate": Metric("Hit rate", "share of outcomes whose side was forecast", "percent"),
    "base_rate": Metric("Base rate", "share of the commoner side, known only afterwards", "percent"),
    "log_loss": Metric("Log loss", "mean negative log-likelihood; lower is better"),
    "brier": Metric("Brier", "mean squared error of the probability; lower is better"),
    "auc": Metric("AUC", "chance that an up day is ranked above a down day; 0.5 is a coin", "share"),
    "calibration_error": Metric("Calib. err.", "mean gap of forecast probability and frequency; lower is better"),
}

KEY_METRICS = ("r2", "qlike", "r2_zero", "rank_ic", "correlation", "auc", "hit_rate", "base_rate")
MOST_KEY_METRICS = 3
"""So many of those stand on the leaderboard itself, the others in the table below it: a page is so wide."""

WINDOW_USE: dict[str, str] = {
    "train": "recipes are fitted here",
    "validation": "engines stop early and tune here",
    "blending": "ensembles learn their weights here",
    "selection": "the search's own candidates are compared here",
    "fold": "used to choose: recipes refitted and ranked, walking forward",
    "gate": "never used to choose: the decision's rows",
}

OUTCOMES: dict[str, str] = {
    "promoted": "Promoted",
    "refreshed": "Refreshed",
    "kept": "Kept",
    "baseline": "Baseline",
    "quarantined": "Quarantined",
    "unchanged": "Unchanged",
}


def clean(text: object, longest: int = LONGEST_NAME) -> str:
    """Text from outside, safe to show: controls, direction overrides and surrogates become escapes, and it is bounded.

    Escaping for HTML, Markdown or a terminal comes on top of this.
    """
    shown = "".join(_visible(character) for character in str(text)[: longest + 1])
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def _visible(character: str) -> str:
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp"):
        return character.encode("unicode_escape", "surrogatepass").decode("ascii")
    return character


def folded(text: str, width: int) -> str:
    """Text in lines of at most so many characters."""
    return "\n".join(textwrap.wrap(clean(text, 600), width))


def figure(value: float, digits: int = 4) -> str:
    """A number with so many significant digits; below 0.001 and from ten million on with an exponent."""
    if not math.isfinite(value):
        return NOTHING
    if value == 0:
        return "0"
    if not 1e-3 <= abs(value) < 1e7:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return signed(f"{mantissa}e{int(exponent)}")
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return signed(f"{value:,.{decimals}f}")


def share(value: float) -> str:
    """A number on the scale of R² or AUC, with three decimals."""
    return signed(f"{value:.3f}") if math.isfinite(value) else NOTHING


def percent(value: float, plus: bool = False) -> str:
    """A share as a percentage with one decimal; ``plus`` shows the sign of gains too."""
    if not math.isfinite(value):
        return NOTHING
    rounded = round(100 * value, 1) + 0.0  # no minus sign before a zero
    return signed(f"{rounded:+.1f} %" if plus and rounded else f"{rounded:.1f} %")


def probability(value: float) -> str:
    """A p-value with three decimals; below that it only says so."""
    if not math.isfinite(value):
        return NOTHING
    return "< 0.001" if 0 <= value < 0.001 else f"{value:.3f}"


def signed_percent(value: float) -> str:
    """A gain or loss as a percentage with its sign."""
    return percent(value, plus=True)


def two_decimals_percent(value: float) -> str:
    """A small gain or loss, of which tenths of a per cent would leave nothing."""
    return signed(f"{100 * value:+.2f} %") if math.isfinite(value) else NOTHING


def two_decimals(value: float) -> str:
    """A ratio such as Sharpe or beta."""
    return signed(f"{value:.2f}") if math.isfinite(value) else NOTHING


def three_digits(value: float) -> str:
    """A number with three significant digits; what has no bound is shown as that."""
    return "∞" if value == math.inf else figure(value, 3)


def times(value: float) -> str:
    """A multiple."""
    return f"{figure(value, 3)} ×" if math.isfinite(value) else NOTHING


def signed(text: str) -> str:
    """The same number with a minus sign in place of a hyphen."""
    return text.replace("-", "−")


def duration(seconds: float) -> str:
    """Seconds as a person says them: < 0.1 s, 0.4 s, 12 s, 3 min 20 s, 1 h 04 min."""
    if not math.isfinite(seconds):
        return NOTHING
    if 0 < seconds < 0.05:
        return "< 0.1 s"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def metric(name: str) -> Metric:
    """How a metric is called; one that is not known here keeps its own name."""
    return METRICS.get(name) or Metric(clean(name, 24), clean(name))


def metric_value(name: str, value: float) -> str:
    """A metric's value in its own style."""
    style = metric(name).style
    return {"figure": figure, "share": share, "percent": percent}[style](value)


def metric_columns(scores: tuple[Score, ...]) -> tuple[str, ...]:
    """Names of the metrics to show besides the ranking one, in the order in which scores give them."""
    names = dict.fromkeys(name for score in scores for name in score.metrics)
    return tuple(name for name in names if not any(score.metric == name for score in scores))


def key_metrics(names: tuple[str, ...]) -> tuple[str, ...]:
    """Of these metrics, the few that stand on the leaderboard itself."""
    return tuple(name for name in KEY_METRICS if name in names)[:MOST_KEY_METRICS]


def day(moment: str) -> str:
    """The date of an ISO 8601 time."""
    return clean(moment)[:10]


def question(facts: Facts) -> str:
    """What is being predicted, in one line."""
    target, bar = facts.rows.target, clean(facts.snapshot.bar)
    ahead = "the next bar" if target.horizon == 1 else f"the next {target.horizon} bars"
    what = {
        "volatility": "Volatility",
        "return": "Log return less the date's mean" if target.neutral else "Log return",
        "direction": "Direction",
        "triple_barrier": f"Profit ({target.profit:g} σ) before stop ({target.stop:g} σ)",
    }[target.name]
    return f"{what} over {ahead} ({bar}) of {of_symbols(facts)}"


def unit(facts: Facts) -> str:
    """What a prediction is, and how to read it."""
    target = facts.rows.target
    ahead = "the next bar" if target.horizon == 1 else f"the next {target.horizon} bars"
    return {
        "volatility": f"log of the volatility a bar over {ahead}; 100 exp(prediction) is per cent a bar",
        "return": f"log return over {ahead}",
        "direction": f"probability that the close after {ahead} is higher",
        "triple_barrier": f"probability that the profit barrier is met first within {ahead}",
    }[target.name]


def of_symbols(facts: Facts) -> str:
    """The symbol, or how many there are."""
    symbols = facts.snapshot.symbols
    return clean(symbols[0], 60) if len(symbols) == 1 else f"{len(symbols)} symbols"


def some(names: tuple[str, ...]) -> str:
    """The first dozen names, and how many more there are."""
    more = len(names) - MOST_NAMES
    shown = ", ".join(clean(name, 40) for name in names[:MOST_NAMES])
    return f"{shown} and {more:,} more" if more > 0 else shown


def headline(facts: Facts) -> str:
    """The decision in one sentence."""
    decision = facts.decision
    champion = clean(facts.evidence.champion, 80) if facts.evidence else ""
    name = clean(decision.promote, 80)
    if decision.outcome == "promoted" and name:
        return f"{name} {takeover(facts)}" if champion else f"{name} is the first champion"
    if decision.outcome == "refreshed" and name:
        return f"The champion is refreshed: {champion or name}, refitted through the last bar"
    if decision.outcome == "baseline" and name:
        return f"Nothing earned more than a baseline: {name} serves as champion"
    if decision.outcome == "unchanged":
        return "Nothing changed since the last run"
    if decision.outcome == "quarantined":
        return "Nothing was promoted: the evidence is in quarantine"
    return f"The champion stays: {champion}" if champion else "Nothing was promoted: there is no champion yet"


def takeover(facts: Facts) -> str:
    """What became of a recipe that the gate approved: at once or gradually, or why it has no place yet."""
    if facts.problem.get("takeover") != "gradual" or facts.champion_version in ("", facts.version):
        return "is the new champion"
    if facts.challenger_version == facts.version:
        return "takes over gradually"
    if facts.challenger_version:
        return f"is approved, and waits: version {facts.challenger_version} is the challenger"
    return "is approved, and has no place: it was not proved to be what was evaluated"


def verdict(comparison: GateComparison, alpha: float) -> str:
    """How the challenger did against a rival at this significance."""
    if comparison.difference > 0 and comparison.p_value < alpha:
        return "clearly better"
    return "better, not clearly" if comparison.difference > 0 else "not better"


def engine_status(result: EngineResult) -> str:
    """One word for how an engine ended."""
    if result.error:
        return "FAILED"
    if not result.candidates:
        return "NO RESULT"
    return "done" if is_reproducible(result) else "NOT REPRODUCIBLE"


def standing(facts: Facts, score: Score) -> tuple[str, ...]:
    """What a candidate is besides its rank: leader, challenger, best baseline, baseline, champion, promoted.

    The last word is since which night its recipe is carried on, where an earlier one kept it.
    """
    found = []
    if score.rank == 1:
        found.append("leader")
    if facts.evidence and facts.evidence.challenger == score.candidate:
        found.append("challenger")
    reference = best_baseline(facts)
    if is_baseline(score):
        found.append("best baseline" if reference and reference.candidate == score.candidate else "baseline")
    if facts.evidence and facts.evidence.champion.partition(" (version ")[0] == score.candidate:
        found.append("champion before")
    if facts.decision.promote and facts.decision.promote == score.candidate:
        found.append("now champion" if facts.champion_version in ("", facts.version) else "approved")
    worth = transfer_of(facts, score.candidate)
    if worth is not None and worth.verdict != "no difference":
        found.append(f"transfer {worth.verdict}")
    recipe = searched(facts, score.candidate)
    if recipe is not None and recipe.night:
        found.append(f"since {recipe.night}")
    return tuple(found)


def searched(facts: Facts, name: str) -> Candidate | None:
    """The candidate of this name as the search left it; None for one that came from elsewhere (the champion's)."""
    return next((c for result in facts.engines for c in result.candidates if c.name == name), None)


def snippet(facts: Facts) -> str:
    """Python that loads the champion and predicts from raw bars; empty if there is none.

    Every value from outside is a quoted literal, and no line is longer than a terminal is wide.
    """
    if not has_champion(facts):
        return ""
    uri = facts.model_uri or f"models:/{facts.problem.get('name', '')}@champion"
    symbol = ["symbol"] if len(facts.snapshot.symbols) > 1 else []
    need = [f"# a prediction takes the last {facts.bars_needed:,} bars of its symbol"] if facts.bars_needed else []
    return "\n".join(
        [
            "import mlflow",
            "import pandas as pd",
            "",
            _call("mlflow.set_tracking_uri", facts.tracking_uri),
            _call("model = mlflow.pyfunc.load_model", uri),
            *need,
            _call("bars = pd.read_parquet", facts.snapshot.bars.path),
            f"bars = bars[{[*symbol, 'time', 'open', 'high', 'low', 'close', 'volume']!r}]",
            "print(model.predict(bars))",
            *(f"# {part}" for part in f"prediction: {unit(facts)}".split("; ")),
        ]
    )


def _call(function: str, text: str) -> str:
    """A call with one text; where that is too long for a line, adjacent literals, which Python joins."""
    line = f"{function}({text!a})"
    if len(line) < LINE:
        return line
    pieces = [""]
    for character in text:
        if len(ascii(pieces[-1] + character)) > LINE - 5:
            pieces.append("")
        pieces[-1] += character
    return "\n".join([f"{function}(", *(f"    {piece!a}" for piece in pieces), ")"])


def interval(bounds: tuple[float, float]) -> str:
    """A 95 % interval of a share, in per cent without the unit: [−1.2, 3.4]."""
    low, high = bounds
    if not (math.isfinite(low) and math.isfinite(high)):
        return NOTHING
    return signed(f"[{100 * low:.1f}, {100 * high:.1f}]")


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th, 11th, 21st."""
    if number % 100 in (11, 12, 13):
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"


def reading(evidence: Evidence) -> str:
    """Which read of the gate this was, at what level; or why the gate was not read for the challenger."""
    if not evidence.read:
        return f"not read for the challenger: {clean(evidence.not_read, 300)}" if evidence.not_read else "not read"
    return f"{ordinal(evidence.read)} read of this term, at level {figure(evidence.level, 3)}"


def event_driven(check: ZiplineCheck) -> str:
    """What Zipline made of a candidate's positions."""
    name = clean(check.candidate, 60)
    if check.error:
        return f"{name}: not traded by Zipline: {clean(check.error, 300)}"
    return (
        f"{name} traded by Zipline: {check.trades:,} trades on {check.sessions:,} sessions, {check.unmatched} of them "
        f"not the evaluator's, equity apart by {figure(check.equity_difference, 2)}; {percent(check.annual_return)} a "
        f"year there, {percent(check.economic_return)} with impact and borrow"
    )


def licence(evidence: Evidence) -> str:
    """What the refits inside the gate said about refreshing the champion; empty if nothing was asked."""
    found = evidence.licence
    if found is None:
        return clean(evidence.not_refreshed, 300)
    verdict = "granted" if found.granted else "refused"
    return (
        f"{verdict}: {found.origins} refits inside the gate lost {percent(found.increase, plus=True)} against the "
        f"frozen fit (upper 95 % bound {percent(found.upper, plus=True)}, limit {percent(found.limit)})"
    )
