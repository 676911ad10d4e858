"""Order studies: how fast the error of a sampler falls, whether the data decide it, and where an order is lost.

:func:`convergence_study` measures methods of the catalogue and samplers of one's own, with noise and without;
:func:`judge` and :func:`diagnose` say of a sampler that claims an order whether it holds, and what to look at. Below
them :func:`estimate_rate` reads a rate from errors, and :func:`refined` adds levels until it is decided.

Names are loaded when they are first used. (``dn.probe`` is in the module of its name.)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffnum.convergence.diagnosis import Diagnosis, diagnose
    from diffnum.convergence.expectations import expectation_study
    from diffnum.convergence.judgement import Judgement, judge
    from diffnum.convergence.marginals import Marginals, marginals_kept
    from diffnum.convergence.nodes import fractions, graded
    from diffnum.convergence.oracle import Oracle
    from diffnum.convergence.rate import RateEstimate, estimate_rate
    from diffnum.convergence.record import ConvergenceStudy, Series
    from diffnum.convergence.refinement import Ladder, refined
    from diffnum.convergence.stochastic import law_study, monte_carlo_study, strong_study, weak_study
    from diffnum.convergence.study import convergence_study

__all__ = [
    "ConvergenceStudy",
    "Diagnosis",
    "Judgement",
    "Ladder",
    "Marginals",
    "Oracle",
    "RateEstimate",
    "Series",
    "convergence_study",
    "diagnose",
    "estimate_rate",
    "expectation_study",
    "fractions",
    "graded",
    "judge",
    "law_study",
    "marginals_kept",
    "monte_carlo_study",
    "refined",
    "strong_study",
    "weak_study",
]

_HOMES = {
    "ConvergenceStudy": "record",
    "Diagnosis": "diagnosis",
    "Judgement": "judgement",
    "Ladder": "refinement",
    "Marginals": "marginals",
    "Oracle": "oracle",
    "RateEstimate": "rate",
    "Series": "record",
    "convergence_study": "study",
    "diagnose": "diagnosis",
    "estimate_rate": "rate",
    "expectation_study": "expectations",
    "fractions": "nodes",
    "graded": "nodes",
    "judge": "judgement",
    "law_study": "stochastic",
    "marginals_kept": "marginals",
    "monte_carlo_study": "stochastic",
    "refined": "refinement",
    "strong_study": "stochastic",
    "weak_study": "stochastic",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
