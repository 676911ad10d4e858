"""Training losses on one fixed batch, right and with one slip each: what a user's loss is compared with.

All are written out in numpy, with rectified flow ``x_t = (1 - t) x_0 + t eps``, and share no code with
:mod:`diffnum.distillation`, which tests compare them with. A variant returns value and gradient; a slip is a variant
whose name says what went wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from diffnum.distillation import FeatureStudent
from diffnum.testing.batches import Target, TrainingBatch, Variant, training_batch
from diffnum.testing.weighing import ABSOLUTE, NOTHING, STUDENT, TARGET, Outcome, regress
from diffnum.types import FloatArray

__all__ = ["TARGETS", "Outcome", "Target", "TrainingBatch", "training_batch"]


def _of_any_regression(loss: Callable[..., Outcome]) -> dict[str, Variant]:
    """Slips that every regression on a target of the student's own can have."""
    return {
        "the stop-gradient on the target is missing": lambda b: loss(b, still=NOTHING),
        "the stop-gradient holds the student instead of the target": lambda b: loss(b, still=STUDENT),
        "the distance is the absolute value instead of the square": lambda b: loss(b, distance=ABSOLUTE),
    }


def _crossed(loss: Callable[..., Outcome]) -> dict[str, Variant]:
    """Shapes that do not fit, and are broadcast, of a loss with weights: they go with what stands in a column."""
    return {
        f"each output meets each target: {one} of shape (n,) among columns make (n, n)": lambda b, one=one: loss(
            b, crossed=one
        )
        for one in ("outputs", "targets")
    }


MEETING = "each output meets each target: shapes (n,) and (n, 1) make (n, n)"
EXCHANGED = "x_0 and eps are exchanged: the states are data at t = 1"
PRESERVING = "the states are sqrt(1 - t^2) x_0 + t eps, not (1 - t) x_0 + t eps"


# ---------------------------------------------------------------- MeanFlow


def _mean_flow(
    b: TrainingBatch,
    *,
    sign: float = 1.0,
    along: tuple[float, float, float] = (1.0, 1.0, 0.0),
    swapped: bool = False,
    reversed_: bool = False,
    own: bool = False,
    span: Callable[[TrainingBatch], FloatArray] = lambda b: b.late - b.early,
    length: bool = False,
    blind: bool = False,
    states: FloatArray | None = None,
    turned: bool = False,
    step: float = 0.0,
    central: bool = False,
    **how: Any,
) -> Outcome:
    net, theta, t, r = b.student, b.student.coefficients, b.late, b.early
    x = b.x if states is None else states
    v = -b.velocity if reversed_ else b.velocity
    first, second = (r, t) if swapped else (t, r)
    second = t - r if length else np.zeros_like(r) if blind else second
    basis = net.basis(x, first, second)
    w = net.basis(x, t, t) @ theta if own else v
    if step:
        behind = net.basis(x - step * v, t - step, r) if central else basis
        turn = (net.basis(x + step * v, t + step, r) - behind) / (2.0 * step if central else step)
    else:
        turn = net.tangent(x, first, second, along[0] * w, along[1], along[2])
    moved = -sign * span(b)[:, None] * turn
    target = v + moved @ theta
    basis = net.basis(x, second, first) if turned else basis
    return regress(basis @ theta, basis, target, moved=moved, **how)


