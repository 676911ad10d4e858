"""Audits of other people's samplers: adapters, experiments, report."""

from diffnum.audits.adapters import adapt
from diffnum.audits.backwards import Backwards
from diffnum.audits.budget import ErrorBudget, error_budget
from diffnum.audits.drift import ReverseDrift
from diffnum.audits.experiments import Row
from diffnum.audits.findings import Finding
from diffnum.audits.libraries import diffusers_schedulers, k_diffusion_samplers
from diffnum.audits.report import AuditReport, audit
from diffnum.audits.shipped import ShippedRun, shipped_run, wasted_calls
from diffnum.convergence.diagnosis import rate_of

__all__ = [
    "AuditReport",
    "Backwards",
    "ErrorBudget",
    "Finding",
    "ReverseDrift",
    "Row",
    "ShippedRun",
    "adapt",
    "audit",
    "diffusers_schedulers",
    "error_budget",
    "k_diffusion_samplers",
    "rate_of",
    "shipped_run",
    "wasted_calls",
]
