r"""Steering by a reward: Feynman-Kac steering with its potentials, and twisted diffusion.

Both aim at :math:`p(x) e^{\lambda r(x)}`. Steering moves particles by the model itself and weighs them by the reward of
the predicted data, in potentials whose product over the run is :math:`e^{\lambda r(x_0)}`; any such potentials are
right, and they differ in variance. Twisting moves them by the gradient of a log-likelihood of the predicted data as
well, and weighs by the likelihood and by the ratio of the two kernels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import ArrayLike

from diffnum.forms import conversion
from diffnum.jobs.checked import check_callable, check_model, check_number
from diffnum.particles.population import Population, run
from diffnum.particles.resampling import effective_size
from diffnum.particles.weighted import Node, Weighted, on_host, squares
from diffnum.plans import Plan
from diffnum.problems._states import real_array
from diffnum.tableau import Tableau
from diffnum.types import Array, Denoiser, FloatArray, Prediction, Schedule

__all__ = ["POTENTIALS", "Twisted", "linear_log_likelihood", "steered", "steered_as_shipped", "tempered", "twisted"]

Reward = Callable[[Array], Array]
"""``reward(x)``: from data, shape (n, ...), to numbers, shape (n,)."""

LogLikelihood = Callable[[Array], tuple[Array, Array]]
"""``log_likelihood(x)``: values, shape (n,), and gradients, shape of x."""

POTENTIALS: Mapping[str, Callable[[FloatArray, dict[str, Any]], FloatArray]] = MappingProxyType(
    {
        "difference": lambda reward, memory: reward - memory.get("reward", 0.0),
        "max": lambda reward, memory: np.maximum(reward, memory.get("largest", -np.inf)),
        "sum": lambda reward, memory: reward + memory.get("total", 0.0),
    }
)
"""Logarithm of the potential at a node, in units of the scale, from the reward there and those before."""


@dataclass(frozen=True)
class _Steering:
    """Potentials of a reward; what they have told so far is taken from the last one, so that they add up to it."""

    reward: Reward
    scale: float
    kind: str
    nodes: frozenset[int] | None
    complete: bool

    def __call__(self, node: Node) -> FloatArray:
        n, memory = len(node.x), node.memory
        if node.last and not self.complete:
            return np.zeros(n)
        if not node.last and self.nodes is not None and node.step not in self.nodes:
            return np.zeros(n)
        reward = on_host(self.reward(node.data))
        if reward.shape != (n,):
            msg = (
                f"reward returned shape {reward.shape} at node {node.step}: it must give one number a particle, ({n},)"
            )
            raise ValueError(msg)
        told = memory.get("told", np.zeros(n))
        gained = self.scale * (reward - told) if node.last else self.scale * POTENTIALS[self.kind](reward, memory)
        memory["told"] = told + (gained / self.scale if self.scale else 0.0)
        memory["reward"] = reward
        memory["total"] = reward + memory.get("total", 0.0)
        memory["largest"] = np.maximum(reward, memory.get("largest", -np.inf))
        return np.asarray(gained)


def steered(
    model: Denoiser,
    reward: Reward,
    scale: float,
    *,
    potential: str = "difference",
    nodes: Iterable[int] | None = None,
    complete: bool = True,
) -> Weighted:
    r"""Feynman-Kac steering: sampler of :math:`p(x) e^{\lambda r(x)}` that moves by the model alone.

    Parameters
    ----------
    model : Denoiser
        Model of p.
    reward : callable
        ``reward(x)`` of data, shape (n, ...) to (n,); it is given predicted data on the way, and samples at the end.
    scale : float
        Lambda.
    potential : {"difference", "max", "sum"}
        Of rewards since the last node, the largest so far, or all so far. Each is completed by the last node, so that
        the product is the same.
    nodes : iterable of int, optional
        Nodes at which particles are weighed, 0 is the start; all by default. The last one always is.
    complete : bool
        False leaves the last factor out, as one implementation ships it: for comparison only.

    Returns
    -------
    Weighted
        ``log_evidence`` of a run estimates :math:`\log E[e^{\lambda r}]` under what the plan samples.

    Raises
    ------
    ValueError
        If the potential is unknown, or the scale not finite.

    References
    ----------
    Singhal et al. 2025, arXiv:2501.06848; zacharyhorvitz/Fk-Diffusion-Steering at 9413005,
    text_to_image/fkd_diffusers/fkd_class.py.
    """
    if potential not in POTENTIALS:
        msg = f"potential={potential!r} is unknown: use one of {', '.join(POTENTIALS)}"
        raise ValueError(msg)
    check_model(model)
    check_callable("reward", reward, "a function reward(x) that gives one number a sample")
    check_number("scale", scale)
    chosen = None if nodes is None else frozenset(int(node) for node in nodes)
    return Weighted(model, _Steering(reward, float(scale), potential, chosen, complete), name=f"steering, {potential}")


@dataclass(frozen=True)
class _Tempering:
    """The scale rises from node to node as fast as the effective number of particles allows."""

    reward: Reward
    scale: float
    share: float

    def __call__(self, node: Node) -> FloatArray:
        n, memory = len(node.x), node.memory
        reward = on_host(self.reward(node.data))
        told, before = memory.get("told", np.zeros(n)), float(memory.get("scale", np.zeros(n))[0])

        def enough(scale: float) -> bool:
            after = node.log_weights + scale * reward - told
            return bool(np.isfinite(after).all()) and effective_size(after) >= self.share * n

        scale = self.scale
        if not node.last and not enough(scale):
            low, high = before, scale
            for _ in range(40):  # bisection, to the last bits
                middle = 0.5 * (low + high)
                low, high = (middle, high) if enough(middle) else (low, middle)
            scale = low
        gained = scale * reward - told
        memory["told"], memory["scale"] = scale * reward, np.full(n, scale)
        return np.asarray(gained)


def tempered(model: Denoiser, reward: Reward, scale: float, *, share: float = 0.7) -> Weighted:
    r"""Steering by differences whose scale rises from 0 to lambda as fast as the particles allow.

    At each node the largest scale is taken, up to ``scale``, that leaves the effective number of particles above
    ``share`` of all. It never falls, so that fewer are left where predicted rewards change by themselves. The last
    node has the whole scale, so that the target is :math:`p(x) e^{\lambda r(x)}` whatever was chosen on the way. Since
    the choice looks at the weights, the evidence is consistent but no longer without bias, and islands share one scale.
    Run it with a ``threshold`` above ``share``.

    Parameters
    ----------
    model, reward, scale
        As for :func:`steered`; ``scale`` >= 0.
    share : float
        Between 0 and 1.

    Returns
    -------
    Weighted

    Raises
    ------
    ValueError
        If the scale is negative or not finite, or the share not between 0 and 1.
    """
    check_callable("reward", reward, "a function reward(x) that gives one number a sample")
    if check_number("scale", scale) < 0.0:
        msg = f"scale={scale!r}: give a finite number >= 0 (turn the sign of the reward instead)"
        raise ValueError(msg)
    if not 0.0 < share < 1.0:
        msg = f"share={share!r}: give a share of the particles between 0 and 1"
        raise ValueError(msg)
    return Weighted(model, _Tempering(reward, float(scale), share), name="tempered steering")


def steered_as_shipped(
    plan: Plan,
    model: Denoiser,
    reward: Reward,
    scale: float,
    n: int,
    *,
    nodes: Iterable[int],
    adaptive: bool = True,
    seed: int = 0,
) -> Population:
    """Steering as its published implementation runs it, for comparison: weights are lost on the way.

    With ``adaptive`` the particles are resampled where fewer than half are effective; where they are not, their weights
    are forgotten. Either way what is weighed after the last resampling is dropped. (The first was reported as issue 12
    of the repository.) With large scales the effective number is always small, and the first defect does not show.

    Parameters
    ----------
    plan, model, reward, scale, n, seed
        As for :func:`run` and :func:`steered`.
    nodes : iterable of int
        Nodes at which rewards are taken; the particles are resampled after the step that begins there.
    adaptive : bool
        The implementation's ``adaptive_resampling``.

    Returns
    -------
    Population

    References
    ----------
    zacharyhorvitz/Fk-Diffusion-Steering at 9413005, text_to_image/fkd_diffusers/fkd_class.py, ``resample``.
    """
    chosen = [int(node) for node in nodes]
    sampler = steered(model, reward, scale, nodes=chosen, complete=False)
    threshold = 0.5 if adaptive else 1.0
    return run(
        plan, sampler, n, seed=seed, at=[node + 1 for node in chosen], threshold=threshold, resample="multinomial",
        carry=False,
    )  # fmt: skip


# -- twisting --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Twisted:
    """A model whose noise prediction is moved by the gradient of a log-likelihood of the predicted data.

    The gradient goes through the model: its Jacobian is symmetric, being a covariance, so that ``model.jvp`` gives the
    product with its transpose too. A :class:`diffnum.types.Denoiser` that predicts the noise.

    Parameters
    ----------
    model : Denoiser
        Model with ``jvp``, such as those of :mod:`diffnum.problems`.
    log_likelihood : callable
        Values and gradients at data.
    along : callable, optional
        ``along(x, t)``: the same of predicted data at a time, in place of ``log_likelihood`` there.
    """

    model: Any
    log_likelihood: LogLikelihood
    along: Callable[[Array, float], tuple[Array, Array]] | None = None

    def __post_init__(self) -> None:
        if not callable(getattr(self.model, "jvp", None)):
            msg = f"model={self.model!r} has no jvp: twisting differentiates the predicted data, pass a model that can"
            raise TypeError(msg)

    @property
    def prediction(self) -> Prediction:
        """Noise."""
        return "noise"

    @property
    def schedule(self) -> Schedule:
        """Schedule of the model."""
        found: Schedule = self.model.schedule
        return found

    @property
    def main(self) -> Any:
        """The model that is twisted."""
        return self.model

    def __call__(self, x: Array, t: Any) -> Array:
        """Twisted noise prediction at states ``x``, shape (batch, ...), and a time ``t``."""
        return self.observed(x, t)[0]

    def observed(self, x: Array, t: float) -> tuple[Array, Array]:
        """Twisted prediction, and the log-likelihood beside what was added to the noise, shape (n, 1 + d)."""
        xp, schedule = array_namespace(x), self.schedule
        alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
        value = self.model(x, t)
        p, q = conversion(self.model.prediction, "data", alpha, sigma)
        a, b = conversion(self.model.prediction, "noise", alpha, sigma)
        data = p * x + q * value
        values, gradients = self.log_likelihood(data) if self.along is None else self.along(data, t)
        pull = p * gradients + q * self.model.jvp(x, t, gradients)
        shift = -sigma * pull
        flat = xp.reshape(shift, (x.shape[0], -1))
        return a * x + b * value + shift, xp.concat([xp.reshape(values, (-1, 1)), flat], axis=1)


def twisted(
    model: Denoiser,
    log_likelihood: LogLikelihood,
    *,
    along: Callable[[Array, float], tuple[Array, Array]] | None = None,
) -> Weighted:
    r"""Twisted diffusion sampler: of :math:`p(x) \ell(x)`, guided on the way and corrected by weights.

    Parameters
    ----------
    model : Denoiser
        Model of p with ``jvp``.
    log_likelihood : callable
        ``log_likelihood(x)`` gives the values, shape (n,), and the gradients of :math:`\log \ell` at data; see
        :func:`linear_log_likelihood`.
    along : callable, optional
        ``along(x, t)``: values and gradients at predicted data on the way, in place of ``log_likelihood``, such as
        those of a likelihood that is wider by the spread of the data. The target stays the same.

    Returns
    -------
    Weighted
        For plans whose steps have one evaluation, one draw and no history (``ddpm``, ``sde_dpmpp_1``) and end in noise
        of their own. ``log_evidence`` estimates :math:`\log \int p\, \ell`.

    References
    ----------
    Wu et al. 2023, arXiv:2306.17775, Algorithm 1; blt2114/twisted_diffusion_sampler.
    """
    check_callable(
        "log_likelihood", log_likelihood, "a function of data, such as linear_log_likelihood(A, y, noise_std)"
    )
    model_ = Twisted(model, log_likelihood, along)
    return Weighted(
        model_, _TwistedWeights(log_likelihood), observe=model_.observed, moved=_kernel_ratio, name="twisted sampler"
    )


@dataclass(frozen=True)
class _TwistedWeights:
    log_likelihood: LogLikelihood

    def __call__(self, node: Node) -> FloatArray:
        seen = node.observed
        now = on_host(self.log_likelihood(node.x)[0]) if seen is None else seen[:, 0]
        gained = now - node.memory.get("likelihood", 0.0) + node.memory.get("owed", 0.0)
        node.memory["likelihood"] = now
        if seen is not None:
            node.memory["shift"] = seen[:, 1:]
        return np.asarray(gained)


def _kernel_ratio(node: Node, after: Array, tableau: Tableau, draw: Callable[..., Array]) -> Array:
    """Keep the logarithm of the model's kernel over the twisted one for the weight at the next node."""
    if tableau.nfe != 1 or len(tableau.noises) != 1 or set(tableau.inputs) != {"x"} or not tableau.noise[0, 0]:
        msg = (
            f"plan: step {node.step} of {node.plan.method!r} is no Gaussian kernel of the last state; twisting takes "
            'methods of one evaluation and one draw a step, such as "sde_dpmpp_1", and grids that end before sigma = 0'
        )
        raise ValueError(msg)
    z = on_host(draw(0)).reshape(len(after), -1)
    apart = float(tableau.B[0, 0]) / float(tableau.noise[0, 0]) * node.memory["shift"]
    node.memory["owed"] = -np.sum(z * apart, axis=1) - 0.5 * squares(apart)
    return after


