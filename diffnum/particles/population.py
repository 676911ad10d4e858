"""Populations of weighted particles: any stochastic plan, moved by the one loop and resampled through its hook."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, is_array_api_obj

from diffnum.jobs.checked import check_count, check_model, check_plan, check_shape
from diffnum.jobs.ledger import Progress
from diffnum.particles.resampling import SCHEMES, IntArray, ancestors, effective_size, log_mean
from diffnum.particles.weighted import Node, Potential, Weighted, on_host
from diffnum.plans import Plan
from diffnum.solver import State, evaluations
from diffnum.solver.noise import PopulationStreams, check_key, uniforms
from diffnum.tableau import Tableau
from diffnum.types import Array, Denoiser, FloatArray

__all__ = ["Population", "populations", "run"]


@dataclass(frozen=True, eq=False)
class Population:
    """Weighted particles after some steps of a run; what :func:`run` returns, and what it goes on from.

    Parameters
    ----------
    state : State
        Vectors of all particles.
    log_weights : ndarray, shape (n,)
        Natural logarithms of the weights, not normalised: the mean weight estimates the evidence.
    ancestors : ndarray of int, shape (resamplings, n)
        For each resampling the places from which the particles came.
    resampled : tuple of int
        After which steps they were resampled.
    islands : int
        Groups of particles that are next to each other and never resampled across.
    nfe : int
        Model evaluations so far, of all particles together.
    finished : bool
        Whether the last node has been weighed.
    memory : mapping of str to array
        What the potential keeps for each particle.
    ess_history : tuple of float
        Effective number of particles at each node, before resampling; the mean over the islands.
    """

    state: State
    log_weights: FloatArray
    ancestors: IntArray
    resampled: tuple[int, ...]
    islands: int
    nfe: int
    finished: bool
    memory: Mapping[str, Any] = field(default_factory=dict, repr=False)
    ess_history: tuple[float, ...] = field(default=(), repr=False)

    @property
    def x(self) -> Array:
        """States, shape (n, ...); at the end the samples, which go with :attr:`weights`."""
        return self.state.x

    @property
    def n(self) -> int:
        """Number of particles."""
        return len(self.log_weights)

    @property
    def weights(self) -> FloatArray:
        """Weights that sum to 1, shape (n,)."""
        shares = np.exp(self.log_weights - np.max(self.log_weights))
        return np.asarray(shares / np.sum(shares))

    @property
    def ess(self) -> float:
        """Effective number of particles, 1 to n, of the weights since the last resampling."""
        return effective_size(self.log_weights)

    @property
    def log_evidence(self) -> float:
        """Natural logarithm of the estimated evidence; the estimate itself, not its logarithm, has no bias."""
        return log_mean(self.log_weights)

    @property
    def island_log_evidence(self) -> FloatArray:
        """That of each island, shape (islands,): independent estimates, whose spread is the Monte Carlo error."""
        return np.array([log_mean(part) for part in self.log_weights.reshape(self.islands, -1)])

    @property
    def roots(self) -> IntArray:
        """For each particle the place at the start from which it descends, shape (n,)."""
        found = np.arange(self.n)
        for parents in self.ancestors[::-1]:
            found = parents[found]
        return found

    def estimate(self, function: Callable[[FloatArray], FloatArray]) -> tuple[FloatArray, FloatArray]:
        """Weighted mean of a function of the particles and its standard error.

        Parameters
        ----------
        function : callable
            From states as numpy arrays, shape (n, ...), to values, shape (n,) or (n, m).

        Returns
        -------
        mean, error : ndarray, shape () or (m,)
            The error is that of the spread between islands; with fewer than 4 of them that of independent weighted
            particles that share no ancestors, grouped by :attr:`roots` otherwise.
        """
        values = np.asarray(function(on_host(self.x)), dtype=np.float64)
        weights = self.weights
        mean = np.tensordot(weights, values, axes=(0, 0))
        apart = weights.reshape(-1, *[1] * (values.ndim - 1)) * (values - mean)
        groups = np.repeat(np.arange(self.islands), self.n // self.islands) if self.islands >= 4 else self.roots
        count = int(np.max(groups)) + 1
        sums = np.zeros((count, *values.shape[1:]))
        np.add.at(sums, groups, apart)
        used = len(np.unique(groups))
        correction = used / max(used - 1, 1)
        return np.asarray(mean), np.asarray(np.sqrt(correction * np.sum(sums * sums, axis=0)))

    def draw(self, n: int, seed: int, scheme: str = "systematic") -> Array:
        """Draw ``n`` equally weighted particles; places may repeat.

        Parameters
        ----------
        n : int
            How many.
        seed : int
            From 0 to 2**64 - 1.
        scheme : str
            Multinomial draws are independent; systematic ones spread better.
        """
        points = uniforms(seed, 0, n)
        points = np.sort(points) if scheme == "multinomial" else (np.arange(n) + points[0]) / n
        total = np.cumsum(self.weights)
        chosen = np.searchsorted(total / total[-1], points, side="right")
        return _taken(self.x, np.minimum(chosen, self.n - 1))


@dataclass(frozen=True)
class _Policy:
    """When and how particles are resampled."""

    scheme: str
    threshold: float
    islands: int
    carry: bool
    seed: int
    only: frozenset[int] | None

    def __call__(self, log_weights: FloatArray, step: int) -> tuple[IntArray | None, FloatArray]:
        """Ancestors, None where nobody moved, and the weights afterwards."""
        parts = log_weights.reshape(self.islands, -1)
        size = parts.shape[1]
        parents = np.arange(len(log_weights)).reshape(parts.shape)
        after = parts.copy()
        moved = False
        allowed = self.only is None or step in self.only
        draws = uniforms(self.seed, step, self.islands * SCHEMES[self.scheme].draws(size)).reshape(self.islands, -1)
        for i, part in enumerate(parts):
            if not allowed or (self.threshold < 1.0 and effective_size(part) >= self.threshold * size):
                if allowed and not self.carry:  # as shipped: whoever is not resampled forgets its weight
                    after[i] = log_mean(part)
                continue
            parents[i] = i * size + ancestors(part, self.scheme, draws[i])
            after[i] = log_mean(part)
            moved = True
        return (parents.ravel() if moved else None), after.ravel()


def run(
    plan: Plan,
    model: Denoiser | Weighted,
    n: int | Population,
    *,
    potential: Potential | None = None,
    seed: int = 0,
    resample: str = "systematic",
    threshold: float = 0.5,
    at: Any = None,
    islands: int = 1,
    x: Array | None = None,
    shape: tuple[int, ...] | None = None,
    batch: int | None = None,
    progress: Progress | None = None,
    carry: bool = True,
) -> Population:
    r"""Run a population of weighted particles to the end of a plan.

    At each node the model is evaluated, the potential adds to the logarithms of the weights, the plan's step moves all
    particles, and where the effective number of particles is small they are resampled through the loop's hook, with
    the vectors of the method's history and the memory of the potential. After the last step the samples are weighed
    once more and not resampled: use :attr:`Population.weights`, or :meth:`Population.draw`.

    Parameters
    ----------
    plan : Plan
        Numbers of a stochastic method.
    model : Denoiser or Weighted
        What moves the particles; the functions of :mod:`diffnum.particles` make weighted ones.
    n : int or Population
        Number of particles, at least 2; or a population of an interrupted run of the same arguments, to go on.
    potential : callable, optional
        ``potential(node)`` adds to the log-weights, shape (n,); in place of that of a :class:`Weighted`.
    seed : int
        Of all noise and all choices. A particle's noise belongs to its place, not to the batch in which it sits.
    resample : {"systematic", "stratified", "residual", "multinomial"}
        How particles are resampled.
    threshold : float
        Resample where the effective number of particles is below this share of them: 1 at every step, 0 never.
    at : iterable of int, optional
        Only after these steps (1 is the first).
    islands : int
        Equal groups that are resampled within themselves: independent estimates, weighted against each other.
    x : array, shape (n, ...), optional
        States at the first node; by default noise of its variance. A network wants them, in its own dtype.
    shape : tuple of int, optional
        Shape of one sample, where neither ``x`` nor the model tells it.
    batch : int, optional
        Most samples that the model is given at once (the last batch is filled up by repetition).
    progress : callable, optional
        ``progress(done, total, what)`` after each step.
    carry : bool
        False forgets the weights of whoever is not resampled, a defect of a widely forked implementation: for
        comparison only. See :func:`diffnum.particles.steered`.

    Returns
    -------
    Population

    Raises
    ------
    ValueError
        If the plan draws no noise, there are fewer than two particles on an island, an argument is out of range, the
        weights are not numbers, or all of them are zero (the message tells the node).

    Notes
    -----
    With a fixed or adaptive trigger the evidence, not its logarithm, is estimated without bias (Del Moral 2004).

    Examples
    --------
    >>> import numpy as np
    >>> import diffnum as dn
    >>> schedule = dn.schedules.VPLinear()
    >>> model = dn.Gaussian([0.0], 1.0).denoiser(schedule)
    >>> grid = dn.grids.uniform_half_log_snr(
    ...     schedule, 40, t_start=1.0, t_end=1e-3)
    >>> plan = dn.plan("sde_dpmpp_2m", schedule, grid)
    >>> tilted = dn.particles.steered(model, lambda x: x[:, 0], 1.0)
    >>> pop = dn.particles.run(plan, tilted, 4000)
    >>> mean, error = pop.estimate(lambda x: x[:, 0])
    >>> bool(abs(mean - 1.0) < 4 * error + 0.02)
    True
    """
    steps = populations(
        plan, model, n, potential=potential, seed=seed, resample=resample, threshold=threshold, at=at, islands=islands,
        x=x, shape=shape, batch=batch, progress=progress, carry=carry,
    )  # fmt: skip
    return deque(steps, maxlen=1)[0]


def populations(
    plan: Plan,
    model: Denoiser | Weighted,
    n: int | Population,
    *,
    potential: Potential | None = None,
    seed: int = 0,
    resample: str = "systematic",
    threshold: float = 0.5,
    at: Any = None,
    islands: int = 1,
    x: Array | None = None,
    shape: tuple[int, ...] | None = None,
    batch: int | None = None,
    progress: Progress | None = None,
    carry: bool = True,
) -> Iterator[Population]:
    """Yield the population after each step, resampled where it was; arguments as of :func:`run`, checked at the call.

    Keep the last one to go on after an interruption: it pickles.

    Parameters
    ----------
    plan, model, n, potential, seed, resample, threshold, at, islands, x, shape, batch, progress, carry
        As of :func:`run`; ``n`` may be the population to go on from.

    Returns
    -------
    iterator of Population

    Raises
    ------
    ValueError
        As :func:`run`.
    """
    weighted = model if isinstance(model, Weighted) else Weighted(model, lambda node: np.zeros(len(node.x)))
    if potential is not None:
        weighted = replace(weighted, potential=potential)
    only = None if at is None else frozenset(int(step) for step in at)
    _check(plan, weighted, seed, resample, threshold, batch)
    policy = _Policy(resample, float(threshold), islands, carry, seed, only)
    evaluator = _Evaluator(weighted, batch)
    if isinstance(n, Population):
        return _steps(plan, weighted, evaluator, policy, n, progress)
    count = _count(n if x is None else len(x), islands)
    if x is not None and n != count:
        msg = f"x has {count} samples, n={n}: pass n={count}"
        raise ValueError(msg)
    states, log_weights = _begun(plan, weighted, count, seed, x, shape)
    first = State(0, float(plan.times[0]), {"x": states})
    begun = Population(first, log_weights, np.empty((0, count), dtype=np.int64), (), islands, 0, finished=False)
    return _steps(plan, weighted, evaluator, policy, begun, progress)


def _steps(
    plan: Plan,
    weighted: Weighted,
    evaluate: _Evaluator,
    policy: _Policy,
    population: Population,
    progress: Progress | None,
) -> Iterator[Population]:
    if population.finished:
        yield population
        return
    numbers = plan.for_prediction(weighted.prediction)
    noise = PopulationStreams(policy.seed)
    begin: Any = population.state.x if population.state.step == 0 else population.state
    events = evaluations(numbers[population.state.step :], begin, noise=noise)
    memory = dict(population.memory)
    log_weights, reply, node = population.log_weights, None, None
    total = len(plan)
    while True:
        try:
            event = events.send(reply)
        except StopIteration:
            return
        if not isinstance(event, State):
            # The first evaluation of a step is at its node.
            fresh = node is None or node.step != event.step
            reply, observed = evaluate(event.x, event.t, seen=fresh)
            if fresh:
                node = Node(event.step, total, plan, event.x, reply, weighted.prediction, observed, log_weights, memory)
                log_weights = _weighed(weighted, node)
                population = _noted(population, log_weights)
            continue
        x = event.x
        if node is None:  # a step without evaluation has no node of its own
            msg = f"plan: step {event.step - 1} of {plan.method!r} evaluates nothing, so that nothing can be weighed"
            raise ValueError(msg)
        if weighted.moved is not None:
            x = _altered(weighted, node, event, numbers.steps[event.step - 1], noise)
        vectors = {**event.vectors, "x": x}
        finished = event.step == total
        if finished:
            node = _final(plan, weighted, evaluate, event._replace(vectors=vectors), log_weights, memory)
            log_weights = _weighed(weighted, node)
            population = _noted(population, log_weights)
            parents = None
        else:
            parents, log_weights = policy(log_weights, event.step)
        if parents is not None:
            vectors = {name: _taken(vector, parents) for name, vector in vectors.items()}
            memory.update({name: _taken(value, parents) for name, value in memory.items()})
            population = replace(
                population,
                ancestors=np.concatenate([population.ancestors, parents[None]]),
                resampled=(*population.resampled, event.step),
            )
        reply = event._replace(vectors=vectors)
        spent, evaluate.spent = evaluate.spent, 0
        population = replace(
            population,
            state=reply,
            log_weights=log_weights,
            finished=finished,
            memory=dict(memory),
            nfe=population.nfe + spent,
        )
        if progress is not None:
            progress(event.step, total, f"{population.n} particles, {population.ess:.0f} effective")
        yield population


def _noted(population: Population, log_weights: FloatArray) -> Population:
    """Population with one more entry of the history of effective sizes."""
    sizes = [effective_size(part) for part in log_weights.reshape(population.islands, -1)]
    return replace(population, ess_history=(*population.ess_history, float(np.mean(sizes))))


def _weighed(weighted: Weighted, node: Node) -> FloatArray:
    """Log-weights after a node, checked."""
    gained = on_host(weighted.potential(node))
    n = len(node.log_weights)
    if gained.shape != (n,):
        msg = (
            f"potential returned shape {gained.shape} at node {node.step}: it must return one number a particle, ({n},)"
        )
        raise ValueError(msg)
    after = node.log_weights + gained
    wrong = np.isnan(after) | (after == np.inf)
    if wrong.any():
        msg = (
            f"potential returned NaN or infinity for {int(wrong.sum())} of {n} particles at node {node.step}, "
            f"t={node.t:g}: a reward must be a number (minus infinity rules a particle out)"
        )
        raise ValueError(msg)
    if np.max(after) == -np.inf:
        msg = (
            f"all {n} weights are zero at node {node.step}, t={node.t:g}: the target excludes every particle; use more "
            "particles or a potential that rules out less at once"
        )
        raise ValueError(msg)
    return after


def _final(
    plan: Plan, weighted: Weighted, evaluate: _Evaluator, state: State, log_weights: FloatArray, memory: dict[str, Any]
) -> Node:
    """Node at the end."""
    value = observed = None
    if weighted.observe_last:
        value, observed = evaluate(state.x, state.t, seen=True)
    return Node(state.step, state.step, plan, state.x, value, weighted.prediction, observed, log_weights, memory)


def _altered(weighted: Weighted, node: Node, event: State, tableau: Tableau, noise: PopulationStreams) -> Array:
    """States after a step as :attr:`Weighted.moved` leaves them."""
    moved: Any = weighted.moved

    def draw(index: int, like: Array | None = None) -> Array:
        return noise(event.step - 1, index, event.x if like is None else like)

    x = moved(node, event.x, tableau, draw)
    if getattr(x, "shape", None) != event.x.shape:
        msg = f"moved returned shape {getattr(x, 'shape', None)} after step {event.step}: keep {tuple(event.x.shape)}"
        raise ValueError(msg)
    return x


class _Evaluator:
    """The model in batches of a fixed size, with the account of its evaluations."""

    def __init__(self, weighted: Weighted, batch: int | None) -> None:
        self.weighted, self.batch, self.spent = weighted, batch, 0

    def __call__(self, x: Array, t: float, *, seen: bool) -> tuple[Array, FloatArray | None]:
        n = int(x.shape[0])
        self.spent += n * (1 + (self.weighted.spent if seen else 0))
        observe = self.weighted.observe if seen else None
        size = n if self.batch is None else self.batch
        if size >= n and self.batch is None:
            return _asked(self.weighted.model, observe, x, t)
        xp = array_namespace(x)
        parts = []
        for start in range(0, n, size):
            piece = x[start : start + size]
            missing = size - int(piece.shape[0])
            if missing:
                piece = xp.concat([piece, *[piece[-1:]] * missing], axis=0)
            value, more = _asked(self.weighted.model, observe, piece, t)
            parts.append((value[: size - missing], None if more is None else more[: size - missing]))
        values = xp.concat([value for value, _ in parts], axis=0)
        seen_parts = [more for _, more in parts if more is not None]
        return values, np.concatenate(seen_parts) if seen_parts else None


def _asked(model: Denoiser, observe: Any, x: Array, t: float) -> tuple[Array, FloatArray | None]:
    if observe is None:
        return model(x, t), None
    value, more = observe(x, t)
    return value, on_host(more)


def _begun(
    plan: Plan, weighted: Weighted, n: int, seed: int, x: Array | None, shape: tuple[int, ...] | None
) -> tuple[Array, FloatArray]:
    """States at the first node and their log-weights."""
    if x is not None:
        if not is_array_api_obj(x):
            msg = f"x is a {type(x).__name__}: pass a numpy array or a torch tensor, shape (n, ...)"
            raise TypeError(msg)
        return x, np.zeros(n)
    model: Any = weighted.model
    known = shape if shape is not None else getattr(model, "sample_shape", None) or _dimension(model)
    if known is None:
        msg = "shape=None: the model does not tell the shape of a sample; pass shape=, or x="
        raise ValueError(msg)
    if getattr(model, "dtype", None) is not None:  # a network: only its own library makes its arrays
        msg = (
            f"x=None: {getattr(model, 'name', 'the model')!r} is a network of dtype {model.dtype}; pass x=, such as "
            "diffnum.models.runs.sampling.initial_noise(n, model.sample_shape, seed) times sigma at the first node"
        )
        raise ValueError(msg)
    z: Array = PopulationStreams(seed).start(n, check_shape(known))
    if weighted.start is not None:
        return weighted.start(z, plan)
    t = float(plan.times[0])
    alpha, sigma = float(plan.schedule.alpha(t)), float(plan.schedule.sigma(t))
    return sigma * z + (1.0 - alpha) * np.asarray(plan.schedule.mean), np.zeros(n)


def _dimension(model: Any) -> tuple[int, ...] | None:
    """Shape of a sample of an exact model, also inside the wrappers of guidance."""
    while model is not None:
        core = getattr(model, "core", None)
        if core is not None:
            return (int(core.dim),)
        model = getattr(model, "main", None)
    return None


def _taken(value: Array, places: IntArray) -> Array:
    """Rows of an array, in arrays of its own kind."""
    if isinstance(value, np.ndarray):
        return value[places]
    xp = array_namespace(value)
    return xp.take(value, xp.asarray(places, device=device(value)), axis=0)


def _count(n: Any, islands: Any) -> int:
    for name, value, least in (("n", n, 2), ("islands", islands, 1)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            msg = f"{name}={value!r} is a {type(value).__name__}: pass an integer, at least {least}"
            raise TypeError(msg)
        if value < least:
            msg = f"{name}={value}: weights compare particles, so that at least {least} are needed"
            raise ValueError(msg)
    if n % islands or n // islands < 2:
        msg = f"islands={islands} do not divide n={n} particles into equal groups of two or more"
        raise ValueError(msg)
    return int(n)


def _check(plan: Plan, weighted: Weighted, seed: int, resample: str, threshold: float, batch: int | None) -> None:
    check_plan(plan)
    check_model(weighted.model)
    check_key(seed, 0)
    if not len(plan):
        msg = "plan has no steps: make it on a grid of two nodes or more"
        raise ValueError(msg)
    if weighted.schedule != plan.schedule:
        msg = (
            f"model has the schedule {weighted.schedule!r}, the plan {plan.schedule!r}: make the plan on model.schedule"
        )
        raise ValueError(msg)
    if not any(step.noises for step in plan.steps):
        msg = (
            f"plan: {plan.method!r} draws no noise, so that copies of a particle would never part; use a stochastic "
            'method, such as "sde_dpmpp_2m"'
        )
        raise ValueError(msg)
    if resample not in SCHEMES:
        msg = f"resample={resample!r} is no scheme: use one of {', '.join(SCHEMES)}"
        raise ValueError(msg)
    if not isinstance(threshold, Real) or not 0.0 <= threshold <= 1.0:
        msg = f"threshold={threshold!r}: give a share of the particles, 0 (never resample) to 1 (every step)"
        raise ValueError(msg)
    if batch is not None:
        check_count("batch", batch)
    nodes = getattr(weighted.potential, "nodes", None)
    if nodes is not None and (not nodes or min(nodes) < 0 or max(nodes) > len(plan)):
        msg = f"nodes={sorted(nodes)}: pass some of the nodes 0 ... {len(plan)} of the plan, or None for all"
        raise ValueError(msg)
