"""The record of a method's noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

__all__ = ["ORDERS", "Noise", "NoisyMeasure", "Scheme"]

Scheme: TypeAlias = Literal[
    "reverse", "ancestral", "churn", "stages", "extended", "flow_sde", "dance_sde", "cps", "euler_ancestral_rf"
]
"""Ways to bring in noise."""

PLACED: frozenset[Scheme] = frozenset({"extended", "flow_sde", "dance_sde", "cps", "euler_ancestral_rf"})
"""Schemes whose weights depend on the place of a step on the schedule."""

NoisyMeasure: TypeAlias = Literal["strong", "weak", "law"]
"""Orders of a method with noise."""

ORDERS: Final[tuple[NoisyMeasure, ...]] = ("strong", "weak", "law")
"""All of them."""


@dataclass(frozen=True)
class Noise:
    r"""How a method draws noise, and the orders that it has with it.

    Parameters
    ----------
    scheme : {"reverse", "ancestral", "churn", "stages", "extended", "flow_sde", "dance_sde", "cps", ...}
        How the noise comes in: that of one path on the kernel of the reverse equation; after a step of the flow that
        goes too far down; before one that goes down from further up; after each stage; that of one path on an equation
        whose level depends on time; and the ways of flow models, of one draw a step
        (``coefficients.flow_sde.DIVISIONS``).
    base : str
        Family of the deterministic part, a key of the derivations.
    strong : float
        Root mean square order on a shared Brownian path.
    weak : float
        Order of moments, given the start.
    law : float
        Order of the law of the output from the exact marginal.
    level : float, optional
        tau >= 0 of the equation that is approached as steps are added: 0 the probability flow, 1 the time reversal,
        infinity where the noise of a step does not vanish with it, so that no equation is approached. None where it
        varies, as ``scale`` says.
    scale : str
        Noise scale function that gives the level (``coefficients.extended_reverse.noise_scale``); empty for most.

    Raises
    ------
    ValueError
        If there is neither a level nor a scale function, or the level is negative.
    """

    scheme: Scheme
    base: str
    strong: float
    weak: float
    law: float
    level: float | None = None
    scale: str = ""

    def __post_init__(self) -> None:
        if self.level is None and not self.scale:
            msg = "level=None leaves the noise open: give a number >= 0, or the name of a scale function"
            raise ValueError(msg)
        if self.level is not None and not self.level >= 0:
            msg = f"level={self.level} is no noise level: use a number >= 0"
            raise ValueError(msg)

    @property
    def silent(self) -> bool:
        """Whether nothing is drawn, as the level is 0."""
        return self.level == 0

    @property
    def placed(self) -> bool:
        """Whether weights depend on where on the schedule a step stands, not on its length alone."""
        return self.scheme in PLACED

    @property
    def approaches(self) -> bool:
        """Whether an equation is approached as steps are added."""
        return self.level != float("inf")

    def order(self, measure: NoisyMeasure) -> float:
        """Order of one kind.

        Parameters
        ----------
        measure : {"strong", "weak", "law"}
            Which one.
        """
        return {"strong": self.strong, "weak": self.weak, "law": self.law}[measure]
