"""Plans found for one model: the best few evaluations by least squares on a teacher's end points.

The prototype of this is short: residuals are distances from where a converged plan ends, unknowns are all numbers of a
sampler (:mod:`diffnum.calibration.weights`), derivatives go forward through the run, and Levenberg-Marquardt needs ten
or twenty steps. Everything is measured on noises that the fit has not seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from diffnum.calibration.descent import SumOfSquares
from diffnum.calibration.diagnostics import Diagnostics, diagnose
from diffnum.calibration.hosts import Host, host_of, start_states
from diffnum.calibration.least_squares import Iterate, LeastSquares, levenberg_marquardt
from diffnum.calibration.losses import LOSSES, EndpointGoal, FeatureGoal, Goal, TrajectoryGoal
from diffnum.calibration.probes import ProbedSum, probes_for
from diffnum.calibration.relaxed import RelaxedSum
from diffnum.calibration.rivals import Rival, Samples, catalogue_plans, endpoint_error, ranked
from diffnum.calibration.sensitivities import DERIVATIVES
from diffnum.calibration.teachers import Teacher, converged_teacher, memo_of, own_teacher, taught
from diffnum.calibration.transfer import Transfer, check_others, transferred
from diffnum.calibration.weights import FREE, Numbers, SolverSpace
from diffnum.jobs.ledger import Ledger, Progress, digest, nothing_of_refused
from diffnum.plans import Plan
from diffnum.types import Array, Denoiser, FloatArray

__all__ = ["Fit", "fit_plan", "run_ends", "transfer_table"]

_SCREENED = (2, 8, 32)
"""Noises on which all rivals, then the better ones, are tried; the best are measured on all."""

_KEPT = (36, 12, 6)
"""Rivals that are left after each."""

_EXACT, _NETWORK, _LARGE_NETWORK = (16, 40, 128), (2, 25, 128), (2, 25, 64)
"""Starts, iterations and noises by default: what is done in minutes on two cores."""

_REVERSIBLE = ("endpoint", "robust")
"""Losses that reverse differentiation knows."""

_LARGE = 512
"""Numbers of a sample from which on reverse differentiation is the cheaper way (measured: 64 lose, 1024 win)."""

_REVERSED = 8
"""Samples of which a whole run is remembered at once for its reverse derivatives."""


@dataclass(frozen=True, eq=False)
class Fit:
    """A plan that was found, and what it is worth.

    Parameters
    ----------
    plan : Plan
        Its numbers; ``plan.found_for`` says for what it was found, and how.
    train_error, test_error : float
        Root-mean-square distance of its end points from the teacher's, relative to their size, on the noises of the
        fit and on unseen ones.
    baseline : Rival
        The best plan of the catalogue on the same unseen noises: method, grid, error, plan.
    start : Rival
        Plan of the catalogue from which it was found, or the one that was given, with its error on the noises of the
        fit.
    losses : tuple of float
        Root of the loss after each step, the start included.
    teacher : Teacher
        What was followed, and how far it is converged.
    diagnostics : Diagnostics
        What its numbers say.
    space : SolverSpace
        The space that was searched.
    theta : ndarray, shape (space.size,)
        Where in it the plan is.
    transfer : tuple of Transfer
        What it is worth on the models that were named for it.
    """

    plan: Plan
    train_error: float
    test_error: float
    baseline: Rival
    start: Rival
    losses: tuple[float, ...]
    teacher: Teacher
    diagnostics: Diagnostics
    space: SolverSpace
    theta: FloatArray
    transfer: tuple[Transfer, ...] = ()

    @property
    def ratio(self) -> float:
        """Error on unseen noises over that of the best of the catalogue."""
        return self.test_error / self.baseline.error

    def to_dict(self) -> dict[str, Any]:
        """Numbers of the result but for the plan, as JSON-able data."""
        return {
            "found_for": dict(self.plan.found_for or {}),
            "nfe": self.plan.nfe,
            "train_error": self.train_error,
            "test_error": self.test_error,
            "baseline": {k: getattr(self.baseline, k) for k in ("method", "grid", "error")},
            "ratio": self.ratio,
            "start": {k: getattr(self.start, k) for k in ("method", "grid", "error")},
            "losses": list(self.losses),
            "teacher": {
                "method": self.teacher.plan.method,
                "steps": len(self.teacher.plan),
                "agreement": self.teacher.agreement,
            },
            "diagnostics": asdict(self.diagnostics),
            "transfer": [asdict(row) | {"ratio": row.ratio} for row in self.transfer],
        }

    def __str__(self) -> str:
        return (
            f"{self.plan.nfe} evaluations: error {self.test_error:.4g} on unseen noises ({self.train_error:.4g} on "
            f"those of the fit), {self.ratio:.2f} of the best of the catalogue, {self.baseline.name} "
            f"({self.baseline.error:.4g})"
        )


def fit_plan(
    model: Denoiser,
    nfe: int,
    *,
    n: int | None = None,
    n_test: int | None = None,
    seed: int = 0,
    free: Sequence[str] = FREE,
    loss: str = "endpoint",
    radius: float = 0.05,
    cut: float = 0.2,
    features: Callable[[Array], Array] | None = None,
    rows: str = "free",
    starts: int | None = None,
    begin: Plan | None = None,
    iterations: int | None = None,
    teacher: Plan | None = None,
    teacher_tolerance: float = 1e-3,
    derivatives: str = "auto",
    label: Any = None,
    t_start: float | None = None,
    t_end: float | None = None,
    memory: int = 2**28,
    ledger: str | Path | None = None,
    cache: str | Path | None = None,
    progress: Progress | None = None,
    command: str = "",
    elsewhere: Mapping[str, Any] | None = None,
) -> Fit:
    r"""Find the plan of a few evaluations that follows a converged one best.

    Parameters
    ----------
    model : Denoiser
        A network, as from :func:`diffnum.load`, perhaps guided, or the exact denoiser of a problem.
    nfe : int
        Evaluations of the plan.
    n, n_test : int
        Noises of the fit, by default 128, and 64 where a sample of a network has at least 512 numbers; and unseen ones,
        by default as many: the streams 0 to n - 1, and the following, of ``seed``.
    seed : int
        Seed of the noises, the same as in :func:`diffnum.sample`. The same seed gives the same bits.
    free : sequence of str
        What may change, of ``"times"`` (the level that the network is told), ``"levels"`` (that of the states),
        ``"weights"``, ``"scale"`` (a factor on the state in the last step).
    loss : {"endpoint", "robust", "relaxed", "trajectory", "features"}
        Squared distance of the end points; Cauchy's of the same, for which samples that miss by more than ``cut`` count
        less; the first, where each start may move by ``radius`` times its norm; of all states on the way; of
        ``features`` of the end points. Errors are measured from the starts as they are.
    radius : float
        For the relaxed loss.
    cut : float
        For the robust loss: distance, relative to the size of a sample, at which a sample counts half.
    features : callable, optional
        For the loss of that name: a differentiable torch function from samples to features, shape (n, m).
    rows : {"free", "order_1", "order_2"}
        Conditions on every row of weights.
    starts : int, optional
        From how many of the best plans of the catalogue to begin; the best result on the noises of the fit is taken.
        By default 2 for a network and 16 for an exact problem, where runs are cheap: between sharp modes are many local
        optima, of which 4 starts miss the best.
    begin : Plan, optional
        A plan that takes the place of the first of them: found before, with fewer noises or for another model. What it
        was found for stands in ``plan.found_for["begin"]``.
    iterations : int, optional
        Steps of Levenberg-Marquardt from each start, at most; by default 25 for a network and 40 for an exact problem.
    teacher : Plan, optional
        Plan to follow; by default one of so many steps that twice as many change less than ``teacher_tolerance``.
    teacher_tolerance : float
        Root-mean-square change, relative to the size of the end points.
    derivatives : {"auto", "forward", "differences", "reverse"}
        How a network is differentiated: ``torch.func.jvp``; central differences, for networks without it (and on a
        CPU sometimes the faster way); or backwards, with a matrix of the normal equations from random directions, at a
        cost that does not grow with the number of unknowns (:class:`~diffnum.calibration.probes.ProbedSum`), for large
        networks and losses of end points. ``"auto"`` goes backwards where a sample of a network has at least 512
        numbers and the loss is of end points, else forward.
    label : int, "each" or None
        Condition of a network with classes; ``"each"`` for all in turn.
    t_start, t_end : float, optional
        Ends of the run; those of the model by default.
    memory : int
        Bytes for tangents: it decides how many samples go through at once.
    ledger : path, optional
        File in which finished work is written down; a run that was interrupted goes on from there. One that is refused
        leaves none.
    cache : path, optional
        File in which the teacher's end points and the errors of the catalogue are kept, for other fits of the same
        model and seed: with other numbers of evaluations, other losses. By default they stand in ``ledger``.
    progress : callable, optional
        Called as ``progress(done, total, what)``.
    command : str
        What was typed, for ``plan.found_for``.
    elsewhere : mapping of str to Denoiser, optional
        Other models of the same schedule, by names of your own (other guidance, other classes, other weights), on which
        the plan is held against the catalogue's best as well: ``result.transfer``.

    Returns
    -------
    Fit

    Raises
    ------
    ValueError
        If an argument is out of range, the teacher is stochastic or does not converge, there are too few samples for
        the number of unknowns, the model returns NaN, or it has no such derivatives.

    References
    ----------
    The space: Shaul et al., Bespoke Non-Stationary Solvers, arXiv:2403.01329, section 3.
    """
    starts, iterations, n = (
        usual if own is None else own for own, usual in zip((starts, iterations, n), _effort(model), strict=True)
    )
    _check(nfe, n, n_test, seed, loss, radius, features, starts, iterations)
    _check_kinds(free, begin, teacher, teacher_tolerance, derivatives, memory, (ledger, cache), elsewhere)
    derivatives = _way(model, loss, derivatives)
    _check_reverse(loss, cut, derivatives)
    host = host_of(model, derivatives=derivatives, label=label)
    others = dict(elsewhere or {})
    check_others(model.schedule, others)
    ends = run_ends(model, t_start, t_end)
    space = SolverSpace.native(model.prediction, model.schedule, ends, nfe)
    space = replace(space, free=tuple(free), rows=rows)
    given = None if begin is None else _given(space, begin)
    origin = {} if begin is None else {"begin": begin.found_for or begin.method}
    begin = begin if begin is None else replace(begin, found_for=None)
    if getattr(model, "rounds_time", False) and ({"times", "levels"} & set(free)):
        msg = f"free={tuple(free)!r}: the network rounds times to its labels; use free=('weights', 'scale')"
        raise ValueError(msg)
    dim, unknowns = math.prod(host.shape), int(space.mask.sum())
    if n * dim < 2 * unknowns:
        msg = (
            f"n={n}: {n * dim} residuals are too few for {unknowns} unknowns; use at least n={-(-2 * unknowns // dim)}"
        )
        raise ValueError(msg)
    _try_derivatives(host, start_states(host, seed, 0, 1, ends[0]), ends[0], derivatives)
    identity = host.identity()
    settings = {
        "identity": identity, "nfe": int(nfe), "n": n, "n_test": n_test, "seed": seed, "free": list(free), "loss": loss,
        "radius": radius, "cut": cut, "rows": rows, "starts": starts, "ends": list(ends), "derivatives": derivatives,
        "begin": None if given is None else given.tolist(),
        "memory": memory, "teacher": teacher_tolerance if teacher is None else teacher.to_dict(),
        "schedule": model.schedule.to_dict(),
    }  # fmt: skip
    chunk = (
        _REVERSED
        if derivatives == "reverse"
        else max(1, min(64, n, memory // ((nfe + 3) * unknowns * dim * host.itemsize)))
    )
    job = _Job(host, space, chunk, seed, Ledger(None if ledger is None else Path(ledger)), digest(settings), progress)
    with nothing_of_refused(ledger, cache):
        total = starts * iterations + 3
        job.report(0, total, "teacher")
        memo = memo_of(
            host, seed, ends, teacher_tolerance if teacher is None else teacher,
            job.ledger if cache is None else Ledger(Path(cache)),
        )  # fmt: skip
        guide = (
            converged_teacher(host, seed, ends, teacher_tolerance, memo)
            if teacher is None
            else own_teacher(teacher, ends)
        )
        count = n if n_test is None else n_test
        train, test = (taught(host, guide, seed, some, ends, chunk, memo) for some in (range(n), range(n, n + count)))
        job.report(1, total, "catalogue")
        rivals = catalogue_plans(model.schedule, ends, nfe)
        for noises, kept in zip(_SCREENED, _KEPT, strict=True):
            rivals = ranked(rivals, train.head(noises))[: max(kept, 2 * starts)]
        rivals = ranked(rivals, train)
        baseline = ranked(rivals, test)[0]
        goals = job.goals(loss, train, guide, features)
        best: tuple[float, Rival, FloatArray, tuple[float, ...]] | None = None
        chosen = list(_beginnings(space, rivals, starts))
        if begin is not None and given is not None:
            chosen = [(Rival(begin.method, "its own levels", endpoint_error(begin, train), begin), given), *chosen][
                :starts
            ]
        for number, (rival, vector) in enumerate(chosen):
            theta, losses = job.descend(number, vector, train, goals, iterations, total, settings)
            error = endpoint_error(space.plan(theta), train) if loss != "features" else losses[-1]
            if best is None or error < best[0]:
                best = (error, rival, theta, losses)
        if best is None:
            msg = f"nfe={nfe}: no plan of the catalogue has as many evaluations to start from; use more"
            raise ValueError(msg)
        _, rival, theta, losses = best
        job.report(total - 1, total, "unseen noises")
        found_for = {
            **identity, "seed": seed, "n": n, "loss": loss, "free": list(free), "rows": rows, "command": command,
            **origin,
        }  # fmt: skip
        plan = replace(space.plan(theta), found_for=found_for)
        result = Fit(
            plan,
            endpoint_error(plan, train),
            endpoint_error(plan, test),
            baseline,
            rival,
            losses,
            guide,
            diagnose(space, theta, plan, baseline, test),
            space,
            theta,
            transferred(plan, baseline.plan, others, n=count, seed=seed + 1, label=label) if others else (),
        )
        job.report(total, total, "done")
        return result


def transfer_table(
    fit: Fit, models: Mapping[str, Any], *, n: int = 64, seed: int = 1, label: Any = None
) -> tuple[Transfer, ...]:
    """Hold a found plan against the catalogue's best of its own model on other models.

    Parameters
    ----------
    fit : Fit
        Result of :func:`diffnum.calibration.fit_plan`.
    models : mapping of str to Denoiser
        Other models of the same schedule, by names of your own.
    n, seed : int
        Number of noises, and their seed; another one than that of the fit.
    label : int, "each" or None
        As in :func:`diffnum.calibration.fit_plan`.

    Returns
    -------
    tuple of Transfer

    Raises
    ------
    ValueError
        If a model has another schedule.
    """
    check_others(fit.plan.schedule, models)
    return transferred(fit.plan, fit.baseline.plan, models, n=n, seed=seed, label=label)


def _check(
    nfe: Any, n: Any, n_test: Any, seed: Any, loss: str, radius: float, features: Any, starts: Any, iterations: Any
) -> None:
    """Refuse what cannot be fitted."""
    counts = {"nfe": (nfe, 1), "n": (n, 1), "n_test": (1 if n_test is None else n_test, 1), "seed": (seed, 0)}
    for name, (value, least) in {**counts, "starts": (starts, 1), "iterations": (iterations, 0)}.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            msg = f"{name}={value!r}: use a whole number, at least {least}"
            raise ValueError(msg)
    if loss not in LOSSES:
        msg = f"loss={loss!r} is unknown: use one of {', '.join(LOSSES)}"
        raise ValueError(msg)
    if not (math.isfinite(radius) and radius > 0):
        msg = f"radius={radius!r}: use a positive number; 0.05 lets a start move by a twentieth of its norm"
        raise ValueError(msg)
    if (features is None) == (loss == "features"):
        msg = f"loss={loss!r} and features={features!r}: the loss 'features', and it alone, needs a function"
        raise ValueError(msg)


def _check_kinds(
    free: Any, begin: Any, teacher: Any, tolerance: Any, derivatives: Any, memory: Any, files: Any, elsewhere: Any
) -> None:
    """Refuse what is of another kind than it should be."""
    if isinstance(free, str):
        msg = f"free={free!r}: give a tuple of names, as free=({free!r},)"
        raise TypeError(msg)
    for name, plan in (("begin", begin), ("teacher", teacher)):
        if plan is not None and not isinstance(plan, Plan):
            msg = f"{name}={plan!r}: give a plan, as diffnum.plan('dpmpp_3m', model.schedule, grid), or leave it out"
            raise TypeError(msg)
    for name, value in (("teacher_tolerance", tolerance), ("memory", memory)):
        if isinstance(value, bool) or not isinstance(value, Real) or not 0.0 < float(value) < math.inf:
            msg = f"{name}={value!r}: use a positive number"
            raise ValueError(msg)
    if derivatives not in ("auto", *DERIVATIVES):
        msg = f"derivatives={derivatives!r} is unknown: use one of {', '.join(('auto', *DERIVATIVES))}"
        raise ValueError(msg)
    for name, path in zip(("ledger", "cache"), files, strict=True):
        if path is not None and Path(path).is_dir():
            msg = f"{name}={str(path)!r} is a folder: give a file in it"
            raise ValueError(msg)
    if elsewhere is not None and not isinstance(elsewhere, Mapping):
        msg = f"elsewhere={elsewhere!r}: give a mapping from names to models"
        raise TypeError(msg)


def _is_large(model: Any) -> bool:
    """Whether a sample has so many numbers that to go backwards pays."""
    return math.prod(getattr(model, "sample_shape", None) or ()) >= _LARGE


def _effort(model: Any) -> tuple[int, int, int]:
    """Starts, iterations and noises by default."""
    if getattr(model, "sample_shape", None) is None:
        return _EXACT
    return _LARGE_NETWORK if _is_large(model) else _NETWORK


def _way(model: Any, loss: str, derivatives: str) -> str:
    """How to differentiate, where that is left to us: backwards if that is the cheaper way and the loss admits it."""
    if derivatives != "auto":
        return derivatives
    return "reverse" if _is_large(model) and loss in _REVERSIBLE else "forward"


def _try_derivatives(host: Host, x: Array, t: float, derivatives: str) -> None:
    """Differentiate one sample: a network without derivatives says so before any work."""
    part = host.part(0, 1)
    if derivatives == "reverse":
        one = np.ones(1)
        _, pull = host.reversed_run(part, part.prediction, Numbers(one, one[:, None], t * one, t * np.ones(2)), x)
        pull(x)
    else:
        host.differentiable(part).push(x, t, x[None])


def _check_reverse(loss: str, cut: Any, derivatives: str) -> None:
    """Refuse losses that reverse differentiation does not know, and a cut that is none."""
    if isinstance(cut, bool) or not isinstance(cut, Real) or not 0.0 < float(cut) < math.inf:
        msg = f"cut={cut!r}: use a positive number; 0.2 halves what a sample counts that misses by a fifth"
        raise ValueError(msg)
    if derivatives == "reverse" and loss not in _REVERSIBLE:
        msg = f"loss={loss!r} and derivatives='reverse': it knows 'endpoint' and 'robust'; use derivatives='forward'"
        raise ValueError(msg)


def run_ends(model: Any, t_start: float | None, t_end: float | None) -> tuple[float, float]:
    """Ends of the run: the caller's, else the model's, else the schedule's."""
    found = []
    for name, value in (("default_t_start", t_start), ("default_t_end", t_end)):
        own = getattr(model, name, None) if value is None else value
        own = getattr(model.schedule, name) if own is None else own
        if isinstance(own, bool) or not isinstance(own, Real):
            msg = f"{name.removeprefix('default_')}={own!r}: give a time of the schedule, a number"
            raise TypeError(msg)
        found.append(float(own))
    if not found[0] > found[1]:
        msg = f"t_start={found[0]} is not later than t_end={found[1]}: sampling goes from noise to data"
        raise ValueError(msg)
    return found[0], found[1]


