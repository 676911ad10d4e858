"""Ball arithmetic for derivations: weights with proved error bounds, by python-flint's ``arb``.

A :class:`Ball` is an interval that holds the true number. The derivations take it for any other number, so that the
independent road to every weight can be run on float64 inputs to as many digits as its cancellation needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from diffnum.jobs.extras import lacking

__all__ = ["Ball", "BallField", "error_in_eps", "require_flint", "working_precision"]

EPS = 2.0**-52
"""Spacing of float64 numbers at 1: the unit of errors."""


def require_flint() -> Any:
    """The library, or an error that says how to get it."""
    try:
        import flint
    except ModuleNotFoundError as error:
        msg = "certified accuracy (python-flint)"
        raise lacking(msg, "flint") from error
    return flint


@contextmanager
def working_precision(bits: int) -> Iterator[None]:
    """Compute balls with ``bits`` bits inside the block."""
    flint = require_flint()
    before, flint.ctx.prec = flint.ctx.prec, bits
    try:
        yield
    finally:
        flint.ctx.prec = before


class Ball:
    """A real number known to lie in an interval; supports ``+ - * /``, integer powers and truth.

    Parameters
    ----------
    value : int, float, Fraction or arb
        Number; floats stand for their exact binary value.
    """

    __slots__ = ("value",)
    __array_ufunc__ = None

    def __init__(self, value: Any) -> None:
        arb = require_flint().arb
        if isinstance(value, Fraction):
            value = arb(value.numerator) / arb(value.denominator)
        self.value = value if isinstance(value, arb) else arb(value)

    def _with(self, other: Any, operation: Callable[[Any, Any], Any]) -> Ball:
        if isinstance(other, int | float | Fraction):
            other = Ball(other)
        return Ball(operation(self.value, other.value)) if isinstance(other, Ball) else NotImplemented

    def __add__(self, other: Any) -> Ball:
        return self._with(other, lambda a, b: a + b)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Ball:
        return self._with(other, lambda a, b: a - b)

    def __rsub__(self, other: Any) -> Ball:
        return self._with(other, lambda a, b: b - a)

    def __mul__(self, other: Any) -> Ball:
        return self._with(other, lambda a, b: a * b)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Ball:
        return self._with(other, lambda a, b: a / b)

    def __rtruediv__(self, other: Any) -> Ball:
        return self._with(other, lambda a, b: b / a)

    def __pow__(self, power: int) -> Ball:
        return Ball(self.value**power)

    def __neg__(self) -> Ball:
        return Ball(-self.value)

    def __bool__(self) -> bool:
        """Whether the number is certainly not zero, as an elimination asks of a pivot."""
        return not self.value.contains(0)

    def exp(self) -> Ball:
        """Exponential."""
        return Ball(self.value.exp())

    def __float__(self) -> float:
        return float(self.value)

    def __repr__(self) -> str:
        return repr(self.value)


@dataclass(frozen=True)
class BallField:
    """What a kernel by parts asks of its symbols: the step and exponentials of its multiples, as balls.

    Parameters
    ----------
    step : float
        Step in the clock of the form.
    rate : int or None
        Growth rate of the kernel.
    """

    step: float
    rate: int | None

    @property
    def h(self) -> Ball:
        """The step."""
        return Ball(self.step)

    def exp(self, multiple: Fraction | int) -> Ball:
        """``exp(multiple * h)``."""
        return (Ball(Fraction(multiple)) * self.h).exp()

    def constant(self, value: float | Fraction) -> Ball:
        """A number."""
        return Ball(value)


def error_in_eps(found: float, truth: Ball, largest: float) -> float:
    """Upper bound of ``|found - truth|`` in units of eps times ``largest``; infinite where ``found`` is not finite."""
    distance = (Ball(found) - truth).value.abs_upper() if found - found == 0.0 else None
    return float("inf") if distance is None else float(distance) / (EPS * largest)
