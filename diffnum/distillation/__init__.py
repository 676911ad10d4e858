"""Training targets known exactly: flow maps of problems with closed forms, and the laws that students are trained by.

>>> import numpy as np
>>> import diffnum as dn
>>> flow = dn.distillation.flow_map(dn.Gaussian([1.0], 0.25), dn.schedules.FlowMatching())
>>> x = np.array([[0.5]])
>>> round(float(flow.average_velocity(x, 0.0, 1.0)[0, 0]), 12)    # one step from noise to data
-0.75
"""

from diffnum.distillation.composition import Composition, composition_error
from diffnum.distillation.distribution_matching import DistributionMatching, DrawnGradient, distribution_matching
from diffnum.distillation.divergences import (
    DIVERGENCES,
    LEVEL_WEIGHTS,
    Divergence,
    DivergenceLoss,
    LevelWeight,
    f_divergence,
)
from diffnum.distillation.generators import Generator
from diffnum.distillation.kernels import (
    GaussianKernelLoss,
    PolynomialKernelLoss,
    gaussian_kernel_loss,
    polynomial_kernel_loss,
)
from diffnum.distillation.laws import (
    consistency_residual,
    mean_flow_residual,
    semigroup_residual,
    shortcut_residual,
    tangent_residual,
)
from diffnum.distillation.maps import FlowMap, MapDerivatives, MeanDerivatives, flow_map
from diffnum.distillation.quadrature import Pairs, exact_batch
from diffnum.distillation.score_distillation import ScoreDistillation, clipped_gradient, score_distillation

__all__ = [
    "DIVERGENCES",
    "LEVEL_WEIGHTS",
    "Composition",
    "DistributionMatching",
    "Divergence",
    "DivergenceLoss",
    "DrawnGradient",
    "FlowMap",
    "GaussianKernelLoss",
    "Generator",
    "LevelWeight",
    "MapDerivatives",
    "MeanDerivatives",
    "Pairs",
    "PolynomialKernelLoss",
    "ScoreDistillation",
    "clipped_gradient",
    "composition_error",
    "consistency_residual",
    "distribution_matching",
    "exact_batch",
    "f_divergence",
    "flow_map",
    "gaussian_kernel_loss",
    "mean_flow_residual",
    "polynomial_kernel_loss",
    "score_distillation",
    "semigroup_residual",
    "shortcut_residual",
    "tangent_residual",
]
