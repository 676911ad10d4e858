"""The record of a way to optimise the start, and what comes out of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from diffnum.inverse.start.problem import StartProblem
from diffnum.jobs.shown import facts_html, short
from diffnum.problems._states import positive_count
from diffnum.types import Array, FloatArray

__all__ = ["Curve", "LawMap", "OptimisedStart", "StartAnswer", "StartMethod", "Tries", "normal_map"]

Curve: TypeAlias = tuple[tuple[int, float], ...]
"""Evaluations of the model so far, and what was minimised."""


LawMap: TypeAlias = Callable[[FloatArray], tuple[FloatArray, FloatArray]]
"""From normals, shape (k, d), to starts and the logarithms of their densities, shapes (k, d) and (k,)."""


class StartAnswer(NamedTuple):
    """What a method finds, in standard normals.

    Parameters
    ----------
    z : ndarray, shape (d,)
        A point, or the mean of a law.
    factor : ndarray, shape (d, d), or None
        Of a normal law of covariance ``factor @ factor.T``; None for a point.
    curve : tuple
        See :data:`Curve`.
    reason : str
        Why it stopped.
    map : callable, optional
        See :data:`LawMap`: of a law that is not normal.
    """

    z: FloatArray
    factor: FloatArray | None
    curve: Curve
    reason: str
    map: LawMap | None = None


Tries: TypeAlias = Callable[[StartProblem, int, Mapping[str, Any]], StartAnswer]
"""``tries(problem, seed, options)``."""


@dataclass(frozen=True)
class StartMethod:
    """A published way to optimise the start of a run.

    Parameters
    ----------
    name, title : str
        Key in :data:`diffnum.inverse.START_METHODS`; what it does, in a few words.
    source : str
        Paper, with section, or where the method comes from.
    cite : str
        Key in the bibliography; empty where there is none.
    tries : callable
        See :data:`Tries`.
    finds : {"point", "law"}
        What it returns.
    gradient : bool
        Whether it needs derivatives of the model.
    options : mapping
        Its parameters and their defaults.
    code : str
        Official code as ``owner/repo at commit, file, function``, where it was read; else empty.
    deviations : tuple of str
        Where this record departs from the paper.
    """

    name: str
    title: str
    source: str
    cite: str
    tries: Tries
    finds: str
    gradient: bool
    options: Mapping[str, Any] = field(default_factory=dict)  # a mapping proxy cannot be pickled
    code: str = ""
    deviations: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Short form."""
        return short(
            "StartMethod", self.name, title=self.title, finds=self.finds, gradient=self.gradient, cite=self.cite
        )

    def _repr_html_(self) -> str:
        facts = {"title": self.title, "source": self.source, "finds": self.finds, "code": self.code or None}
        return facts_html({**facts, **self.options}, self.name)

    def chosen(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Defaults with what is given in their place.

        Raises
        ------
        TypeError
            If an option is unknown.
        ValueError
            If a number of rounds, samples or steps is none.
        """
        if unknown := sorted(given.keys() - self.options.keys()):
            known = ", ".join(self.options) or "none"
            msg = f"{unknown[0]}={given[unknown[0]]!r} is no option of {self.name!r}: its options are {known}"
            raise TypeError(msg)
        for name, value in given.items():
            usual = self.options[name]
            counted = isinstance(usual, int) and not isinstance(usual, bool)
            if counted and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                msg = f"{name}={value!r}: give a whole number of at least 1"
                raise ValueError(msg)
        return {**self.options, **given}


@dataclass(frozen=True, eq=False)
class OptimisedStart:
    """A start, or a law of starts, and what it cost.

    Parameters
    ----------
    method : str
        How it was found.
    z : array, shape (1, ...)
        Start in standard normals, in the library of what was given; where a law was found the image of 0, which is the
        mean of a normal one.
    x : array, shape (1, ...)
        The same as a state at the plan's first node.
    end : array, shape (1, ...)
        Where the plan sends it.
    loss : float
        Loss of that end.
    objective : float
        With the prior term.
    factor : ndarray, shape (d, d), or None
        Factor of the covariance of the law of z; None for a point.
    curve : tuple of (int, float)
        Evaluations of the model so far, and what the method minimised: the objective, its mean over the law, or that of
        the surrogate.
    evaluations : int
        Evaluations of the model on one sample, those of the last run included.
    reason : str
        Why the method stopped.
    map : callable or None
        From normals, shape (k, d), to starts of the law that was found and the logarithms of their densities; None for
        a point. :meth:`draw` is the usual way in.
    """

    method: str
    z: Array = field(repr=False)
    x: Array = field(repr=False)
    end: Array = field(repr=False)
    loss: float
    objective: float
    factor: FloatArray | None = field(repr=False)
    curve: Curve = field(repr=False)
    evaluations: int
    reason: str
    map: LawMap | None = field(repr=False, default=None)

    def draw(self, n: int, seed: int = 0) -> tuple[FloatArray, FloatArray]:
        """Draw starts from the law that was found.

        Parameters
        ----------
        n : int
            How many.
        seed : int
            Seed.

        Returns
        -------
        tuple of ndarray
            Starts in standard normals, shape (n, d), and the logarithms of their densities, shape (n,).

        Raises
        ------
        ValueError
            If a point was found, and no law.
        """
        if self.map is None:
            msg = f"method={self.method!r} found a point: draw from a law, of 'policy' or 'reverse_kl' for example"
            raise ValueError(msg)
        count = positive_count(n)
        d = int(np.prod(self.z.shape[1:]))
        return self.map(np.random.default_rng(seed).standard_normal((count, d)))


def normal_map(mean: FloatArray, factor: FloatArray) -> LawMap:
    """Map of a normal law.

    Parameters
    ----------
    mean : ndarray, shape (d,)
        Its mean.
    factor : ndarray, shape (d, d)
        Lower triangular, of its covariance ``factor @ factor.T``.
    """
    size = float(np.sum(np.log(np.abs(np.diag(factor))))) + 0.5 * len(mean) * float(np.log(2.0 * np.pi))

    def found(u: FloatArray) -> tuple[FloatArray, FloatArray]:
        return mean + u @ factor.T, -0.5 * np.sum(u * u, axis=1) - size

    return found
