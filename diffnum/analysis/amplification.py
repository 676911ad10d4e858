r"""One step of any method on the linear test equation, as a matrix.

With ``u = x / gain`` every form reads :math:`u' = \kappa u + M`: the first term is integrated exactly, the
second by the rule. The test equation takes :math:`M = \mu u` with a constant mu. It is measured in the
picture without scaling, :math:`\bar x = x / \alpha`, in which

.. math:: \bar x' = -\nu\, \bar x, \qquad z = -\nu h, \qquad
          \mu = z/h - \min(\kappa, 0), \qquad \bar x = u\, e^{-\max(\kappa, 0)\lambda} \text{ up to a constant},

so that the exact solution is multiplied by :math:`e^z` a step, whatever the form. On Gaussian data of variance c
the equation holds with :math:`\nu = 1/(1 + c\, \alpha^2/\sigma^2) \in (0, 1)`, slowly varying (mu is 1 - nu for data
and -nu for noise prediction); guidance multiplies differences of such numbers, and there nu is not bounded by one.
Stochastic methods of noise level eta move the mean by :math:`\bar x' = -(1 + \eta^2) \nu \bar x`: for them z is the
exponent of the probability flow, and the exact mean is multiplied by :math:`e^{(1 + \eta^2) z}`.

A step acts on the state and the memory, evaluations in units of 1/h:
:math:`K = \zeta (U e + A K)`, :math:`e' = V e + B K`, with :math:`\zeta = \mu h`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffnum.coefficients.catalogue import method as find_method
from diffnum.coefficients.method import Method
from diffnum.coefficients.programme import Placement
from diffnum.forms import ExponentialKernel
from diffnum.tableau import Step, Window
from diffnum.types import FloatArray

__all__ = ["ComplexArray", "LinearStep", "build", "linear_step", "noise_level", "record_of"]

ComplexArray = NDArray[np.complex128]
"""A complex128 numpy array."""

_REHEARSAL = 36
"""Intervals of the programme from whose middle the steady step is taken."""
LIMIT = 1e-8
"""Step that stands for the limit 0: rules of stochastic methods know their own kernel, and are not defined there."""


@dataclass(frozen=True, eq=False)
class LinearStep:
    """Steady step of a method with constant steps, as matrices on (state, memory).

    Parameters
    ----------
    method : str
        Name of the method.
    form : str
        Name of its form.
    rate : int
        Growth rate kappa of the kernel; 0 in the clocks that are integrating variables.
    step : float
        Step in half-log-SNR where kappa is not zero (of a whole step, where it spans several intervals of the grid); 0
        otherwise, as nothing depends on it then.
    vectors : tuple of str
        Names of the k vectors that go round: the state, then the memory.
    nodes : ndarray, shape (s,)
        Where the model is called, in steps from the start of the step.
    U, A, V, B : ndarray, shapes (s, k), (s, s), (k, k), (k, s)
        Stage and output weights, float64.
    """

    method: str
    form: str
    rate: int
    step: float
    vectors: tuple[str, ...]
    nodes: FloatArray
    U: FloatArray
    A: FloatArray
    V: FloatArray
    B: FloatArray

    @property
    def nfe(self) -> int:
        """Model evaluations in the step."""
        return len(self.A)

    def zeta(self, z: ArrayLike) -> ComplexArray:
        """Coefficient ``mu h`` of the part that the rule integrates, from the total exponent ``z``."""
        return np.asarray(z, dtype=np.complex128) - self.step * min(self.rate, 0)

    def total(self, zeta: ArrayLike) -> ComplexArray:
        """Inverse of :meth:`zeta`."""
        return np.asarray(zeta, dtype=np.complex128) + self.step * min(self.rate, 0)

    @property
    def frame(self) -> float:
        """Factor a step from ``u = x / gain`` to ``y = x / alpha``."""
        return float(np.exp(-self.step * max(self.rate, 0)))

    def matrix(self, z: ArrayLike) -> ComplexArray:
        """Amplification matrix at total exponent ``z``, shape ``z.shape + (k, k)``.

        The exact solution is multiplied by ``exp(z)`` and so is the principal eigenvalue, to the order of the method.
        """
        zeta = self.zeta(z)[..., None, None]
        stages = np.linalg.solve(np.eye(self.nfe) - zeta * self.A, zeta * self.U)
        found: ComplexArray = np.asarray(self.frame * (self.V + self.B @ stages), dtype=np.complex128)
        return found

    def radius(self, z: ArrayLike) -> FloatArray:
        """Spectral radius of :meth:`matrix`, shape of ``z``."""
        radius: FloatArray = np.abs(np.linalg.eigvals(self.matrix(z))).max(axis=-1)
        return radius


def record_of(method: Method | str) -> Method:
    """Record of a method given by name or as itself.

    Raises
    ------
    TypeError
        If it is neither.
    """
    if isinstance(method, str):
        return find_method(method)
    if not isinstance(method, Method):
        msg = f"method={method!r}: pass the name of a method, such as 'dpmpp_2m', or a Method"
        raise TypeError(msg)
    return method


def check_step(h: float) -> float:
    """Step length, a finite number that is not negative.

    Raises
    ------
    ValueError
        If it is not.
    """
    if not isinstance(h, int | float | np.number):
        msg = f"h={h!r} is no number: use a finite step in half-log-SNR > 0, or 0 for the limit of small steps"
        raise TypeError(msg)
    if not (np.isfinite(h) and h >= 0):
        msg = f"h={h} is no step in half-log-SNR: use a finite number > 0, or 0 for the limit of small steps"
        raise ValueError(msg)
    return float(h)


def linear_step(method: Method | str, h: float, parameters: Mapping[str, float] | None = None) -> LinearStep:
    """Steady step of a method on constant steps, evaluated from its step rule.

    Parameters
    ----------
    method : str or Method
        Name or record.
    h : float
        Step in half-log-SNR (natural log of alpha/sigma), >= 0, for the forms with an exponential kernel; the limit
        0 (within 1e-8) is the classical method behind the exponential one. The other forms do not depend on it. In the
        time clock sigma/alpha is taken to move at a constant speed.
    parameters : mapping of str to float, optional
        The numbers that :attr:`Method.parameters` asks for.

    Returns
    -------
    LinearStep

    Raises
    ------
    TypeError
        If ``method`` is neither a name nor a record.
    ValueError
        If the method is unknown or ``h`` is negative or not finite; if parameters are missing; if the method's step is
        not steady, or not linear in state and evaluations with numbers as weights.
    """
    record = record_of(method)
    return build(record, check_step(h) or LIMIT, parameters)


def build(record: Method, length: float, parameters: Mapping[str, float] | None = None) -> LinearStep:
    """Evaluate the rule on constant steps of the given length (of either sign) and collect its weights."""
    given = dict(parameters or {})
    if set(given) != set(record.parameters):
        msg = f"parameters={sorted(given)}: {record.name} takes exactly {sorted(record.parameters) or 'none'}"
        raise ValueError(msg)
    placement, rate = _steady(record), record.form.rate or 0
    length = length if rate else 1.0
    past = tuple(-float(j) for j in range(1, placement.past + 1))
    inner = placement.inner_times or tuple(j / placement.stride for j in range(1, placement.stride))
    kernel = ExponentialKernel(length, rate)
    step = placement.step(Window(length, past, kernel, placement.known, placement.depth, False, inner, past, given))
    names = ("x", *sorted(placement.known - {"x"}))
    if set(step.memory) != set(names) - {"x"}:
        msg = (
            f"method={record.name!r} hands on {sorted(step.memory)} after receiving {sorted(placement.known)}: "
            "only steps that repeat have a region of stability"
        )
        raise ValueError(msg)
    growth = float(np.exp(rate * length))
    nodes = np.array([float(stage.node) for stage in step.stages])
    weights = _collect(record, step, names, length, growth)
    return LinearStep(record.name, record.form.name, rate, length if rate else 0.0, names, nodes, *weights)


def noise_level(record: Method) -> float:
    """Tau of the equation whose mean the method follows; 0 for the probability flow."""
    return 0.0 if record.noise is None else float(record.noise.level or 0.0)


def _steady(record: Method) -> Placement:
    """A step far from start and end of a long programme."""
    if record.noise is not None and record.noise.placed:
        msg = (
            f"method={record.name!r} has weights that depend on where on the schedule a step stands, not on the step "
            "alone: propagate a plan of it on Gaussian data instead"
        )
        raise ValueError(msg)
    placements = record.programme(_REHEARSAL + 2 * record.exact_steps, continues=True)
    return placements[len(placements) // 2 + record.exact_steps // 2]


def _collect(
    record: Method, step: Step, names: tuple[str, ...], length: float, growth: float
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Weights of the rows as (U, A, V, B): the state carries its exact growth, evaluations come in units of 1/h."""
    rows = {name: (node, value) for name, node, value in step.rows()}
    stages = [f"k{i + 1}" for i in range(step.nfe)]
    blocks = []
    for targets in (stages, names):
        states, evaluations = np.zeros((len(targets), len(names))), np.zeros((len(targets), step.nfe))
        for i, target in enumerate(targets):
            node, value = rows[target]
            for source, weight in value.items():
                if source[0] == "z":  # noise does not move the mean
                    continue
                if source == "one":
                    msg = (
                        f"method={record.name!r} has a term without the state, and weights that depend on the "
                        "schedule, not on the step alone: propagate a plan of it on Gaussian data instead"
                    )
                    raise ValueError(msg)
                number = _number(record, weight)
                if source == "x":
                    if node is None:
                        msg = f"method={record.name!r} remembers the state in {target}: not a linear memory"
                        raise ValueError(msg)
                    number *= growth ** float(node)
                elif node is not None:
                    number /= length
                if source in stages:
                    evaluations[i, stages.index(source)] = number
                else:
                    states[i, names.index(source)] = number
        blocks += [states, evaluations]
    U, A, V, B = blocks
    return U, A, V, B


def _number(record: Method, weight: Any) -> float:
    """Weight as a float."""
    if np.ndim(weight):
        msg = (
            f"method={record.name!r} has weights that differ by element or depend on the level of noise: "
            "propagate a plan of it on Gaussian data instead"
        )
        raise ValueError(msg)
    return float(weight)
