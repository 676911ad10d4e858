r"""Guidance: a strong and a weak model, extrapolated; wrappers that are models themselves.

All the rules here are :math:`M_w = M_{weak} + w\,(M_{main} - M_{weak})`. The two weights add up to one, so the result
is the same whatever the models predict, and it is again a prediction of that kind: every solver of the package runs on
it unchanged. ``w = 1`` is the main model. What differs is who plays the weak part, and how ``w`` depends on time:

* :func:`classifier_free`: the same network without its condition;
* :func:`autoguidance`: a smaller or less trained network with the condition;
* :func:`cfg_plus_plus`: weights that depend on the step, and so belong to a grid.

The guided field is no longer that of a density that was noised. Its Jacobian is the same combination of posterior
covariances, so its stiffness grows like ``w`` (:mod:`diffnum.analysis.stiffness`). Thresholding
(:mod:`diffnum.guidance.thresholding`) wraps what these functions return.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from array_api_compat import array_namespace, is_array_api_obj

from diffnum.forms import predict
from diffnum.grids import Grid
from diffnum.types import Array, Denoiser, Prediction, Schedule

__all__ = ["RAMPS", "Guided", "Ramp", "Scale", "autoguidance", "cfg_plus_plus", "classifier_free"]

Scale: TypeAlias = float | Callable[[float], float]
"""Weight of the main model, or a function of time that gives it."""


@dataclass(frozen=True)
class Guided:
    """A model guided by a weaker one; a :class:`diffnum.types.Denoiser`.

    Attributes that are not its own (``sample_shape``, ``dtype``, ``to_image``, ...) are those of the main model.

    Parameters
    ----------
    main : Denoiser
        Model that is followed.
    weak : Denoiser or None
        Model that is moved away from; None for ``main.conditioned(None)``, evaluated in one pass with ``main`` where
        it offers ``with_unconditional``.
    scale : float or callable
        Weight w of the main model; 1 is no guidance. A function takes the time and returns the weight.
    interval : tuple of two floats, optional
        Noise levels sigma/alpha, ``low < sigma/alpha <= high``, between which there is guidance; outside only the main
        model is evaluated.
    rescale : float
        Share, 0 to 1, of the correction that gives every sample the standard deviation of the main prediction.

    Raises
    ------
    ValueError
        If a number is out of range, the schedules of the models differ, or there is no weak model.
    """

    main: Denoiser
    weak: Denoiser | None
    scale: Scale
    interval: tuple[float, float] | None = None
    rescale: float = 0.0

    def __post_init__(self) -> None:
        if not callable(self.scale) and not math.isfinite(self.scale):
            raise ValueError(f"scale={self.scale!r} is no weight: give a finite number; 1 is no guidance")
        if self.interval is not None and not 0.0 <= self.interval[0] < self.interval[1]:
            raise ValueError(
                f"interval={self.interval!r} is no range of noise levels: give (low, high) in sigma/alpha, "
                "0 <= low < high"
            )
        if not 0.0 <= self.rescale <= 1.0:
            raise ValueError(f"rescale={self.rescale!r} is not between 0 (off) and 1; 0.7 is usual")
        if self.weak is None and not hasattr(self.main, "conditioned"):
            raise ValueError(
                "unconditional=None: the model has no conditioned(None) to take the unconditional prediction from; "
                "pass the unconditional model"
            )
        if self.weak is not None and self.weak.schedule != self.main.schedule:
            raise ValueError(
                f"the models have different schedules, {self.main.schedule!r} and {self.weak.schedule!r}: guidance "
                "combines predictions at the same time"
            )

    @property
    def prediction(self) -> Prediction:
        """What the main model predicts."""
        return self.main.prediction

    @property
    def schedule(self) -> Schedule:
        """Schedule of both models."""
        return self.main.schedule

    def conditioned(self, condition: Any) -> Guided:
        """Return the same guidance with a condition bound to the main model.

        Parameters
        ----------
        condition
            As the main model takes it.
        """
        main: Any = self.main
        return replace(self, main=main.conditioned(condition))

    def weight(self, t: Any) -> Any:
        """Weight of the main model at time ``t``: a float, or an array for an array of times."""
        w = self.scale(t) if callable(self.scale) else self.scale
        if self.interval is None:
            return w
        low, high = self.interval
        lam = self.schedule.half_log_snr(t)
        bounds = -math.log(high) if high < math.inf else -math.inf, -math.log(low) if low > 0.0 else math.inf
        inside = (lam >= bounds[0]) & (lam < bounds[1])
        if is_array_api_obj(inside):
            xp = array_namespace(inside)
            return xp.where(inside, w, xp.ones_like(lam))
        return w if inside else 1.0

    def __call__(self, x: Array, t: Any) -> Array:
        """Predict at states ``x``, shape (batch, ...), and time ``t``, a number or shape (batch,)."""
        w = self.weight(t)
        if isinstance(w, float | int) and w == 1.0:
            return self.main(x, t)
        main, weak = self._both(x, t)
        guided = weak + _beside(w, x) * (main - weak)
        return _rescaled(guided, main, self.rescale) if self.rescale else guided

    def jvp(self, x: Array, t: Any, tangent: Array) -> Array:
        """Jacobian-vector product of the prediction, where both models offer theirs.

        Parameters
        ----------
        x : array, shape (batch, ...)
            States.
        t : float or array, shape (batch,)
            Time.
        tangent : array, shape of ``x``
            Direction.

        Raises
        ------
        ValueError
            If the prediction is rescaled: that couples the entries of a sample.
        """
        if self.rescale:
            raise ValueError(f"rescale={self.rescale}: the Jacobian of a rescaled prediction is not offered")
        main: Any = self.main
        weak = self._weak()
        if weak.prediction != main.prediction:
            raise ValueError(f"the models predict {main.prediction!r} and {weak.prediction!r}: give both the same")
        a, b = (model.jvp(x, t, tangent) for model in (main, weak))
        return b + _beside(self.weight(t), x) * (a - b)

    def _weak(self) -> Any:
        main: Any = self.main
        return main.conditioned(None) if self.weak is None else self.weak

    def _both(self, x: Array, t: Any) -> tuple[Array, Array]:
        main: Any = self.main
        if self.weak is None and hasattr(main, "with_unconditional"):
            conditional, unconditional = main.with_unconditional(x, t)
            return conditional, unconditional
        return main(x, t), predict(self._weak(), x, t, main.prediction)

    def __getattr__(self, name: str) -> Any:
        """Look up what is not guidance in the main model."""
        if name.startswith("__") or "main" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.__dict__["main"], name)


def classifier_free(
    model: Denoiser,
    scale: Scale,
    *,
    unconditional: Denoiser | None = None,
    interval: tuple[float, float] | None = None,
    rescale: float = 0.0,
) -> Guided:
    """Classifier-free guidance.

    Parameters
    ----------
    model : Denoiser
        Conditional model: a network with its label or prompt bound, or ``mixture.conditional(k).denoiser(schedule)``.
    scale : float or callable
        Weight w: 1 is the conditional model, 0 the unconditional one. (Ho and Salimans count from 0: their scale is
        w - 1; diffusers' ``guidance_scale`` is w.) A function of time gives a scale schedule: see :class:`Ramp`.
    unconditional : Denoiser, optional
        Unconditional model; ``model.conditioned(None)`` by default. A negative prompt goes here too.
    interval : tuple of two floats, optional
        Noise levels sigma/alpha (low, high) between which there is guidance. The field then jumps at two times, and a
        step across a jump is of first order at best; see :class:`Ramp` for a smooth alternative.
    rescale : float
        Share of the correction of the standard deviation, 0 to 1, in the prediction of the model.

    Returns
    -------
    Guided
        A model: for :func:`diffnum.solve`, :func:`diffnum.sample`, thresholding, and so on.

    References
    ----------
    Ho and Salimans 2022, arXiv:2207.12598, eq. 6; interval: Kynkaanniemi et al. 2024, arXiv:2404.07724;
    kynkaat/guidance-interval at be70a233, sampling/edm_sampler.py; rescaling: Lin et al. 2023, arXiv:2305.08891,
    section 3.4 and eq. 16.
    """
    return Guided(model, unconditional, scale, interval, rescale)


def autoguidance(
    model: Denoiser, weak: Denoiser, scale: Scale, *, interval: tuple[float, float] | None = None
) -> Guided:
    """Guidance by a worse version of the same model.

    Parameters
    ----------
    model, weak : Denoiser
        Good model and bad one, both with the same condition and schedule; they may predict different things.
    scale : float or callable
        Weight of the good model; 1 is no guidance.
    interval : tuple of two floats, optional
        As for :func:`classifier_free`.

    Returns
    -------
    Guided

    References
    ----------
    Karras et al. 2024, arXiv:2406.02507; NVlabs/edm2 at 4bf8162f, generate_images.py, ``edm_sampler``.
    """
    return Guided(model, weak, scale, interval)


def cfg_plus_plus(model: Denoiser, grid: Grid, scale: float, *, unconditional: Denoiser | None = None) -> Guided:
    r"""CFG++: the guided data prediction is noised again with the unconditional noise.

    One step of the paper, :math:`x' = \alpha' D_\lambda + \sigma' \epsilon_\emptyset`, is a DDIM step with the weight
    :math:`w = \lambda / (1 - e^{-h})`, where h is its length in half-log-SNR. So the method is DDIM on a model that
    depends on the grid, which this function returns; it has no meaning at other times. As steps shrink ``w`` grows like
    1/h: there is no differential equation that the method solves, and more steps mean more guidance.

    Parameters
    ----------
    model : Denoiser
        Conditional model.
    grid : Grid
        Grid of the run.
    scale : float
        Lambda of the paper, between 0 and 1 there.
    unconditional : Denoiser, optional
        As for :func:`classifier_free`.

    Returns
    -------
    Guided
        To be run with the method ``ddim`` on ``grid``.

    References
    ----------
    Chung et al. 2025, arXiv:2406.08070; CFGpp-diffusion/CFGpp at 80353525, latent_diffusion.py, ``BaseDDIMCFGpp``.
    """
    steps = (grid.lam[1:] - grid.lam[:-1]).tolist()
    weights = {t: -scale / math.expm1(-h) for t, h in zip(grid.t.tolist(), steps, strict=False)}
    weights[float(grid.t[-1])] = scale  # the terminal rule that denoises: a step to sigma = 0
    return Guided(model, unconditional, _StepScales(weights))


@dataclass(frozen=True)
class _StepScales:
    """Weights that are known at the nodes of a grid only."""

    weights: Mapping[float, float]

    def __call__(self, t: Any) -> float:
        known = self.weights.get(float(t))
        if known is None:
            nearest = min(self.weights, key=lambda node: abs(node - float(t)))
            if not math.isclose(nearest, float(t), rel_tol=1e-6, abs_tol=1e-9):
                raise ValueError(
                    f"t={float(t)!r} is no node of the grid that CFG++ was made for; its weights depend on the step: "
                    "run the method 'ddim' on that grid, or use classifier_free"
                )
            known = self.weights[nearest]
        return known


# ---------------------------------------------------------------- scale schedules

RAMPS: Final[Mapping[str, Callable[[float], float]]] = MappingProxyType(
    {
        "linear": lambda u: u,
        "cosine": lambda u: 0.5 - 0.5 * math.cos(math.pi * u),
        "window": lambda u: math.sin(math.pi * u) ** 2,
    }
)
"""Shapes of a scale schedule on [0, 1], from the noisy end to the clean end; "window" rises and falls again."""


@dataclass(frozen=True)
class Ramp:
    """Scale schedule between two half-log-SNRs; constant outside.

    Parameters
    ----------
    schedule : Schedule
        Of the model.
    noisy, clean : float
        Weights at the noisy and at the clean end (for "window": at both ends, and in the middle).
    shape : {"linear", "cosine", "window"}
        How the weight goes from one to the other, in half-log-SNR.
    sigma_max, sigma_min : float
        Noise levels sigma/alpha of the ends.

    Raises
    ------
    ValueError
        If the shape is unknown or the levels are out of order.

    Notes
    -----
    "cosine" has one continuous derivative and "window", which stands for a guidance interval, three; what a solver's
    order needs is as many as the order, or nodes at the ends.

    References
    ----------
    Increasing weights: Wang et al. 2024, arXiv:2404.13040, who let them depend on t.
    """

    schedule: Schedule
    noisy: float
    clean: float
    shape: str = "cosine"
    sigma_max: float = 80.0
    sigma_min: float = 0.002

    def __post_init__(self) -> None:
        if self.shape not in RAMPS:
            raise ValueError(f"shape={self.shape!r} is unknown: use one of {', '.join(RAMPS)}")
        if not 0.0 < self.sigma_min < self.sigma_max < math.inf:
            raise ValueError(
                f"sigma_min={self.sigma_min!r}, sigma_max={self.sigma_max!r}: give noise levels, 0 < low < high"
            )

    def __call__(self, t: Any) -> float:
        """Weight at time ``t``, a number."""
        begin, end = -math.log(self.sigma_max), -math.log(self.sigma_min)
        u = (float(self.schedule.half_log_snr(float(t))) - begin) / (end - begin)
        return self.noisy + (self.clean - self.noisy) * RAMPS[self.shape](min(max(u, 0.0), 1.0))


# ---------------------------------------------------------------- arrays


def _beside(w: Any, x: Array) -> Any:
    """Weight that multiplies a batch: a number, or one number a sample."""
    if not is_array_api_obj(w) or w.ndim == 0:
        return w
    xp = array_namespace(x)
    return xp.reshape(xp.astype(w, x.dtype), (-1,) + (1,) * (x.ndim - 1))


def _rescaled(guided: Array, main: Array, share: float) -> Array:
    """Guided prediction with, to a share, the standard deviation that the main one has in each sample."""
    xp = array_namespace(guided)
    axes = tuple(range(1, guided.ndim))
    wanted, found = (xp.std(value, axis=axes, keepdims=True) for value in (main, guided))
    return guided * (share * (wanted / found) + (1.0 - share))