_MEAN_FLOW = Target(
    "mean_flow",
    "loss(student, x0, eps, r, t): student(x, t, r) is the average velocity from t down to r",
    lambda b: (b.x0, b.eps, b.early, b.late),
    _mean_flow,
    {
        **_of_any_regression(_mean_flow),
        MEETING: lambda b: _mean_flow(b, crossed="outputs"),
        "the derivative enters the target with the wrong sign": lambda b: _mean_flow(b, sign=-1.0),
        "the derivative with respect to t is missing": lambda b: _mean_flow(b, along=(1.0, 0.0, 0.0)),
        "the derivative with respect to x is missing": lambda b: _mean_flow(b, along=(0.0, 1.0, 0.0)),
        "the derivative is taken with respect to r instead of t": lambda b: _mean_flow(b, along=(1.0, 0.0, 1.0)),
        "the derivative moves r along with t": lambda b: _mean_flow(b, along=(1.0, 1.0, 1.0)),
        "r and t are exchanged in the call of the student": lambda b: _mean_flow(b, swapped=True),
        "the velocity is x_0 - eps: it points to the data": lambda b: _mean_flow(b, reversed_=True),
        "the derivative is along the student's own velocity instead of eps - x_0": lambda b: _mean_flow(b, own=True),
        "the derivative with respect to t has the wrong sign": lambda b: _mean_flow(b, along=(1.0, -1.0, 0.0)),
        "the derivative is missing: this is flow matching": lambda b: _mean_flow(b, along=(0.0, 0.0, 0.0)),
        "the student is told t - r in the place of r": lambda b: _mean_flow(b, length=True),
        "the student is told t - r in the place of r, and the derivative moves it": lambda b: _mean_flow(
            b, length=True, along=(1.0, 1.0, 1.0)
        ),
        "r is not passed to the student": lambda b: _mean_flow(b, blind=True),
        "the factor t - r of the derivative is missing": lambda b: _mean_flow(b, span=lambda b: np.ones_like(b.late)),
        "the derivative is multiplied by t instead of t - r": lambda b: _mean_flow(b, span=lambda b: b.late),
        "the derivative is multiplied by (t - r)^2 instead of t - r": lambda b: _mean_flow(
            b, span=lambda b: (b.late - b.early) ** 2
        ),
        "the derivative enters the target twice": lambda b: _mean_flow(b, sign=2.0),
        "half of the derivative enters the target": lambda b: _mean_flow(b, sign=0.5),
        "r and t are exchanged in the output, not in the derivative": lambda b: _mean_flow(b, turned=True),
        EXCHANGED: lambda b: _mean_flow(b.exchanged),
        f"{EXCHANGED}, and the velocity is not": lambda b: _mean_flow(b.exchanged, reversed_=True),
        PRESERVING: lambda b: _mean_flow(b, states=b.preserving(b.late)),
    },
    lambda b, h, **how: _mean_flow(b, step=h, **how),
)


# ---------------------------------------------------------------- consistency


def _image(b: TrainingBatch, x: FloatArray, t: FloatArray) -> tuple[FloatArray, FloatArray]:
    basis = -t[:, None] * b.student.basis(x, t, 0.0)
    return x + basis @ b.student.coefficients, basis


def _consistency(
    b: TrainingBatch,
    neighbour: FloatArray,
    *,
    weight: FloatArray | float | None = None,
    late: FloatArray | None = None,
    early: FloatArray | None = None,
    states: FloatArray | None = None,
    **how: Any,
) -> Outcome:
    outputs, basis = _image(b, b.x if states is None else states, b.late if late is None else late)
    targets, moved = _image(b, neighbour, b.early if early is None else early)
    return regress(outputs, basis, targets, b.weight if weight is None else weight, moved, **how)


SPREAD = "mean of the weights stands for each: shapes (n,) and (n, 1) make (n, n)"


def _shared(weight: FloatArray) -> FloatArray:
    """Weights of mean 1."""
    return np.asarray(weight / weight.mean())


