"""Rules that find a grid, one a file: each takes a :class:`~diffnum.calibration.grid_rules.task.GridTask`.

:data:`RULES` names them; :func:`diffnum.calibration.fit_grid` calls them.
"""

from diffnum.calibration.grid_rules.constant_rate import constant_rate
from diffnum.calibration.grid_rules.dynamic_programming import dynamic_programming, gits
from diffnum.calibration.grid_rules.evolution import Evolution, evolution, evolve
from diffnum.calibration.grid_rules.exhaustive import Ranked, enumerated, exhaustive
from diffnum.calibration.grid_rules.kl import kl
from diffnum.calibration.grid_rules.optimal_stepsize import optimal_stepsize
from diffnum.calibration.grid_rules.rules import RULES, GridRule
from diffnum.calibration.grid_rules.spectrum import spectrum
from diffnum.calibration.grid_rules.summed_weights import summed_weights
from diffnum.calibration.grid_rules.tangent import tangent
from diffnum.calibration.grid_rules.task import GridTask

__all__ = [
    "RULES",
    "Evolution",
    "GridRule",
    "GridTask",
    "Ranked",
    "constant_rate",
    "dynamic_programming",
    "enumerated",
    "evolution",
    "evolve",
    "exhaustive",
    "gits",
    "kl",
    "optimal_stepsize",
    "spectrum",
    "summed_weights",
    "tangent",
]
