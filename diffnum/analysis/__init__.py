"""What a method does, computed from its numbers alone: stability, error constants, output law on Gaussian data."""

from diffnum.analysis.amplification import LinearStep, linear_step
from diffnum.analysis.error_constants import ErrorConstant, error_constant
from diffnum.analysis.gaussian import (
    FrequencyResponse,
    GaussianOutput,
    frechet,
    frequency_response,
    kl,
    propagate,
    propagate_problem,
    w2,
)
from diffnum.analysis.stability import (
    Stability,
    StabilityRegion,
    ZeroStability,
    boundary_locus,
    imaginary_interval,
    real_interval,
    stability,
    stability_region,
    zero_stability,
)
from diffnum.analysis.stiffness import amplification, largest_stiffness, stiffness
from diffnum.analysis.summary import Analysis, analyse

__all__ = [
    "Analysis",
    "ErrorConstant",
    "FrequencyResponse",
    "GaussianOutput",
    "LinearStep",
    "Stability",
    "StabilityRegion",
    "ZeroStability",
    "amplification",
    "analyse",
    "boundary_locus",
    "error_constant",
    "frechet",
    "frequency_response",
    "imaginary_interval",
    "kl",
    "largest_stiffness",
    "linear_step",
    "propagate",
    "propagate_problem",
    "real_interval",
    "stability",
    "stability_region",
    "stiffness",
    "w2",
    "zero_stability",
]
