"""GARCH(1,1) (Bollerslev 1986) and GJR (Glosten, Jagannathan, Runkle 1993) as baselines of log volatility.

The parameters are fitted to the returns from the first to the last fitting row of one symbol; the forecast is then
recalibrated on the log scale, a + b · ½ log(mean variance of the next bars), by least squares on the fitting rows:
close-to-close variance is on another level than the range's, and recalibrated it is a fair opponent.

What serves a model knows ``HISTORY`` earlier returns, not all that there ever were. So beta is held to what forgets
the filter's start within them: ``LARGEST_BETA`` to that power is 1e-11, and a start that was a hundred times off
still moves a forecast by less than 1e-9. Daily betas lie around 0.9; where the likelihood wants more than the bound,
all parameters are fitted again below it.
"""

from __future__ import annotations

import importlib
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.errors import EngineError
from tasks.registry.serving.model_folder import write_model
from tasks.search.linear_fit import fit

RETURN = "return_1"
HISTORY = 756
LARGEST_BETA = 1e-11 ** (1 / HISTORY)
SCALE = 100.0
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class GarchModel:
    """Variance recursion in per cent, and its recalibration. ``gamma`` is 0 without the leverage term."""

    mu: float
    omega: float
    alpha: float
    gamma: float
    beta: float
    initial_variance: float
    horizon: int
    intercept: float = 0.0
    slope: float = 1.0

    def raw(self, returns: Floats) -> Floats:
        """½ log of the mean forecast variance of the next bars, in per cent, for consecutive log returns (n,)."""
        from scipy.signal import lfilter  # noqa: PLC0415

        e = SCALE * returns - self.mu
        shocks = self.omega + (self.alpha + self.gamma * (e < 0)) * e**2
        ahead, _ = lfilter([1.0], [1.0, -self.beta], shocks, zi=[self.beta * self.initial_variance])
        persistence = self.alpha + self.gamma / 2 + self.beta
        powers = persistence ** np.arange(self.horizon)
        # E[v(t+k)] = persistence^(k-1) v(t+1) + omega (1 + persistence + … + persistence^(k-2))
        mean = ahead * powers.mean() + self.omega * (np.cumsum(powers) - powers).mean()
        half_log: Floats = 0.5 * np.log(mean)
        return half_log

    def predict(self, returns: Floats) -> Floats:
        """Recalibrated log volatility, float64 (n,)."""
        return self.intercept + self.slope * self.raw(returns)

    def write(self, folder: Path) -> None:
        """Write the serving folder."""
        document: dict[str, Any] = {
            "kind": "garch",
            "output": "value",
            "columns": [RETURN],
            "history": HISTORY,
            "scale": SCALE,
            **{name: getattr(self, name) for name in ("mu", "omega", "alpha", "gamma", "beta")},
            **{name: getattr(self, name) for name in ("initial_variance", "horizon", "intercept", "slope")},
        }
        write_model(folder, document)


def prepare() -> None:
    """Import what fits the parameters: seconds that are no model's training time."""
    importlib.import_module("arch")


def fit_garch(returns: Floats, y: Floats, rows: npt.NDArray[np.int64], *, leverage: bool, horizon: int) -> GarchModel:
    """Fit on one symbol's consecutive log returns (n,) and labels (n,), NaN allowed outside ``rows`` (indices).

    Raises EngineError if a return inside the fitting stretch is missing or the optimiser does not converge.
    """
    stretch = returns[rows[0] : rows[-1] + 1]
    if not np.isfinite(stretch).all():
        raise EngineError(f"{RETURN} is missing inside the fitting rows: GARCH needs consecutive returns")
    raw_model = _fitted(stretch, leverage=leverage, horizon=horizon)
    first = int(np.flatnonzero(np.isfinite(returns))[0])
    forecasts = np.full(len(returns), np.nan)
    forecasts[first:] = raw_model.raw(returns[first:])
    line = fit(("forecast",), forecasts[rows, None], y[rows])
    slope = float(line.coefficients[0] / line.scale[0])
    parameters = {name: getattr(raw_model, name) for name in ("mu", "omega", "alpha", "gamma", "beta")}
    return GarchModel(
        **parameters,
        initial_variance=raw_model.initial_variance,
        horizon=horizon,
        intercept=float(line.intercept - slope * line.center[0]),
        slope=slope,
    )


def _fitted(stretch: Floats, *, leverage: bool, horizon: int) -> GarchModel:
    found = _parameters(stretch, leverage=leverage, largest_beta=1.0)
    if found["beta[1]"] > LARGEST_BETA:
        found = _parameters(stretch, leverage=leverage, largest_beta=LARGEST_BETA)
    return GarchModel(
        mu=float(found["mu"]),
        omega=float(found["omega"]),
        alpha=float(found["alpha[1]"]),
        gamma=float(found.get("gamma[1]", 0.0)),
        beta=min(float(found["beta[1]"]), LARGEST_BETA),  # the optimiser may pass its bound by rounding
        initial_variance=float(np.var(SCALE * stretch)),
        horizon=horizon,
    )


def _parameters(stretch: Floats, *, leverage: bool, largest_beta: float) -> Any:
    """The parameters of the greatest likelihood by arch's names, beta within its bound. Raises EngineError."""
    from arch import arch_model  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what arch warns of, a fit that did not converge, is an error below
        model = arch_model(SCALE * stretch, mean="Constant", vol="GARCH", p=1, o=int(leverage), q=1, rescale=False)
        bounds_of = model.volatility.bounds
        model.volatility.bounds = lambda resids: [*bounds_of(resids)[:-1], (0.0, largest_beta)]
        result = model.fit(disp="off", show_warning=False)
    if result.convergence_flag != 0:
        raise EngineError(f"the GARCH fit did not converge (flag {result.convergence_flag}) on {len(stretch)} returns")
    return result.params