def _slips_of_consistency(neighbour: Callable[[TrainingBatch], FloatArray]) -> dict[str, Variant]:
    return {
        **_of_any_regression(lambda b, **how: _consistency(b, neighbour(b), **how)),
        **_crossed(lambda b, **how: _consistency(b, neighbour(b), **how)),
        "the weight is missing": lambda b: _consistency(b, neighbour(b), weight=1.0),
        "the weights are divided by their sum": lambda b: _consistency(b, neighbour(b), weight=_shared(b.weight)),
        "the weight is squared": lambda b: _consistency(b, neighbour(b), weight=b.weight**2),
        f"the {SPREAD}": lambda b: _consistency(b, neighbour(b), weight=b.weight.mean()),
        "the target is conditioned on t instead of s": lambda b: _consistency(b, neighbour(b), early=b.late),
        "the student is conditioned on s instead of t": lambda b: _consistency(b, neighbour(b), late=b.early),
        "the target is evaluated at the state of time t": lambda b: _consistency(b, b.x),
        "the target is the datum: this is denoising": lambda b: _consistency(b, b.x0, early=np.zeros_like(b.early)),
    }


def _twice(b: TrainingBatch) -> FloatArray:
    """Two Euler steps of half the length."""
    model, half = b.model("velocity"), 0.5 * (b.early - b.late)
    y = b.x + half[:, None] * model(b.x, b.late)
    return np.asarray(y + half[:, None] * model(y, b.late + half))


def _euler(b: TrainingBatch, *, at: FloatArray | None = None, sign: float = 1.0) -> FloatArray:
    v = b.model("velocity")(b.x, b.late if at is None else at)
    return np.asarray(b.x + sign * (b.early - b.late)[:, None] * v)


def _two_stages(b: TrainingBatch, where: float) -> FloatArray:
    """Step of order 2 whose second stage lies at a share of the step: Heun's at 1, the midpoint rule at 1/2."""
    model, span = b.model("velocity"), (b.early - b.late)[:, None]
    v = model(b.x, b.late)
    second = model(b.x + where * span * v, b.late + where * span[:, 0])
    return np.asarray(b.x + span * (v + (second - v) / (2.0 * where)))


_TRAINING = Target(
    "consistency_training",
    "loss(student, x0, eps, t, s, weight): student(x, t) is the consistency function",
    lambda b: (b.x0, b.eps, b.late, b.early, b.weight),
    lambda b, **how: _consistency(b, b.noisy(b.early), **how),
    {
        **_slips_of_consistency(lambda b: b.noisy(b.early)),
        EXCHANGED: lambda b: _consistency(b.exchanged, b.exchanged.noisy(b.early)),
        PRESERVING: lambda b: _consistency(b, b.preserving(b.early), states=b.preserving(b.late)),
        "each state is given to the student with the other's time": lambda b: _consistency(
            b, b.x, states=b.noisy(b.early)
        ),
    },
    wraps="consistency",
)
_DISTILLATION = Target(
    "consistency_distillation",
    "loss(student, velocity, x, t, s, weight): one Euler step of velocity(x, t) from t to s; student(x, t) is the "
    "consistency function",
    lambda b: (b.model("velocity"), b.x, b.late, b.early, b.weight),
    lambda b, **how: _consistency(b, _euler(b), **how),
    {
        **_slips_of_consistency(_euler),
        "the teacher is conditioned on s instead of t": lambda b: _consistency(b, _euler(b, at=b.early)),
        "the teacher is conditioned on the middle": lambda b: _consistency(b, _euler(b, at=0.5 * (b.late + b.early))),
        "the teacher's step goes the wrong way": lambda b: _consistency(b, _euler(b, sign=-1.0)),
        "the teacher's step goes half of the way": lambda b: _consistency(b, _euler(b, sign=0.5)),
        "the teacher takes two steps instead of one": lambda b: _consistency(b, _twice(b)),
        "the teacher's step is Ralston's, not Euler's": lambda b: _consistency(b, _two_stages(b, 2.0 / 3.0)),
        "the teacher's step is Heun's, not Euler's": lambda b: _consistency(b, _two_stages(b, 1.0)),
        "the teacher's step is of the midpoint rule, not Euler's": lambda b: _consistency(b, _two_stages(b, 0.5)),
        "the teacher's step goes all the way to time 0": lambda b: _consistency(
            b, b.x - b.late[:, None] * b.model("velocity")(b.x, b.late)
        ),
    },
    wraps="consistency",
)


