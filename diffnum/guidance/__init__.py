r"""Guidance: rules that alter what a model predicts; wrappers that are models themselves.

A rule takes a model and a scale and returns a model, so that every solver of the package runs on it unchanged. Most
are :math:`M_w = M_{weak} + w\,(M_{main} - M_{weak})`: the two weights add up to one, so that the result is the same
whatever the models predict. What differs is who plays the weak part, and how ``w`` depends on time:

* :func:`classifier_free`: the same network without its condition, also in an interval of noise levels;
* :func:`autoguidance`: a smaller or less trained network with the condition;
* :func:`perturbed_attention`: the same network without attention maps;
* :func:`gradient_free`: the class that a classifier finds most confusing;
* :func:`cfg_plus_plus`: weights that depend on the step, and so belong to a grid.

Others are no extrapolation: :func:`projected` and :func:`zero_star` take a projection of the difference,
:func:`guide_and_rescale` adds gradients of energies, and :func:`classifier_guidance`, :func:`clean_classifier_guidance`
and :func:`minority_guidance` those of a classifier (:class:`BayesClassifier` is the exact one of a mixture).

:data:`RULES` has a record of each, with formula and source. What law a rule samples, and what of its distance from the
claimed one is due to the steps, is found without Monte Carlo by :func:`guidance_study`.

The guided field is no longer that of a density that was noised. Its Jacobian is the same combination of posterior
covariances, so its stiffness grows like ``w`` (:mod:`diffnum.analysis.stiffness`). Thresholding
(:class:`StaticThreshold`, :class:`DynamicThreshold`) wraps what these functions return; :class:`VelocityNetwork` makes
a model of a network that predicts the velocity of a mean-reverting process.
"""

from diffnum.guidance.altered import Altered
from diffnum.guidance.auto import autoguidance
from diffnum.guidance.bayes import BayesClassifier
from diffnum.guidance.cfg import classifier_free
from diffnum.guidance.cfgpp import cfg_plus_plus
from diffnum.guidance.classifier import Classifier, classifier_guidance
from diffnum.guidance.elucidated import clean_classifier_guidance
from diffnum.guidance.gradient_free import gradient_free
from diffnum.guidance.guide_and_rescale import ddim_inversion, guide_and_rescale
from diffnum.guidance.guided import Guided, Scale
from diffnum.guidance.law import GuidanceBias, GuidanceStudy, GuidedLaw, claimed_law, guidance_study, guided_law
from diffnum.guidance.minority import (
    RegionClassifier,
    minority_classifier,
    minority_guidance,
    minority_score,
    quantile_labels,
)
from diffnum.guidance.perturbed_attention import degraded, perturbed_attention
from diffnum.guidance.projected import projected
from diffnum.guidance.ramps import RAMPS, Ramp
from diffnum.guidance.record import GuidanceRule
from diffnum.guidance.registry import RULES
from diffnum.guidance.thresholding import DynamicThreshold, StaticThreshold
from diffnum.guidance.velocity import VelocityNetwork
from diffnum.guidance.zero_star import zero_star

__all__ = [
    "RAMPS",
    "RULES",
    "Altered",
    "BayesClassifier",
    "Classifier",
    "DynamicThreshold",
    "GuidanceBias",
    "GuidanceRule",
    "GuidanceStudy",
    "Guided",
    "GuidedLaw",
    "Ramp",
    "RegionClassifier",
    "Scale",
    "StaticThreshold",
    "VelocityNetwork",
    "autoguidance",
    "cfg_plus_plus",
    "claimed_law",
    "classifier_free",
    "classifier_guidance",
    "clean_classifier_guidance",
    "ddim_inversion",
    "degraded",
    "gradient_free",
    "guidance_study",
    "guide_and_rescale",
    "guided_law",
    "minority_classifier",
    "minority_guidance",
    "minority_score",
    "perturbed_attention",
    "projected",
    "quantile_labels",
    "zero_star",
]
