r"""Stochastic methods derived: the mean from moments of the reverse kernel, the noise from Ito's isometry.

Over a step, exactly, with s the fraction of the step (data prediction; noise prediction alike)

.. math:: x_1 = \frac{\sigma_1}{\sigma_0} e^{-\tau^2 h} x_0 + \alpha_1 \int_0^1 K(s)\, D(s)\, ds
          + \sigma_1 \int_0^1 \sqrt{2h}\, \tau\, e^{-\tau^2 h (1-s)}\, dW_s .

The evaluations are weighted as in the deterministic derivation of the same name, on the moments of K. Noise at several
nodes is that of one path; its covariances are integrals, and its weights a Cholesky factor of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from diffnum.derivation import adams, runge_kutta
from diffnum.derivation.algebra.reverse import ReverseSymbols, path_covariance
from diffnum.derivation.algebra.symbols import as_fraction
from diffnum.derivation.records import Derived, Line
from diffnum.tableau import Stage, Step, Vector, Window, vector, vectors

__all__ = ["BASES", "SCHEMES", "Response", "base_nodes", "derive_step", "response"]

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


def _slope_in_sigma(window: Window, node: Fraction, first: Fraction, last: Fraction) -> Derived:
    """Two-stage methods that step dx/dsigma, written for D: x' = (x - D)/sigma, with alpha = 1.

    Slopes at the nodes 0 and ``node`` get the shares ``first`` and ``last`` of the whole step in sigma. In units of
    sigma at the start, sigma is e(c) at the node c, the inverse of the growth of alpha/sigma.
    """
    x, k1, k2 = vectors("x k1 k2")
    inner, at = window.moment(0, node), 1 / window.kernel.discount(node)
    stage = x + inner * k1  # in units of sigma at the stage, relative to the decay of x
    # x_1 - x_0 = (e - 1) (first (x_0 - D_0) + last (x_c - D_c)/e_c), with x_c = e_c x_0 + inner D_0
    fallen = window.moment(0)  # 1 - e
    on_first = fallen * (first - last * inner / at)
    on_second = fallen * last / at
    step = Step((Stage(0, x), Stage(1 if node == 1 else node, stage)), x + on_first * k1 + on_second * k2)
    line = Line(
        "The slope dx/dsigma = (x - D)/sigma is stepped, and its weights are turned into those of D.",
        rf"x_1 - x_0 = (\sigma_1 - \sigma_0)\left({first} \frac{{x_0 - D_0}}{{\sigma_0}}"
        rf" + {last} \frac{{X - D(X)}}{{\sigma_c}}\right), \qquad c = {node}",
    )
    return Derived(step, (line,))


def noise_midpoint(window: Window, order: int, rate: int | None = -1) -> Derived:
    """Midpoint rule in dx/dsigma at the geometric middle."""
    return adams.adams(window, 1, rate) if order == 1 else _slope_in_sigma(window, HALF, Fraction(0), Fraction(1))


def noise_heun(window: Window, order: int, rate: int | None = -1) -> Derived:
    """Heun's method in dx/dsigma."""
    return adams.adams(window, 1, rate) if order == 1 else _slope_in_sigma(window, Fraction(1), HALF, HALF)


BASES: Final[Mapping[str, Callable[..., Derived]]] = MappingProxyType(
    {
        "adams": adams.adams,
        "dpmpp_2m": adams.dpmpp_2m,
        "dpmpp_3m": partial(adams.dpmpp_3m, ramp="taylor"),
        "dpmpp_3m_corrected": adams.dpmpp_3m_corrected,
        "trapezoid": trapezoid,
        "dpm_solver": runge_kutta.dpm_solver,
        "sa_solver": sa_solver,
        "noise_midpoint": noise_midpoint,
        "noise_heun": noise_heun,
    }
)
"""Deterministic parts by name: ``base(window, order, rate, **options) -> Derived``."""

