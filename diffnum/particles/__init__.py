"""Weighted samplers: populations of particles whose weights make a model sample something else than itself.

>>> import numpy as np
>>> import diffnum as dn
>>> schedule = dn.schedules.VPLinear()
>>> law = dn.GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], [0.1, 0.2])
>>> grid = dn.grids.uniform_half_log_snr(
...     schedule, 60, t_start=1.0, t_end=1e-3)
>>> plan = dn.plan("sde_dpmpp_1", schedule, grid)
>>> pop = dn.particles.run(plan, dn.particles.annealed(law.denoiser(schedule), 2.0), 4000)
>>> mean, error = pop.estimate(lambda x: x[:, 0])
>>> exact = law.power(2)
>>> bool(abs(mean - exact.weights @ exact.means[:, 0]) < 4 * error + 0.02)
True
"""

from diffnum.particles.audit import TargetAudit, TargetTask, audit_target
from diffnum.particles.correctors import annealed, as_shipped, guided, product
from diffnum.particles.exact import WeightedVariance, weighted_variance
from diffnum.particles.learned_values import LearnedValue, learned_value
from diffnum.particles.population import Population, populations, run
from diffnum.particles.resampling import SCHEMES, ResamplingScheme, ancestors, effective_size
from diffnum.particles.search import BestOfNormal, Found, best_of, noise_search, path_search, zero_order
from diffnum.particles.steering import Twisted, linear_log_likelihood, steered, steered_as_shipped, tempered, twisted
from diffnum.particles.values import exact_value, soft_values
from diffnum.particles.weighted import Node, Potential, Weighted

__all__ = [
    "SCHEMES",
    "BestOfNormal",
    "Found",
    "LearnedValue",
    "Node",
    "Population",
    "Potential",
    "ResamplingScheme",
    "TargetAudit",
    "TargetTask",
    "Twisted",
    "Weighted",
    "WeightedVariance",
    "ancestors",
    "annealed",
    "as_shipped",
    "audit_target",
    "best_of",
    "effective_size",
    "exact_value",
    "guided",
    "learned_value",
    "linear_log_likelihood",
    "noise_search",
    "path_search",
    "populations",
    "product",
    "run",
    "soft_values",
    "steered",
    "steered_as_shipped",
    "tempered",
    "twisted",
    "weighted_variance",
    "zero_order",
]
