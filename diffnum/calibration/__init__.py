"""Numbers found for one model or spectrum: statistics, compensation ratios, decisions, whole plans.

What needs torch is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from diffnum.calibration.compensation import CascadeRegression, RatioSearch, exact_reference, search_ratios
from diffnum.calibration.decision_search import Exploration, explore_decisions, search_decisions
from diffnum.calibration.decisions import Decision, Decisions, decide
from diffnum.calibration.exact import exact_statistics
from diffnum.calibration.fitting import Fit, fit_plan, transfer_table
from diffnum.calibration.grid_fitting import fit_grid, grid_task
from diffnum.calibration.learned import LearnedGrid, LearnedSolver, learned_names, read_learned
from diffnum.calibration.statistics import ModelStatistics, dpm_solver_v3
from diffnum.calibration.time_shift import TimeShift, time_shifted
from diffnum.calibration.transfer import Transfer
from diffnum.jobs.extras import found_or_explained

if TYPE_CHECKING:
    from diffnum.calibration.estimate import estimate_statistics

_LAZY = {"estimate_statistics": "diffnum.calibration.estimate"}

__all__ = [
    "CascadeRegression",
    "Decision",
    "Decisions",
    "Exploration",
    "Fit",
    "LearnedGrid",
    "LearnedSolver",
    "ModelStatistics",
    "RatioSearch",
    "TimeShift",
    "Transfer",
    "decide",
    "dpm_solver_v3",
    "estimate_statistics",
    "exact_reference",
    "exact_statistics",
    "explore_decisions",
    "fit_grid",
    "fit_plan",
    "grid_task",
    "learned_names",
    "read_learned",
    "search_decisions",
    "search_ratios",
    "time_shifted",
    "transfer_table",
]


def __getattr__(name: str) -> Any:
    """Load what needs torch when it is first used."""
    if name not in _LAZY:
        msg = f"module {__name__!r} has no attribute {name!r}: use one of {', '.join(__all__)}"
        raise AttributeError(msg)
    return found_or_explained(_LAZY[name], name, f"dn.calibration.{name}")


def __dir__() -> list[str]:
    """Public names."""
    return sorted(__all__)