_DENOMINATORS = {"noise_midpoint": 2}


def base_nodes(base: str, order: int) -> int:
    """Least common denominator of the inner nodes of a base."""
    return order if base == "dpm_solver" else _DENOMINATORS.get(base, 1)


# -- schemes ---------------------------------------------------------------------------------------------


def _reverse(
    window: Window, order: int, symbols: ReverseSymbols, prediction: str, base: Callable[..., Derived]
) -> Derived:
    """The base on the kernel of the reverse equation, with the noise of one path at its nodes."""
    derived = _base_on(window, order, symbols, prediction, base)
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
    rho = r"-\tau^2" if prediction == "data" else "1"
    isometry = Line(
        "The noise gathered up to the nodes of the stages is that of one path; its covariances are Ito's isometry.",
        r"\operatorname{Cov}(N_a, N_b) = \int_0^{\min(a,b)} 2\tau^2 h\, e^{\rho h(a-s)} e^{\rho h(b-s)}\, ds, "
        rf"\qquad \rho = {rho}",
    )
    return Derived(step, (*derived.argument, isometry), derived.asymptotic)


def _ancestral(
    window: Window, order: int, symbols: ReverseSymbols, prediction: str, base: Callable[..., Derived]
) -> Derived:
    """Down along the flow to sigma_down = exp(-tau^2 h) sigma, then noise up to sigma."""
    derived = _base_on(window, order, symbols, prediction, base)
    decay, tau = symbols.power(0, 1), symbols["tau"]
    moved = Vector({name: decay * w if name == "x" else w for name, w in derived.step.x.items()})
    end = moved + symbols.square_root(1 - decay * decay) * vector("z1")
    stretch = 1 + tau * tau
    stages = tuple(Stage(0 if as_fraction(s.node) == 0 else s.node * stretch, s.value) for s in derived.step.stages)
    line = Line(
        "The step of the flow is longer, by what the noise then undoes: known data keep their law. "
        "The eta of the codes stands for the tau of this step.",
        r"\sigma_\downarrow = e^{-\tau^2 h} \sigma_1, \quad \sigma_\downarrow^2 + \sigma_\uparrow^2 = \sigma_1^2,"
        r" \quad 1 - e^{-2\tau^2 h} = \eta^2 (1 - e^{-2h})",
    )
    return Derived(Step(stages, end), (*derived.argument, line), derived.asymptotic)


def _churn(
    window: Window, order: int, symbols: ReverseSymbols, prediction: str, base: Callable[..., Derived]
) -> Derived:
    """Noise up to sigma_hat = exp(tau^2 h) sigma, then down along the flow."""
    derived = _base_on(window, order, symbols, prediction, base)
    decay, tau = symbols.power(0, 1), symbols["tau"]
    noise = symbols.square_root(1 - decay * decay)
    stretch = 1 + tau * tau

    def risen(value: Vector) -> Vector:
        return Vector({n: decay * w if n == "x" else w for n, w in value.items()} | {"z1": noise})

    stages = tuple(
        Stage(1 if as_fraction(s.node) == 1 else 1 + (s.node - 1) * stretch, risen(s.value))
        for s in derived.step.stages
    )
    line = Line(
        "Noise raises sigma first; the step of the flow is longer by as much: known data keep their law.",
        r"\hat\sigma = e^{\tau^2 h} \sigma_0, \qquad \hat\sigma^2 = \sigma_0^2 + (\text{noise})^2",
    )
    return Derived(Step(stages, risen(derived.step.x)), (line, *derived.argument), derived.asymptotic)


def _base_on(
    window: Window, order: int, symbols: ReverseSymbols, prediction: str, base: Callable[..., Derived]
) -> Derived:
    """Base on the moments of the reverse kernel; for data prediction all it sees is a longer step."""
    tau = symbols["tau"]
    length = (1 + tau * tau) * symbols.h if prediction == "data" else symbols.h
    kernel = symbols.kernel(prediction)
    return base(replace(window, step=length, kernel=kernel), order, -1 if prediction == "data" else 1)


