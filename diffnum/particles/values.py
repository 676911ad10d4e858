r"""Sampling by soft values: at each step one of several proposals, chosen by what it promises.

The target :math:`p(x) e^{r(x)/a}` is reached exactly by kernels proportional to :math:`p(x' \mid x) e^{v(x')/a}` with
the soft value :math:`v_t(x) = a \log E[e^{r(x_0)/a} \mid x_t = x]`. With M proposals and a choice in proportion to
:math:`e^{v/a}` the kernel is approached as M grows; a choice of the largest, as shipped, approaches the maximum of v
instead, whatever the temperature a.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device

from diffnum.forms import predict
from diffnum.jobs.checked import check_callable, check_number
from diffnum.particles.weighted import Node, Weighted, on_host
from diffnum.problems import GaussianMixture
from diffnum.tableau import Tableau
from diffnum.types import Array, Denoiser, FloatArray, Schedule

__all__ = ["CHOICES", "exact_value", "soft_values"]

CHOICES = ("multinomial", "argmax")

Value = Callable[[Array, float], Array]
"""``value(x, t)``: soft value in units of the reward, shape (n,)."""


def soft_values(
    model: Denoiser,
    reward: Callable[[Array], Array],
    temperature: float,
    candidates: int,
    *,
    choice: str = "multinomial",
    value: Value | None = None,
) -> Weighted:
    r"""Soft value-based decoding (SVDD): a sampler of :math:`p(x) e^{r(x)/a}`.

    Parameters
    ----------
    model : Denoiser
        Model of p.
    reward : callable
        ``reward(x)`` of data, shape (n, ...) to (n,).
    temperature : float
        a, > 0.
    candidates : int
        Proposals a step, at least 2.
    choice : {"multinomial", "argmax"}
        In proportion to :math:`e^{v/a}`, as derived, or the largest, as shipped.
    value : callable, optional
        ``value(x, t)``; by default the reward of the predicted data (the "posterior mean" variant), for one evaluation
        a proposal. :func:`exact_value` knows it on mixtures, :func:`learned_value` learns it from samples.

    Returns
    -------
    Weighted
        Its particles are independent and equally weighted. For plans with noise in every step.

    Raises
    ------
    ValueError
        If the temperature is not positive, there are fewer than two candidates, or the choice is unknown.

    References
    ----------
    Li et al. 2024, arXiv:2408.08252; masa-ue/SVDD, diffusion_gosai.py, ``_ddpm_update_finetune_controlled`` (argmax;
    the lines of the multinomial choice are commented out).
    """
    check_callable("reward", reward, "a function reward(x) that gives one number a sample")
    if not check_number("temperature", temperature) > 0.0:
        msg = f"temperature={temperature!r}: give a number > 0 (0 is choice='argmax')"
        raise ValueError(msg)
    if isinstance(candidates, bool) or not isinstance(candidates, int) or candidates < 2:
        msg = f"candidates={candidates!r}: a choice needs an integer, at least 2"
        raise ValueError(msg)
    if choice not in CHOICES:
        msg = f"choice={choice!r} is unknown: use one of {', '.join(CHOICES)}"
        raise ValueError(msg)
    mover = _Choice(model, reward, float(temperature), candidates, choice, value)
    return Weighted(
        model,
        _equal,
        moved=mover,
        spent=0 if value is not None else candidates,
        name=f"soft values, {candidates} candidates, {choice}",
    )


def _equal(node: Node) -> FloatArray:
    return np.zeros(len(node.x))


@dataclass(frozen=True)
class _Choice:
    model: Denoiser
    reward: Callable[[Array], Array]
    temperature: float
    candidates: int
    choice: str
    value: Value | None

    def __call__(self, node: Node, after: Array, tableau: Tableau, draw: Callable[..., Array]) -> Array:
        if len(tableau.noises) != 1 or not tableau.noise[0, 0]:
            msg = (
                f"plan: step {node.step} of {node.plan.method!r} has no draw, or several; use methods "
                'with one draw a step, such as "sde_dpmpp_1", and grids that end before sigma = 0'
            )
            raise ValueError(msg)
        xp, n = array_namespace(after), len(after)
        own, spread = draw(0), float(tableau.noise[0, 0])
        proposals = [after] + [after + spread * (draw(m) - own) for m in range(1, self.candidates)]
        last = node.step + 1 == node.steps
        values = np.stack([on_host(self._value(x, tableau.t_to, last=last)) for x in proposals], axis=1)
        if not np.isfinite(values).all():
            msg = f"reward is NaN or infinite for a proposal of step {node.step}: it must be a finite number"
            raise ValueError(msg)
        chosen = self._chosen(values, draw)
        stacked = xp.stack(proposals, axis=0)
        places = xp.asarray(chosen, device=device(after)), xp.arange(n, device=device(after))
        return stacked[places]

    def _value(self, x: Array, t: float, *, last: bool) -> Array:
        if self.value is not None and not last:
            return self.value(x, t)
        return self.reward(x if last else predict(self.model, x, t, "data"))

    def _chosen(self, values: FloatArray, draw: Callable[..., Array]) -> Any:
        if self.choice == "argmax":
            return np.argmax(values, axis=1)
        from scipy.special import ndtr

        # Gumbel's trick: the largest of the perturbed values is a draw in proportion to their exponentials.
        uniform = ndtr(draw(self.candidates, np.empty(values.shape)))
        return np.argmax(values / self.temperature - np.log(-np.log(uniform)), axis=1)


def exact_value(law: GaussianMixture, slope: Any, temperature: float, schedule: Schedule) -> Value:
    r"""Soft value of the linear reward :math:`b^T x` on a mixture, exactly.

    It is :math:`a (\log Z + \log \tilde p_t(x) - \log p_t(x))` with the tilted law :math:`\tilde p = p\, e^{r/a} / Z`,
    noised like p.

    Parameters
    ----------
    law : GaussianMixture
        p.
    slope : array_like, shape (d,)
        b.
    temperature : float
        a, > 0.
    schedule : Schedule
        The noising process.

    Returns
    -------
    Value

    Raises
    ------
    TypeError, ValueError
        If the temperature is no positive number, or the slope does not fit.
    """
    check_number("temperature", temperature, 0.0, closed=False)
    tilted = law.tilted(slope=np.asarray(slope, dtype=float) / temperature)

    def value(x: Array, t: float) -> Array:
        ratio = tilted.at(schedule, t).log_prob(x) - law.at(schedule, t).log_prob(x)
        return temperature * (ratio + (tilted.log_evidence or 0.0))

    return value
