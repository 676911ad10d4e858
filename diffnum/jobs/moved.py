"""Dotted names of 0.1 that have another place: they answer with it, until 0.3."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

__all__ = ["MODULES", "NAMES", "MovedModules", "answering"]

MODULES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "diffnum._grid": "diffnum.grids.grid",
        "diffnum._schedule_tools": "diffnum.schedules.tools",
        "diffnum._tabulated": "diffnum.schedules.tabulated",
        "diffnum._variance_exploding": "diffnum.schedules.variance_exploding",
        "diffnum.adaptive": "diffnum.solver.adaptive",
        "diffnum.audits.adapters": "diffnum.foreign.adapters",
        "diffnum.audits.backwards": "diffnum.foreign.backwards",
        "diffnum.audits.drift": "diffnum.foreign.drift",
        "diffnum.audits.families": "diffnum.foreign.families",
        "diffnum.audits.libraries": "diffnum.foreign.libraries",
        "diffnum.audits.pictures": "diffnum.foreign.pictures",
        "diffnum.audits.precision": "diffnum.foreign.precision",
        "diffnum.certificates.golden": "diffnum.certificates.agreement",
        "diffnum.coefficients.catalogue.families": "diffnum.coefficients.catalogue.members",
        "diffnum.compensation": "diffnum.calibration.compensation",
        "diffnum.convergence.conventions": "diffnum.foreign.conventions",
        "diffnum.decisions": "diffnum.calibration.decisions",
        "diffnum.derivation.bseries": "diffnum.derivation.algebra.bseries",
        "diffnum.derivation.languages": "diffnum.derivation.printing.languages",
        "diffnum.derivation.notation": "diffnum.derivation.printing.notation",
        "diffnum.derivation.printing_stochastic": "diffnum.derivation.printing.noise",
        "diffnum.derivation.published_calibrated": "diffnum.derivation.published.model_statistics",
        "diffnum.derivation.published_one_step": "diffnum.derivation.published.runge_kutta",
        "diffnum.derivation.published_stochastic": "diffnum.derivation.published.stochastic",
        "diffnum.derivation.published_unified": "diffnum.derivation.published.predictor_corrector",
        "diffnum.derivation.reverse": "diffnum.derivation.algebra.reverse",
        "diffnum.derivation.series": "diffnum.derivation.algebra.series",
        "diffnum.derivation.stiff": "diffnum.derivation.algebra.stiff",
        "diffnum.derivation.symbols": "diffnum.derivation.algebra.symbols",
        "diffnum.derivation.trees": "diffnum.derivation.algebra.trees",
        "diffnum.exact_steps": "diffnum.proofs.steps",
        "diffnum.layout": "diffnum.plans.buffers",
        "diffnum.mean_reverting": "diffnum.guidance.velocity",
        "diffnum.models.architectures": "diffnum.models.loading.architectures",
        "diffnum.models.brownian": "diffnum.interop.brownian",
        "diffnum.models.compare": "diffnum.models.quality.compare",
        "diffnum.models.edm": "diffnum.models.loading.edm",
        "diffnum.models.edm_networks": "diffnum.models.loading.edm_networks",
        "diffnum.models.features": "diffnum.models.quality.features",
        "diffnum.models.files": "diffnum.models.loading.files",
        "diffnum.models.galaxies": "diffnum.models.loading.galaxies",
        "diffnum.models.graph": "diffnum.models.update.graph",
        "diffnum.models.kernel": "diffnum.models.update.kernel",
        "diffnum.models.latents": "diffnum.models.conditions.latents",
        "diffnum.models.metrics": "diffnum.models.quality.metrics",
        "diffnum.models.native": "diffnum.models.update.native",
        "diffnum.models.pipelines": "diffnum.models.loading.pipelines",
        "diffnum.models.pretrained": "diffnum.models.loading.pretrained",
        "diffnum.models.prompts": "diffnum.models.conditions.prompts",
        "diffnum.models.sampling": "diffnum.models.runs.sampling",
        "diffnum.models.statistics": "diffnum.calibration.estimate",
        "diffnum.models.storage": "diffnum.jobs.files",
        "diffnum.models.streaming": "diffnum.models.runs.streaming",
        "diffnum.models.tables": "diffnum.models.loading.tables",
        "diffnum.models.text": "diffnum.models.conditions.text",
        "diffnum.models.toy": "diffnum.models.loading.toy",
        "diffnum.models.wrapping": "diffnum.models.loading.wrapping",
        "diffnum.noise": "diffnum.solver.noise",
        "diffnum.pages": "diffnum.templates",
        "diffnum.parallel": "diffnum.jobs.parallel",
        "diffnum.plot_analysis": "diffnum.plot.analysis",
        "diffnum.plot_labels": "diffnum.plot.labels",
        "diffnum.problems.statistics": "diffnum.calibration.exact",
        "diffnum.statistics": "diffnum.calibration.statistics",
        "diffnum.stochastic_proofs": "diffnum.proofs.noise",
        "diffnum.tasks": "diffnum.jobs.ledger",
        "diffnum.thresholding": "diffnum.guidance.thresholding",
    }
)
"""Module of 0.1 -> module."""

NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "diffnum.coefficients.method.STARTS": "diffnum.coefficients.programme.STARTS",
        "diffnum.convergence.study.GRADED": "diffnum.convergence.nodes.GRADED",
        "diffnum.convergence.study.graded": "diffnum.convergence.nodes.graded",
        "diffnum.proofs.perturbed": "diffnum.certificates.mutants.perturbed",
    }
)
"""Name in a module that stays -> its place."""


class MovedModules:
    """Finder that answers the import of a module of 0.1 with its place."""

    def find_spec(self, fullname: str, path: Sequence[str] | None = None, target: Any = None) -> None:  # noqa: ARG002
        """Refuse modules that moved; all others are left to the finders after this one.

        Raises
        ------
        ModuleNotFoundError
            If the module moved.
        """
        if fullname in MODULES:
            msg = f"{fullname} moved: import {MODULES[fullname]}"
            raise ModuleNotFoundError(msg, name=fullname)

    @classmethod
    def install(cls) -> None:
        """Put one such finder before all others."""
        if not any(isinstance(finder, cls) for finder in sys.meta_path):
            sys.meta_path.insert(0, cls())


def answering(module: str) -> Callable[[str], Any]:
    """``__getattr__`` of a module that says where the names are that moved out of it."""

    def __getattr__(name: str) -> Any:
        place = NAMES.get(f"{module}.{name}")
        moved = f": it moved to {place}" if place else ""
        msg = f"module {module!r} has no attribute {name!r}{moved}"
        raise AttributeError(msg)

    return __getattr__
