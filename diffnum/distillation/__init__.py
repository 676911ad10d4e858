"""Training targets known exactly: flow maps of problems with closed forms, and the laws that students are trained by.

>>> import numpy as np
>>> import diffnum as dn
>>> flow = dn.distillation.flow_map(dn.Gaussian([1.0], 0.25), dn.schedules.FlowMatching())
>>> x = np.array([[0.5]])
>>> round(float(flow.average_velocity(x, 0.0, 1.0)[0, 0]), 12)    # one step from noise to data
-0.75
"""

from diffnum.distillation.composition import Composition, composition_error
from diffnum.distillation.laws import (
    consistency_residual,
    mean_flow_residual,
    semigroup_residual,
    shortcut_residual,
    tangent_residual,
)
from diffnum.distillation.maps import FlowMap, MapDerivatives, MeanDerivatives, flow_map

__all__ = [
    "Composition",
    "FlowMap",
    "MapDerivatives",
    "MeanDerivatives",
    "composition_error",
    "consistency_residual",
    "flow_map",
    "mean_flow_residual",
    "semigroup_residual",
    "shortcut_residual",
    "tangent_residual",
]
