r"""Guidance: a strong and a weak model, extrapolated; wrappers that are models themselves.

All the rules here are :math:`M_w = M_{weak} + w\,(M_{main} - M_{weak})`. The two weights add up to one, so the result
is the same whatever the models predict, and it is again a prediction of that kind: every solver of the package runs on
it unchanged. ``w = 1`` is the main model. What differs is who plays the weak part, and how ``w`` depends on time:

* :func:`classifier_free`: the same network without its condition;
* :func:`autoguidance`: a smaller or less trained network with the condition;
* :func:`cfg_plus_plus`: weights that depend on the step, and so belong to a grid.

The guided field is no longer that of a density that was noised. Its Jacobian is the same combination of posterior
covariances, so its stiffness grows like ``w`` (:mod:`diffnum.analysis.stiffness`). Thresholding
(:class:`StaticThreshold`, :class:`DynamicThreshold`) wraps what these functions return; :class:`VelocityNetwork` makes
a model of a network that predicts the velocity of a mean-reverting process.
"""

from diffnum.guidance.auto import autoguidance
from diffnum.guidance.cfg import classifier_free
from diffnum.guidance.cfgpp import cfg_plus_plus
from diffnum.guidance.guided import Guided, Scale
from diffnum.guidance.ramps import RAMPS, Ramp
from diffnum.guidance.thresholding import DynamicThreshold, StaticThreshold
from diffnum.guidance.velocity import VelocityNetwork

__all__ = [
    "RAMPS",
    "DynamicThreshold",
    "Guided",
    "Ramp",
    "Scale",
    "StaticThreshold",
    "VelocityNetwork",
    "autoguidance",
    "cfg_plus_plus",
    "classifier_free",
]
