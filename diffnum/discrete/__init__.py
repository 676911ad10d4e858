"""Discrete state spaces: laws of tokens, masked and uniform noise, samplers whose output laws are exact by enumeration.

>>> import numpy as np
>>> import diffnum as dn
>>> law = dn.discrete.Law.markov(6, np.array([[0.8, 0.2], [0.2, 0.8]]), [0.5, 0.5])
>>> round(dn.discrete.output_law("ancestral", law, dn.discrete.Masked(), steps=8).tv, 5)
0.07523
"""

from diffnum.discrete.correlation import (
    best_counts,
    best_sets,
    counts_cost,
    entropy_curve,
    parallel_divergence,
    total_correlation,
)
from diffnum.discrete.enumeration import ModelSpace, StateSpace
from diffnum.discrete.jumps import Uniformisation, generator, reverse_law
from diffnum.discrete.laws import HiddenChain, Law
from diffnum.discrete.models import ExactTokens, TokenModel
from diffnum.discrete.montecarlo import DrawnLaw, monte_carlo
from diffnum.discrete.output import OutputLaw, output_law, sample
from diffnum.discrete.precision import effective_temperature, gumbel_law, gumbel_maximum, truncated_law
from diffnum.discrete.processes import Masked, TokenProcess, Uniform
from diffnum.discrete.proofs import TokenProof, defects, expansion_of, least_rate, prove
from diffnum.discrete.samplers import SAMPLERS, TokenSampler, sampler, samplers, theta_rk2, theta_trapezoidal
from diffnum.discrete.steps import Bridge, Leap, LeapStage, Remask
from diffnum.discrete.study import TokenStudy, convergence_study, study_laws
from diffnum.discrete.survival import SURVIVALS, Survival
from diffnum.discrete.unmasking import Unmask, counts

__all__ = [
    "SAMPLERS",
    "SURVIVALS",
    "Bridge",
    "DrawnLaw",
    "ExactTokens",
    "HiddenChain",
    "Law",
    "Leap",
    "LeapStage",
    "Masked",
    "ModelSpace",
    "OutputLaw",
    "Remask",
    "StateSpace",
    "Survival",
    "TokenModel",
    "TokenProcess",
    "TokenProof",
    "TokenSampler",
    "TokenStudy",
    "Uniform",
    "Uniformisation",
    "Unmask",
    "best_counts",
    "best_sets",
    "convergence_study",
    "counts",
    "counts_cost",
    "defects",
    "effective_temperature",
    "entropy_curve",
    "expansion_of",
    "generator",
    "gumbel_law",
    "gumbel_maximum",
    "least_rate",
    "monte_carlo",
    "output_law",
    "parallel_divergence",
    "prove",
    "reverse_law",
    "sample",
    "sampler",
    "samplers",
    "study_laws",
    "theta_rk2",
    "theta_trapezoidal",
    "total_correlation",
    "truncated_law",
]
