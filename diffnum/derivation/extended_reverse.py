r"""ER-SDE derived: polynomials in sigma/alpha on formal moments of the kernel of a noise scale function."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from diffnum.derivation import adams
from diffnum.derivation.algebra.reverse import ReverseSymbols
from diffnum.derivation.records import Derive, Derived, Line, Scheme
from diffnum.tableau import Step, Vector, Window, vector

__all__ = ["DERIVATION", "SCHEME"]


def er_sde(window: Window, order: int, rate: int | None = None, *, corrected: bool) -> Derived:  # noqa: ARG001
    """Polynomial in sigma/alpha through the values; the official third order as it is."""
    moments = [window.moment(k) for k in range(order)]
    nodes: tuple[Any, ...] = (Fraction(0), *window.past[: order - 1])
    weights = adams.moment_weights(nodes, moments)
    if order == 3 and not corrected:
        # the chord's slope for D' takes from the parabola's weights half a step of curvature
        _, u, w = nodes
        curvature = [2 / ((0 - u) * (0 - w)), 2 / ((u - 0) * (u - w)), 2 / ((w - 0) * (w - u))]
        weights = tuple(a + moments[1] * u / 2 * c for a, c in zip(weights, curvature, strict=True))
    line = Line(
        "D is replaced by a polynomial in rho = sigma/alpha; M_k are the kernel's moments in the fraction of the step.",
        r"\sum_j w_j u_j^k = M_k"
        + ("" if corrected or order < 3 else r", \qquad \text{but the chord's slope for } D'(\rho_0)"),
    )
    return Derived(adams.multistep(window, weights), (line,))


DERIVATION: Final[Mapping[str, Any]] = MappingProxyType(
    {"er_sde": partial(er_sde, corrected=False), "er_sde_corrected": partial(er_sde, corrected=True)}
)
"""Family -> ``derivation(window, order, rate, **options) -> Derived``."""


def _extended(base: Derive, window: Window, order: int, symbols: ReverseSymbols) -> Derived:
    """Decay by the integral of tau^2, written tau^2 h, and the noise that keeps the law of known data."""
    derived = base(window, order, symbols.rate)
    decay = symbols.power(0, 1)
    moved = Vector({n: decay * v if n == "x" else v for n, v in derived.step.x.items()})
    noise = symbols.square_root(1 - decay * decay) * vector("z1")
    exact = Line(
        "One step, exactly: the kernel of the noise scale function times the prediction, and the noise gathered.",
        r"\frac{x(\lambda_{n+1})}{\sigma_{n+1}} = \frac{g_{n+1}}{g_n} \frac{x(\lambda_n)}{\sigma_n}"
        r" + \frac{\alpha_{n+1}}{\sigma_{n+1}} \int_0^1 K(s)\, D(s)\, ds + \text{noise},"
        r" \qquad g = \varphi(\rho)/\rho",
    )
    isometry = Line(
        "Known data keep their law, so that noise makes up for the decay; the integral of tau^2 is written tau^2 h.",
        r"\frac{g_{n+1}}{g_n} = e^{-\eta^2 h}, \qquad \operatorname{Var} = 1 - e^{-2\eta^2 h}",
    )
    step = Step(derived.step.stages, moved + noise, derived.step.memory)
    return Derived(step, (exact, *derived.argument, isometry))


SCHEME: Final[Mapping[str, Scheme]] = MappingProxyType({"extended": Scheme(_extended, "path", "scale")})
"""Name -> way to bring in noise."""
