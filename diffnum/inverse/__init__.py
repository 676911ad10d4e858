r"""Inverse problems: samplers of the posterior given :math:`Y = A x + \text{noise}`, and how far each is from it.

The start of a run may be the unknown too: :func:`optimise_start`.

>>> import diffnum as dn
>>> prior = dn.Gaussian([0.0, 0.0], [[1.0, 0.3], [0.3, 0.5]])
>>> op = dn.inverse.Linear([[1.0, 0.5]])
>>> law, bias = dn.inverse.exact_law("dps_squared", prior, op, noise_std=0.3)
>>> bias.spread < 0.2  # it is far too sure of itself
True
"""

from diffnum.inverse.audit import PosteriorAudit, audit_posterior
from diffnum.inverse.benchmarking import benchmark
from diffnum.inverse.bias import Calibration, MeasuredBias, calibration, measured_bias
from diffnum.inverse.design import ACQUISITIONS, ActiveDesign, information_gain, measure_actively
from diffnum.inverse.exact_law import AffineLaw, PosteriorBias, exact_law, posterior_map
from diffnum.inverse.operators import Linear, Modes, blur, conjugate_gradients, downsample, mask, projections
from diffnum.inverse.problem import Conditioned, Inverse, Reading
from diffnum.inverse.record import PosteriorSampler
from diffnum.inverse.sampling import METHODS, default_plan, sample
from diffnum.inverse.start import (
    START_METHODS,
    ExactStart,
    OptimisedStart,
    StartMethod,
    StartProblem,
    exact_start,
    misfit,
    optimise_start,
)

__all__ = [
    "ACQUISITIONS",
    "METHODS",
    "START_METHODS",
    "ActiveDesign",
    "AffineLaw",
    "Calibration",
    "Conditioned",
    "ExactStart",
    "Inverse",
    "Linear",
    "MeasuredBias",
    "Modes",
    "OptimisedStart",
    "PosteriorAudit",
    "PosteriorBias",
    "PosteriorSampler",
    "Reading",
    "StartMethod",
    "StartProblem",
    "audit_posterior",
    "benchmark",
    "blur",
    "calibration",
    "conjugate_gradients",
    "default_plan",
    "downsample",
    "exact_law",
    "exact_start",
    "information_gain",
    "mask",
    "measure_actively",
    "measured_bias",
    "misfit",
    "optimise_start",
    "posterior_map",
    "projections",
    "sample",
]
