"""Test vectors for ports to other languages: JSON that needs no Python, and a check of what a port answers."""

from diffnum.conformance.check import Answer, CheckReport, check
from diffnum.conformance.export import export
from diffnum.conformance.vectors import document, subjects

__all__ = ["Answer", "CheckReport", "check", "document", "export", "subjects"]
