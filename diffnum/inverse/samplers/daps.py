r"""Decoupled annealing: predict the data by the flow, move them by a Markov chain, put all the noise back.

At noise level rho the data are taken to be :math:`N(\hat x_0, \rho^2 I)`, with :math:`\hat x_0` the end of a few Euler
steps of the probability flow; a Langevin chain draws from that times the likelihood, and the state at the next node is
what it found plus noise.
"""

from __future__ import annotations

import math

from diffnum.inverse.problem import OWN_DRAWS, Inverse, stepped
from diffnum.inverse.record import Options, PosteriorSampler
from diffnum.plans import Plan
from diffnum.solver import Noise
from diffnum.types import Array

__all__ = ["SAMPLERS"]

FLOW_END = 0.01
"""Noise level at which the flow takes its last step, to the data (configs/sampler/edm_daps.yaml)."""

RHO = 7.0
"""Exponent of the flow's nodes."""

SECOND = OWN_DRAWS + 1
"""Draw of the noise that is put back; those of the chain follow."""


def _flowed(problem: Inverse, t: float, x: Array, steps: int) -> Array:
    """Data at the end of a few Euler steps of the flow, in units of the data."""
    schedule = problem.schedule
    alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
    start, least = sigma / alpha, float(schedule.sigma(schedule.t_min)) / float(schedule.alpha(schedule.t_min))
    end = max(min(FLOW_END, 0.5 * start), min(least, start))  # not below what the schedule reaches
    shares = [i / max(steps - 1, 1) for i in range(steps)]
    levels = [(start ** (1 / RHO) + share * (end ** (1 / RHO) - start ** (1 / RHO))) ** RHO for share in shares]
    y = x / alpha
    for index, (level, after) in enumerate(zip(levels, [*levels[1:], 0.0], strict=True)):
        at = t if index == 0 else max(float(schedule.time(-math.log(level))), float(schedule.t_min))
        look = problem.look(float(schedule.alpha(at)) * y, at, derivative=False)
        y = y + (after - level) * look.noise
    return y


def _chained(problem: Inverse, step: int, steps: int, rho: float, data: Array, noise: Noise, options: Options) -> Array:
    """A Langevin chain as shipped: its likelihood and its steps do not know the noise of the measurement."""
    lr = options["lr"] * (1.0 + step / steps * (options["lr_min_ratio"] - 1.0))
    steepest = 0.0 if problem.op.modes is None else float(problem.op.modes.values.max())
    if not lr * (2.0 * steepest**2 / options["tau"] ** 2 + 1.0 / rho**2) < 2.0:
        msg = (
            f"lr={options['lr']!r}: at noise level {rho:.2g} a step of the chain is longer than it can be without "
            "growing; give a smaller lr, a larger tau, or a plan that ends at a higher noise level"
        )
        raise ValueError(msg)
    x = data
    for k in range(options["langevin"]):
        pull = 2.0 / options["tau"] ** 2 * problem.op.adjoint(problem.residual(x)) + (data - x) / rho**2
        x = x + lr * pull + math.sqrt(2.0 * lr) * noise(step, SECOND + 1 + k, x)
    return x


def _drawn(
    problem: Inverse,
    step: int,
    steps: int,  # noqa: ARG001
    rho: float,
    data: Array,
    noise: Noise,
    options: Options,  # noqa: ARG001
) -> Array:
    """An exact draw in place of the chain: the data are perturbed, the measurement is, and the system is solved."""
    op, gamma = problem.op, rho**2 / problem.noise_std**2
    y = problem.measurement(data)
    perturbed = y + problem.noise_std * noise(step, SECOND + 1, op(data))
    return op.solve(data + rho * noise(step, OWN_DRAWS, data) + gamma * op.adjoint(perturbed), gamma)


def _launch(problem: Inverse, plan: Plan, x: Array, noise: Noise, options: Options) -> Array:
    steps = len(plan) + 1
    move = _chained if options.get("langevin") else _drawn

    def found(step: int, t: float, x: Array) -> Array:
        rho = float(plan.schedule.sigma(t)) / float(plan.schedule.alpha(t))
        return move(problem, step, steps, rho, _flowed(problem, t, x, options["flow"]), noise, options)

    def advance(step: int, t: float, t_next: float, x: Array) -> Array:
        data = found(step, t, x)
        z = noise(step, SECOND, data)
        return float(plan.schedule.alpha(t_next)) * data + float(plan.schedule.sigma(t_next)) * z

    return found(len(plan), float(plan.times[-1]), stepped(plan, x, advance))


_SOURCE = "Zhang et al. 2025, arXiv:2407.01521, Algorithm 1"
SAMPLERS = {
    "daps": PosteriorSampler(
        name="daps",
        title="flow, Langevin chain and noise anew, as shipped",
        source=_SOURCE,
        cite="zhang2025improving",
        launch=_launch,
        takes="nodes",
        options={"flow": 5, "langevin": 100, "lr": 5e-5, "tau": 0.01, "lr_min_ratio": 0.01},
        returns="data",
        code="zhangbingliang2019/DAPS at 098df6b7, cores/mcmc.py, MCMCSampler; configs/task/inpainting.yaml",
        deviations=(
            "the likelihood has tau = 0.01 for a noise of 0.05 (configs/task), and the noise of the measurement "
            "does not "
            "enter",
            "the gradient is that of |A x - y|^2 / tau^2, twice that of the log-likelihood; its Metropolis-Hastings "
            "variant "
            "has 2 tau^2",
            "100 steps of 5e-5 are far from the end of the chain where the noise level is large",
        ),
    ),
    "daps_corrected": PosteriorSampler(
        name="daps_corrected",
        title="the same with exact draws in place of the chain",
        source=_SOURCE + ", with the chain at its end",
        cite="zhang2025improving",
        launch=_launch,
        takes="nodes",
        needs=frozenset({"noise"}),
        options={"flow": 5},
        returns="data",
        deviations=("the chain is replaced by an exact draw, with the noise of the measurement",),
    ),
}
