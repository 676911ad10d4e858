"""Draw from a posterior by any of the methods: the usual way in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from array_api_compat import array_namespace, is_array_api_obj

from diffnum.grids import uniform_half_log_snr
from diffnum.inverse import samplers
from diffnum.inverse.operators import Linear
from diffnum.inverse.problem import Inverse, start_of
from diffnum.inverse.record import PosteriorSampler
from diffnum.jobs.checked import check_callable
from diffnum.jobs.stems import gathered
from diffnum.plans import Plan, plan
from diffnum.problems._states import positive_count
from diffnum.solver import Noise
from diffnum.solver.noise import PopulationStreams, check_key
from diffnum.types import Array, Denoiser, Schedule

__all__ = ["METHODS", "default_plan", "method_of", "sample"]

METHODS: Mapping[str, PosteriorSampler] = gathered(samplers.__name__, samplers.__path__, "SAMPLERS")
"""Posterior samplers by name."""

STEPS = 100
"""Steps of a plan that is not given."""

END_TIME = 1e-3
"""Last time of a plan that is not given, as a share of the schedule's, where the schedule itself names none."""


def method_of(method: str | PosteriorSampler) -> PosteriorSampler:
    """Record of a name.

    Raises
    ------
    ValueError
        If it is unknown.
    """
    if isinstance(method, PosteriorSampler):
        return method
    if not isinstance(method, str) or method not in METHODS:
        msg = f"method={method!r} is unknown: use one of {', '.join(METHODS)}"
        raise ValueError(msg)
    return METHODS[method]


def default_plan(method: str | PosteriorSampler, schedule: Schedule, steps: int = STEPS) -> Plan:
    """Plan of the method of the catalogue that a sampler runs by, uniform in half-log-SNR between the schedule's ends.

    Parameters
    ----------
    method : str or PosteriorSampler
        The sampler.
    schedule : Schedule
        The noising process.
    steps : int
        Number of steps.

    Returns
    -------
    Plan
    """
    start = getattr(schedule, "default_t_start", schedule.t_max)
    end = getattr(schedule, "default_t_end", END_TIME * float(schedule.t_max))
    grid = uniform_half_log_snr(schedule, steps, t_start=float(start), t_end=float(end))
    return plan(method_of(method).method, schedule, grid)


def sample(
    model: Denoiser,
    op: Linear,
    y: Array,
    noise_std: float,
    *,
    method: str | PosteriorSampler = "pigdm",
    plan: Plan | None = None,
    n: int | None = None,
    x: Array | None = None,
    seed: int = 0,
    noise: Noise | None = None,
    **options: Any,
) -> Array:
    r"""Draw from the law of the data given a measurement :math:`Y = A x + \text{noise}`.

    Parameters
    ----------
    model : Denoiser
        Model of the prior. Methods that need a gradient want ``vjp`` or ``pullback``: exact models have it, a network
        gets it from :class:`diffnum.models.Autograd`.
    op : Linear
        The operator; see :mod:`diffnum.inverse.operators`.
    y : array, shape ``measured`` or ``(n, *measured)``
        What was measured; one for all samples, or one each.
    noise_std : float
        Standard deviation of the measurement's noise.
    method : str or PosteriorSampler
        Which; :data:`diffnum.inverse.METHODS` has them all. The default needs a derivative, and is exact on isotropic
        Gaussians only: ``"twisted_wide"`` is consistent, ``"moment_matching"`` exact on Gaussians with an exact model,
        ``"dds_corrected"`` needs no derivative.
    plan : Plan, optional
        Steps; by default 100 of the method's own, uniform in half-log-SNR.
    n : int, optional
        Number of samples; by default one a measurement.
    x : array, shape ``(n, *shape)``, optional
        States at the first node, for networks in their own dtype; by default noise of its variance.
    seed : int
        Of all noise.
    noise : callable, optional
        Source of noise in place of ``seed``.
    **options
        Parameters of the method, such as ``scale``.

    Returns
    -------
    array, shape (n, *shape)

    Raises
    ------
    TypeError
        If an argument is of the wrong kind or an option is unknown.
    ValueError
        If shapes do not fit, the method is unknown, or lacks what it needs: derivatives of the model, a noise_std > 0,
        singular values, another kind of plan; and if a sample is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> import diffnum as dn
    >>> law = dn.GaussianMixture([0.5, 0.5], [[-1.0, 0.0], [1.0, 0.0]], [0.1, 0.2])
    >>> op = dn.inverse.Linear([[1.0, 1.0]])
    >>> model = law.denoiser(dn.schedules.VPLinear())
    >>> x = sample(model, op, [0.8], 0.2, n=4000, method="twisted_wide")
    >>> exact = law.posterior(op.matrix, [0.8], 0.2)
    >>> bool(np.abs(x.mean(0) - exact.weights @ exact.means).max() < 0.05)
    True
    """
    record, problem = method_of(method), Inverse(model, op, y, noise_std)
    record.check(problem)
    numbers = default_plan(record, problem.schedule) if plan is None else plan
    _check_plan(numbers, problem)
    check_key(seed, 0)
    if noise is not None:
        check_callable("noise", noise, "a function noise(step, index, like)")
    source: Noise = PopulationStreams(seed) if noise is None else noise
    each = int(problem.y.shape[0])
    if x is None:
        count = each if n is None else positive_count(n)
        if each not in (1, count):
            msg = f"n={n}: y holds {each} measurements, one a sample; leave n out, or pass one measurement"
            raise ValueError(msg)
        start = start_of(numbers, PopulationStreams(seed).start(count, op.shape))
    else:
        start = _checked_start(x, n, op, each)
    found = record.run(problem, numbers, start, source, options)
    xp = array_namespace(found)
    if not bool(xp.all(xp.isfinite(found))):
        msg = (
            f"method={record.name!r} left samples that are not finite: its correction grew from step to step on this "
            "model; take more steps, or a method without a derivative such as 'dds_corrected'"
        )
        raise ValueError(msg)
    return found


def _check_plan(numbers: Any, problem: Inverse) -> None:
    if not isinstance(numbers, Plan):
        msg = f"plan={numbers!r} is a {type(numbers).__name__}: pass dn.plan(method, schedule, grid)"
        raise TypeError(msg)
    if numbers.schedule != problem.schedule:
        msg = (
            f"model has the schedule {problem.schedule!r}, the plan {numbers.schedule!r}: make the plan on "
            "model.schedule"
        )
        raise ValueError(msg)
    if not len(numbers):
        msg = "plan has no steps: make it on a grid of two nodes or more"
        raise ValueError(msg)


def _checked_start(x: Any, n: int | None, op: Linear, each: int) -> Array:
    if not is_array_api_obj(x):
        msg = f"x is a {type(x).__name__}: pass a numpy array or a torch tensor, shape (n, ...)"
        raise TypeError(msg)
    if tuple(x.shape[1:]) != op.shape:
        msg = f"x has shape {tuple(x.shape)}: the operator acts on samples of shape {op.shape}"
        raise ValueError(msg)
    count = int(x.shape[0])
    if n is not None and n != count:
        msg = f"x has {count} samples, n={n}: pass n={count}, or leave it out"
        raise ValueError(msg)
    if each not in (1, count):
        msg = f"y holds {each} measurements, x {count} samples: pass one measurement, or one a sample"
        raise ValueError(msg)
    if not bool(array_namespace(x).all(array_namespace(x).isfinite(x))):
        msg = "x is not finite: pass finite numbers"
        raise ValueError(msg)
    return x