def linear_log_likelihood(A: ArrayLike, y: ArrayLike, noise_std: float) -> LogLikelihood:
    r"""Log-likelihood, with gradient, of a measurement :math:`y = A x + \text{noise}`, for :func:`twisted`.

    Parameters
    ----------
    A : array_like, shape (m, d)
        Measurement matrix.
    y : array_like, shape (m,)
        What was measured.
    noise_std : float
        Standard deviation of the noise, > 0.

    Returns
    -------
    LogLikelihood

    Raises
    ------
    ValueError
        If shapes do not fit, or the deviation is not positive.
    """
    matrix, measured = real_array(A, "A", (2,)), real_array(y, "y", (1,))
    if measured.shape != (len(matrix),):
        msg = f"y has shape {measured.shape}: A of shape {matrix.shape} gives {len(matrix)} measurements"
        raise ValueError(msg)
    if not check_number("noise_std", noise_std) > 0.0:
        msg = f"noise_std={noise_std!r}: give a standard deviation > 0"
        raise ValueError(msg)
    constant = -0.5 * len(measured) * math.log(2.0 * math.pi * noise_std**2)

    def log_likelihood(x: Array) -> tuple[Array, Array]:
        residual = (measured - x @ matrix.T) / noise_std
        return constant - 0.5 * np.sum(residual * residual, axis=1), (residual / noise_std) @ matrix

    return log_likelihood
