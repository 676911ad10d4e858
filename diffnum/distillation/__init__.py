"""Training targets known exactly: flow maps of problems with closed forms, and the laws that students are trained by.

>>> import numpy as np
>>> import diffnum as dn
>>> flow = dn.distillation.flow_map(dn.Gaussian([1.0], 0.25), dn.schedules.FlowMatching())
>>> x = np.array([[0.5]])
>>> round(float(flow.average_velocity(x, 0.0, 1.0)[0, 0]), 12)    # one step from noise to data
-0.75
"""

from diffnum.distillation.composition import Composition, composition_error
from diffnum.distillation.consistency import (
    ConsistencyLoss,
    ContinuousConsistency,
    consistency_distillation,
    consistency_training,
    continuous_consistency,
    trained_gains,
)
from diffnum.distillation.difficulty import DifficultyProfile, difficulty_profile
from diffnum.distillation.distribution_matching import DistributionMatching, DrawnGradient, distribution_matching
from diffnum.distillation.divergences import DIVERGENCES, LEVEL_WEIGHTS, Divergence, DivergenceLoss, f_divergence
from diffnum.distillation.generators import Generator
from diffnum.distillation.guided_target import GuidanceDistillation, guidance_distillation
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
from diffnum.distillation.mean_flow import MeanFlowLoss, mean_flow
from diffnum.distillation.observations import ObservationLoss, observation_loss, undetermined
from diffnum.distillation.preferences import PreferenceLoss, preference_loss
from diffnum.distillation.principal import (
    PrincipalAxes,
    affine_residual,
    principal_axes,
    principal_distillation,
)
from diffnum.distillation.progressive import ProgressiveDistillation, progressive_distillation
from diffnum.distillation.quadrature import Pairs, exact_batch, normal_points
from diffnum.distillation.regularised import PenalisedTerms, RegularisedFlow, regularised_flow
from diffnum.distillation.score_distillation import ScoreDistillation, clipped_gradient, score_distillation
from diffnum.distillation.shortcut import ShortcutLoss, shortcut
from diffnum.distillation.spectral import (
    FilterStudent,
    SpectralDistillation,
    band_error,
    decision_level,
    filter_responses,
    generated_spectrum,
    spectral_distillation,
    wiener_gain,
)
from diffnum.distillation.students import (
    FeatureStudent,
    RegressionLoss,
    RegressionTerms,
    feature_student,
    resting_point,
)
from diffnum.distillation.training import Training, affine_optimum, train_generator, train_student, wasserstein
from diffnum.distillation.transport import BrenierMap, SemiDiscrete, TransportLoss, semi_discrete, transport_loss

__all__ = [
    "DIVERGENCES",
    "LEVEL_WEIGHTS",
    "BrenierMap",
    "Composition",
    "ConsistencyLoss",
    "ContinuousConsistency",
    "DifficultyProfile",
    "DistributionMatching",
    "Divergence",
    "DivergenceLoss",
    "DrawnGradient",
    "FeatureStudent",
    "FilterStudent",
    "FlowMap",
    "GaussianKernelLoss",
    "Generator",
    "GuidanceDistillation",
    "MapDerivatives",
    "MeanDerivatives",
    "MeanFlowLoss",
    "ObservationLoss",
    "Pairs",
    "PenalisedTerms",
    "PolynomialKernelLoss",
    "PreferenceLoss",
    "PrincipalAxes",
    "ProgressiveDistillation",
    "RegressionLoss",
    "RegressionTerms",
    "RegularisedFlow",
    "ScoreDistillation",
    "SemiDiscrete",
    "ShortcutLoss",
    "SpectralDistillation",
    "Training",
    "TransportLoss",
    "affine_optimum",
    "affine_residual",
    "band_error",
    "clipped_gradient",
    "composition_error",
    "consistency_distillation",
    "consistency_residual",
    "consistency_training",
    "continuous_consistency",
    "decision_level",
    "difficulty_profile",
    "distribution_matching",
    "exact_batch",
    "f_divergence",
    "feature_student",
    "filter_responses",
    "flow_map",
    "gaussian_kernel_loss",
    "generated_spectrum",
    "guidance_distillation",
    "mean_flow",
    "mean_flow_residual",
    "normal_points",
    "observation_loss",
    "polynomial_kernel_loss",
    "preference_loss",
    "principal_axes",
    "principal_distillation",
    "progressive_distillation",
    "regularised_flow",
    "resting_point",
    "score_distillation",
    "semi_discrete",
    "semigroup_residual",
    "shortcut",
    "shortcut_residual",
    "spectral_distillation",
    "tangent_residual",
    "train_generator",
    "train_student",
    "trained_gains",
    "transport_loss",
    "undetermined",
    "wasserstein",
    "wiener_gain",
]
