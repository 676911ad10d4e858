"""The table of rules that find a grid."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from diffnum.calibration.grid_rules.constant_rate import constant_rate
from diffnum.calibration.grid_rules.dynamic_programming import dynamic_programming, gits
from diffnum.calibration.grid_rules.evolution import evolution
from diffnum.calibration.grid_rules.exhaustive import exhaustive
from diffnum.calibration.grid_rules.kl import kl
from diffnum.calibration.grid_rules.optimal_stepsize import optimal_stepsize
from diffnum.calibration.grid_rules.spectrum import spectrum
from diffnum.calibration.grid_rules.summed_weights import summed_weights
from diffnum.calibration.grid_rules.tangent import tangent
from diffnum.types import FloatArray

__all__ = ["RULES", "GridRule"]


@dataclass(frozen=True)
class GridRule:
    """A rule that finds a grid.

    Parameters
    ----------
    find : callable
        ``find(task, **options) -> levels``.
    cite : str
        Key of its source in the bibliography; empty for what is ours.
    about : str
        What it makes least, in a few words.
    """

    find: Callable[..., FloatArray]
    cite: str
    about: str

    @property
    def options(self) -> tuple[str, ...]:
        """Names of its options."""
        return tuple(inspect.signature(self.find).parameters)[1:]

    def check(self, name: str, given: Mapping[str, Any]) -> None:
        """Refuse options that it does not have.

        Raises
        ------
        TypeError
            Naming them.
        """
        if unknown := sorted(set(given) - set(self.options)):
            msg = f"{', '.join(unknown)}: by={name!r} takes {', '.join(self.options) or 'no options'}"
            raise TypeError(msg)


RULES: Mapping[str, GridRule] = MappingProxyType(
    {
        rule.find.__name__: rule
        for rule in (
            GridRule(dynamic_programming, "nguyen2023bellman", "sum of squared local errors"),
            GridRule(gits, "chen2024trajectory", "sum of local errors, later ones weighted more"),
            GridRule(optimal_stepsize, "pei2025optimal", "distance from the teacher, greedily"),
            GridRule(kl, "sabour2024align", "upper bound on the Kullback-Leibler divergence"),
            GridRule(summed_weights, "xue2024accelerating", "sum of the absolute weights in the end point"),
            GridRule(evolution, "li2023autodiffusion", "endpoint error, by evolution"),
            GridRule(spectrum, "benita2025spectral", "RMS log-gain error over the spectrum"),
            GridRule(tangent, "sabour2024align", "gain error of DDIM at one variance"),
            GridRule(constant_rate, "okada2024constant", "largest change of the prediction in a step"),
            GridRule(exhaustive, "", "endpoint error, by enumeration"),
        )
    }
)
"""Rules by name."""
