"""Laws of outputs: exact by enumeration, and draws of any model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffnum.discrete.enumeration import Enumerated, ModelSpace, StateSpace, expand, push
from diffnum.discrete.jumps import Uniformisation, reverse_law
from diffnum.discrete.laws import Law, TokenArray, drawn, uniforms
from diffnum.discrete.models import TokenModel, answered
from diffnum.discrete.processes import Masked, TokenProcess
from diffnum.discrete.samplers import TokenSampler, sampler
from diffnum.discrete.steps import Bridge, StepRule
from diffnum.discrete.unmasking import Unmask
from diffnum.types import FloatArray

__all__ = ["OutputLaw", "advance", "divergence", "nodes_of", "output_law", "run", "sample", "total_variation"]

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


def nodes_of(process: TokenProcess, steps: int, nodes: Any = None) -> FloatArray:
    """Times of a run, falling from the start of the process to 0; uniform by default.

    Raises
    ------
    ValueError
        If there is no step, or the times do not fall, or leave [0, start].
    """
    if nodes is None:
        if steps < 1:
            msg = f"steps={steps}: use at least one step"
            raise ValueError(msg)
        return np.linspace(process.start, 0.0, steps + 1)
    times = np.asarray(nodes, dtype=np.float64)
    if times.ndim != 1 or len(times) < 2 or np.any(np.diff(times) >= 0) or times[0] > process.start or times[-1] < 0:
        msg = f"nodes={times}: pass times that fall, from at most {process.start:g} to at least 0"
        raise ValueError(msg)
    return times


def advance(rule: StepRule, space: Enumerated, law: FloatArray, t: float, s: float) -> FloatArray:
    """Law on all states after one step from t to s, exactly, shape (N,)."""
    process = space.process
    at = np.flatnonzero(law > 0)
    weights, states, posteriors = law[at], [space.states[at]], [space.denoised(rule.node(0, process, t, s))[at]]
    for i in range(rule.stages - 1):
        rows, new, chance = expand(rule.stage(i, process, states, posteriors, t, s))
        weights = weights[rows] * chance
        states, posteriors = [x[rows] for x in states], [p[rows] for p in posteriors]
        states.append(new)
        posteriors.append(space.denoised(rule.node(i + 1, process, t, s))[space.index(new)])
    return push(weights, rule.stage(rule.stages - 1, process, states, posteriors, t, s))


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
    record = sampler(name)
    process = Masked() if process is None else process
    checked_process(record, process)
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
        times = nodes_of(process, _whole(steps) if nodes is None else 0, nodes)
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
            f"{name} leaves masks at the end with probability {left:.3g}: finish with the bridge, or end at a time > 0"
        )
        raise ValueError(msg)
    return table


def checked_process(record: TokenSampler, process: TokenProcess) -> None:
    """Raise where a sampler does not run on a process."""
    if not isinstance(process, TokenProcess):
        msg = f"process={process!r}: pass dn.discrete.Masked() or dn.discrete.Uniform()"
        raise TypeError(msg)
    if process.name not in record.processes:
        msg = f"{record.name} does not run on the {process.name} process: use {', '.join(record.processes)}"
        raise ValueError(msg)


def _whole(steps: int | Sequence[int] | None) -> int:
    if not isinstance(steps, int):
        msg = f"steps={steps!r}: pass a number of steps >= 1; counts are for samplers that unmask by count"
        raise TypeError(msg)
    return steps


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
    """
    record = sampler(method)
    process = Masked() if process is None else process
    checked_process(record, process)
    if n < 1:
        msg = f"n={n}: draw at least one sequence"
        raise ValueError(msg)
    if not callable(model) or not hasattr(model, "tokens"):
        msg = f"model={model!r} is no model of tokens: pass ExactTokens(law, process), or load_tokens(...)"
        raise TypeError(msg)
    rng = uniforms(seed)
    length, tokens = model.length, model.tokens
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
    times = nodes_of(process, _whole(steps) if nodes is None else 0, nodes)
    return draw_steps(record.rule, model, process, x, times, rng, callback=callback)


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
            posteriors.append(answered(model, states[i], step.node(i, process, t, s)))
            states.append(drawn(step.stage(i, process, states, posteriors, t, s), rng))
        x = states[-1]
        if callback is not None:
            callback(k, x)
    return x
