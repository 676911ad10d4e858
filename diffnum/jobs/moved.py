"""Dotted names of 0.1 that have another place: they answer with it, until 0.3."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.machinery import ModuleSpec, PathFinder
from types import MappingProxyType, ModuleType
from typing import Any, Final

__all__ = ["GONE", "MODULES", "NAMES", "MovedModules", "MovedNameError"]

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

_CATALOGUE = "diffnum.coefficients.catalogue"
_STEMS = (
    "adams", "compensation", "constant_steps", "exponential_runge_kutta", "flow", "momentum", "predictor_corrector",
    "runge_kutta", "splitting", "stochastic",
)  # fmt: skip
"""Modules of the catalogue in 0.1 that ended in FAMILIES."""

NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "diffnum.derivation.given.STATISTICAL": "diffnum.derivation.given.takes_statistics",
        **{f"{_CATALOGUE}.{stem}.FAMILIES": f"{_CATALOGUE}.{stem}.FAMILY" for stem in _STEMS},
        f"{_CATALOGUE}.mean_reverting.families": f"{_CATALOGUE}.mean_reverting.FAMILY",
        "diffnum.analysis.stiffness.Differentiable": "diffnum.analysis.stiffness.HasJacobian",
        "diffnum.audits.snippets.budget_snippet": "diffnum.audits.snippets.snippet",
        "diffnum.audits.snippets.order_snippet": "diffnum.audits.snippets.snippet",
        "diffnum.audits.snippets.run_snippet": "diffnum.audits.snippets.snippet",
        "diffnum.audits.snippets.stall_snippet": "diffnum.audits.snippets.snippet",
        "diffnum.audits.snippets.wasted_snippet": "diffnum.audits.snippets.snippet",
        "diffnum.certificates.agreement.NOT_AVAILABLE": "diffnum.certificates.agreement.agreements",
        "diffnum.certificates.agreement.replay_file": "diffnum.certificates.agreement.agreements",
        "diffnum.certificates.records.finite": "diffnum.jobs.data.jsonable",
        "diffnum.cli.catalogue.STOCHASTIC_ORDERS": "diffnum.coefficients.noise.ORDERS",
        "diffnum.cli.common.check_writable": "diffnum.cli.outputs.check_writable",
        "diffnum.cli.common.progress_bar": "diffnum.cli.progress.progress_bar",
        "diffnum.cli.common.tracked": "diffnum.cli.progress.tracked",
        "diffnum.cli.common.write_json": "diffnum.jobs.files.write_json",
        "diffnum.cli.common.written": "diffnum.jobs.files.write_text",
        "diffnum.coefficients.catalogue.members.Family": "diffnum.coefficients.catalogue.members.Members",
        "diffnum.coefficients.extended_reverse.extended_step": "diffnum.coefficients.extended_reverse.er_sde_step",
        "diffnum.coefficients.method.STARTS": "diffnum.coefficients.programme.STARTS",
        "diffnum.convergence.probe.Comparison": "diffnum.convergence.probe.WeightComparison",
        "diffnum.convergence.stochastic.StochasticSeries": "diffnum.convergence.record.Series",
        "diffnum.convergence.stochastic.StochasticStudy": "diffnum.convergence.record.ConvergenceStudy",
        "diffnum.convergence.stochastic.until_decided": "diffnum.convergence.refinement.refined",
        "diffnum.convergence.study.GRADED": "diffnum.convergence.nodes.GRADED",
        "diffnum.convergence.study.graded": "diffnum.convergence.nodes.graded",
        "diffnum.derivation.algebra.series.Series": "diffnum.derivation.algebra.series.PowerSeries",
        "diffnum.derivation.algebra.trees.Row": "diffnum.derivation.algebra.trees.StageRow",
        "diffnum.derivation.algebra.trees.runge_kutta_order": "diffnum.derivation.algebra.trees.order_conditions",
        "diffnum.derivation.printing.noise.FormalSymbols": "diffnum.derivation.printing.formulas.FormalKernel",
        "diffnum.derivation.printing.noise.RecordingSymbols": "diffnum.derivation.printing.formulas.RecordingKernel",
        "diffnum.derivation.printing.noise.ReverseFormula": "diffnum.derivation.printing.formulas.Formula",
        "diffnum.derivation.published.model_statistics.CALIBRATED": "diffnum.derivation.published.PUBLISHED",
        "diffnum.derivation.published.runge_kutta.ONE_STEP": "diffnum.derivation.published.PUBLISHED",
        "diffnum.derivation.published.stochastic.PUBLISHED_STOCHASTIC": "diffnum.derivation.published.PUBLISHED",
        "diffnum.derivation.published.stochastic.PublishedStep": "diffnum.derivation.published.Published",
        "diffnum.derivation.stochastic.BASES": "diffnum.derivation.DERIVATIONS",
        "diffnum.derivation.stochastic.Response": "diffnum.derivation.response.Response",
        "diffnum.derivation.stochastic.SCHEMES": "diffnum.derivation.SCHEMES",
        "diffnum.derivation.stochastic.base_nodes": "diffnum.proofs.steps.inner_nodes",
        "diffnum.derivation.stochastic.derive_step": "diffnum.proofs.steps.derived_step",
        "diffnum.derivation.stochastic.response": "diffnum.derivation.response.response",
        "diffnum.foreign.conventions.understood": "diffnum.foreign.understood",
        "diffnum.foreign.families.FAMILIES": "diffnum.foreign.families.KINDS",
        "diffnum.foreign.families.Layout": "diffnum.foreign.families.SchedulerLayout",
        "diffnum.models.loading.edm_networks.State": "diffnum.models.loading.edm_networks.StateDict",
        "diffnum.models.quality.compare.Row": "diffnum.models.quality.compare.MeasuredRun",
        "diffnum.plans.buffers.Row": "diffnum.plans.buffers.UpdateRow",
        "diffnum.proofs.noise.derive": "diffnum.proofs.derive",
        "diffnum.proofs.noise.prove": "diffnum.proofs.prove",
        "diffnum.proofs.perturbed": "diffnum.certificates.mutants.perturbed",
        "diffnum.proofs.steps.derive_step": "diffnum.proofs.steps.derived_step",
        "diffnum.proofs.steps.derived": "diffnum.proofs.steps.Case",
        "diffnum.proofs.steps.described": "diffnum.proofs.steps.Case",
        "diffnum.proofs.steps.given_symbols": "diffnum.proofs.steps.Case",
        "diffnum.proofs.steps.recorded": "diffnum.proofs.steps.Case",
        "diffnum.proofs.steps.settings_of": "diffnum.proofs.arithmetic.settings_of",
        "diffnum.proofs.steps.shipped": "diffnum.proofs.steps.Case",
        "diffnum.proofs.steps.symbols_of": "diffnum.proofs.steps.Case",
        "diffnum.proofs.steps.window_of": "diffnum.proofs.steps.Case",
        "diffnum.report.methods.SHIPPED_STEPS": "diffnum.certificates.orders.END_STEPS",
    }
)
"""Name of 0.1, in a module that stays or in the new place of one that moved -> what there is instead."""

GONE: Final[Mapping[str, str]] = MappingProxyType(
    {"diffnum.models.loading.galaxies.to_flux": "divide by the scale of the network's images yourself"}
)
"""Name of 0.1 for which there is nothing -> what to do."""


class MovedNameError(ImportError):
    """A name moved; the message says where to. An AttributeError would be hidden by ``from module import name``."""


class MovedModules:
    """Finder that answers the import of a module of 0.1 with its place, and lets modules answer for their names."""

    def find_spec(self, fullname: str, path: Sequence[str] | None = None, target: Any = None) -> ModuleSpec | None:
        """Refuse modules that moved; all others are found as ever, and answer for what moved out of them.

        Raises
        ------
        ModuleNotFoundError
            If the module moved.
        """
        if fullname in MODULES:
            msg = f"{fullname} moved: import {MODULES[fullname]}"
            raise ModuleNotFoundError(msg, name=fullname)
        if fullname not in _LOSERS:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader.exec_module = partial(_executed, spec.loader.exec_module)  # type: ignore[method-assign]
        return spec

    @classmethod
    def install(cls) -> None:
        """Put one such finder before all others."""
        if not any(isinstance(finder, cls) for finder in sys.meta_path):
            sys.meta_path.insert(0, cls())


_LOSERS = frozenset(name.rpartition(".")[0] for name in (*NAMES, *GONE))
"""Modules that names moved out of."""


def _executed(execute: Callable[[ModuleType], None], module: ModuleType) -> None:
    """Run a module, and let it answer for the names that it had."""
    execute(module)
    own = vars(module).get("__getattr__")

    def __getattr__(name: str) -> Any:
        known = f"{module.__name__}.{name}"
        if known in NAMES or known in GONE:
            told = f"it moved to {NAMES[known]}" if known in NAMES else f"it is gone: {GONE[known]}"
            msg = f"module {module.__name__!r} has no attribute {name!r}: {told}"
            raise MovedNameError(msg, name=known)
        if own is not None:
            return own(name)
        msg = f"module {module.__name__!r} has no attribute {name!r}"
        raise AttributeError(msg, name=name, obj=module)

    vars(module)["__getattr__"] = __getattr__
