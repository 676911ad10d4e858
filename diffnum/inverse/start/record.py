"""The record of a way to optimise the start, and what comes out of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from diffnum.inverse.start.problem import StartProblem
from diffnum.types import Array, FloatArray

__all__ = ["Curve", "OptimisedStart", "StartAnswer", "StartMethod", "Tries"]

Curve: TypeAlias = tuple[tuple[int, float], ...]
"""Evaluations of the model so far, and what was minimised."""


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
    """

    z: FloatArray
    factor: FloatArray | None
    curve: Curve
    reason: str


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
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    code: str = ""
    deviations: tuple[str, ...] = ()

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
        Start in standard normals (the mean of the law where a law was found), in the library of what was given.
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
