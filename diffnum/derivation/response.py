"""Response of a method to the noise of one step: what limits its strong order, and grants its weak one."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from diffnum.derivation.algebra.symbols import as_fraction
from diffnum.tableau import Step

__all__ = ["Response", "response"]


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

        The noise in the strong local error has variance :math:`2 \eta^2 q\, h^3 J^2`, in units of sigma^2.
        """
        total = Fraction(0)
        for (a, b), r in zip(self.parts, self.values, strict=True):
            total += ((1 - a - r) ** 3 - (1 - b - r) ** 3) / 3
        return total


def response(step: Step, entry: str) -> Response:
    """Response of a method from the limit h -> 0 of its step on constant steps.

    Parameters
    ----------
    step : Step
        Weights in units of the step, all rational numbers; the noise left out.
    entry : {"path", "sigma", "after", "before"}
        Where the noise enters; see :class:`~diffnum.derivation.records.Scheme`.
    """
    along = entry in ("path", "sigma")
    nodes = {name: as_fraction(node) for name, node, _ in step.rows() if node is not None}
    ends = sorted({c for c in nodes.values() if 0 < c < 1} | {Fraction(1)}) if along else [Fraction(1)]
    parts = tuple(zip([Fraction(0), *ends[:-1]], ends, strict=True))

    def knows(name: str, end: Fraction) -> bool:
        """Whether an evaluation of the step has seen a part of its noise."""
        return name[0] == "k" and (entry == "before" or (along and nodes[name] >= end))

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
