r"""The law that a guidance rule samples, without Monte Carlo, and how far it is from what is claimed.

A deterministic plan is a map of noise to samples. On a quadrature of the noise, in one or two dimensions, its images
and the determinants of its Jacobian give expectations, distances and the divergence from a known target. With the
number of steps grown until nothing changes, the same for the guided equation itself: what is left then is due to the
rule, and what goes away is due to the steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device

from diffnum.grids import uniform_half_log_snr
from diffnum.guidance.bayes import BayesClassifier
from diffnum.guidance.perturbed_attention import degraded
from diffnum.guidance.record import GuidanceRule
from diffnum.guidance.registry import RULES
from diffnum.jobs.checked import check_name
from diffnum.plans import Plan, plan
from diffnum.problems._states import positive_count
from diffnum.problems.mixture import GaussianMixture, mixture_of
from diffnum.problems.targets import PowerProduct
from diffnum.schedules import VPLinear
from diffnum.solver import solve
from diffnum.types import Denoiser, FloatArray, Schedule

__all__ = ["GuidanceBias", "GuidanceStudy", "GuidedLaw", "claimed_law", "guidance_study", "guided_law", "parts_of"]

NODES = {1: 2001, 2: 41}
"""Quadrature nodes of the noise an axis, by dimension."""

REACH = 5.5
"""Standard deviations of the noise to which the nodes reach."""

ANGLES = 16
"""Directions on which laws in the plane are compared."""

STEP = 1e-5
"""Of the differences that give the Jacobian, in standard deviations of the noise."""

LIMIT = 1e-3
"""Change on doubling the steps, in the distance below, at which the limit of small steps is reached."""

MOST = 1280
"""Largest number of steps for that limit."""

FINER = {1: 20001, 2: 401}
"""Nodes an axis for the share of a class in a target, by dimension."""


@dataclass(frozen=True, eq=False)
class GuidedLaw:
    """Images of a quadrature of the noise under a deterministic run.

    Parameters
    ----------
    points : ndarray, shape (n, d)
        Images.
    shares : ndarray, shape (n,)
        Of the noise at their nodes.
    log_prob : ndarray, shape (n,)
        Logarithm of the density there, from the noise and the Jacobian; of one branch where the map folds.
    folded : float
        Share of the noise where the map turns over (a determinant <= 0), which no flow does: there the step is too long
        for the field, and the divergence below is a lower bound.
    """

    points: FloatArray = field(repr=False)
    shares: FloatArray = field(repr=False)
    log_prob: FloatArray = field(repr=False)
    folded: float

    def expectation(self, function: Callable[[FloatArray], FloatArray]) -> FloatArray:
        """Expectation of a function of states, shape (n, d) to (n, ...)."""
        return np.asarray(np.tensordot(self.shares, function(self.points), axes=(0, 0)))

    @property
    def mean(self) -> FloatArray:
        """Mean, shape (d,)."""
        return np.asarray(self.shares @ self.points)

    @property
    def covariance(self) -> FloatArray:
        """Covariance matrix, shape (d, d)."""
        centred = self.points - self.mean
        return np.asarray((centred * self.shares[:, None]).T @ centred)

    def kl(self, target: Any) -> float:
        """Kullback-Leibler divergence of this law from a target with ``log_prob``, in nats."""
        return float(self.shares @ (self.log_prob - np.asarray(target.log_prob(self.points))))

    def w2(self, other: Any) -> float:
        r"""Wasserstein distance of order 2: exact on the line, sliced in the plane.

        Parameters
        ----------
        other : GuidedLaw, PowerProduct, or tuple of two arrays
            Another law; points, shape (m, d), and shares, shape (m,), of anything else.

        Returns
        -------
        float
            In the plane the root of twice the mean square distance of the projections, which is the distance itself
            for laws that differ by a shift; with the default nodes it is certain to about 0.02.
        """
        points, shares = points_of(other)
        dim = self.points.shape[1]
        angles = (np.arange(ANGLES) + 0.37) * np.pi / ANGLES  # off the axes, along which nodes of a grid coincide
        ways = np.stack([np.cos(angles), np.sin(angles)], axis=1) if dim == 2 else np.ones((1, 1))
        squares = [_line_distance(self.points @ u, self.shares, points @ u, shares) for u in ways]
        return math.sqrt(dim * float(np.mean(squares)))

    def share(self, classifier: Any, label: int) -> float:
        """Share of the law that a classifier of data gives a label."""
        return float(self.shares @ (np.argmax(np.asarray(classifier(self.points, None)), axis=1) == label))


def guided_law(model: Denoiser, numbers: Plan, dim: int, *, nodes: int | None = None) -> GuidedLaw:
    """Law of the samples of a model under a deterministic plan.

    Parameters
    ----------
    model : Denoiser
        Guided or not.
    numbers : Plan
        Plan without noise.
    dim : int
        Dimension of the states, 1 or 2.
    nodes : int, optional
        Nodes an axis of the noise: 2001 on the line, 41 in the plane, by default.

    Returns
    -------
    GuidedLaw

    Raises
    ------
    ValueError
        If the dimension is neither, or the plan draws noise.
    """
    if dim not in NODES:
        msg = f"dim={dim!r}: the law is found by quadrature of the noise in one or two dimensions"
        raise ValueError(msg)
    if any(step.noises for step in numbers.steps):
        msg = (
            f"plan: {numbers.method!r} draws noise, and its law is no image of the start; use a deterministic method "
            "such as 'dpmpp_2m', or diffnum.particles.run"
        )
        raise ValueError(msg)
    count = NODES[dim] if nodes is None else positive_count(nodes, "nodes")
    line = np.linspace(-REACH, REACH, count)  # the trapezoidal rule: exact to rounding for smooth maps
    z = np.stack(np.meshgrid(*[line] * dim, indexing="ij"), axis=-1).reshape(-1, dim)
    moves = STEP * np.concatenate([np.zeros((1, dim)), np.eye(dim), -np.eye(dim)])
    t = float(numbers.times[0])
    alpha, sigma = float(numbers.schedule.alpha(t)), float(numbers.schedule.sigma(t))
    start = sigma * (z + moves[:, None]).reshape(-1, dim) + (1.0 - alpha) * np.asarray(numbers.schedule.mean)
    ends = np.asarray(solve(numbers, model, start)).reshape(len(moves), len(z), dim)
    columns = (ends[1 : 1 + dim] - ends[1 + dim :]) / (2.0 * STEP)
    size = np.linalg.det(np.moveaxis(columns, 0, 2))
    with np.errstate(divide="ignore"):
        log_prob = -0.5 * np.sum(z * z, axis=1) - 0.5 * dim * math.log(2.0 * math.pi) - np.log(np.abs(size))
    shares = np.exp(-0.5 * np.sum(z * z, axis=1))
    shares = shares / np.sum(shares)
    return GuidedLaw(ends[0], shares, log_prob, float(shares @ (size <= 0.0)))


@dataclass(frozen=True)
class GuidanceBias:
    """How far a law is from the claimed target.

    Parameters
    ----------
    scale : float
        Of the rule.
    steps : int or None
        Of the run; None for the limit of small steps.
    kl : float
        Divergence of the law from the target, in nats.
    w2 : float
        Distance of order 2 from the target; see :meth:`GuidedLaw.w2`.
    accuracy : float
        Share that the exact classifier gives the wanted class.
    from_limit : float
        Distance of order 2 from the limit of small steps, the part due to the steps; 0 for the limit itself, NaN where
        there is none.
    folded : float
        See :class:`GuidedLaw`.
    """

    scale: float
    steps: int | None
    kl: float
    w2: float
    accuracy: float
    from_limit: float
    folded: float


@dataclass(frozen=True)
class GuidanceStudy:
    r"""What a rule samples on a mixture, against the law that it is held to.

    Parameters
    ----------
    rule, method : str
        Rule, and method of the runs.
    claim : str
        The target: ``"power"`` for :math:`p_\emptyset^{1-w} p_c^w`, ``"class"`` for the class itself.
    rows : tuple of GuidanceBias
        For each scale the limit first, where there is one, then the numbers of steps.
    target_accuracy : mapping of float to float
        Share of the wanted class in the target, by scale.
    """

    rule: str
    method: str
    claim: str
    rows: tuple[GuidanceBias, ...]
    target_accuracy: Mapping[float, float]

    def at(self, scale: float, steps: int | None = None) -> GuidanceBias:
        """Row of a scale and a number of steps; None for the limit.

        Raises
        ------
        KeyError
            If it was not measured.
        """
        for row in self.rows:
            if row.scale == scale and row.steps == steps:
                return row
        msg = f"scale={scale!r}, steps={steps!r} was not measured"
        raise KeyError(msg)


def guidance_study(
    rule: GuidanceRule | str,
    problem: GaussianMixture,
    label: int,
    scales: Sequence[float],
    *,
    steps: Sequence[int] = (10, 20, 40),
    method: str = "dpmpp_2m",
    schedule: Schedule | None = None,
    claim: str | None = None,
    nodes: int | None = None,
    **parts: Any,
) -> GuidanceStudy:
    r"""Measure the law that a guidance rule samples on a mixture with classes.

    Parameters
    ----------
    rule : str or GuidanceRule
        Key of :data:`diffnum.guidance.RULES`, or the record.
    problem : GaussianMixture
        In one or two dimensions, with labels 0 to K - 1.
    label : int
        The wanted class.
    scales : sequence of float
        Scales of the rule.
    steps : sequence of int
        Numbers of steps, uniform in half-log-SNR.
    method : str
        Deterministic method of the catalogue.
    schedule : Schedule, optional
        VP-linear by default.
    claim : {"power", "class"}, optional
        Target: the power product whose exponent the rule's record has, or the class; by default the first where there
        is an exponent.
    nodes : int, optional
        As for :func:`guided_law`.
    **parts
        What the rule takes; what it needs and is not given is exact: see :func:`parts_of`.

    Returns
    -------
    GuidanceStudy

    Raises
    ------
    ValueError
        If the target does not exist (the message of :class:`~diffnum.problems.targets.PowerProduct`), or a part is
        missing.
    """
    record = rule
    if not isinstance(record, GuidanceRule):
        check_name("rule", record, RULES)
        record = RULES[record]
    law, process = mixture_of(problem), VPLinear() if schedule is None else schedule
    kind = claim or ("class" if record.exponent is None else "power")
    check_name("claim", kind, ("power", "class"))
    classifier = BayesClassifier(law, process)
    reference = parts.get("weak", parts.get("perturbed"))
    rows, accuracy = [], {}
    for scale in scales:
        target = claimed_law(record, law, label, scale, kind, reference)
        accuracy[float(scale)] = _share_of(target, classifier, label)

        def run(count: int, name: str, scale: float = scale) -> GuidedLaw:
            grid = uniform_half_log_snr(process, count)
            known = parts_of(record, law, label, process, grid=grid) | _models(parts, process)
            model = record(_base(record, law, label, process), scale, **known)
            return guided_law(model, plan(name, process, grid), law.dim, nodes=nodes)

        limit = _limit(run) if record.limit else None
        laws: list[tuple[int | None, GuidedLaw]] = [(None, limit)] if limit is not None else []
        laws += [(count, run(count, method)) for count in steps]
        rows += [
            GuidanceBias(
                float(scale),
                count,
                found.kl(target),
                found.w2(target),
                found.share(classifier, label),
                math.nan if limit is None else 0.0 if count is None else found.w2(limit),
                found.folded,
            )
            for count, found in laws
        ]
    return GuidanceStudy(record.name, method, kind, tuple(rows), accuracy)


def claimed_law(
    record: GuidanceRule, law: GaussianMixture, label: int, scale: float, claim: str, weak: Any = None
) -> PowerProduct:
    r"""Law to which a rule is held: :math:`p_0^{1-w} p_c^w` with its exponent w, or the class.

    Parameters
    ----------
    record : GuidanceRule
        The rule.
    law : GaussianMixture
        With classes.
    label : int
        The wanted class.
    scale : float
        Of the rule.
    claim : {"power", "class"}
        Which of the two.
    weak : GaussianMixture, optional
        Law in the place of :math:`p_0`, for rules that move away from a worse model; for those the class with
        covariances twice as large by default.

    Returns
    -------
    PowerProduct

    Raises
    ------
    ValueError
        If the rule has no exponent, or the product no integral.
    """
    own = law.conditional(label)
    if claim == "class":
        return PowerProduct((own,), (1.0,))
    if record.exponent is None:
        msg = f"the rule {record.name!r} is said to sample no power of the laws: use claim='class'"
        raise ValueError(msg)
    w = record.exponent(scale)
    worse = bool({"weak", "perturbed"} & set(record.needs))
    other = (degraded(own, 2.0) if weak is None else weak) if worse else law
    return PowerProduct((other, own), (1.0 - w, w))


def parts_of(
    record: GuidanceRule, law: GaussianMixture, label: int, schedule: Schedule, *, grid: Any = None
) -> dict[str, Any]:
    """Exact parts of a rule on a mixture with classes.

    The unconditional model is that of the mixture, the classifier is Bayes', the worse model has the class's
    covariances twice as large, and the guider pulls to the mean of the class.

    Parameters
    ----------
    record : GuidanceRule
        The rule.
    law : GaussianMixture
        With classes.
    label : int
        The wanted class.
    schedule : Schedule
        The noising process.
    grid : Grid, optional
        Of the run, for rules that depend on it.
    """
    own = law.conditional(label)
    worse = degraded(own, 2.0).denoiser(schedule)
    makers: dict[str, Callable[[], Any]] = {
        "unconditional": lambda: law.denoiser(schedule),
        "weak": lambda: worse,
        "perturbed": lambda: worse,
        "grid": lambda: grid,
        "interval": lambda: (0.2, 5.0),
        "classifier": lambda: BayesClassifier(law, schedule),
        "guiders": lambda: (_ToMean(own.denoiser(schedule), own.weights @ own.means),),
        "label": lambda: label,
        "classes": lambda: [law.conditional(k).denoiser(schedule) for k in range(len(set(law.labels.tolist())))],
    }
    wanted = {*record.needs, *record.takes} - ({"interval"} - set(record.needs))
    return {name: make() for name, make in makers.items() if name in wanted}


@dataclass(frozen=True, eq=False)
class _ToMean:
    """Gradient of half the square distance of the predicted data from a point, by the predicted data."""

    model: Denoiser
    point: FloatArray

    def __call__(self, x: Any, t: Any) -> Any:
        data = self.model(x, t)
        point = array_namespace(x).asarray(self.point, dtype=x.dtype, device=device(x))
        return data - array_namespace(x).reshape(point, (1, *x.shape[1:]))


def points_of(law: Any) -> tuple[FloatArray, FloatArray]:
    """Points and shares that stand for a law."""
    if isinstance(law, GuidedLaw):
        return law.points, law.shares
    if isinstance(law, tuple):
        return np.asarray(law[0], dtype=float), np.asarray(law[1], dtype=float)
    if not isinstance(law, PowerProduct):
        law = PowerProduct((mixture_of(law),), (1.0,))
    points, shares = law.core.grid.points()
    return points, shares


def _base(record: GuidanceRule, law: GaussianMixture, label: int, schedule: Schedule) -> Denoiser:
    """Model that is guided: that of the class, or that of the mixture where a classifier brings the class."""
    alone = "classifier" in record.needs and "classes" not in record.takes
    return (law if alone else law.conditional(label)).denoiser(schedule)


def _models(parts: Mapping[str, Any], schedule: Schedule) -> dict[str, Any]:
    """Parts as given, laws replaced by their models."""
    return {
        name: value.denoiser(schedule) if isinstance(value, GaussianMixture) else value for name, value in parts.items()
    }


def _limit(run: Callable[[int, str], GuidedLaw]) -> GuidedLaw:
    """Law of small steps: twice as many until it stays."""
    count, found = 80, run(80, "dpmpp_2m")
    while count < MOST:
        count *= 2
        finer = run(count, "dpmpp_2m")
        if found.w2(finer) < LIMIT:
            return finer
        found = finer
    return found


def _share_of(target: PowerProduct, classifier: BayesClassifier, label: int) -> float:
    """Share of a target that the classifier gives a label; the grid is refined, since the label jumps."""
    axes = [np.linspace(a[0], a[-1], FINER[target.dim]) for a in target.core.grid.axes]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, target.dim)
    shares = np.exp(target.log_prob(points))
    hits = np.argmax(classifier(points, None), axis=1) == label
    return float(np.sum(shares * hits) / np.sum(shares))


def _line_distance(a: FloatArray, p: FloatArray, b: FloatArray, q: FloatArray) -> float:
    """Square of the distance of order 2 of shares p at ``a`` from shares q at b, on the line.

    Points stand for the broken line through their distribution function, half of each share on either side.
    """
    first, second = np.argsort(a), np.argsort(b)
    (a, p), (b, q) = (a[first], p[first]), (b[second], q[second])
    found = np.interp(np.cumsum(p) - 0.5 * p, np.cumsum(q) - 0.5 * q, b)
    return float(p @ (a - found) ** 2)
