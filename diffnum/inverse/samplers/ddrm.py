r"""Denoising diffusion restoration models: each singular direction has its own update.

In units of the data (state over alpha, noise level rho = sigma/alpha) a direction of singular value s sees the
measurement with noise :math:`\sigma_Y / s`. Where that is less than the next noise level the measurement replaces the
prediction and noise fills up the rest; where it is more, what the measurement leaves unexplained takes the place of
part of the noise; what is not measured goes on as in DDIM.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace

from diffnum.inverse.operators import Modes
from diffnum.inverse.problem import OWN_DRAWS, Inverse, stepped
from diffnum.inverse.record import Options, PosteriorSampler
from diffnum.plans import Plan
from diffnum.solver import Noise
from diffnum.types import Array, FloatArray

__all__ = ["SAMPLERS"]


def _launch(problem: Inverse, plan: Plan, x: Array, noise: Noise, options: Options) -> Array:
    modes: Any = problem.op.modes
    eta, eta_b, noise_std = options["eta"], options["eta_b"], problem.noise_std
    seen = modes.seen(problem.measurement(x))

    def level(t: float) -> tuple[float, float]:
        alpha, sigma = float(plan.schedule.alpha(t)), float(plan.schedule.sigma(t))
        return alpha, sigma / alpha

    def advance(step: int, t: float, t_next: float, x: Array) -> Array:
        look = problem.look(x, t, derivative=False)
        alpha, rho = level(t_next)
        z = noise(step, OWN_DRAWS, x)
        plain = look.data + rho * (1.0 - eta**2) ** 0.5 * look.noise + rho * eta * z
        predicted, drawn = modes.rows(look.data), modes.rows(z)

        def by_mode(function: Any) -> Array:
            return modes.factors(function, predicted)

        # noisier than the measurement: this replaces the prediction
        before = by_mode(lambda s: s * rho > noise_std)
        replaced = (
            (1.0 - eta_b) * predicted
            + eta_b * by_mode(lambda s: _over(1.0, s, s * rho > noise_std)) * seen
            + by_mode(lambda s: _left(rho**2, eta_b * noise_std, s)) * drawn
        )
        # less noisy: what it leaves unexplained is noise of variance 1, in units of its own
        after = by_mode(lambda s: s * rho < noise_std)
        per_noise = 1.0 / noise_std if noise_std else 0.0
        unexplained = per_noise * (seen - by_mode(lambda s: s) * predicted)
        mixed = predicted + rho * (1.0 - eta**2) ** 0.5 * unexplained + rho * eta * drawn
        of_plain = modes.rows(plain)
        moved = before * replaced + after * mixed + (1.0 - before - after) * of_plain
        return alpha * (plain + modes.spread(moved - of_plain))

    end = stepped(plan, _start(problem, plan, x, modes, seen), advance)
    return problem.look(end, float(plan.times[-1]), derivative=False).data


def _start(problem: Inverse, plan: Plan, x: Array, modes: Modes, seen: Array) -> Array:
    """States at the first node: noise around the measurement in the directions where that is less noisy."""
    t = float(plan.times[0])
    alpha, sigma = float(plan.schedule.alpha(t)), float(plan.schedule.sigma(t))
    rho, noise_std = sigma / alpha, problem.noise_std
    xp = array_namespace(x)
    z = modes.rows(x / sigma)
    begun = (
        modes.factors(lambda s: _over(1.0, s, s * rho > noise_std), z) * seen
        + (modes.factors(lambda s: _left(rho**2, noise_std, s), z) - rho) * z
    )
    return x + alpha * modes.spread(xp.asarray(begun))


def _over(numerator: float, s: FloatArray, where: Any) -> FloatArray:
    return np.asarray(np.where(where, numerator / np.where(where, s, 1.0), 0.0))


def _left(variance: float, noise_std: float, s: FloatArray) -> FloatArray:
    """Standard deviation that is left of a noise level when that of the measurement is taken out."""
    positive = s * variance**0.5 > noise_std
    taken = np.where(positive, noise_std / np.where(positive, s, 1.0), 0.0)
    return np.asarray(np.sqrt(variance - taken**2))


SAMPLERS = {
    "ddrm": PosteriorSampler(
        name="ddrm",
        title="an update for each singular direction",
        source="Kawar, Elad, Ermon and Song 2022, arXiv:2201.11793, Section 3",
        cite="kawar2022denoising",
        launch=_launch,
        takes="nodes",
        needs=frozenset({"modes"}),
        options={"eta": 0.85, "eta_b": 1.0},
        returns="data",
        code="bahjat-kawar/ddrm at 32b6b3cc, functions/denoising.py, efficient_generalized_steps",
    ),
}
