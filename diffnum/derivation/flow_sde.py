r"""Stochastic steps of flow models derived: from the equation in flow time, or from the noise of known data.

Everything is written in the field of the reverse equation, with the flow time s_0 at the start of the step as a further
symbol: :math:`s_1 = s_0 E/(1 - s_0 + s_0 E)` with :math:`E = e^{-h}`. What a family calls its level stands for a noise
level tau that depends on the step: the one with which :math:`e^{-\eta^2 h}` is the share d of the old noise kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import sympy

from diffnum.derivation.algebra.reverse import ReverseSymbols
from diffnum.derivation.records import Derive, Derived, Line, Scheme
from diffnum.derivation.stochastic import on_reverse
from diffnum.tableau import Stage, Step, Vector, Window, vector

__all__ = ["DERIVATION", "LEVELS", "RATES", "SCHEME", "end_of", "fokker_planck", "stationary_variance"]

DERIVATION: Final[Mapping[str, Any]] = MappingProxyType({})
"""The part without noise is DDIM, of the family ``adams``."""


# -- what a level stands for ---------------------------------------------------------------------------------


def end_of(start: Any, shrink: Any) -> Any:
    """Flow time at the end of a step, whose ``exp(-h)`` is ``shrink``."""
    return start * shrink / (1 - start + start * shrink)


def _flow_level(start: Any, shrink: Any, kept: Any, root: Callable[[Any], Any]) -> Any:
    """Diffusion ``a sqrt(s/(1 - s))`` at the start: g^2 (s_0 - s_1) = 2 s_0 s_1 (1 - d)."""
    end = end_of(start, shrink)
    return root(2 * end * (1 - kept) * (1 - start) / (start - end))


def _dance_level(start: Any, shrink: Any, kept: Any, root: Callable[[Any], Any]) -> Any:
    """The diffusion itself."""
    end = end_of(start, shrink)
    return root(2 * start * end * (1 - kept) / (start - end))


def _preserving_level(start: Any, shrink: Any, kept: Any, root: Callable[[Any], Any]) -> Any:  # noqa: ARG001
    """Tangent of half the angle whose cosine is d."""
    return root((1 - kept) / (1 + kept))


def _ancestral_level(start: Any, shrink: Any, kept: Any, root: Callable[[Any], Any]) -> Any:  # noqa: ARG001
    """Where Euler's step ends: s_down = s_1 (1 - eta (1 - s_1/s_0)), with s_down/(1 - s_down) = d s_1/(1 - s_1)."""
    end = end_of(start, shrink)
    down = kept * end / (1 - end + kept * end)
    return (1 - down / end) / (1 - end / start)


LEVELS: Final[Mapping[str, Callable[..., Any]]] = MappingProxyType(
    {
        "flow_sde": _flow_level,
        "dance_sde": _dance_level,
        "cps": _preserving_level,
        "euler_ancestral_rf": _ancestral_level,
    }
)
"""Family -> parameter of its rule, ``level(s_0, exp(-h), d, square_root)``."""


def _flow_rate(level: Any, s: Any) -> Any:  # noqa: ARG001
    return level**2 / 2


def _dance_rate(level: Any, s: Any) -> Any:
    return level**2 * (1 - s) / (2 * s)


def _ancestral_rate(level: Any, s: Any) -> Any:  # noqa: ARG001
    return level


RATES: Final[Mapping[str, Callable[[Any, Any], Any]]] = MappingProxyType(
    {"flow_sde": _flow_rate, "dance_sde": _dance_rate, "euler_ancestral_rf": _ancestral_rate}
)
"""Family -> tau^2 of the equation that it approaches, of level and flow time: g^2 (1 - s)/(2 s) for a diffusion g."""


# -- schemes -------------------------------------------------------------------------------------------------


def _kept_law(base: Derive, window: Window, order: int, symbols: ReverseSymbols) -> Derived:
    """Noise is divided so that known data keep their law: d^2 + v = 1."""
    derived = on_reverse(base, window, order, symbols)
    decay = symbols.power(0, 1)
    moved = Vector({name: decay * w if name == "x" else w for name, w in derived.step.x.items()})
    step = Step(derived.step.stages, moved + symbols.square_root(1 - decay * decay) * vector("z1"))
    line = Line(
        "Of the old noise the share d is kept, and new noise makes up for the rest: known data keep their law.",
        r"y_{n+1} = \alpha_{n+1} D_n + \sigma_{n+1} (d\, \epsilon_n + \sqrt{1 - d^2}\, z), \qquad d = e^{-\eta^2 h}",
    )
    return Derived(step, (*derived.argument, line), derived.asymptotic)


