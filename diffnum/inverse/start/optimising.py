"""Optimise the start of a run by any of the ways: the usual way in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device

from diffnum.inverse.start import methods
from diffnum.inverse.start.problem import EachLoss, StartProblem
from diffnum.inverse.start.record import OptimisedStart, StartMethod, normal_map
from diffnum.jobs.stems import gathered
from diffnum.plans import Plan
from diffnum.solver.noise import check_key
from diffnum.types import Array, Denoiser

__all__ = ["START_METHODS", "optimise_start"]

START_METHODS: Mapping[str, StartMethod] = gathered(methods.__name__, methods.__path__, "STARTS")
"""Ways to optimise a start, by name."""


def optimise_start(
    plan: Plan,
    model: Denoiser,
    loss: EachLoss,
    z: Array,
    *,
    weight: float = 1.0,
    method: str | StartMethod = "descent",
    seed: int = 0,
    **options: Any,
) -> OptimisedStart:
    r"""Find the noise from which a run ends where a loss is small.

    What is minimised is the loss of the end plus ``weight`` times half the square of the start in standard normals;
    ways that find a law minimise its mean over the law plus ``weight`` times the divergence of the law
    from the normals.

    Parameters
    ----------
    plan : Plan
        The run; it draws no noise.
    model : Denoiser
        The model; all ways but ``"candidates"`` and ``"policy"`` use its derivative, as :func:`diffnum.gradient` does.
    loss : callable
        Of ends, shape (k, ...). Returns one loss for each: a tensor of shape (k,) that autograd can differentiate, or
        the pair of losses and gradients, shapes (k,) and (k, ...). :func:`diffnum.inverse.misfit` makes one.
    z : array, shape (1, ...)
        Where to begin, in standard normals; tells shape, library, dtype and device.
    weight : float
        Weight of the prior term, >= 0.
    method : {"descent", "surrogate", "policy", "candidates", "reverse_kl", "reverse_kl_coupling"} or StartMethod
        Which; :data:`diffnum.inverse.START_METHODS` has them with source and options.
    seed : int
        Of all that the method draws.
    **options
        Parameters of the method, such as ``iterations``.

    Returns
    -------
    OptimisedStart

    Raises
    ------
    TypeError
        If an argument is of the wrong kind or an option is unknown.
    ValueError
        If the plan draws noise, the method is unknown, the model lacks derivatives that it needs, or the loss is not
        one finite number for each end.

    Examples
    --------
    >>> import numpy as np
    >>> import diffnum as dn
    >>> schedule = dn.schedules.VPLinear()
    >>> law = dn.Gaussian([0.0, 0.0], [1.0, 0.25])
    >>> grid = dn.grids.uniform_half_log_snr(schedule, n=10, t_start=1.0, t_end=1e-3)
    >>> loss = dn.inverse.misfit(dn.inverse.Linear([[1.0, 1.0]]), [2.0], 0.5)
    >>> plan, model = dn.plan("dpmpp_2m", schedule, grid), law.denoiser(schedule)
    >>> found = dn.inverse.optimise_start(plan, model, loss, np.zeros((1, 2)))
    >>> op = dn.inverse.Linear([[1.0, 1.0]])
    >>> exact = dn.inverse.exact_start(plan, model, op, [2.0], 0.5)
    >>> bool(abs(found.objective - exact.objective) < 1e-9)
    True
    """
    if isinstance(method, StartMethod):
        record = method
    elif isinstance(method, str) and method in START_METHODS:
        record = START_METHODS[method]
    else:
        msg = f"method={method!r} is unknown: use one of {', '.join(START_METHODS)}"
        raise ValueError(msg)
    check_key(seed, 0)
    problem = StartProblem(plan, model, loss, z, weight)
    answer = record.tries(problem, seed, record.chosen(options))
    end = problem.ends(answer.z[None])
    value = float(problem.numbers_of(loss(end), end)[0][0])
    xp, like = array_namespace(problem.z), problem.z
    return OptimisedStart(
        method=record.name,
        z=xp.asarray(np.reshape(answer.z, like.shape), dtype=like.dtype, device=device(like)),
        x=problem.states(answer.z[None]),
        end=end,
        loss=value,
        objective=value + 0.5 * float(weight) * float(answer.z @ answer.z),
        factor=answer.factor,
        curve=answer.curve,
        evaluations=problem.evaluations,
        reason=answer.reason,
        map=answer.map if answer.factor is None else normal_map(answer.z, answer.factor),
    )