def _given(space: SolverSpace, begin: Plan) -> FloatArray:
    """Where in the space a plan is from which a fit is to begin."""
    if begin.schedule != space.schedule:
        msg = f"begin={begin!r} is for {begin.schedule!r} and the model has {space.schedule!r}: give one of its own"
        raise ValueError(msg)
    try:
        return space.vector_of(begin)
    except ValueError as error:
        msg = f"begin={begin!r} is no point of the space that is searched: {error}"
        raise ValueError(msg) from None


def _beginnings(space: SolverSpace, rivals: Sequence[Rival], count: int) -> Iterator[tuple[Rival, FloatArray]]:
    """The best plans that are points of the space, no method twice."""
    used: set[str] = set()
    for rival in rivals:
        if len(used) == count:
            return
        try:
            vector = space.vector_of(rival.plan)
        except ValueError:
            continue
        if rival.method not in used:
            used.add(rival.method)
            yield rival, vector


@dataclass(frozen=True, eq=False)
class _Job:
    """One fit: where it runs, in what space, and what is known of it already."""

    host: Host
    space: SolverSpace
    chunk: int
    seed: int
    ledger: Ledger
    key: str
    progress: Progress | None

    def report(self, done: int, total: int, what: str) -> None:
        if self.progress is not None:
            self.progress(done, total, what)

    def goals(self, loss: str, train: Samples, guide: Teacher, features: Any) -> tuple[Goal, ...]:
        """What each chunk is held against."""
        if loss == "features":
            from diffnum.calibration.networks import push_features

            return tuple(FeatureGoal(features(t), features, push_features) for t in train.target)
        mean = self.host.model.schedule.mean
        shift = mean if isinstance(mean, float) else self.host.array(np.asarray(mean, dtype=np.float64))
        if loss == "trajectory":
            kept = (guide.kept(self.host, part, x) for part, x in zip(train.parts, train.x, strict=True))
            return tuple(TrajectoryGoal(self.space.schedule, levels, states) for levels, states in kept)
        return tuple(EndpointGoal(target - shift) for target in train.target)

    def descend(
        self,
        number: int,
        vector: FloatArray,
        train: Samples,
        goals: tuple[Goal, ...],
        iterations: int,
        total: int,
        settings: Mapping[str, Any],
    ) -> tuple[FloatArray, tuple[float, ...]]:
        """Best vector from one start, and the roots of the losses on the way."""
        mean = self.host.model.schedule.mean
        shift = mean if isinstance(mean, float) else self.host.array(np.asarray(mean, dtype=np.float64))
        mask = self.space.mask
        states = [x - shift for x in train.x]
        cut = settings["cut"] if settings["loss"] == "robust" else None
        plain = SumOfSquares(self.host, self.space, vector, train.parts, states, goals, cut)
        problem: LeastSquares = plain
        if settings["loss"] == "relaxed":
            problem = RelaxedSum(plain, settings["radius"])
        if settings["derivatives"] == "reverse":
            problem = ProbedSum(plain, self.seed, probes_for(int(mask.sum()), train.count))
        low, high = (bound[mask] for bound in self.space.bounds)
        now = Iterate(vector[mask], problem.loss(vector[mask]), 1e-2)
        losses = [math.sqrt(now.loss)]
        while (name := f"{self.key}/{number}/{len(losses)}") in self.ledger:
            known = self.ledger[name]
            now = Iterate(np.array(known["theta"]), known["loss"], known["damping"], known["number"], known["idle"])
            losses.append(math.sqrt(now.loss))
        for better in levenberg_marquardt(problem, now, (low, high), iterations=iterations):
            now = better
            losses.append(math.sqrt(now.loss))
            self.ledger.put(f"{self.key}/{number}/{len(losses) - 1}", {**asdict(now), "theta": now.theta.tolist()})
            self.report(2 + number * iterations + now.number, total, f"start {number + 1}, loss {losses[-1]:.4g}")
        whole = vector.copy()
        whole[mask] = now.theta
        return whole, tuple(losses)
