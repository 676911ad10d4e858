"""The reverse equation in ball arithmetic: what its derivations ask of their symbols, as numbers with proved bounds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from diffnum.certificates.balls import Ball, BallField
from diffnum.coefficients.method import Method
from diffnum.derivation import SCHEMES
from diffnum.derivation.algebra.reverse import ReverseParts
from diffnum.proofs.arithmetic import derivation_of, noise_of
from diffnum.tableau import Step, Window

__all__ = ["ReverseBalls", "derived_with_noise", "level_on"]


@dataclass(frozen=True)
class ReverseBalls(BallField):
    """The numbers of :class:`~diffnum.derivation.algebra.reverse.ReverseSymbols` as balls.

    Parameters
    ----------
    tau : Ball
        Noise level of the equation on this step.
    """

    tau: Ball

    @property
    def prediction(self) -> str:
        """What the model predicts."""
        return "noise" if self.rate == 1 else "data"

    def __getitem__(self, name: str) -> Ball:
        """Noise level, or step."""
        return {"tau": self.tau, "h": self.h}[name]

    def power(self, plain: Fraction | int, noisy: Fraction | int) -> Ball:
        """``exp(-(plain + noisy tau^2) h)``."""
        return (-(Ball(Fraction(plain)) + Ball(Fraction(noisy)) * self.tau * self.tau) * self.h).exp()

    def square_root(self, value: Ball) -> Ball:
        """Square root; that of a ball which holds negative numbers is unknown."""
        return Ball(value.value.sqrt())


def derived_with_noise(record: Method, window: Window, order: int, field: ReverseBalls, parameter: Any) -> Step:
    """Step of the derivation of a method with noise, in balls.

    Parameters
    ----------
    record : Method
        Method with noise of a fixed level.
    window : Window
        Step length and past nodes as balls; its kernel is replaced by that of the equation.
    order : int
        Order of the step.
    field : ReverseBalls
        Step, prediction and noise level.
    parameter : callable
        Value of a floating-point parameter of the method, by name.
    """
    scheme = SCHEMES[noise_of(record).scheme]
    kernel: Any = ReverseParts(field, field.prediction)  # type: ignore[arg-type]
    on_balls: Any = field
    return scheme.derive(derivation_of(record, parameter), replace(window, kernel=kernel), order, on_balls).step


def level_on(record: Method, h: Ball) -> Ball:
    """Noise level of the equation on a step of a method whose level is one, or whose eta stands for one."""
    noise = noise_of(record)
    level = Ball(float(noise.level or 0.0))
    if SCHEMES[noise.scheme].parameter != "eta":
        return level
    left = Ball(1) - level * level * (Ball(1) - (Ball(-2) * h).exp())
    return Ball((-left.value.log() / (Ball(2) * h).value).sqrt())
