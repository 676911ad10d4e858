"""Step-size control: embedded pairs of DPM-Solver, as its authors and k-diffusion drive them.

A pair takes one step with two methods that share their evaluations; the distance of the results decides whether the
step is accepted and how long the next one is. The weights are those of :mod:`diffnum.coefficients.runge_kutta`; only
the loop is different from :func:`diffnum.solve`, because its steps depend on the states.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import atan, expm1, inf, sqrt
from typing import NamedTuple

from array_api_compat import array_namespace, is_array_api_obj

from diffnum.coefficients.adams import ddim
from diffnum.coefficients.runge_kutta import dpm_solver_2, dpm_solver_3
from diffnum.coefficients.splitting import length_down
from diffnum.forms import DATA, NOISE, ExponentialKernel, Nodes, SemilinearForm, predict
from diffnum.jobs.checked import check_model
from diffnum.schedules import nearest_time
from diffnum.types import Array, Denoiser, Scalar, Schedule

__all__ = [
    "CONTROLLERS",
    "AdaptiveRun",
    "Attempt",
    "Controller",
    "EmbeddedPair",
    "renoised",
    "single_step",
    "solve_adaptive",
]

Rows = Sequence[Sequence[Scalar]]


def _pair_12(kernel: ExponentialKernel, nodes: Sequence[float]) -> tuple[Rows, Sequence[Scalar], Sequence[Scalar]]:
    """DDIM inside DPM-Solver-2."""
    a21, high = dpm_solver_2(kernel, nodes[0])
    return ((), (a21,)), ddim(kernel), high


def _pair_23(kernel: ExponentialKernel, nodes: Sequence[float]) -> tuple[Rows, Sequence[Scalar], Sequence[Scalar]]:
    """DPM-Solver-2 at the first inner node inside DPM-Solver-3."""
    a21, a3, high = dpm_solver_3(kernel, nodes[0], nodes[1])
    return ((), (a21,), a3), dpm_solver_2(kernel, nodes[0])[1], high


_PAIRS: dict[int, tuple[tuple[float, ...], Callable[..., tuple[Rows, Sequence[Scalar], Sequence[Scalar]]]]] = {
    2: ((0.5,), _pair_12),
    3: ((1 / 3, 2 / 3), _pair_23),
}


@dataclass(frozen=True)
class EmbeddedPair:
    """DPM-Solver(++) of orders ``order - 1`` and ``order`` on the same evaluations.

    Parameters
    ----------
    order : {2, 3}
        Order of the more accurate method, which is also the number of evaluations of an attempt.
    prediction : {"noise", "data"}
        DPM-Solver or DPM-Solver++.
    nodes : tuple of float
        Inner nodes as fractions of the step, increasing; by default (1/2,) and (1/3, 2/3).

    Raises
    ------
    ValueError
        If there is no such pair, or the inner nodes are out of order.
    """

    order: int = 3
    prediction: str = "noise"
    nodes: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.order not in _PAIRS:
            msg = f"order={self.order} has no embedded pair: use 2 or 3"
            raise ValueError(msg)
        if self.prediction not in ("noise", "data"):
            msg = f"prediction={self.prediction!r} has no embedded pair: use 'noise' or 'data'"
            raise ValueError(msg)
        default, weights = _PAIRS[self.order]
        nodes = tuple(self.nodes) or default
        if len(nodes) != len(default):
            msg = f"nodes={nodes}: a pair of order {self.order} has {len(default)} inner nodes"
            raise ValueError(msg)
        object.__setattr__(self, "nodes", nodes)
        weights(ExponentialKernel(1.0, 1), nodes)  # refuses nodes that are out of order

    @property
    def form(self) -> SemilinearForm:
        """Form in which the pair is written."""
        return NOISE if self.prediction == "noise" else DATA

    def attempt(self, model: Denoiser, x: Array, lam: float, step: float) -> tuple[Array, Array]:
        """Results (low, high) of a step from half-log-SNR ``lam``; ``order`` evaluations."""
        rows, *weights = _PAIRS[self.order][1](ExponentialKernel(step, self.form.rate or 0), self.nodes)
        low, high = _results(self.form, rows, weights, self.nodes, model, x, lam, step)
        return low, high


def single_step(order: int, model: Denoiser, x: Array, lam: float, step: float) -> Array:
    """Result of one step of DPM-Solver of order 1, 2 or 3 from half-log-SNR ``lam``; ``order`` evaluations.

    Parameters
    ----------
    order : {1, 2, 3}
        Order of the step.
    model : Denoiser
        Any prediction.
    x : array, shape (batch, ...)
        States at ``lam``.
    lam, step : float
        Half-log-SNR, and the step in it.
    """
    kernel = ExponentialKernel(step, NOISE.rate or 0)
    if order == 1:
        return _results(NOISE, ((),), (ddim(kernel),), (), model, x, lam, step)[0]
    nodes = EmbeddedPair(order).nodes
    rows, _, high = _PAIRS[order][1](kernel, nodes)
    return _results(NOISE, rows, (high,), nodes, model, x, lam, step)[0]


def _results(
    form: SemilinearForm,
    rows: Rows,
    weights: Sequence[Sequence[Scalar]],
    nodes: Sequence[float],
    model: Denoiser,
    x: Array,
    lam: float,
    step: float,
) -> list[Array]:
    """States at the end of a step for each row of weights, on evaluations at the nodes that the rows ask for."""
    at = [_node(model.schedule, lam + fraction * step) for fraction in (0.0, *nodes, 1.0)]
    mean = model.schedule.mean
    y = x if isinstance(mean, float) and mean == 0.0 else x - array_namespace(x).asarray(mean, dtype=x.dtype)
    values: list[Array] = []

    def combined(row: Sequence[Scalar], node: Nodes) -> Array:
        ratio, gain = float(form.scale(node) / form.scale(at[0])), float(form.gain(node))
        return sum((gain * float(w) * v for w, v in zip(row, values, strict=False)), ratio * y)

    for row, node in zip(rows, at, strict=False):
        value = predict(model, combined(row, node) + (x - y), float(node.t), form.prediction)
        values.append(value - (x - y) if form is DATA else value)
    return [combined(row, at[-1]) + (x - y) for row in weights]


def renoised(schedule: Schedule, x: Array, down: float, lam: float, noise: Callable[[], Array]) -> Array:
    """States at half-log-SNR ``down`` with the noise that brings them up to ``lam``; as they are where it is none.

    Parameters
    ----------
    schedule : Schedule
        The noising process.
    x : array, shape (batch, ...)
        States at ``down``.
    down, lam : float
        Half-log-SNRs, ``down >= lam``.
    noise : callable
        Gives standard normal noise of the shape of ``x``.
    """
    if down <= lam:
        return x
    here, there = _node(schedule, down), _node(schedule, lam)
    mean = schedule.mean
    centre = 0.0 if isinstance(mean, float) else array_namespace(x).asarray(mean, dtype=x.dtype)
    deviation = float(there.sigma) * sqrt(-expm1(-2.0 * (down - lam)))
    return (x - centre) * float(there.alpha / here.alpha) + centre + deviation * noise()


def _node(schedule: Schedule, lam: float) -> Nodes:
    """Schedule values at a half-log-SNR; an ulp outside the schedule is rounding of the inverse."""
    t = nearest_time(schedule, lam)
    return Nodes.at(schedule, t, lam)  # type: ignore[arg-type]


# -- controllers -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Controller:
    """How a step is judged and the next one chosen.

    Parameters
    ----------
    name : str
        Whose it is.
    per_sample : bool
        Whether the error is the largest root mean square of a sample, or the one of the whole batch (which lets other
        samples dilute the error of one).
    gains : (float, float, float)
        Proportional, integral and derivative gain; the step grows by the errors to the power of these over the order.
    safety : float
        Factor on every step length.
    limited : bool
        k-diffusion's ways: factors pass through 1 + atan(factor - 1) and decide on acceptance, lengths grow from the
        last wish, and the end is 1e-5 away in half-log-SNR. Otherwise the error decides, lengths grow from the last
        attempt, and the end is 1e-5 away in time.
    accept : float
        Least factor (limited), or largest error, of a step that is accepted.
    """

    name: str
    per_sample: bool
    gains: tuple[float, float, float] = (0.0, 1.0, 0.0)
    safety: float = 1.0
    limited: bool = False
    accept: float = 1.0

    def norm(self, scaled: Array) -> float:
        """Size of the scaled difference, shape (batch, ...)."""
        xp = array_namespace(scaled)
        rows = xp.reshape(scaled * scaled, (scaled.shape[0], -1) if self.per_sample else (1, -1))
        return sqrt(float(xp.max(xp.mean(rows, axis=1))))

    def judge(self, errors: Sequence[float], order: float) -> tuple[bool, float]:
        """Whether a step is accepted, and the factor on its length; ``errors`` are this one and those accepted last."""
        p, i, d = (gain / order for gain in self.gains)
        sizes = [max(e + (_TINY if self.limited else 0.0), 1e-300) for e in errors]
        factor = self.safety * sizes[0] ** -(p + i + d) * sizes[1] ** (p + 2 * d) * sizes[2] ** -d
        if self.limited:
            factor = 1.0 + atan(factor - 1.0)
            return factor >= self.accept, factor
        return errors[0] <= self.accept, factor


_TINY = 1e-8

CONTROLLERS = {
    "dpm-solver": Controller("dpm-solver", per_sample=True, safety=0.9),
    "k-diffusion": Controller("k-diffusion", per_sample=False, limited=True, accept=0.81),
}
"""Published controllers."""


class Attempt(NamedTuple):
    """One attempt at a step, as :func:`solve_adaptive` tells of it.

    Parameters
    ----------
    x : array
        States after it: new ones where it was accepted.
    lam : float
        Their half-log-SNR.
    error : float
        Scaled error.
    step : float
        Length of the next attempt, in half-log-SNR.
    accepted : bool
        Whether it was accepted.
    """

    x: Array
    lam: float
    error: float
    step: float
    accepted: bool


@dataclass(frozen=True, eq=False)
class AdaptiveRun:
    """Result of a run with step-size control.

    Parameters
    ----------
    x : array
        Final states.
    lam : tuple of float
        Half-log-SNRs of the accepted nodes, from the start.
    errors : tuple of float
        Scaled error of each attempt.
    nfe, rejected : int
        Evaluations in all, and attempts that were thrown away.
    """

    x: Array
    lam: tuple[float, ...]
    errors: tuple[float, ...]
    nfe: int
    rejected: int


def solve_adaptive(
    pair: EmbeddedPair,
    model: Denoiser,
    x: Array,
    *,
    t_start: float,
    t_end: float,
    controller: Controller | str = "dpm-solver",
    atol: float = 0.0078,
    rtol: float = 0.05,
    first_step: float = 0.05,
    max_attempts: int = 10_000,
    eta: float = 0.0,
    noise: Callable[[float, float, Array], Array] | None = None,
    observe: Callable[[Attempt], object] | None = None,
) -> AdaptiveRun:
    """Integrate the probability-flow ODE with error control; with ``eta`` go down too far, and add noise.

    Parameters
    ----------
    pair : EmbeddedPair
        Two methods that share their evaluations.
    model : Denoiser
        Any prediction; numpy or torch.
    x : array, shape (batch, ...)
        States at ``t_start``.
    t_start, t_end : float
        Times, ``t_start > t_end``; sigma(t_end) > 0.
    controller : Controller or {"dpm-solver", "k-diffusion"}
        How steps are judged. The batch shares one step size, so that the result of a sample depends on the others.
    atol, rtol : float
        Tolerances, > 0 (atol) and >= 0: the scale is ``max(atol, rtol max(|low|, |previous low|))``, elementwise.
    first_step : float
        First step in half-log-SNR.
    max_attempts : int
        Give up after so many attempts.
    eta : float
        Noise level from 0 to 1, as in k-diffusion: an attempt goes down to sigma_down, no farther than the end, and
        an accepted one is followed by the noise that is missing. The error is that of the deterministic part, and its
        order counts as 3/2.
    noise : callable, optional
        ``noise(lam, lam_next, like)`` gives standard normal noise for a step; wanted where ``eta > 0``.
    observe : callable, optional
        Told an :class:`Attempt` after each.

    Returns
    -------
    AdaptiveRun

    Raises
    ------
    ValueError
        If times, tolerances, the first step or ``eta`` are out of range, noise is missing, the error is not finite, or
        attempts run out.

    References
    ----------
    Lu et al., arXiv:2206.00927, appendix C; LuChengTHU/dpm-solver at 52bc3fbc, ``dpm_solver_adaptive``; k-diffusion
    0.1.1, ``sample_dpm_adaptive``.
    """
    if not isinstance(pair, EmbeddedPair):
        msg = f"pair={pair!r} is a {type(pair).__name__}: pass an EmbeddedPair, such as EmbeddedPair(3)"
        raise TypeError(msg)
    check_model(model)
    if not is_array_api_obj(x):
        msg = f"x is a {type(x).__name__}: pass a numpy array or a torch tensor, shape (batch, ...)"
        raise TypeError(msg)
    if isinstance(controller, str):
        if controller not in CONTROLLERS:
            msg = f"controller={controller!r} is unknown: use one of {', '.join(CONTROLLERS)}, or your own"
            raise ValueError(msg)
        controller = CONTROLLERS[controller]
    if not (0.0 < atol < inf and 0.0 <= rtol < inf and 0.0 < first_step < inf):
        msg = f"atol={atol}, rtol={rtol}, first_step={first_step}: use positive numbers (rtol may be 0)"
        raise ValueError(msg)
    if not 0.0 <= eta <= 1.0 or (eta > 0.0 and noise is None):
        msg = (
            f"eta={eta}, noise={noise}: use an eta from 0 to 1, and with eta > 0 a function noise(lam, lam_next, like)"
        )
        raise ValueError(msg)
    schedule = model.schedule
    lam, end = (float(schedule.half_log_snr(t)) for t in (t_start, t_end))
    if not -inf < lam < end < inf:
        msg = f"t_start={t_start}, t_end={t_end} have half-log-SNRs {lam:g}, {end:g}: they must be finite and increase"
        raise ValueError(msg)
    xp = array_namespace(x)
    previous, accepted = x, [lam]
    errors: list[float] = []
    history: list[float] = []
    step = first_step
    while not _arrived(schedule, controller, lam, end, t_end):
        if len(errors) == max_attempts:
            msg = f"max_attempts={max_attempts} reached at half-log-SNR {lam:g} of {end:g}: loosen atol and rtol"
            raise ValueError(msg)
        before, target = lam, min(end, lam + step)
        down = min(end, lam + float(length_down(target - lam, eta))) if eta else target
        low, high = pair.attempt(model, x, lam, down - lam)
        scale = xp.clip(rtol * xp.maximum(xp.abs(low), xp.abs(previous)), min=atol)
        errors.append(controller.norm((low - high) / scale))
        if not errors[-1] < inf:
            msg = f"the error at half-log-SNR {lam:g} is {errors[-1]}: look at the model's output there"
            raise ValueError(msg)
        history = history or [errors[-1]] * 2
        good, factor = controller.judge((errors[-1], *history), 1.5 if eta else pair.order)
        if good:
            if noise is not None:
                high = renoised(schedule, high, down, target, partial(noise, lam, target, high))
            x, previous, lam = high, low, target
            accepted.append(lam)
            history = [errors[-1], history[0]]
        step = factor * (step if controller.limited else target - before)
        if observe is not None:
            observe(Attempt(x, lam, errors[-1], step, good))
    return AdaptiveRun(x, tuple(accepted), tuple(errors), pair.order * len(errors), len(errors) + 1 - len(accepted))


def _arrived(schedule: Schedule, controller: Controller, lam: float, end: float, t_end: float) -> bool:
    """Whether the end is reached."""
    if controller.limited:
        return lam >= end - 1e-5
    return abs(float(schedule.time(lam)) - t_end) <= 1e-5
