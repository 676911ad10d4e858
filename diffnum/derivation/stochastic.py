r"""Stochastic methods derived: the mean from moments of the reverse kernel, the noise from Ito's isometry.

Over a step, exactly, with s the fraction of the step (data prediction; noise prediction alike)

.. math:: x(\lambda_{n+1}) = \frac{\sigma_{n+1}}{\sigma_n} e^{-\eta^2 h} x(\lambda_n)
          + \alpha_{n+1} \int_0^1 K(s)\, D(s)\, ds
          + \sigma_{n+1} \int_0^1 \sqrt{2h}\, \eta\, e^{-\eta^2 h (1-s)}\, dW_s .

The evaluations are weighted as in the deterministic derivation of the same name, on the moments of K. Noise at several
nodes is that of one path; its covariances are integrals, and its weights a Cholesky factor of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Final

from diffnum.derivation import adams, runge_kutta
from diffnum.derivation.algebra.reverse import ReverseSymbols, path_covariance
from diffnum.derivation.algebra.symbols import as_fraction
from diffnum.derivation.records import Derive, Derived, Line, Scheme
from diffnum.tableau import Stage, Step, Vector, Window, vector

__all__ = ["DERIVATION", "SCHEME", "on_reverse"]

HALF = Fraction(1, 2)


# -- deterministic parts ---------------------------------------------------------------------------------


def trapezoid(window: Window, order: int, rate: int | None = -1) -> Derived:
    """Exponential trapezoidal rule: the moments 0 and 1 on the nodes 0 and 1."""
    if order == 1:
        return adams.adams(window, 1, rate)
    weights = adams.moment_weights((Fraction(0), Fraction(1)), [window.moment(0), window.moment(1)])
    step = runge_kutta.explicit_step(window, (Fraction(0), Fraction(1)), ((), (window.moment(0),)), weights)
    line = Line(
        "Predicted by exponential Euler; the line through both evaluations is integrated exactly.",
        r"w_1 + w_2 = I_0, \qquad w_2 = I_1",
    )
    return Derived(step, (adams.EXACT_STEP, line))


def sa_solver(
    window: Window, order: int, rate: int | None = -1, *, predictor: int, corrector: int, exact: bool
) -> Derived:
    """Stochastic Adams predictor and corrector, PEC; on two nodes the code's first moment, H/2, unless exact."""
    x = vector("x")

    def weights(nodes: tuple[Any, ...]) -> tuple[Any, ...]:
        moments = [window.moment(k) for k in range(len(nodes))]
        if len(nodes) == 2 and not exact and rate == -1:
            moments[1] = window.step * HALF
        return adams.moment_weights(nodes, moments)

    nodes = (Fraction(0), *window.past)
    line = Line(
        f"Predictor on {predictor} and corrector on {corrector or 'no'} nodes, exact for polynomials through them.",
        r"\sum_j w_j u_j^k = I_k"
        + ("" if exact or rate != -1 else r", \qquad \text{but } I_1 := H/2 \text{ on two nodes}"),
    )
    known = "m0" in window.known
    current = "m0" if known else "k1"
    history = [current, *(f"m{j}" for j in range(1, len(window.past) + 1))]
    count = min(predictor, order)
    predicted = x + adams.combination(weights(nodes[:count]), history[:count])
    stages = () if known else (Stage(0, x),)
    if not corrector:
        return Derived(Step(stages, predicted, window.remember(vector("k1"))), (adams.EXACT_STEP, line))
    if window.last:
        return Derived(Step(stages, predicted), (adams.EXACT_STEP, line))
    new = f"k{len(stages) + 1}"
    count = min(corrector - 1, order)
    corrected = x + adams.combination(weights((*nodes[:count], Fraction(1))), [*history[:count], new])
    memory = {"m0": vector(new)}
    if window.depth:
        memory["m1"] = vector(current)
    memory |= {f"m{j + 1}": vector(f"m{j}") for j in range(1, window.depth) if f"m{j}" in window.known}
    return Derived(Step((*stages, Stage(1, predicted)), corrected, memory), (adams.EXACT_STEP, line))


DERIVATION: Final[Mapping[str, Any]] = MappingProxyType({"sa_solver": sa_solver, "trapezoid": trapezoid})
"""Family -> ``derivation(window, order, rate, **options) -> Derived``."""


# -- the reverse equation ------------------------------------------------------------------------------


def on_reverse(base: Derive, window: Window, order: int, symbols: ReverseSymbols) -> Derived:
    """Base on the moments of the reverse kernel; for data prediction all it sees is a longer step."""
    tau = symbols["tau"]
    length = (1 + tau * tau) * symbols.h if symbols.rate == -1 else symbols.h
    return base(replace(window, step=length), order, symbols.rate)


def _reverse(base: Derive, window: Window, order: int, symbols: ReverseSymbols) -> Derived:
    """The base on the kernel of the reverse equation, with the noise of one path at its nodes."""
    prediction = symbols.prediction
    derived = on_reverse(base, window, order, symbols)
    nodes = sorted({as_fraction(n) for _, n, _ in derived.step.rows() if n is not None} - {Fraction(0)})
    one = Fraction(1)

    def noisy(node: Any, value: Vector) -> Vector:
        c = as_fraction(node)
        if c == 0:
            return value
        decay = symbols.power(0, c) if prediction == "data" else symbols.constant(1)
        row = Vector({name: decay * w if name == "x" else w for name, w in value.items()})
        previous = Fraction(0)
        for j, end in enumerate(nodes, start=1):
            if end > c:
                break
            part = symbols.square_root(path_covariance(symbols, prediction, end - previous, end - previous))
            carry = symbols.power(0, c - end) if prediction == "data" else symbols.power(end - c, 0)
            row, previous = row + carry * part * vector(f"z{j}"), end
        return row

    stages = tuple(Stage(s.node, noisy(s.node, s.value)) for s in derived.step.stages)
    step = Step(stages, noisy(one, derived.step.x), derived.step.memory)
    rho = r"-\eta^2" if prediction == "data" else "1"
    isometry = Line(
        "The noise gathered up to the nodes of the stages is that of one path; its covariances are Ito's isometry.",
        r"\operatorname{Cov}(N_a, N_b) = \int_0^{\min(a,b)} 2\eta^2 h\, e^{\rho h(a-s)} e^{\rho h(b-s)}\, ds, "
        rf"\qquad \rho = {rho}",
    )
    return Derived(step, (*derived.argument, isometry), derived.asymptotic)


SCHEME: Final[Mapping[str, Scheme]] = MappingProxyType({"reverse": Scheme(_reverse, "path", "tau")})
"""Name -> way to bring in noise."""