def _euler_maruyama(base: Derive, window: Window, order: int, symbols: ReverseSymbols) -> Derived:
    """Euler-Maruyama in flow time on dx = (u + g^2 eps/(2 s)) ds + g dW, with u = eps - D."""
    start, decay = symbols["s_0"], symbols.power(0, 1)
    end = end_of(start, symbols.power(1, 0))
    x, data = vector("x"), vector("k1")
    state = start * x  # x_0 = s_0 y with y in units of the noise
    noise = (state - (1 - start) * data) / start
    diffused = 2 * start * end * (1 - decay)  # g^2 (s_0 - s_1)
    after = state + (end - start) * (noise - data) - diffused / (2 * start) * noise
    moved = Vector({"x": after["x"] / end, "k1": after["k1"] / (1 - end)})
    step = Step((Stage(0, x),), moved + symbols.square_root(diffused / (end * end)) * vector("z1"))
    argument = (
        *on_reverse(base, window, order, symbols).argument,
        Line(
            "In flow time the reverse equation adds half the squared diffusion times the score to the velocity.",
            r"dx = \left(u + \frac{g^2}{2 \chi}\, \epsilon\right) d\chi + g\, dW, \qquad u = \epsilon - x_0",
        ),
        Line(
            "One Euler-Maruyama step. The level of the family is written as that with d = exp(-level^2 h).",
            r"\chi_{n+1} d = \chi_{n+1} - \frac{g^2 (\chi_n - \chi_{n+1})}{2 \chi_n}, \qquad"
            r" \operatorname{Var} = g^2 (\chi_n - \chi_{n+1}) = 2 \chi_n \chi_{n+1} (1 - d)",
        ),
    )
    return Derived(step, argument)


SCHEME: Final[Mapping[str, Scheme]] = MappingProxyType(
    {
        "flow_sde": Scheme(_euler_maruyama, "increment", "level", keeps=False, stands_for=_flow_level),
        "dance_sde": Scheme(_euler_maruyama, "increment", "level", keeps=False, stands_for=_dance_level),
        "cps": Scheme(_kept_law, "increment", "level", stands_for=_preserving_level),
        "euler_ancestral_rf": Scheme(_kept_law, "increment", "level", stands_for=_ancestral_level),
    }
)
"""Name -> way to bring in noise."""


# -- laws ----------------------------------------------------------------------------------------------------


def fokker_planck() -> tuple[sympy.Expr, sympy.Expr]:
    r"""Condition under which a stochastic equation in falling flow time keeps the marginals of the flow.

    With the density p of the flow of velocity u, :math:`\partial_s p = -\partial_x (u p)`, and an equation run towards
    smaller s with any diffusion g(s) and the drift :math:`u - f`,

    .. math:: dx = (u - f)\, ds + g\, dW .

    Returns
    -------
    defect, at_half_score : sympy expressions
        What the Fokker-Planck equation leaves of p, :math:`\partial_x\left(\tfrac{g^2}{2} \partial_x p - f p\right)`
        for a general f(x, s); and for :math:`f = \tfrac{g^2}{2} \partial_x \log p`, 0 for every g.
    """
    x, s = sympy.symbols("x s")
    g, p, u, f = (
        sympy.Function("g")(s), sympy.Function("p")(x, s), sympy.Function("u")(x, s), sympy.Function("f")(x, s)
    )  # fmt: skip
    # in the time t = -s that rises along the run: dx = -(u - f) dt + g dW, and d/dt p = d/dx (u p)
    left = sympy.diff((u - f) * p, x) + g**2 / 2 * sympy.diff(p, x, 2)
    defect = sympy.expand(left - sympy.diff(u * p, x))
    half_score = g**2 / 2 * sympy.diff(p, x) / p
    return defect, sympy.expand(defect.subs(f, half_score).doit())


def stationary_variance() -> tuple[sympy.Expr, sympy.Expr]:
    r"""Law to which coefficients-preserving steps settle at one noise level, for Gaussian data.

    As the steps get short the level hardly moves, and each step still replaces the same share of the noise: the law is
    the fixed point of :math:`x \to \alpha D(x) + \sigma (d\, \epsilon(x) + \sqrt{1 - d^2}\, z)`.

    Returns
    -------
    ratio, at_data : sympy expressions
        Variance of the fixed point over that of the marginal, in alpha, sigma, the variance c of the data and d; and
        its limit for sigma = 0, :math:`(1 + d)/2`: with :math:`d = \cos(a\pi/2)` the standard deviation is
        :math:`\cos(a\pi/4)` of that of the data, whatever c.
    """
    alpha, sigma, c, d = sympy.symbols("alpha sigma c d", positive=True)
    total = alpha**2 * c + sigma**2
    gain = (alpha**2 * c + d * sigma**2) / total
    # V = gain^2 V + sigma^2 (1 - d^2)
    ratio = sympy.cancel(sigma**2 * (1 - d**2) / ((1 - gain**2) * total))
    return ratio, sympy.cancel(ratio.subs(sigma, 0))
