"""Audits of other people's samplers: adapters, experiments, report."""

from diffnum.audits.adapters import adapt
from diffnum.audits.drift import ReverseDrift
from diffnum.audits.experiments import Row
from diffnum.audits.libraries import diffusers_schedulers, k_diffusion_samplers
from diffnum.audits.report import AuditReport, audit
from diffnum.audits.shipped import ShippedRun, shipped_run

__all__ = [
    "AuditReport",
    "ReverseDrift",
    "Row",
    "ShippedRun",
    "adapt",
    "audit",
    "diffusers_schedulers",
    "k_diffusion_samplers",
    "shipped_run",
]