def _continuous(
    b: TrainingBatch,
    *,
    still: str = TARGET,
    sign: float = 1.0,
    along: tuple[float, float] = (1.0, 1.0),
    boundary: bool = True,
    step: float = 0.0,
    central: bool = False,
    of_noise: bool = False,
    reversed_: bool = False,
    of_product: bool = False,
    floor: float | None = None,
    rows: FloatArray | float = 1.0,
) -> Outcome:
    theta, t = b.student.coefficients, b.late
    v = b.eps if of_noise else -b.velocity if reversed_ else b.velocity
    outputs, basis = _image(b, b.x, t)
    if step:
        later, turned = _image(b, b.x + step * v, t + step)
        sooner, before = _image(b, b.x - step * v, t - step) if central else (outputs, basis)
        width = 2.0 * step if central else step
        rate, turn = (later - sooner) / width, (turned - before) / width
    else:
        turn = -t[:, None] * b.student.tangent(b.x, t, 0.0, along[0] * v, along[1])
        if boundary:
            turn = turn - along[1] * b.student.basis(b.x, t, 0.0)
        rate = along[0] * v + turn @ theta
    if of_product:
        share = 2.0 * np.reshape(rows, (-1, 1)) / len(rate)
        return Outcome(0.0, np.asarray(basis.T @ (share * rate) + turn.T @ (share * outputs)))
    if floor is not None:
        rate = rate / (np.abs(rate) + floor)
    return regress(outputs, basis, outputs - sign * rate, moved=basis - sign * turn, still=still, rows=rows)


_CONTINUOUS = Target(
    "continuous_consistency",
    "loss(student, x0, eps, t): gradient 2 mean (df/dtheta) (df/dt); student(x, t) is the consistency function f",
    lambda b: (b.x0, b.eps, b.late),
    _continuous,
    {
        "the stop-gradient on the derivative is missing": lambda b: _continuous(b, still=NOTHING),
        "the stop-gradient on the derivative is missing in the product of output and derivative": lambda b: _continuous(
            b, of_product=True
        ),
        "the derivative is normalised, divided by |df/dt| + 0.1: a choice, if it was meant": lambda b: _continuous(
            b, floor=0.1
        ),
        EXCHANGED: lambda b: _continuous(b.exchanged),
        "the derivative of the factor t before the network is missing": lambda b: _continuous(b, boundary=False),
        "the derivative has the wrong sign": lambda b: _continuous(b, sign=-1.0),
        "the velocity is x_0 - eps: it points to the data": lambda b: _continuous(b, reversed_=True),
        "the tangent is eps instead of eps - x_0": lambda b: _continuous(b, of_noise=True),
        "the derivative with respect to t is missing": lambda b: _continuous(b, along=(1.0, 0.0)),
        "the derivative with respect to x is missing": lambda b: _continuous(b, along=(0.0, 1.0)),
    },
    lambda b, h, **how: _continuous(b, step=h, **how),
    has_value=False,
    wraps="consistency",
)


# ---------------------------------------------------------------- progressive distillation


def _ddim(x: FloatArray, data: FloatArray, t: FloatArray, s: FloatArray) -> FloatArray:
    decay = (s / t)[:, None]
    return np.asarray(decay * x + (1.0 - s[:, None] - decay * (1.0 - t[:, None])) * data)


