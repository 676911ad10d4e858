"""What windows of a proof hold besides step, ratios and kernel, for the families whose plans are given numbers.

Each number is a symbol of its own, so that what is proved holds for all of them: the compensation ratio of DC-Solver
and the times of its history (a general function of the clock), and the statistics of DPM-Solver-v3 with the schedule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from diffnum.tableau import Window

__all__ = ["GivenScale", "SymbolicStatistics", "example", "furnish", "given_names", "takes_statistics"]

Value: TypeAlias = Callable[[str], Any]
"""Symbol, or number, by name."""


@dataclass(frozen=True)
class Furnished:
    """How the windows of a family are furnished.

    Parameters
    ----------
    names : callable
        ``names(past)``: symbols for so many past nodes.
    window : callable
        ``window(window, value, options)``: the window with the values of those names.
    example : callable
        ``example(name)``: a rational number that may stand for a name.
    statistics : bool
        Whether the derivation takes statistics of the model; the history is then not one of evaluations.
    """

    names: Callable[[int], tuple[str, ...]]
    window: Callable[[Window, Value, Mapping[str, Any]], Window]
    example: Callable[[str], Fraction]
    statistics: bool = False


def furnish(window: Window, family: str, value: Value, options: Mapping[str, Any]) -> Window:
    """Window with what the rule of a method with these options asks for."""
    return FURNISHED[family].window(window, value, options) if family in FURNISHED else window


def given_names(family: str, past: int) -> tuple[str, ...]:
    """Names of the further symbols of a family."""
    return FURNISHED[family].names(past) if family in FURNISHED else ()


def example(family: str, name: str) -> Fraction:
    """Rational number that may stand for a symbol where only the structure of a step is looked at."""
    return FURNISHED[family].example(name) if family in FURNISHED else Fraction(1, 2)


def takes_statistics(family: str) -> bool:
    """Whether the derivation of a family takes statistics of the model."""
    return family in FURNISHED and FURNISHED[family].statistics


# -- DC-Solver -----------------------------------------------------------------------------------------


def _with_ratio(window: Window, value: Value, options: Mapping[str, Any]) -> Window:
    enough = {"m0", *(f"m{j}" for j in range(1, options["degree"] + 1))} <= window.known
    times = tuple(value(f"theta_{j}") for j in range(1, len(window.past) + 1))
    return replace(window, parameters={"ratio": value("rho") if enough else Fraction(1)}, past_times=times)


# -- DPM-Solver-v3 -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Level:
    """Signal and noise at a node."""

    alpha: Any
    sigma: Any


@dataclass(frozen=True)
class _Integrals:
    """Integrals of a step; see :class:`diffnum.coefficients.model_statistics.StepIntegrals`."""

    growth: Any
    moments: tuple[Any, ...]
    drift: Any
    model_slope: tuple[Any, Any]
    damping: tuple[Any, ...]
    shift: tuple[Any, ...]


@dataclass(frozen=True)
class SymbolicStatistics:
    """Statistics whose integrals are symbols, but for what holds at the start of the step by definition.

    Parameters
    ----------
    value : callable
        Symbol, or number, by name.
    """

    value: Value

    def integrals(self, nodes: Sequence[Any], count: int) -> _Integrals:
        """Integrals over the step from ``nodes[1]`` to ``nodes[0]``."""
        at = range(len(nodes))
        return _Integrals(
            self.value("G"),
            tuple(self.value(f"J_{k}") for k in range(count)),
            self.value("B"),
            (self.value("l_0"), self.value("l_1")),
            tuple(Fraction(1) if i == 1 else self.value(f"d_{i}") for i in at),
            tuple(Fraction(0) if i == 1 else self.value(f"b_{i}") for i in at),
        )


def _statistics_names(past: int) -> tuple[str, ...]:
    levels = ("alpha_0", "alpha_1", "sigma_0", "sigma_1", "G", "B", "l_0", "l_1")
    nodes = [i for i in range(past + 2) if i != 1]
    return (*levels, *(f"J_{k}" for k in range(past + 3)), *(f"{c}_{i}" for c in "db" for i in nodes))


def _with_levels(window: Window, value: Value, options: Mapping[str, Any]) -> Window:  # noqa: ARG001
    levels = [_Level(value(f"alpha_{i}"), value(f"sigma_{i}")) for i in (0, 1)]
    nodes: Any = (*levels, *(levels[1] for _ in window.past))  # past levels are asked for by nobody
    return replace(window, nodes=nodes)


# -- flow time -----------------------------------------------------------------------------------------


def _with_flow_time(window: Window, value: Value, options: Mapping[str, Any]) -> Window:  # noqa: ARG001
    """Flow times at both ends; that at the end follows from the step."""
    start, shrink = value("s_0"), value("E")
    end = start * shrink / (1 - start + start * shrink)
    nodes: Any = (_Level(1 - end, end), _Level(1 - start, start))
    return replace(window, nodes=nodes)


_FLOW_TIME = Furnished(lambda _: ("s_0",), _with_flow_time, lambda _: Fraction(1, 2))

FURNISHED: Final[Mapping[str, Furnished]] = MappingProxyType(
    {
        "dc_solver": Furnished(
            lambda past: ("rho", *(f"theta_{j}" for j in range(1, past + 1))),
            _with_ratio,
            lambda name: Fraction(1, 2) if name == "rho" else -Fraction(name[6:]),
        ),
        "dpm_solver_v3": Furnished(_statistics_names, _with_levels, lambda _: Fraction(1, 2), statistics=True),
        **dict.fromkeys(("flow_sde", "dance_sde", "cps", "euler_ancestral_rf"), _FLOW_TIME),
    }
)
"""Families whose windows hold more."""


# -- ER-SDE --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GivenScale:
    """Noise scale function of which a window knows the kernel, and the integral of tau^2 is a symbol.

    Parameters
    ----------
    rise : number
        The integral over the step; the int 0 without noise.
    """

    rise: Any

    def over(self, window: Window, count: int, *, riemann: bool = False) -> tuple[Any, tuple[Any, ...], Any]:  # noqa: ARG002
        """Kernel, past nodes and integral; see :meth:`diffnum.coefficients.extended_reverse.NoiseScale.over`."""
        return window.kernel, window.past[: count - 1], self.rise
