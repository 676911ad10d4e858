"""Step rules and tableaux: Butcher's general linear form with named vectors.

A *rule* is the mathematics of one step, written once for symbols, series and numbers: it takes a
:class:`Window` (step length, past nodes, kernel) and returns a :class:`Step` (linear combinations with named
vectors). A :class:`Tableau` is the same step as plain numbers for one place of one grid: stages
``X_i = sum_j U_ij e_j + sum_j A_ij M_j`` with ``M_j = model(X_j, t_j)`` and outputs
``e'_k = sum_j V_kj e_j + sum_j B_kj M_j``, each plus noise.

Vectors are named, and the first letter says what kind they are:

* ``x``: the state;
* ``m0``: the evaluation at the current node where it is known already; ``m1, m2, ...``: evaluations one, two, ...
  nodes back;
* ``v1, ...``: averages of evaluations (a velocity);
* ``k1, k2, ...``: evaluations of this step, in the order of the stages;
* ``z1, ...``: independent standard normal draws of this step;
* ``one``: the constant 1 (methods with an inhomogeneous term).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np

from diffnum.forms import Kernel, Nodes
from diffnum.types import FloatArray, Scalar

__all__ = ["Stage", "Step", "Tableau", "Vector", "Window", "entries", "vector", "vectors"]


class Vector(Mapping[str, Scalar]):
    """A linear combination of named vectors, such as ``x + 0.5 * k1``.

    Supports ``+``, ``-``, and multiplication or division by whatever the coefficients are: floats, arrays,
    symbols, truncated series.

    Parameters
    ----------
    terms : mapping of str to scalar
        Coefficients by name.
    """

    __slots__ = ("_terms",)
    __array_ufunc__ = None  # an ndarray coefficient on the left must come to __rmul__

    def __init__(self, terms: Mapping[str, Scalar]) -> None:
        self._terms = dict(terms)

    def __getitem__(self, name: str) -> Scalar:
        return self._terms[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._terms)

    def __len__(self) -> int:
        return len(self._terms)

    def __add__(self, other: Vector | int) -> Vector:
        if isinstance(other, int) and other == 0:  # sum() starts from zero
            return self
        if not isinstance(other, Vector):
            return NotImplemented
        terms = dict(self._terms)
        for name, weight in other._terms.items():
            terms[name] = terms[name] + weight if name in terms else weight
        return Vector(terms)

    __radd__ = __add__

    def __neg__(self) -> Vector:
        return Vector({name: -weight for name, weight in self._terms.items()})

    def __sub__(self, other: Vector) -> Vector:
        return self + (-other)

    def __mul__(self, factor: Scalar) -> Vector:
        return Vector({name: factor * weight for name, weight in self._terms.items()})

    __rmul__ = __mul__

    def __truediv__(self, divisor: Scalar) -> Vector:
        return Vector({name: weight / divisor for name, weight in self._terms.items()})

    def __repr__(self) -> str:
        return " + ".join(f"{weight}*{name}" for name, weight in self._terms.items()) or "0"


def vector(name: str) -> Vector:
    """Return the combination that consists of one named vector.

    Parameters
    ----------
    name : str
        ``"x"``, ``"m0"``, ``"k1"`` and so on.

    Returns
    -------
    Vector
    """
    return Vector({name: 1})


def vectors(names: str) -> tuple[Vector, ...]:
    """Several named vectors at once: ``x, k1 = vectors("x k1")``.

    Parameters
    ----------
    names : str
        Names with spaces between them.

    Returns
    -------
    tuple of Vector
    """
    return tuple(vector(name) for name in names.split())


@dataclass(frozen=True)
class Window:
    """What a step rule may know about its place on the grid.

    Parameters
    ----------
    step : scalar or array
        Length ``h`` of the step in the clock of the form (negative for the clocks that decrease).
    past : tuple of scalars or arrays
        Nodes of the past evaluations ``m1, m2, ...``, shifted and scaled by the step:
        ``u_j = (clock_{n-j} - clock_n) / h < 0``.
    kernel : Kernel
        Moments of the form's kernel over the step.
    known : frozenset of str
        Names of the vectors that the step before has left.
    depth : int
        How many past evaluations the method wants to be kept.
    last : bool
        Whether this is the last step of the plan.
    inner : tuple of scalars or arrays
        Inner nodes that the plan provides, as fractions of the step in the clock: the grid's own nodes where a step
        spans several intervals, or given fractions of the step in time.
    past_times : tuple of scalars or arrays
        Times of the past evaluations, shifted and scaled like ``past``: ``(t_{n-j} - t_n) / (t_{n+1} - t_n)``.
    parameters : mapping of str to scalar or array
        Numbers of the step that the caller of the plan gives (compensation ratios, noise levels).
    nodes : tuple of Nodes
        The schedule at the end of the step, at its start, and at the past evaluations, for methods whose weights are
        no function of the clock alone; empty where weights are looked at without a schedule.
    """

    step: Scalar
    past: tuple[Scalar, ...]
    kernel: Kernel
    known: frozenset[str] = frozenset({"x"})
    depth: int = 0
    last: bool = False
    inner: tuple[Scalar, ...] = ()
    past_times: tuple[Scalar, ...] = ()
    parameters: Mapping[str, Scalar] = field(default_factory=dict)
    nodes: tuple[Nodes, ...] = ()

    def moment(self, k: int, fraction: Scalar = 1) -> Scalar:
        """Moment ``k`` of the kernel over the first ``fraction`` of the step."""
        return self.kernel.moment(k, fraction)

    def rational(self, numerator: int, denominator: int) -> Scalar:
        """Rational constant in the arithmetic of the step: exact for symbols and series, a float for numbers."""
        exact = getattr(self.kernel, "rational", None)
        return numerator / denominator if exact is None else exact(numerator, denominator)

    def remember(self, newest: Vector, letter: str = "m", first: int = 1) -> dict[str, Vector]:
        """History for the next step: ``newest`` becomes the first, everything known moves back by one."""
        if not self.depth:
            return {}
        memory = {f"{letter}{first}": newest}
        for j in range(first, self.depth + first - 1):
            if f"{letter}{j}" not in self.known:
                break
            memory[f"{letter}{j + 1}"] = vector(f"{letter}{j}")
        return memory


@dataclass(frozen=True)
class Stage:
    """One model evaluation.

    Parameters
    ----------
    node : scalar
        Where, in steps from the current node: 0 is the current node, 1 the next. The int 0 or 1 is exact.
    value : Vector
        State at which the model is called. Evaluations carry the weight of the kernel *ending at this node*.
    """

    node: Scalar
    value: Vector


@dataclass(frozen=True)
class Step:
    """One step of a method in the coordinates of its form.

    Weights of states are those of ``y = x / scale``; weights of evaluations multiply the gain at the node of the
    row; weights of noise multiply sigma at the node of the row.

    Parameters
    ----------
    stages : tuple of Stage
        Model evaluations ``k1, k2, ...`` in order.
    x : Vector
        New state, at node 1.
    memory : mapping of str to Vector
        Evaluations and averages handed to the next step; rows without scale or gain.
    """

    stages: tuple[Stage, ...]
    x: Vector
    memory: Mapping[str, Vector] = field(default_factory=dict)

    @property
    def nfe(self) -> int:
        """Model evaluations in this step."""
        return len(self.stages)

    def rows(self) -> Iterator[tuple[str, Scalar | None, Vector]]:
        """All rows as (name, node or None, combination): stages first, named ``k1, k2, ...``."""
        for i, stage in enumerate(self.stages, start=1):
            yield f"k{i}", stage.node, stage.value
        yield "x", 1, self.x
        for name, value in self.memory.items():
            yield name, None, value


def entries(matrix: FloatArray) -> list[list[Any]]:
    """Rows of a matrix as lists, of floats or, where its entries are element-wise weights, of arrays.

    Parameters
    ----------
    matrix : ndarray, shape (rows, columns, ...)
        Further axes are those of a sample.

    Returns
    -------
    list of lists
    """
    return matrix.tolist() if matrix.ndim == 2 else [list(row) for row in matrix]


@dataclass(frozen=True, eq=False)
class Tableau:
    """One step as numbers: a row of Butcher's general linear form, float64.

    Parameters
    ----------
    inputs, outputs : tuple of str
        Names of the vectors that come in (k of them) and go out (k').
    noises : tuple of str
        Names of the independent standard normal draws (q of them).
    t_from, t_to : float
        Times at the ends of the step.
    stage_t, stage_alpha, stage_sigma : ndarray, shape (s,)
        Where the model is called.
    U, A : ndarray, shapes (s, k) and (s, s)
        Stage weights of the inputs and of earlier evaluations (A is strictly lower triangular).
    V, B : ndarray, shapes (k', k) and (k', s)
        Output weights of the inputs and of the evaluations.
    stage_noise, noise : ndarray, shapes (s, q) and (k', q)
        Weights of the noise.

    Notes
    -----
    Entries may be arrays themselves (element-wise coefficients); the matrices then have trailing axes that
    broadcast against one sample.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    noises: tuple[str, ...]
    t_from: float
    t_to: float
    stage_t: FloatArray
    stage_alpha: FloatArray
    stage_sigma: FloatArray
    U: FloatArray
    A: FloatArray
    V: FloatArray
    B: FloatArray
    stage_noise: FloatArray
    noise: FloatArray

    @property
    def nfe(self) -> int:
        """Model evaluations in this step."""
        return len(self.stage_t)

    def rows(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Rows as (target, {source: weight}) without the zeros; stages are the targets ``k1, k2, ...``."""
        stages = tuple(f"k{i + 1}" for i in range(self.nfe))
        sources = (*self.inputs, *stages, *self.noises)
        blocks = (
            (stages, (self.U, self.A, self.stage_noise)),
            (self.outputs, (self.V, self.B, self.noise)),
        )
        for targets, matrices in blocks:
            for target, *parts in zip(targets, *map(entries, matrices), strict=True):
                weights = zip(sources, chain.from_iterable(parts), strict=True)
                yield target, {name: w for name, w in weights if (w if isinstance(w, float) else w.any())}

    def __eq__(self, other: object) -> bool:
        """Equal when every name and every number is."""
        if not isinstance(other, Tableau):
            return NotImplemented
        return all(
            np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b
            for a, b in ((getattr(self, f), getattr(other, f)) for f in self.__dataclass_fields__)
        )

    __hash__ = None  # type: ignore[assignment]
