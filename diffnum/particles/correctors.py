r"""Feynman-Kac correctors: weights that make a sum of scores sample the product of powers that it stands for.

With the scores :math:`s_i` of noised laws :math:`q_i` and exponents :math:`\beta_i`, the combination
:math:`S = \sum_i \beta_i s_i` is the score of :math:`\prod_i q_i^{\beta_i}` at every time; but a diffusion that
follows S has other marginals, since products of noised laws are no noised products. In the half-log-SNR, with noise
predictions :math:`\epsilon_i = -\sigma s_i` and :math:`E = \sum_i \beta_i \epsilon_i`, particles that move by E on any
equation of the family (any noise level tau > 0) and whose log-weights gain

.. math:: \bigl(\lVert E \rVert^2 - \sum_i \beta_i \lVert \epsilon_i \rVert^2 \bigr)\, d\lambda
          - \bigl(\sum_i \beta_i - 1\bigr)\, d \; d\log\alpha

in d dimensions have the product as their weighted law at every time. The rate does not depend on tau; it is derived
from the Fokker-Planck equation in :mod:`diffnum.derivation.feynman_kac`, and a test holds the two together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from diffnum.forms import predict
from diffnum.jobs.checked import check_number
from diffnum.particles.weighted import Node, Weighted, squares
from diffnum.plans import Plan
from diffnum.types import Array, Denoiser, FloatArray, Prediction, Schedule

__all__ = ["Combined", "annealed", "as_shipped", "guided", "product"]

RULES = ("trapezoid", "left")


@dataclass(frozen=True)
class Combined:
    r"""Noise predictions of several models, added with exponents: the score of a product of powers.

    A :class:`diffnum.types.Denoiser` that predicts the noise. The exponents need not add up to one; the noise then does
    not have unit variance, and the score is that of the product all the same.

    Parameters
    ----------
    models : tuple of Denoiser
        Models on one schedule; they may predict different things.
    exponents : tuple of float
        One each.
    """

    models: tuple[Denoiser, ...]
    exponents: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.models or len(self.models) != len(self.exponents):
            msg = f"exponents has {len(self.exponents)} entries for {len(self.models)} models: give one each"
            raise ValueError(msg)
        if not all(math.isfinite(beta) for beta in self.exponents):
            msg = f"exponents={self.exponents}: give finite numbers"
            raise ValueError(msg)
        if not sum(self.exponents) > 0.0:
            msg = (
                f"exponents={self.exponents} add up to {sum(self.exponents):g}: under much noise the product then has "
                "no integral; their sum must be positive"
            )
            raise ValueError(msg)
        if any(model.schedule != self.schedule for model in self.models):
            msg = "models have different schedules: a product combines predictions at the same time"
            raise ValueError(msg)

    @property
    def prediction(self) -> Prediction:
        """Noise."""
        return "noise"

    @property
    def schedule(self) -> Schedule:
        """Schedule of the models."""
        return self.models[0].schedule

    @property
    def main(self) -> Denoiser:
        """First model, whose samples have the shape of all."""
        return self.models[0]

    @property
    def sample_shape(self) -> Any:
        """Shape of one sample, where the first model tells it."""
        return getattr(self.models[0], "sample_shape", None)

    def __call__(self, x: Array, t: Any) -> Array:
        """Combined noise prediction at states ``x``, shape (batch, ...), and time ``t``."""
        return self._added(self.parts(x, t))

    def parts(self, x: Array, t: Any) -> list[Array]:
        """Noise prediction of each model; a model that occurs twice is evaluated once."""
        found: dict[int, Array] = {}
        for model in self.models:
            if id(model) not in found:
                found[id(model)] = predict(model, x, t, "noise")
        return [found[id(model)] for model in self.models]

    def observed(self, x: Array, t: float) -> tuple[Array, Array]:
        """Combined prediction and, for each sample, the rate of its log-weight a unit of half-log-SNR, shape (n, 1)."""
        parts = self.parts(x, t)
        total = self._added(parts)
        rate = squares(total) - sum(b * squares(part) for b, part in zip(self.exponents, parts, strict=True))
        return total, array_namespace(x).reshape(rate, (-1, 1))

    def _added(self, parts: Sequence[Array]) -> Array:
        total = self.exponents[0] * parts[0]
        for beta, part in zip(self.exponents[1:], parts[1:], strict=True):
            total = total + beta * part
        return total


def product(
    models: Sequence[Denoiser], exponents: Sequence[float] | None = None, *, rule: str = "trapezoid"
) -> Weighted:
    r"""Sampler of :math:`\prod_i p_i^{\beta_i}` from the models of the factors.

    Parameters
    ----------
    models : sequence of Denoiser
        Models of the factors p_i on one schedule, whatever they predict.
    exponents : sequence of float, optional
        Exponents; 1 each by default. Their sum must be positive.
    rule : {"trapezoid", "left"}
        How the weights are integrated over steps: with the trapezoidal rule their error is of second order in the step,
        at the price of one more evaluation at the end; with the left end, as in the published code, of first.

    Returns
    -------
    Weighted
        For :func:`run` with any stochastic plan. The run's evidence is that of the product less that of the same
        product at the first node, where it is that of pure noise: ``log_evidence`` estimates :math:`\log \int \prod_i
        p_i^{\beta_i}`, whose error from the start falls with the noise there.

    Raises
    ------
    ValueError
        If numbers or schedules do not fit, or ``rule`` is unknown.

    References
    ----------
    Skreta et al. 2025, arXiv:2503.02819; martaskrt/fkc-diffusion, applications/images/edm2/generate_images.py.
    """
    if rule not in RULES:
        msg = f"rule={rule!r} is unknown: use one of {', '.join(RULES)}"
        raise ValueError(msg)
    betas = tuple(float(b) for b in (exponents if exponents is not None else [1.0] * len(models)))
    combined = Combined(tuple(models), betas)
    return Weighted(
        combined,
        _Rate(sum(betas), rule),
        observe=combined.observed,
        observe_last=rule == "trapezoid",
        start=_Start(sum(betas)),
        spent=len({id(model) for model in models}) - 1,
        name=f"corrector with exponents {betas}",
    )


def annealed(model: Denoiser, beta: float, *, rule: str = "trapezoid") -> Weighted:
    r"""Sampler of :math:`p^\beta`, a lower temperature for beta > 1, a higher one below.

    Parameters
    ----------
    model : Denoiser
        Model of p.
    beta : float
        Inverse temperature, > 0.
    rule : {"trapezoid", "left"}
        As for :func:`product`.

    Returns
    -------
    Weighted

    Raises
    ------
    ValueError
        If beta is not finite and positive.
    """
    if not check_number("beta", beta) > 0.0:
        msg = f"beta={beta!r} is no inverse temperature: give a finite number > 0"
        raise ValueError(msg)
    return product((model,), (beta,), rule=rule)


def guided(conditional: Denoiser, unconditional: Denoiser, w: float, *, rule: str = "trapezoid") -> Weighted:
    r"""Sampler of :math:`p_\emptyset^{1-w}\, p_c^w`, what classifier-free guidance of weight w is said to sample.

    Parameters
    ----------
    conditional, unconditional : Denoiser
        The two models.
    w : float
        Weight; 1 is the conditional model.
    rule : {"trapezoid", "left"}
        As for :func:`product`.

    Returns
    -------
    Weighted
        Its model alone, without weights, is classifier-free guidance.
    """
    w = check_number("w", w)
    return product((unconditional, conditional), (1.0 - w, w), rule=rule)


def as_shipped(weighted: Weighted, clamp: float = 1.0) -> Weighted:
    """Corrector with the increments of its weights centred and clamped, as the published code has them.

    Run it with ``threshold=1`` to resample at every step, which that code does too. Centring takes a common factor out
    of the weights, and with it the evidence; clamping changes the target wherever it acts.

    Parameters
    ----------
    weighted : Weighted
        From :func:`annealed`, :func:`product` or :func:`guided`.
    clamp : float
        Largest absolute value of a centred increment.

    Returns
    -------
    Weighted

    Raises
    ------
    ValueError
        If the clamp is not positive.

    References
    ----------
    martaskrt/fkc-diffusion, applications/images/edm2/generate_images.py.
    """
    if not clamp > 0.0:
        msg = f"clamp={clamp!r}: give a number > 0"
        raise ValueError(msg)
    return weighted.with_potential(lambda gained: np.clip(gained - np.mean(gained), -clamp, clamp), "as shipped")


@dataclass(frozen=True)
class _Rate:
    """Increments of the log-weights at a node: its share of the integral of the rate."""

    total: float
    rule: str

    def __call__(self, node: Node) -> FloatArray:
        left, here, right = (node.half_log_snr(offset) for offset in (-1, 0, 1))
        gained = np.zeros(len(node.x))
        if node.observed is not None:
            behind, ahead = _length(left, here), _length(here, right)
            if math.isinf(here):  # the interval before it has been taken whole
                behind = 0.0
            whole = ahead if self.rule == "left" or math.isinf(right) else 0.5 * ahead
            share = whole + (0.5 * behind if self.rule == "trapezoid" else 0.0)
            gained = share * node.observed[:, 0]
        if not node.last:
            schedule = node.schedule
            times = node.plan.times[[node.step, node.step + 1]]
            growth = float(np.log(schedule.alpha(float(times[1])) / schedule.alpha(float(times[0]))))
            gained = gained - (self.total - 1.0) * math.prod(node.x.shape[1:]) * growth
        return gained


def _length(start: float, end: float) -> float:
    """Length of an interval of half-log-SNR; 1/2 for one without end, where the rate falls like its exponential."""
    return 0.5 if math.isinf(end) and not math.isinf(start) else 0.0 if math.isinf(start) else end - start


@dataclass(frozen=True)
class _Start:
    """Noise of the product's variance, and the integral of the product of noises as the first weight."""

    total: float

    def __call__(self, z: Array, plan: Plan) -> tuple[Array, FloatArray]:
        t = float(plan.times[0])
        alpha, sigma = float(plan.schedule.alpha(t)), float(plan.schedule.sigma(t))
        size = math.prod(z.shape[1:])
        log_variance = math.log(2.0 * math.pi * sigma**2)
        log_evidence = 0.5 * size * ((1.0 - self.total) * log_variance - math.log(self.total))
        x = sigma / math.sqrt(self.total) * z + (1.0 - alpha) * np.asarray(plan.schedule.mean)
        return x, np.full(len(z), log_evidence)
