"""What a method does, computed from its numbers alone: stability, error constants, output law on Gaussian data."""

from diffnum.analysis.amplification import LinearStep, linear_step
from diffnum.analysis.correlation import RankCorrelation, rank_correlation
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
from diffnum.analysis.limit import GaussianLimit, gaussian_limit
from diffnum.analysis.ranking import Rank, Ranking, rank
from diffnum.analysis.spectral_limit import SpectralLimit, spectral_limit
from diffnum.analysis.spectrum import SpectrumError, spectrum_error
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
from diffnum.analysis.state_rounding import StateRounding, state_rounding, state_rounding_table
from diffnum.analysis.stiffness import amplification, largest_stiffness, stiffness
from diffnum.analysis.summary import Analysis, analyse

__all__ = [
    "Analysis",
    "ErrorConstant",
    "FrequencyResponse",
    "GaussianLimit",
    "GaussianOutput",
    "LinearStep",
    "Rank",
    "RankCorrelation",
    "Ranking",
    "SpectralLimit",
    "SpectrumError",
    "Stability",
    "StabilityRegion",
    "StateRounding",
    "ZeroStability",
    "amplification",
    "analyse",
    "boundary_locus",
    "error_constant",
    "frechet",
    "frequency_response",
    "gaussian_limit",
    "imaginary_interval",
    "kl",
    "largest_stiffness",
    "linear_step",
    "propagate",
    "propagate_problem",
    "rank",
    "rank_correlation",
    "real_interval",
    "spectral_limit",
    "spectrum_error",
    "stability",
    "stability_region",
    "state_rounding",
    "state_rounding_table",
    "stiffness",
    "w2",
    "zero_stability",
]
