"""Split steps derived: a step of the flow, and noise before or after it that keeps the law of known data."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Final

from diffnum.derivation import adams
from diffnum.derivation.algebra.reverse import ReverseSymbols
from diffnum.derivation.algebra.symbols import as_fraction
from diffnum.derivation.records import Derive, Derived, Line, Scheme
from diffnum.derivation.stochastic import on_reverse
from diffnum.tableau import Stage, Step, Vector, Window, vector, vectors

__all__ = ["DERIVATION", "SCHEME"]

HALF = Fraction(1, 2)


# -- deterministic parts ---------------------------------------------------------------------------------


def _slope_in_sigma(window: Window, node: Fraction, first: Fraction, last: Fraction) -> Derived:
    """Two-stage methods that step dx/dsigma, written for D: x' = (x - D)/sigma, with alpha = 1.

    Slopes at the nodes 0 and ``node`` get the shares ``first`` and ``last`` of the whole step in sigma. In units of
    sigma at the start, sigma is e(c) at the node c, the inverse of the growth of alpha/sigma.
    """
    x, k1, k2 = vectors("x k1 k2")
    inner, at = window.moment(0, node), 1 / window.kernel.discount(node)
    stage = x + inner * k1  # in units of sigma at the stage, relative to the decay of x
    # y_1 - y_0 = (e - 1) (first (y_0 - D_0) + last (y_c - D_c)/e_c), with y_c = e_c y_0 + inner D_0
    fallen = window.moment(0)  # 1 - e
    on_first = fallen * (first - last * inner / at)
    on_second = fallen * last / at
    step = Step((Stage(0, x), Stage(1 if node == 1 else node, stage)), x + on_first * k1 + on_second * k2)
    inside = Line(f"The second stage, at c = {node}, is a first-order step.", "a_{21} = I_0(c)")
    line = Line(
        "The slope dx/dsigma = (x - D)/sigma is stepped, and its weights are turned into those of D.",
        rf"y_{{n+1}} - y_n = (\sigma_{{n+1}} - \sigma_n)\left({first} \frac{{y_n - D_n}}{{\sigma_n}}"
        rf" + {last} \frac{{X - D(X)}}{{\sigma_c}}\right), \qquad c = {node}",
    )
    return Derived(step, (inside, line))


def noise_midpoint(window: Window, order: int, rate: int | None = -1) -> Derived:
    """Midpoint rule in dx/dsigma at the geometric middle."""
    return adams.adams(window, 1, rate) if order == 1 else _slope_in_sigma(window, HALF, Fraction(0), Fraction(1))


def noise_heun(window: Window, order: int, rate: int | None = -1) -> Derived:
    """Heun's method in dx/dsigma."""
    return adams.adams(window, 1, rate) if order == 1 else _slope_in_sigma(window, Fraction(1), HALF, HALF)


DERIVATION: Final[Mapping[str, Any]] = MappingProxyType({"noise_heun": noise_heun, "noise_midpoint": noise_midpoint})
"""Family -> ``derivation(window, order, rate, **options) -> Derived``."""


# -- schemes ---------------------------------------------------------------------------------------------


def _ancestral(base: Derive, window: Window, order: int, symbols: ReverseSymbols) -> Derived:
    """Down along the flow to sigma_down = exp(-tau^2 h) sigma, then noise up to sigma."""
    derived = on_reverse(base, window, order, symbols)
    decay, tau = symbols.power(0, 1), symbols["tau"]
    moved = Vector({name: decay * w if name == "x" else w for name, w in derived.step.x.items()})
    end = moved + symbols.square_root(1 - decay * decay) * vector("z1")
    stretch = 1 + tau * tau
    stages = tuple(Stage(0 if as_fraction(s.node) == 0 else s.node * stretch, s.value) for s in derived.step.stages)
    line = Line(
        "The step of the flow is longer, by what the noise then undoes: known data keep their law. "
        "What the codes call eta stands for the level of this step.",
        r"\sigma_\downarrow = e^{-\eta^2 h} \sigma_1, \quad \sigma_\downarrow^2 + \sigma_\uparrow^2 = \sigma_1^2,"
        r" \quad 1 - e^{-2\eta^2 h} = \mathtt{eta}^2 (1 - e^{-2h})",
    )
    return Derived(Step(stages, end), (*derived.argument, line), derived.asymptotic)


def _churn(base: Derive, window: Window, order: int, symbols: ReverseSymbols) -> Derived:
    """Noise up to sigma_hat = exp(tau^2 h) sigma, then down along the flow."""
    derived = on_reverse(base, window, order, symbols)
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
        r"\hat\sigma = e^{\eta^2 h} \sigma_0, \qquad \hat\sigma^2 = \sigma_0^2 + (\text{noise})^2",
    )
    return Derived(Step(stages, risen(derived.step.x)), (line, *derived.argument), derived.asymptotic)


def _stages(base: Derive, window: Window, order: int, symbols: ReverseSymbols) -> Derived:
    """DPM-Solver++ (stochastic) at eta = 1: first-order steps to the node and to the end, on a path in sigma."""
    one, end = symbols.constant(1), symbols.power(1, 0)
    if order == 1:
        late, noise = one - end**2, symbols.square_root(one - end**2)
        return Derived(Step((Stage(0, vector("x")),), end * vector("x") + late * vector("k1") + noise * vector("z1")))
    x, k1, k2, z1, z2 = (vector(n) for n in ("x", "k1", "k2", "z1", "z2"))
    node = base(window, order, symbols.rate).step.stages[1].node
    c = as_fraction(node)
    middle, slope = symbols.power(c, 0), 1 / (2 * c)
    share = (1 - middle) / (1 - end)
    early, late = one - middle**2, one - end**2
    root = symbols.square_root
    stage = middle * x + early * k1 + root(early) * z1
    mean = end * x + late * slope * k2
    if slope != 1:
        mean = mean + late * (1 - slope) * k1
    noise = root(late * share) * z1 + root(late * (1 - share)) * z2 if c < 1 else root(late) * z1
    step = Step((Stage(0, x), Stage(node, stage)), mean + noise)
    return Derived(step, (Line("First-order steps keep known data; the slope gets half the weight of the value."),))


SCHEME: Final[Mapping[str, Scheme]] = MappingProxyType(
    {
        "ancestral": Scheme(_ancestral, "after", "eta"),
        "churn": Scheme(_churn, "before", "tau"),
        "stages": Scheme(_stages, "sigma", "eta", level=1),
    }
)
"""Name -> way to bring in noise."""
