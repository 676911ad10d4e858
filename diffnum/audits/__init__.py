"""Audits of other people's samplers: adapters, experiments, report."""

from diffnum.audits.adapters import CONVENTIONS, adapt, convention_of
from diffnum.audits.drift import ReverseDrift
from diffnum.audits.experiments import Row, measure_orders
from diffnum.audits.libraries import diffusers_schedulers, k_diffusion_samplers
from diffnum.audits.report import AuditReport, audit
from diffnum.audits.shipped import ShippedRun, shipped_run

__all__ = [
    "CONVENTIONS",
    "AuditReport",
    "ReverseDrift",
    "Row",
    "ShippedRun",
    "adapt",
    "audit",
    "convention_of",
    "diffusers_schedulers",
    "k_diffusion_samplers",
    "measure_orders",
    "shipped_run",
]
