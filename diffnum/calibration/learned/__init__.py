"""Solvers and grids that others have learned, as plans: their numbers, their loops, and what they keep."""

from diffnum.calibration.learned.kinds import KINDS
from diffnum.calibration.learned.loops import dyweight, epd, generalized_solver, neural_solver_flow, neural_solver_vp
from diffnum.calibration.learned.reading import learned_names, read_learned
from diffnum.calibration.learned.rolling import Loop, Rows, Unrolled, rolled, row_residuals, unroll
from diffnum.calibration.learned.solvers import LearnedGrid, LearnedSolver, Verdict

__all__ = [
    "KINDS",
    "LearnedGrid",
    "LearnedSolver",
    "Loop",
    "Rows",
    "Unrolled",
    "Verdict",
    "dyweight",
    "epd",
    "generalized_solver",
    "learned_names",
    "neural_solver_flow",
    "neural_solver_vp",
    "read_learned",
    "rolled",
    "row_residuals",
    "unroll",
]
