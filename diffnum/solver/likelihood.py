r"""Log-densities of data by the change of variables along the probability flow, with the numbers of any plan.

With :math:`\bar x = x/\alpha` and :math:`\rho = \sigma/\alpha`, :math:`d\bar x/d\rho = \varepsilon(\alpha \bar x)`
and, along it, :math:`d \log p_\rho(\bar x)/d\rho = -\alpha \operatorname{tr} J` with
:math:`J = \partial\varepsilon/\partial x`. Kept as :math:`l = \alpha \log p`, this is one more
coordinate of the state whose noise is :math:`-\alpha\operatorname{tr} J`: the plan steps it with the same weights, and
its error has the order of the plan.

References
----------
Song et al. 2021, section 4.3 and appendix D.2. Trace: Skilling 1989; Hutchinson 1990; Grathwohl et al. 2019 (one probe
for the whole path).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import log, pi, prod, sqrt
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from array_api_compat import array_namespace, device

from diffnum.forms import conversion
from diffnum.plans import Plan
from diffnum.solver import State, evaluations, numbers_for
from diffnum.solver.continuous import towards_noise
from diffnum.solver.finite import check_last
from diffnum.solver.noise import start_noise
from diffnum.solver.pullbacks import Back, Wrt, pullback_of
from diffnum.types import Array, Denoiser, Schedule

__all__ = ["LogLikelihood", "Trace", "log_likelihood"]

Trace: TypeAlias = Literal["exact", "hutchinson"]
"""How the trace of the Jacobian is found."""


@dataclass(frozen=True)
class LogLikelihood:
    """Log-densities of data under a flow.

    Parameters
    ----------
    values : array, shape (n,)
        Natural logarithm of the density of each sample; with probes, the mean over them (of the logarithm, which is
        unbiased, not of the density).
    standard_error : array, shape (n,)
        Of the mean over the probes; zero for the exact trace, NaN for one probe.
    latents : array
        Where the flow sends the data at the noisy end.
    dimension : int
        Entries of a sample.
    evaluations : int
        Evaluations of the model; each was followed by as many products with its Jacobian as there are probes (or
        entries, for the exact trace).
    """

    values: Array
    standard_error: Array
    latents: Array = field(repr=False)
    dimension: int
    evaluations: int

    def bits_per_dimension(self, levels: int = 0, width: float = 2.0) -> Array:
        """Negative log-densities in bits for each entry.

        Parameters
        ----------
        levels : int
            Number of values of a pixel; the density is turned into the probability of a cell of the width of one level
            (data dequantised by uniform noise). 0 leaves the density as it is.
        width : float
            Length of the range that the levels cover.
        """
        shift = log(levels / width) / log(2.0) if levels else 0.0
        return -self.values / (self.dimension * log(2.0)) + shift


def log_likelihood(
    plan: Plan,
    model: Denoiser,
    x: Array,
    *,
    trace: Trace = "exact",
    probes: int = 1,
    seed: int = 0,
    prior: Callable[[Array], Array] | None = None,
) -> LogLikelihood:
    """Log-density that the flow of a model gives to data.

    Parameters
    ----------
    plan : Plan
        A run from noise to data, whose method and times are taken towards the noise; or a plan that goes there.
    model : Denoiser
        A model with derivatives, as :func:`diffnum.gradient` asks for.
    x : array, shape (n, ...)
        Data, at the plan's last time.
    trace : {"exact", "hutchinson"}
        One product with the Jacobian for each entry of a sample, or for each probe of random signs.
    probes : int
        Number of probes, each kept along the whole path.
    seed : int
        Of the probes.
    prior : callable, optional
        Log-density at the noisy end, shape (n,); by default that of the noise alone, normal of standard deviation
        sigma there. It is off by what is left of the data, of the size of alpha.

    Returns
    -------
    LogLikelihood

    Raises
    ------
    ValueError
        If the model has no derivatives, a word is unknown, the plan has no counterpart towards the noise, or the
        process has a mean; and if a sample or its density is not finite at the noisy end.
    """
    if trace not in get_args(Trace):
        msg = f"trace={trace!r} is unknown: use one of {', '.join(get_args(Trace))}"
        raise ValueError(msg)
    if isinstance(probes, bool) or not isinstance(probes, int) or probes < 1:
        msg = f"probes={probes!r} is no number of probes: give a whole number of at least 1"
        raise ValueError(msg)
    if not (isinstance(plan.schedule.mean, float | int) and plan.schedule.mean == 0):
        msg = "plan is on a mean-reverting process: log_likelihood is for processes without a mean"
        raise ValueError(msg)
    forward = plan if plan.times[0] < plan.times[-1] else towards_noise(plan)
    xp, shape = array_namespace(x), tuple(x.shape)
    dimension = prod(shape[1:])
    like = {"dtype": x.dtype, "device": device(x)}
    if trace == "exact":
        signs = [xp.asarray(row, **like) for row in np.eye(dimension)]
        columns = 1
    else:
        drawn = start_noise(shape[0], (probes, dimension), seed)
        signs = [xp.asarray(np.sign(drawn[:, k]), **like) for k in range(probes)]
        columns = probes
    flow = _Flow(pullback_of(model, "x"), model, shape, signs, columns)
    state = xp.concat([xp.reshape(x, (shape[0], -1)), xp.zeros((shape[0], columns), **like)], axis=1)
    end = flow.go(numbers_for(forward, flow), state)
    remedy = "use smaller steps, and look at the model's derivatives"
    check_last("the run towards the noise, or its density,", end, remedy)
    first, last = (float(plan.schedule.alpha(float(forward.times[i]))) for i in (0, -1))
    latents = xp.reshape(end[:, :dimension], shape)
    changes = end[:, dimension:] / last
    noise = float(plan.schedule.sigma(float(forward.times[-1])))
    base = _normal(end[:, :dimension], noise) if prior is None else prior(latents)
    each = base[:, None] + dimension * log(last / first) - changes
    values = xp.mean(each, axis=1)
    error = 0.0 * values
    if trace == "hutchinson":
        spread = xp.sum((each - values[:, None]) ** 2, axis=1)
        error = (spread / (probes - 1)) ** 0.5 / sqrt(probes) if probes > 1 else values * float("nan")
    return LogLikelihood(values, error, latents, dimension, forward.nfe)


def _normal(x: Array, scale: float) -> Array:
    """Log-density of independent normals."""
    xp = array_namespace(x)
    return -0.5 * xp.sum((x / scale) ** 2, axis=1) - x.shape[1] * (log(scale) + 0.5 * log(2 * pi))


@dataclass(frozen=True, eq=False)
class _Flow:
    """The flow with its log-density, as a model that predicts noise; states of shape (n, d + columns)."""

    pull: Callable[[Array, float, Wrt], tuple[Array, Back]]
    inner: Denoiser
    shape: tuple[int, ...]
    signs: list[Array]
    columns: int
    prediction: Any = "noise"

    @property
    def schedule(self) -> Schedule:
        """Schedule of the model."""
        return self.inner.schedule

    def __call__(self, x: Array, t: Any) -> Array:
        """Noise of the states, and what takes its place for the log-density."""
        xp, state = array_namespace(x), x
        n, dimension = self.shape[0], prod(self.shape[1:])
        x = xp.reshape(state[:, :dimension], self.shape)
        alpha, sigma = float(self.schedule.alpha(t)), float(self.schedule.sigma(t))
        p, q = (float(f) for f in conversion(self.inner.prediction, "noise", alpha, sigma))
        value, back = self.pull(x, t, "x")
        terms = []
        for sign in self.signs:
            rows = sign + 0.0 * state[:, :dimension]
            pulled = xp.reshape(back(xp.reshape(rows, self.shape))[0], (n, -1))
            terms.append(xp.sum(rows * (p * rows + q * pulled), axis=1))
        traces = xp.stack(terms, axis=1)
        if self.columns == 1 and len(terms) > 1:
            traces = xp.sum(traces, axis=1, keepdims=True)
        return xp.concat([xp.reshape(p * x + q * value, (n, -1)), -alpha * traces], axis=1)

    def go(self, plan: Plan, state: Array) -> Array:
        """Last state of a run."""
        reply: Any = None
        run = evaluations(plan, state)
        for _ in range(len(plan)):
            event: Any = run.send(reply)
            while not isinstance(event, State):
                event = run.send(self(event.x, event.t))
            state, reply = event.x, None
        return state
