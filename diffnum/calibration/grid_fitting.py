"""Grids found for a model, a method and a number of evaluations."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from diffnum.calibration.fitting import run_ends
from diffnum.calibration.grid_rules import RULES, GridTask
from diffnum.calibration.hosts import host_of
from diffnum.coefficients.catalogue import method as find_method
from diffnum.coefficients.method import Method
from diffnum.grids import Grid
from diffnum.jobs.checked import check_model
from diffnum.types import Denoiser, FloatArray

__all__ = ["fit_grid", "grid_task"]

_CANDIDATES = (48, 40, 26, 16)
"""Intervals between candidates for methods of depth 0, 1, 2, ...: windows of local errors grow with the depth."""


def fit_grid(
    model: Denoiser,
    method: Method | str = "ddim",
    nfe: int = 8,
    *,
    by: str = "dynamic_programming",
    n: int = 64,
    seed: int = 0,
    candidates: int | ArrayLike | None = None,
    teacher_tolerance: float = 1e-3,
    label: Any = None,
    t_start: float | None = None,
    t_end: float | None = None,
    **options: Any,
) -> Grid:
    """Find the grid of a method for a model.

    Parameters
    ----------
    model : Denoiser
        A network, as from :func:`diffnum.load`, or the exact denoiser of a problem.
    method : Method or str
        What is to run on the grid.
    nfe : int
        Evaluations that it may take; the grid has as many steps as fit.
    by : str
        A key of :data:`diffnum.calibration.grid_rules.RULES`: ``dynamic_programming`` (BOSS), ``gits``,
        ``optimal_stepsize``, ``kl`` (AYS), ``summed_weights`` (DMN), ``evolution`` (AutoDiffusion), ``spectrum``,
        ``tangent``, ``constant_rate``, ``exhaustive``.
    n, seed : int
        Noises that the rule may look at, and their seed, as in :func:`diffnum.sample`.
    candidates : int or array_like, optional
        Intervals between candidate levels, equal in half-log-SNR, or the half-log-SNRs themselves with both ends.
    teacher_tolerance : float
        How far the teacher's end points are converged, relative.
    label : int, "each" or None
        Condition of a network with classes.
    t_start, t_end : float, optional
        Ends of the run; those of the model by default.
    **options
        Options of the rule.

    Returns
    -------
    Grid
        Its name is the rule's.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, the rule has no such option, the method is stochastic or does not suit the
        rule, or the teacher does not converge.

    Examples
    --------
    >>> import diffnum as dn
    >>> model = dn.problems.gaussian_example().denoiser(dn.schedules.VPLinear())
    >>> fit_grid(model, "ddim", 4, by="tangent", variance=1.0).n
    4
    """
    if by not in RULES:
        msg = f"by={by!r} is no rule: use one of {', '.join(RULES)}"
        raise ValueError(msg)
    RULES[by].check(by, options)
    task = grid_task(
        model, method, nfe, n=n, seed=seed, candidates=candidates, teacher_tolerance=teacher_tolerance, label=label,
        t_start=t_start, t_end=t_end,
    )  # fmt: skip
    return task.grid(RULES[by].find(task, **options), by)


def grid_task(
    model: Denoiser,
    method: Method | str = "ddim",
    nfe: int = 8,
    *,
    n: int = 64,
    seed: int = 0,
    candidates: int | ArrayLike | None = None,
    teacher_tolerance: float = 1e-3,
    label: Any = None,
    t_start: float | None = None,
    t_end: float | None = None,
) -> GridTask:
    """The question that rules answer, to ask several of them: the teacher runs once.

    Parameters
    ----------
    model, method, nfe, n, seed, candidates, teacher_tolerance, label, t_start, t_end
        As in :func:`fit_grid`.

    Returns
    -------
    GridTask

    Raises
    ------
    ValueError
        If the method draws noise, the network rounds times to its labels, an end has no finite half-log-SNR, or a
        count is no whole number from 1 up.
    """
    check_model(model)
    record = find_method(method) if isinstance(method, str) else method
    if record.stochastic:
        msg = f"method={record.name!r} draws noise, its end point is no function of the start: take a deterministic one"
        raise ValueError(msg)
    for name, value in (("nfe", nfe), ("n", n)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            msg = f"{name}={value!r}: use a whole number, at least 1"
            raise ValueError(msg)
    if getattr(model, "rounds_time", False):
        msg = "the network rounds times to its labels: take grids.model_timesteps, whose nodes are labels"
        raise ValueError(msg)
    ends = run_ends(model, t_start, t_end)
    bounds = tuple(float(model.schedule.half_log_snr(t)) for t in ends)
    if not np.isfinite(bounds).all():
        msg = f"times {ends} have half-log-SNRs {bounds}: both must be finite, move the end into the domain"
        raise ValueError(msg)
    levels = _levels(record, candidates, (bounds[0], bounds[1]))
    return GridTask(
        host_of(model, label=label), record, record.steps_for(nfe), levels, ends, n, seed, teacher_tolerance
    )


def _levels(record: Method, candidates: int | ArrayLike | None, ends: tuple[float, float]) -> FloatArray:
    """Candidates, checked."""
    if candidates is None:
        candidates = _CANDIDATES[min(record.depth, len(_CANDIDATES) - 1)]
    if isinstance(candidates, int | np.integer):
        if candidates < 1:
            msg = f"candidates={candidates!r}: use a positive number of intervals"
            raise ValueError(msg)
        return np.linspace(*ends, int(candidates) + 1)
    levels = np.asarray(candidates, dtype=np.float64)
    good = levels.ndim == 1 and len(levels) >= 2 and np.isfinite(levels).all() and (np.diff(levels) > 0).all()
    if not good or not np.allclose(levels[[0, -1]], ends, rtol=1e-9, atol=1e-9):
        msg = (
            f"candidates={candidates!r}: give increasing half-log-SNRs from {ends[0]:.6g} to {ends[1]:.6g}, both "
            "included, or a number of intervals"
        )
        raise ValueError(msg)
    return np.concatenate([[ends[0]], levels[1:-1], [ends[1]]])