def _progressive(
    b: TrainingBatch,
    *,
    weight: FloatArray | float | None = None,
    steps: int = 2,
    stale: bool = False,
    solved: bool = True,
    at: FloatArray | None = None,
    landed: bool = False,
    middle: FloatArray | None = None,
    borrowed: bool = False,
    apart: bool = False,
    mean: bool = False,
    short: bool = False,
    **how: Any,
) -> Outcome:
    teacher, t, s = b.model("data"), b.late, b.early
    middle = 0.5 * (t + s) if middle is None else middle
    first = data = teacher(b.x, t)
    if steps == 1:
        y = _ddim(b.x, data, t, s)
    else:
        half = _ddim(b.x, data, t, middle)
        data = teacher(b.x if apart else half, t if stale else middle)
        y = _ddim(half, data, middle, s)
    decay = (s / t)[:, None]
    target = (y - decay * b.x) / (1.0 - s[:, None] - decay * (1.0 - t[:, None])) if solved else data
    if borrowed:
        noise = (b.x - (1.0 - t[:, None]) * teacher(b.x, t)) / t[:, None]
        target = (y - s[:, None] * noise) / (1.0 - s[:, None])
    if mean:
        target = 0.5 * (first + data)
    if short:
        target = (y - decay * b.x) / (1.0 - s[:, None])
    basis = b.student.basis(b.x, t if at is None else at)
    goal = y if landed else target
    return regress(basis @ b.student.coefficients, basis, goal, b.weight if weight is None else weight, **how)


def _log_middle(b: TrainingBatch) -> FloatArray:
    return np.asarray(1.0 / (1.0 + np.sqrt((1.0 - b.late) * (1.0 - b.early) / (b.late * b.early))))


_PROGRESSIVE = Target(
    "progressive",
    "loss(student, teacher, x, t, s, weight): two DDIM steps of teacher(x, t) over (t + s)/2; student(x, t) and "
    "teacher predict data",
    lambda b: (b.model("data"), b.x, b.late, b.early, b.weight),
    _progressive,
    {
        "the distance is the absolute value instead of the square": lambda b: _progressive(b, distance=ABSOLUTE),
        "the weight is missing": lambda b: _progressive(b, weight=1.0),
        "the weight is squared": lambda b: _progressive(b, weight=b.weight**2),
        f"the {SPREAD}": lambda b: _progressive(b, weight=b.weight.mean()),
        "the weights are divided by their sum": lambda b: _progressive(b, weight=_shared(b.weight)),
        "the target is the state at s, not the data prediction that leads there": lambda b: _progressive(
            b, landed=True
        ),
        "the teacher takes one step instead of two": lambda b: _progressive(b, steps=1),
        "the teacher's second step is conditioned on t": lambda b: _progressive(b, stale=True),
        "the target is the teacher's second prediction, not what one step needs": lambda b: _progressive(
            b, solved=False
        ),
        "the student is conditioned on s instead of t": lambda b: _progressive(b, at=b.early),
        "the teacher's second prediction is at the first state": lambda b: _progressive(b, apart=True),
        "the target is the mean of the teacher's two predictions, not what one step needs": lambda b: _progressive(
            b, mean=True
        ),
        "the target is divided by alpha_s alone: the share of the first state's datum is left out": lambda b: (
            _progressive(b, short=True)
        ),
        "the middle is a third of the way": lambda b: _progressive(b, middle=(2.0 * b.late + b.early) / 3.0),
        **_crossed(_progressive),
        "the student is conditioned on the middle": lambda b: _progressive(b, at=0.5 * (b.late + b.early)),
        "the middle is that of log-SNR, not of time": lambda b: _progressive(b, middle=_log_middle(b)),
        "the middle is the geometric mean of the times": lambda b: _progressive(b, middle=np.sqrt(b.late * b.early)),
        "the noise of the teacher's first prediction stands for what one step implies": lambda b: _progressive(
            b, borrowed=True
        ),
    },
    wraps="data",
)


# ---------------------------------------------------------------- shortcut models


@dataclass(frozen=True)
class _Exchanged:
    """Basis of a student that is told its two times in the wrong order."""

    inner: FeatureStudent

    def basis(self, x: FloatArray, t: FloatArray, r: FloatArray) -> FloatArray:
        return np.asarray(self.inner.basis(x, r, t))

    def tangent(self, x: FloatArray, t: FloatArray, r: FloatArray, dx: FloatArray) -> FloatArray:
        return self.inner.tangent(x, r, t, dx)


