"""Samplers of the user's own: kernels, judged exactly, and functions on batches, judged by their draws."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from diffnum.discrete.checks import TokenArray, checked_time, checked_tokens
from diffnum.discrete.enumeration import StateSpace
from diffnum.discrete.models import ExactTokens
from diffnum.discrete.processes import TokenProcess
from diffnum.types import FloatArray

__all__ = ["BatchRun", "Convention", "KernelRule", "LookupModel", "convention_of", "understood_tokens"]

Convention: TypeAlias = Literal["kernel", "batch"]
"""``kernel(model, x, t, s) -> probabilities``, shape (n, L, states); ``batch(model, x, nodes, rng) -> x``."""

_NAMES: dict[Convention, tuple[str, str]] = {"kernel": ("t", "s"), "batch": ("nodes", "rng")}


class LookupModel:
    """The exact model, as a user's sampler calls it, with ``process``, ``length`` and ``tokens``.

    ``seen``, if there is one, is told the states that it is asked for.
    """

    def __init__(self, space: StateSpace) -> None:
        self.space, self.process = space, space.process
        self.length, self.tokens = space.length, space.tokens
        self.calls = 0
        self.seen: Callable[[TokenArray], None] | None = None
        self._exact = ExactTokens(space.law, space.process)

    def __call__(self, x: TokenArray, t: Any) -> FloatArray:
        """Posterior marginals, shape (n, L, S)."""
        x = checked_tokens("x", x, self.space.letters, self.length)
        checked_time("t", t, len(x))
        self.calls += 1
        states = self.space.index(x)
        if self.seen is not None:
            self.seen(states)
        return self.space.denoised(float(t))[states] if np.ndim(t) == 0 else self._exact(x, t)


@dataclass(frozen=True, eq=False)
class KernelRule:
    """A user's kernel as a step; the precision of what it returns is kept in ``eps``."""

    function: Callable[..., Any]
    model: LookupModel
    noted: dict[str, float]
    stages: int = 1

    def stage(
        self,
        i: int,  # noqa: ARG002
        process: TokenProcess,
        states: Sequence[TokenArray],
        posteriors: Sequence[FloatArray],
        t: float,
        s: float,
    ) -> FloatArray:
        """What the function returns, checked."""
        x = states[0]
        given = x.copy()
        out = np.asarray(self.function(self.model, given, t, s))
        shape = (*x.shape, process.states(posteriors[0].shape[-1]))
        if out.dtype.kind != "f" or out.shape != shape:
            msg = (
                f"the kernel returned dtype {out.dtype} and shape {out.shape}: return probabilities of shape {shape}, "
                "the last axis over states"
            )
            raise TypeError(msg)
        if not np.array_equal(given, x):
            msg = "the kernel writes into its input x: work on a copy"
            raise ValueError(msg)
        if not np.all(np.isfinite(out)):
            msg = f"the kernel returned values that are not finite between t={t:g} and s={s:g}"
            raise ValueError(msg)
        eps = float(np.finfo(out.dtype).eps)
        self.noted["eps"] = max(self.noted.get("eps", 0.0), eps)
        if out.min() < -16 * eps:
            msg = f"the kernel returned the negative probability {out.min():g} at t={t:g}: clip or shorten the step"
            raise ValueError(msg)
        off = float(np.abs(out.sum(axis=-1, dtype=np.float64) - 1.0).max())
        if off > 64 * eps:
            msg = f"probabilities of the kernel sum to one only within {off:.2g} at t={t:g}: normalise them"
            raise ValueError(msg)
        return np.maximum(out.astype(np.float64), 0.0)


@dataclass(frozen=True, eq=False)
class BatchRun:
    """A user's sampler on batches."""

    function: Callable[..., Any]
    model: LookupModel

    def __call__(self, x: TokenArray, nodes: FloatArray, rng: np.random.Generator) -> TokenArray:
        """States at the last node, checked."""
        given = x.copy()
        out = np.asarray(self.function(self.model, given, nodes, rng))
        if out.dtype.kind not in "iu" or out.shape != x.shape:
            msg = f"the sampler returned dtype {out.dtype}, shape {out.shape}: return tokens of shape {x.shape}"
            raise TypeError(msg)
        if not np.array_equal(given, x):
            msg = "the sampler writes into its input x: work on a copy"
            raise ValueError(msg)
        letters = self.model.space.letters
        if out.min() < 0 or out.max() >= letters:
            msg = f"the sampler returned states {out.min()} ... {out.max()}: use 0 ... {letters - 1}"
            raise ValueError(msg)
        left = float(np.mean(np.any(out == self.model.tokens, axis=1)))
        if nodes[-1] == 0.0 and left > 0:
            msg = f"the sampler leaves masks at the end in a share {left:.3g} of the sequences: show all by t = 0"
            raise ValueError(msg)
        return out.astype(np.int64)


def convention_of(function: Callable[..., Any], given: Convention | None = None) -> Convention:
    """How a user's sampler is called, told by the names of its parameters.

    Raises
    ------
    TypeError
        If it cannot be told.
    """
    if given is not None:
        if given not in _NAMES:
            msg = f"convention={given!r} is unknown: use kernel or batch"
            raise ValueError(msg)
        return given
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        names = []
    for convention, last in _NAMES.items():
        if tuple(names[2:4]) == last:
            return convention
    msg = (
        f"parameters ({', '.join(names)}) tell no convention: write kernel(model, x, t, s) "
        "or sampler(model, x, nodes, rng), or pass convention="
    )
    raise TypeError(msg)


def understood_tokens(
    function: Callable[..., Any], space: StateSpace, given: Convention | None = None
) -> KernelRule | BatchRun:
    """A user's sampler on a space of states."""
    model = LookupModel(space)
    if convention_of(function, given) == "kernel":
        return KernelRule(function, model, {})
    return BatchRun(function, model)
