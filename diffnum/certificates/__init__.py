"""Certificates: symbolic proof, certified accuracy, measured orders and recorded agreement, method by method."""

from diffnum.certificates.certify import certify
from diffnum.certificates.records import Agreement, Certificate, Certificates, Measurement, ProofResult

__all__ = ["Agreement", "Certificate", "Certificates", "Measurement", "ProofResult", "certify"]
