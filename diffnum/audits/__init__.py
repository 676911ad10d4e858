"""Audits of other people's samplers: adapters, experiments, report."""

from diffnum.jobs.extras import explained

try:
    from diffnum.audits.budget import ErrorBudget, error_budget
    from diffnum.audits.experiments import Row
    from diffnum.audits.findings import Finding
    from diffnum.audits.report import AuditReport, audit
    from diffnum.audits.shipped import ShippedRun, shipped_run, wasted_calls
    from diffnum.audits.upstream import MEASURED, REPORTS, UpstreamReport, upstream
    from diffnum.convergence.diagnosis import rate_of
    from diffnum.foreign.adapters import adapt
    from diffnum.foreign.backwards import Backwards
    from diffnum.foreign.drift import ReverseDrift
    from diffnum.foreign.libraries import diffusers_schedulers, k_diffusion_samplers
except ModuleNotFoundError as error:
    _WHAT = "dn.audit"
    raise explained(_WHAT, error, "audit") from error

__all__ = [
    "MEASURED",
    "REPORTS",
    "AuditReport",
    "Backwards",
    "ErrorBudget",
    "Finding",
    "ReverseDrift",
    "Row",
    "ShippedRun",
    "UpstreamReport",
    "adapt",
    "audit",
    "diffusers_schedulers",
    "error_budget",
    "k_diffusion_samplers",
    "rate_of",
    "shipped_run",
    "upstream",
    "wasted_calls",
]