def _shortcut(
    b: TrainingBatch,
    *,
    stale: bool = False,
    full: bool = False,
    short: bool = False,
    whole: bool = False,
    sign: float = 1.0,
    shares: tuple[float, float] = (0.5, 0.5),
    turned: bool = False,
    exchanged: bool = False,
    share: float = 0.5,
    **how: Any,
) -> Outcome:
    theta, t, r = b.student.coefficients, b.late, b.early
    net = _Exchanged(b.student) if exchanged else b.student
    middle = t + share * (r - t)
    length = sign * ((t - r) if full else (t - middle))[:, None]
    late = net.basis(b.x, t, r if whole else middle)
    there = b.x - length * (late @ theta)
    first, second = (t, middle) if stale else (middle, r)
    early = net.basis(there, first, second)
    turn = net.tangent(there, first, second, np.ones_like(there)) @ theta
    moved = np.asarray(shares[0] * late + shares[1] * (early - length * turn * late))
    basis = net.basis(b.x, *((r, t) if turned else (t, middle if short else r)))
    target = (shares[0] * late + shares[1] * early) @ theta
    return regress(basis @ theta, basis, target, moved=moved, **how)


_SHORTCUT = Target(
    "shortcut",
    "loss(student, x, t, r): mean over the two halves about (t + r)/2; student(x, t, r) is the average velocity",
    lambda b: (b.x, b.late, b.early),
    _shortcut,
    {
        **_of_any_regression(_shortcut),
        MEETING: lambda b: _shortcut(b, crossed="outputs"),
        "the second half step is conditioned on the time of the first": lambda b: _shortcut(b, stale=True),
        "the first half step has the full length": lambda b: _shortcut(b, full=True),
        "the first half step goes the wrong way": lambda b: _shortcut(b, sign=-1.0),
        "the second half starts where the first does": lambda b: _shortcut(b, sign=0.0),
        "the first half is asked for the whole step": lambda b: _shortcut(b, whole=True),
        "the target is the sum of the halves, not their mean": lambda b: _shortcut(b, shares=(1.0, 1.0)),
        "the target is the second half alone": lambda b: _shortcut(b, shares=(0.0, 1.0)),
        "the target is the first half alone": lambda b: _shortcut(b, shares=(1.0, 0.0)),
        "the student is conditioned on half of its step": lambda b: _shortcut(b, short=True),
        "t and r are exchanged in the output, not in the halves": lambda b: _shortcut(b, turned=True),
        "t and r are exchanged in the halves, not in the output": lambda b: _shortcut(b, exchanged=True, turned=True),
        "t and r are exchanged in every call of the student": lambda b: _shortcut(b, exchanged=True),
        "the halves meet at a third of the way": lambda b: _shortcut(b, share=1.0 / 3.0),
    },
)


# ---------------------------------------------------------------- gradients of samples


def _matching(
    b: TrainingBatch,
    *,
    sign: float = 1.0,
    clean: bool = False,
    half_clean: bool = False,
    divided: bool = False,
    held: bool = True,
    noise: bool = False,
    own: bool = True,
    power: float = 0.0,
    turned: bool = False,
    rows: FloatArray | float = 1.0,
) -> Outcome:
    real, fake = b.model("data"), b.model("data", fake=True)
    x, at = b.x0 if clean else b.x, 1.0 - b.late if turned else b.late
    pull = (fake(b.x0 if half_clean else x, at) if own else b.x0) - real(x, at)
    if noise:
        pull = pull * ((1.0 - b.late) / b.late)[:, None]
    pull = pull * (1.0 - b.late)[:, None] ** power
    if divided:
        pull = pull / np.abs(b.x0 - real(x, b.late))
    if not held:
        ones = np.ones_like(x)
        turn = fake.jvp(x, b.late, ones) - real.jvp(x, b.late, ones)
        pull = pull + b.x0 * (1.0 - b.late)[:, None] * turn
    return Outcome(0.0, np.asarray(sign * np.reshape(rows, (-1, 1)) * pull / len(x)))


