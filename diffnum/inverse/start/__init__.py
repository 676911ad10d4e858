"""The start of a run as an unknown: one problem, and the answers that were published."""

from diffnum.inverse.start.exact import ExactStart, exact_start
from diffnum.inverse.start.optimising import START_METHODS, optimise_start
from diffnum.inverse.start.problem import StartProblem, misfit
from diffnum.inverse.start.record import OptimisedStart, StartMethod

__all__ = [
    "START_METHODS",
    "ExactStart",
    "OptimisedStart",
    "StartMethod",
    "StartProblem",
    "exact_start",
    "misfit",
    "optimise_start",
]
