"""Reference numerics of diffusion sampling: derive, prove, measure, apply.

Public names are loaded when first used, so that ``import diffnum.coefficients`` stays as light as numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffnum import analysis as analysis
    from diffnum import calibration as calibration
    from diffnum import coefficients as coefficients
    from diffnum import convergence as convergence
    from diffnum import discrete as discrete
    from diffnum import distillation as distillation
    from diffnum import grids as grids
    from diffnum import guidance as guidance
    from diffnum import interop as interop
    from diffnum import models as models
    from diffnum import particles as particles
    from diffnum import problems as problems
    from diffnum import schedules as schedules
    from diffnum import testing as testing
    from diffnum.audits import audit as audit
    from diffnum.calibration.statistics import ModelStatistics as ModelStatistics
    from diffnum.calibration.statistics import dpm_solver_v3 as dpm_solver_v3
    from diffnum.coefficients.catalogue import method as method
    from diffnum.coefficients.catalogue import methods as methods
    from diffnum.convergence.expectations import expectation_study as expectation_study
    from diffnum.convergence.marginals import marginals_kept as marginals_kept
    from diffnum.convergence.probe import probe as probe
    from diffnum.convergence.stochastic import law_study as law_study
    from diffnum.convergence.stochastic import monte_carlo_study as monte_carlo_study
    from diffnum.convergence.stochastic import strong_study as strong_study
    from diffnum.convergence.stochastic import weak_study as weak_study
    from diffnum.convergence.study import convergence_study as convergence_study
    from diffnum.forms import predict as predict
    from diffnum.models.loading.pretrained import load as load
    from diffnum.models.runs.sampling import sample as sample
    from diffnum.plans import Plan as Plan
    from diffnum.plans import cite as cite
    from diffnum.plans import plan as plan
    from diffnum.problems.gaussian import Gaussian as Gaussian
    from diffnum.problems.mixture import GaussianMixture as GaussianMixture
    from diffnum.proofs import derive as derive
    from diffnum.proofs import prove as prove
    from diffnum.solver import iterate as iterate
    from diffnum.solver import solve as solve
    from diffnum.solver.adaptive import solve_adaptive as solve_adaptive
    from diffnum.solver.adjoint import gradient as gradient
    from diffnum.solver.inverse_run import invert as invert
    from diffnum.solver.likelihood import log_likelihood as log_likelihood
    from diffnum.solver.parareal import solve_parareal as solve_parareal
    from diffnum.solver.picard import solve_parallel as solve_parallel
    from diffnum.solver.transition import trajectory_log_prob as trajectory_log_prob
    from diffnum.solver.transition import trajectory_log_ratio as trajectory_log_ratio
    from diffnum.solver.transition import transition as transition

from diffnum._version import __version__
from diffnum.jobs.extras import found_or_explained
from diffnum.jobs.moved import MODULES, MovedModules

_NAMES = {
    "Gaussian": "diffnum.problems.gaussian",
    "GaussianMixture": "diffnum.problems.mixture",
    "ModelStatistics": "diffnum.calibration.statistics",
    "Plan": "diffnum.plans",
    "audit": "diffnum.audits",
    "cite": "diffnum.plans",
    "convergence_study": "diffnum.convergence.study",
    "derive": "diffnum.proofs",
    "dpm_solver_v3": "diffnum.calibration.statistics",
    "expectation_study": "diffnum.convergence.expectations",
    "gradient": "diffnum.solver.adjoint",
    "invert": "diffnum.solver.inverse_run",
    "iterate": "diffnum.solver",
    "law_study": "diffnum.convergence.stochastic",
    "load": "diffnum.models.loading.pretrained",
    "marginals_kept": "diffnum.convergence.marginals",
    "log_likelihood": "diffnum.solver.likelihood",
    "method": "diffnum.coefficients.catalogue",
    "methods": "diffnum.coefficients.catalogue",
    "monte_carlo_study": "diffnum.convergence.stochastic",
    "plan": "diffnum.plans",
    "predict": "diffnum.forms",
    "probe": "diffnum.convergence.probe",
    "prove": "diffnum.proofs",
    "sample": "diffnum.models.runs.sampling",
    "solve": "diffnum.solver",
    "solve_adaptive": "diffnum.solver.adaptive",
    "solve_parallel": "diffnum.solver.picard",
    "solve_parareal": "diffnum.solver.parareal",
    "strong_study": "diffnum.convergence.stochastic",
    "trajectory_log_prob": "diffnum.solver.transition",
    "trajectory_log_ratio": "diffnum.solver.transition",
    "transition": "diffnum.solver.transition",
    "weak_study": "diffnum.convergence.stochastic",
}
MovedModules.install()

_MODULES = (
    "analysis",
    "calibration",
    "coefficients",
    "convergence",
    "discrete",
    "distillation",
    "forms",
    "grids",
    "guidance",
    "inverse",
    "interop",
    "models",
    "particles",
    "plans",
    "problems",
    "proofs",
    "schedules",
    "solver",
    "testing",
)

__all__ = [*_NAMES, *_MODULES, "__version__"]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used."""
    if name in _NAMES:
        value = found_or_explained(_NAMES[name], name, f"dn.{name}")
        if value.__module__ == "diffnum.jobs.extras":  # what it needs may be installed yet
            return value
    elif name in _MODULES:
        value = import_module(f"diffnum.{name}")
    elif f"diffnum.{name}" in MODULES:
        msg = f"diffnum.{name} moved: use {MODULES[f'diffnum.{name}']}"
        raise AttributeError(msg)
    else:
        msg = f"module 'diffnum' has no attribute {name!r}: use one of {', '.join(sorted(__all__))}"
        raise AttributeError(msg)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Public names."""
    return sorted(__all__)