SCHEMES: Final[Mapping[str, Callable[..., Derived]]] = MappingProxyType(
    {"reverse": _reverse, "ancestral": _ancestral, "churn": _churn}
)
"""Ways to bring in noise: ``scheme(window, order, symbols, prediction, base) -> Derived``."""


def derive_step(
    window: Window, order: int, symbols: ReverseSymbols, prediction: str, options: Mapping[str, Any]
) -> Derived:
    """Step of a stochastic method from what its record says of scheme and base."""
    chosen = {k: options[k] for k in ("predictor", "corrector", "exact") if k in options}
    return SCHEMES[options["scheme"]](window, order, symbols, prediction, partial(BASES[options["base"]], **chosen))


# -- response to noise -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Response:
    r"""How the noise of one step comes back through the drift, to first order in the step and the drift's slope J.

    The exact solution answers a push dW at the fraction s of a step with :math:`1 + h J (1 - s)` at its end, a method
    with :math:`1 + h J R_j` in part j of the step (later steps included, which know the push too late or too often).

    Parameters
    ----------
    parts : tuple of (Fraction, Fraction)
        Ends of the parts of the step that have a draw of their own.
    values : tuple of Fraction
        R_j.
    """

    parts: tuple[tuple[Fraction, Fraction], ...]
    values: tuple[Fraction, ...]

    @property
    def mean(self) -> Fraction:
        r""":math:`\int_0^1 R\, ds`; 1/2 gives the variance of linear equations to second order."""
        return sum(((b - a) * r for (a, b), r in zip(self.parts, self.values, strict=True)), Fraction(0))

    @property
    def strong_constant(self) -> Fraction:
        r""":math:`q = \int_0^1 (1 - s - R)^2 ds > 0`.

        The noise in the strong local error has variance :math:`2 \tau^2 q\, h^3 J^2`, in units of sigma^2.
        """
        total = Fraction(0)
        for (a, b), r in zip(self.parts, self.values, strict=True):
            total += ((1 - a - r) ** 3 - (1 - b - r) ** 3) / 3
        return total


def response(step: Step, scheme: str) -> Response:
    """Response of a method from the limit h -> 0 of its step on constant steps.

    Parameters
    ----------
    step : Step
        Weights in units of the step, all rational numbers; the noise left out.
    scheme : {"reverse", "ancestral", "churn", "stages"}
        Where the noise enters: with the path, after all evaluations, before them.
    """
    nodes = {name: as_fraction(node) for name, node, _ in step.rows() if node is not None}
    ends = sorted({c for c in nodes.values() if 0 < c < 1} | {Fraction(1)}) if scheme == "reverse" else [Fraction(1)]
    parts = tuple(zip([Fraction(0), *ends[:-1]], ends, strict=True))

    def knows(name: str, end: Fraction) -> bool:
        """Whether an evaluation of the step has seen a part of its noise."""
        return name[0] == "k" and (scheme == "churn" or (scheme == "reverse" and nodes[name] >= end))

    values = []
    for _, end in parts:
        seen = {name: Fraction(knows(name, end)) for name in nodes if name[0] == "k"}
        memory = {name: Fraction(0) for row in (step.x, *step.memory.values()) for name in row if name[0] == "m"}
        total = Fraction(0)
        for later in range(len(memory) + 2):
            if later:
                seen = dict.fromkeys(seen, Fraction(1))
            values_now = {**memory, **seen}
            total += sum(
                (as_fraction(w) * (values_now[n] - (1 if later else 0)) for n, w in step.x.items() if n[0] in "km"),
                Fraction(0),
            )
            memory = {
                name: sum((as_fraction(w) * values_now[n] for n, w in row.items()), Fraction(0))
                for name, row in step.memory.items()
            }
        values.append(total)
    return Response(parts, tuple(values))
