"""Laws of outputs: exact by enumeration, and draws of any model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import numpy as np

from diffnum.discrete.checks import TokenArray, whole_number
from diffnum.discrete.enumeration import Enumerated, ModelSpace, StateSpace, expand, push
from diffnum.discrete.jumps import Uniformisation, reverse_law
from diffnum.discrete.laws import Law, drawn, uniforms
from diffnum.discrete.models import TokenModel, answered, checked_model, made_for
from diffnum.discrete.pairs import at_letters, leap_twice
from diffnum.discrete.processes import Masked, TokenProcess, checked_process
from diffnum.discrete.samplers import TokenSampler, sampler
from diffnum.discrete.steps import Bridge, Leap, StepRule, node_of
from diffnum.discrete.unmasking import Unmask
from diffnum.types import FloatArray

__all__ = ["OutputLaw", "advance", "divergence", "nodes_of", "output_law", "run", "sample", "total_variation"]

OUTCOMES = 1 << 19
"""Most outcomes of the stages of a step that are held at once."""

LEFT_MASKED = 1e-12
"""Probability of a mask at the end that counts as rounding."""


def total_variation(p: FloatArray, q: FloatArray) -> float:
    """Total variation distance, half the sum of absolute differences: in [0, 1]."""
    return 0.5 * float(np.abs(p - q).sum())


def divergence(p: FloatArray, q: FloatArray) -> float:
    """Kullback-Leibler divergence of q from p in nats, >= 0; infinite where q lacks what p has."""
    at = p > 0
    if np.any(q[at] <= 0):
        return float("inf")
    ratio = q[at] / p[at]
    return max(0.0, float(np.sum(p[at] * (ratio - 1.0 - np.log(ratio))) - (q.sum() - p.sum() - q[~at].sum())) + 0.0)


@dataclass(frozen=True, eq=False)
class OutputLaw:
    """Exact law of a sampler's output.

    Parameters
    ----------
    name : str
        Sampler.
    p : ndarray, shape (S,) * L
        Probability of every sequence.
    truth : ndarray, of the same shape
        The law of the data.
    evaluations : int or None
        Model evaluations of a run; None where their number is random.
    """

    name: str
    p: FloatArray
    truth: FloatArray
    evaluations: int | None

    @property
    def tv(self) -> float:
        """Total variation distance to the data."""
        return total_variation(self.p, self.truth)

    @property
    def kl(self) -> float:
        """Divergence KL(data || output) in nats."""
        return divergence(self.truth.ravel(), self.p.ravel())

    @property
    def law(self) -> Law:
        """The output as a law."""
        return Law(self.p / self.p.sum())


def nodes_of(process: TokenProcess, steps: Any = None, nodes: Any = None) -> FloatArray:
    """Times of a run, falling from the start of the process to 0; uniform by default.

    Parameters
    ----------
    process : Masked or Uniform
        The noise.
    steps : int, optional
        Number of steps, or
    nodes : array_like, shape (steps + 1,), optional
        the times.

    Raises
    ------
    TypeError
        If ``steps`` is no whole number.
    ValueError
        If there is no step, both are given, or the times do not fall from the start to at least 0.
    """
    if nodes is None:
        remedy = "pass a number of steps >= 1; counts are for samplers that unmask by count"
        number = whole_number("steps", steps, remedy=remedy)
        return np.linspace(process.start, 0.0, number + 1)
    if steps is not None:
        msg = f"steps={steps} and nodes are both given: pass one of them"
        raise ValueError(msg)
    times = np.asarray(nodes, dtype=np.float64)
    falling = times.ndim == 1 and len(times) >= 2 and bool(np.all(np.diff(times) < 0)) and times[-1] >= 0
    # noise is the law of the state at the start, and at no other time
    if not falling or abs(times[0] - process.start) > 1e-9:
        msg = f"nodes={times}: pass times that fall, from {process.start:g} to at least 0"
        raise ValueError(msg)
    return times


def advance(rule: StepRule, space: Enumerated, law: FloatArray, t: float, s: float) -> FloatArray:
    """Law on all states after one step from t to s, exactly, shape (N,)."""
    for first, last in _pieces(rule):
        if isinstance(rule, Leap) and isinstance(space, StateSpace) and last - first > 1:
            law = _leapt(rule, space, law, t, s, first, last)
        else:
            law = _listed(rule, space, law, np.flatnonzero(law > 0), t, s, first, last)
    return law


def _leapt(rule: Leap, space: StateSpace, law: FloatArray, t: float, s: float, first: int, last: int) -> FloatArray:
    """Law after leaps of which the last looks further back than one state."""
    if (first, last) == (0, 2) and (at_letters(rule) or not space.process.time_free):
        return leap_twice(rule, space, law, t, s)
    # what shows in masked sequences stays, so that most pairs of states are impossible: the others are listed
    group, orbits, sizes = space.orbits(law)
    weights = np.zeros(space.size)
    weights[orbits] = law[orbits] * sizes
    out = _listed(rule, space, weights, np.flatnonzero(weights > 0), t, s, first, last)
    return np.asarray(out[group].mean(axis=0))


def _pieces(rule: StepRule) -> list[tuple[int, int]]:
    """Stages that are taken together: between two pieces no later stage looks further back than the state there."""
    cuts = [0, rule.stages]
    if isinstance(rule, Leap):
        seen = [min(rule.looks_at(i)) for i in range(rule.stages)]
        cuts[1:1] = [k for k in range(1, rule.stages) if min(seen[k:]) >= k]
    return list(pairwise(cuts))


def _listed(
    rule: StepRule, space: Enumerated, law: FloatArray, at: TokenArray, t: float, s: float, first: int, last: int
) -> FloatArray:
    """Law after some stages from the states ``at``, by listing what the stages before the last lead to."""
    # states whose outcomes are all kept at once: a stage that is not the last may lead from each to any other
    many = len(law) if last - first == 1 else max(1, OUTCOMES // space.size)
    p = space.denoised(node_of(rule, first, space.process, t, s))
    parts = [at[i : i + many] for i in range(0, len(at), many)]
    return np.asarray(sum(_advanced(rule, space, law[part], part, p[part], t, s, first, last) for part in parts))


def _advanced(
    rule: StepRule,
    space: Enumerated,
    weights: FloatArray,
    at: TokenArray,
    p: FloatArray,
    t: float,
    s: float,
    first: int,
    last: int,
) -> FloatArray:
    """Law after some stages of a step from some states, with their probabilities and the marginals there."""
    process = space.process
    # states before the first are not looked at: any will do
    states, posteriors = [space.states[at]] * (first + 1), [p] * (first + 1)
    for i in range(first, last - 1):
        rows, new, chance = expand(rule.stage(i, process, states, posteriors, t, s))
        weights = weights[rows] * chance
        states, posteriors = [x[rows] for x in states], [p[rows] for p in posteriors]
        states.append(new)
        posteriors.append(space.denoised(node_of(rule, i + 1, process, t, s))[space.index(new)])
    return push(weights, rule.stage(last - 1, process, states, posteriors, t, s))


def run(rule: StepRule, space: Enumerated, law: FloatArray, nodes: FloatArray, *, finish: bool = True) -> FloatArray:
    """Law on all states after the steps between the nodes; the last step is the bridge where it ends in the data."""
    for t, s in zip(nodes[:-1].tolist(), nodes[1:].tolist(), strict=True):
        law = advance(Bridge() if finish and s == 0.0 else rule, space, law, t, s)
    return law


def output_law(
    name: str | TokenSampler,
    law: Law | ModelSpace,
    process: TokenProcess | None = None,
    steps: int | Sequence[int] | None = None,
    *,
    nodes: Any = None,
) -> OutputLaw:
    """Exact law of the output of a sampler with the exact model, or with a network on a few positions, by enumeration.

    Parameters
    ----------
    name : str or TokenSampler
        Sampler.
    law : Law or ModelSpace
        The data; or the states of a network, whose own chain is then the truth.
    process : Masked or Uniform, optional
        The noise; masked with a linear schedule by default.
    steps : int, or sequence of int
        Number of steps, the times uniform; for samplers that unmask by count also the counts themselves. Samplers whose
        law does not depend on it take None.
    nodes : array_like, shape (steps + 1,), optional
        Times instead, falling from the start of the process to 0. The step that ends in the data (t = 0, where rates
        are infinite) is the exact bridge of each token.

    Returns
    -------
    OutputLaw

    Raises
    ------
    ValueError
        For unknown samplers, processes that it does not run on, too many states, no steps, and if masks are left at
        the end.

    Examples
    --------
    >>> import numpy as np
    >>> chain = Law.markov(6, np.array([[0.8, 0.2], [0.2, 0.8]]), [0.5, 0.5])
    >>> round(output_law("ancestral", chain, Masked(), steps=4).tv, 5)
    0.1505
    >>> output_law("first_hitting", chain, Masked()).tv < 1e-14
    True
    """
    record, process, times = prepared(name, process, steps, nodes)
    if isinstance(law, ModelSpace) and not process.time_free:
        msg = f"process={process}: a network's space is that of a masked model, use dn.discrete.Masked()"
        raise ValueError(msg)
    space: Any = law if isinstance(law, ModelSpace) else StateSpace(law, process)
    evaluations: int | None
    if isinstance(record.rule, Unmask):
        out, evaluations = record.rule.law(space, steps), len(record.rule.plan(space.length, steps))
    elif isinstance(record.rule, Uniformisation):
        end = record.rule.end
        before = reverse_law(
            space, process.start, end, space.noise() if process.time_free else space.marginal(process.start)
        )
        out, evaluations = run(Bridge(), space, before, np.array([end, 0.0])), None
    else:
        times = cast("FloatArray", times)
        out = run(record.rule, space, space.noise(), times)
        evaluations = record.evaluations * (len(times) - 2) + 1
    truth = law.table if isinstance(law, Law) else shown(space, Unmask(one=True).law(space, None), "first_hitting")
    return OutputLaw(record.name, shown(space, out, record.name), truth, evaluations)


def shown(space: Enumerated, law: FloatArray, name: str) -> FloatArray:
    """Law on the data, shape (S,) * L; raises where masks are left."""
    table = law.reshape((space.letters,) * space.length)[(slice(0, space.tokens),) * space.length]
    left = float(law.sum() - table.sum())
    if left > LEFT_MASKED:
        msg = (
            f"{name} leaves masks at the end with probability {left:.3g}: let the times end at 0, where the last step "
            "shows all tokens"
        )
        raise ValueError(msg)
    return table


def prepared(
    name: str | TokenSampler, process: TokenProcess | None, steps: Any, nodes: Any
) -> tuple[TokenSampler, TokenProcess, FloatArray | None]:
    """Record, process and times of a run (None for samplers without steps of time), checked."""
    record = sampler(name)
    process = Masked() if process is None else checked_process(process)
    if process.name not in record.processes:
        msg = f"{record.name} does not run on the {process.name} process: use {', '.join(record.processes)}"
        raise ValueError(msg)
    if not isinstance(record.rule, Unmask | Uniformisation):
        return record, process, nodes_of(process, steps, nodes)
    if nodes is not None:
        msg = f"nodes={nodes}: {record.name} has no steps of time, leave them out"
        raise ValueError(msg)
    if steps is not None and np.ndim(steps) == 0:
        whole_number("steps", steps, remedy="use at least one step")
    return record, process, None


def sample(
    model: TokenModel,
    process: TokenProcess | None = None,
    method: str | TokenSampler = "ancestral",
    n: int = 16,
    steps: int | Sequence[int] | None = None,
    seed: int = 0,
    *,
    nodes: Any = None,
    callback: Callable[[int, TokenArray], None] | None = None,
) -> TokenArray:
    """Draw sequences with a model, by the very steps whose laws are exact.

    Parameters
    ----------
    model : TokenModel
        ``model(x, t)`` returns the marginals of the data, shape (n, L, S); see :class:`ExactTokens`, and
        :func:`diffnum.models.load_tokens` for a network.
    process : Masked or Uniform, optional
        The noise that the model was made for; masked with a linear schedule by default.
    method : str or TokenSampler
        Sampler.
    n : int
        Number of sequences.
    steps : int or sequence of int, optional
        As for :func:`output_law`.
    seed : int
        Seed, >= 0.
    nodes : array_like, optional
        Times instead of a number of steps.
    callback : callable, optional
        Called with the number of the step done and the state, for leaps and bridges.

    Returns
    -------
    ndarray of int, shape (n, L)

    Raises
    ------
    TypeError
        If the model is none, or returns another shape; if a number is not whole.
    ValueError
        For unknown samplers, processes that it does not run on, or that the model was not made for, no steps, times
        that do not fall, marginals that are no probabilities, and if masks would be left at the end.
    """
    checked_model(model)
    record, process, times = prepared(method, process, steps, nodes)
    made_for(model, process)
    n, rng = whole_number("n", n, remedy="draw at least one sequence"), uniforms(seed)
    length, tokens = model.length, model.tokens
    if times is not None and times[-1] > 0 and process.time_free:
        msg = f"nodes end at {times[-1]:g}: masks would be left at the end, end at 0 (callback sees the states before)"
        raise ValueError(msg)
    x = drawn(np.broadcast_to(process.noise(tokens), (n, length, process.states(tokens))), rng)
    if isinstance(record.rule, Unmask):
        return record.rule.draw(model, x, tokens, steps, rng)
    if isinstance(record.rule, Uniformisation):
        # Blocks that halve the time keep the bound on the rates within a factor of two of the rates.
        end = record.rule.end
        blocks = np.geomspace(process.start, end, max(2, int(np.ceil(np.log2(process.start / end))) + 1))
        if not process.time_free:
            near = 1.0 - (1.0 - process.start) * 2.0 ** np.arange(0, int(np.log2(0.25 / (1.0 - process.start))))
            blocks = np.unique(np.concatenate([blocks, near]))[::-1]
        x, _ = record.rule.draw(model, process, x, blocks, rng)
        return draw_steps(Bridge(), model, process, x, np.array([end, 0.0]), rng)
    return draw_steps(record.rule, model, process, x, cast("FloatArray", times), rng, callback=callback)


def draw_steps(
    rule: StepRule,
    model: TokenModel,
    process: TokenProcess,
    x: TokenArray,
    nodes: FloatArray,
    rng: np.random.Generator,
    *,
    finish: bool = True,
    callback: Callable[[int, TokenArray], None] | None = None,
) -> TokenArray:
    """Run a batch over the nodes."""
    for k, (t, s) in enumerate(zip(nodes[:-1].tolist(), nodes[1:].tolist(), strict=True), start=1):
        step = Bridge() if finish and s == 0.0 else rule
        states, posteriors = [x], []
        for i in range(step.stages):
            posteriors.append(answered(model, states[i], node_of(step, i, process, t, s)))
            states.append(drawn(step.stage(i, process, states, posteriors, t, s), rng))
        x = states[-1]
        if callback is not None:
            callback(k, x)
    return x