_MATCHING = Target(
    "distribution_matching",
    "loss(sample, real, fake, eps, t): gradient mean of D_fake(x_t) - D_real(x_t) with respect to the sample x, x_t = "
    "(1 - t) x + t eps",
    lambda b: (b.model("data"), b.model("data", fake=True), b.eps, b.late),
    _matching,
    {
        "the sign is reversed: the student flees the data": lambda b: _matching(b, sign=-1.0),
        "the denoisers see the clean sample": lambda b: _matching(b, clean=True),
        "the fake denoiser sees the clean sample": lambda b: _matching(b, half_clean=True),
        "the denoisers are told 1 - t: their time runs from data to noise": lambda b: _matching(b, turned=True),
        "the difference is of noises, alpha/sigma times that of data": lambda b: _matching(b, noise=True),
        "the sample stands for the fake denoiser: this is score distillation": lambda b: _matching(b, own=False),
        "there is a factor alpha too much, of dx_t/dx": lambda b: _matching(b, power=1.0),
        "each sample is divided by |x - D_real|, as DMD2's code does": lambda b: _matching(b, divided=True),
        "the stop-gradient on the difference is missing": lambda b: _matching(b, held=False),
    },
    has_value=False,
    wraps="sample",
)


def _score(
    b: TrainingBatch,
    *,
    sign: float = 1.0,
    weight: FloatArray | float | None = None,
    subtract: float = 1.0,
    through: bool = False,
    power: float = 0.0,
    turned: bool = False,
    clean: bool = False,
    rows: FloatArray | float = 1.0,
) -> Outcome:
    model, x = b.model("noise"), b.x0 if clean else b.x
    gap = model(x, 1.0 - b.late if turned else b.late) - subtract * b.eps
    if through:
        gap = gap * model.jvp(x, b.late, np.ones_like(x)) * (1.0 - b.late)[:, None]
    gap = gap * (1.0 - b.late)[:, None] ** power
    w = np.broadcast_to(np.asarray(b.weight if weight is None else weight, dtype=np.float64).reshape(-1, 1), x.shape)
    return Outcome(0.0, np.asarray(sign * np.reshape(rows, (-1, 1)) * w * gap / len(x)))


_SCORE = Target(
    "score_distillation",
    "loss(sample, noise_model, eps, t, weight): gradient mean of weight (eps_model(x_t) - eps) with respect to the "
    "sample x, x_t = (1 - t) x + t eps",
    lambda b: (b.model("noise"), b.eps, b.late, b.weight),
    _score,
    {
        "the sign is reversed": lambda b: _score(b, sign=-1.0),
        "the weight is missing": lambda b: _score(b, weight=1.0),
        "the weight is squared": lambda b: _score(b, weight=b.weight**2),
        f"the {SPREAD}": lambda b: _score(b, weight=b.weight.mean()),
        "there is a factor alpha too much, of dx_t/dx": lambda b: _score(b, power=1.0),
        "the noise is not subtracted": lambda b: _score(b, subtract=0.0),
        "the noise is added, not subtracted": lambda b: _score(b, subtract=-1.0),
        "the model is told 1 - t: its time runs from data to noise": lambda b: _score(b, turned=True),
        "the model sees the clean sample": lambda b: _score(b, clean=True),
        "the gradient goes through the network": lambda b: _score(b, through=True),
    },
    has_value=False,
    wraps="sample",
)


TARGETS: Mapping[str, Target] = MappingProxyType(
    {
        target.name: target
        for target in (
            _MEAN_FLOW,
            _TRAINING,
            _DISTILLATION,
            _CONTINUOUS,
            _PROGRESSIVE,
            _SHORTCUT,
            _MATCHING,
            _SCORE,
        )
    }
)
"""Losses that the bench knows, by name."""
