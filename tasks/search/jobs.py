"""Which recipes are fitted again on what: jobs for the walk over the folds, and for the gate. Pure; nothing runs here.

```
walk  every shortlisted recipe, and the champion's    fit_fold_1 … fit_fold_K
      the controls that these bring along
gate  challenger and baselines                        fit_gate
      the same, and the champion's recipe             fit_all            what would be shipped
      the champion's recipe, where a licence is due   fit_origin_1 … fit_origin_M
      challenger on shuffled labels                   the last fold      the canary
```

An engine's jobs come fit by fold in time order, and within one in the order of the names: rows go to the engine once a
fit and not once a job, and the first name is the last to go without where time runs out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tasks.contracts import EngineResult, RefitJob
from tasks.documents import digest
from tasks.errors import EngineError
from tasks.evaluation import CHAMPION

FOLD, GATE, ORIGIN, ALL = "fit_fold_", "fit_gate", "fit_origin_", "fit_all"
CONTROL = "-control"
"""What a control is called that a recipe brings along: as that recipe, and this."""

Recipe = tuple[str, dict[str, Any]]
"""An engine, and what it needs to fit the model again."""

Jobs = dict[str, tuple[RefitJob, ...]]
"""By engine: each engine's are done in one process."""


def recipes_of(results: Iterable[EngineResult], champion: Recipe | None = None) -> dict[str, Recipe]:
    """Every searched candidate's recipe by name, the champion's under its own, and what they bring along as controls.

    Raises EngineError where a candidate has taken the champion's name.
    """
    found: dict[str, Recipe] = {c.name: (c.engine, c.recipe) for result in results for c in result.candidates}
    if champion is not None:
        if CHAMPION in found:
            raise EngineError(f"a candidate is called {CHAMPION!r}: the name belongs to the champion's recipe")
        found[CHAMPION] = champion
    controls = {name + CONTROL: (engine, recipe["control_recipe"]) for name, (engine, recipe) in found.items()
                if recipe.get("control_recipe")}  # fmt: skip
    return {**controls, **found}


def walk_jobs(
    results: Iterable[EngineResult], shortlisted: Sequence[str], champion: Recipe | None, fits: Sequence[str]
) -> Jobs:
    """Each shortlisted recipe on every fold, and the champion's if it is given (where it is not among them already).

    Beside a transfer its control is walked: another candidate, or else the recipe that it brings along, once.
    shortlisted: names of candidates in ``results``, best first; fits: ``Rows.fits``. Raises EngineError for a name that
    no result has.
    """
    recipes = recipes_of(results, champion)
    names = dict.fromkeys((*shortlisted, *([CHAMPION] if champion is not None else [])))
    walked = (*names, *_controls(recipes, names))
    return _by_engine(recipes, [(name, rows, 0) for rows in folds_of(fits) for name in walked])


def gate_jobs(
    results: Iterable[EngineResult],
    challenger: str,
    champion: Recipe | None,
    fits: Sequence[str],
    *,
    ship: bool,
    incumbent: str = "",
    incumbent_gated: bool = False,
    licence: bool = False,
    canary: int = 0,
) -> Jobs:
    """What the gate needs fitted tonight, each recipe and fit once.

    challenger: the name of the candidate that is put to the gate; champion, fits: as for ``walk_jobs``; ship: whether
    challenger and baselines are also fitted on all rows (without a champion the best baseline becomes one); incumbent:
    the name under which the champion's recipe goes tonight (``CHAMPION``, or the candidate's that is the same recipe),
    empty without one: it is fitted on all rows, on those before the gate if ``incumbent_gated``, and at every origin if
    ``licence``; canary: the seed that shuffles labels for the challenger's recipe on the last fold, 0 for none. Raises
    EngineError for a name that no result has.
    """
    results = tuple(results)
    recipes = recipes_of(results, champion)
    baselines = [name for name, (engine, _) in recipes.items() if engine == "baseline" and name != CHAMPION]
    asked = [(name, GATE, 0) for name in (challenger, *baselines, *([incumbent] if incumbent_gated else []))]
    if incumbent and licence:
        asked += [(incumbent, rows, 0) for rows in origins_of(fits)]
    asked += [(name, ALL, 0) for name in (*((challenger, *baselines) if ship else ()), incumbent)]
    if canary:
        asked.append((challenger, folds_of(fits)[-1], canary))
    return _by_engine(recipes, [job for job in dict.fromkeys(asked) if job[0]])


def _controls(recipes: Mapping[str, Recipe], names: Iterable[str]) -> list[str]:
    """The names of the controls that named recipes bring along and that no recipe among them is, each once."""
    known, found = {digest(recipes[name][1]) for name in names if name in recipes}, []
    for name in names:
        control = recipes.get(name + CONTROL)
        if control is not None and digest(control[1]) not in known:
            known.add(digest(control[1]))
            found.append(name + CONTROL)
    return found


def folds_of(fits: Sequence[str]) -> tuple[str, ...]:
    """The walk-forward fits among ``Rows.fits``, in time order."""
    return tuple(name for name in fits if name.startswith(FOLD))


def origins_of(fits: Sequence[str]) -> tuple[str, ...]:
    """The fits at origins inside the gate among ``Rows.fits``, in time order."""
    return tuple(name for name in fits if name.startswith(ORIGIN))


def words(job: RefitJob, fits: Sequence[str]) -> str:
    """What a job is, for who watches: "fold 2 of 5"."""
    for prefix, names, title in ((FOLD, folds_of(fits), "fold"), (ORIGIN, origins_of(fits), "origin")):
        if job.rows.startswith(prefix):
            place = f"{title} {job.rows.removeprefix(prefix)} of {len(names)}"
            return f"{place}, labels shuffled" if job.shuffle else place
    return {GATE: "before the gate", ALL: "all rows"}.get(job.rows, job.rows)


def _by_engine(recipes: Mapping[str, Recipe], asked: Iterable[tuple[str, str, int]]) -> Jobs:
    jobs: Jobs = {}
    for name, rows, shuffle in asked:
        if name not in recipes:
            raise EngineError(f"no candidate is called {name!r}; there are {', '.join(list(recipes)[:20])}")
        engine, recipe = recipes[name]
        jobs[engine] = (*jobs.get(engine, ()), RefitJob(name=name, recipe=recipe, rows=rows, shuffle=shuffle))
    return jobs
