"""Inverse problems."""

from diffnum.inverse.operators import Linear, blur, conjugate_gradients, downsample, mask, projections
from diffnum.inverse.bias import Calibration, MeasuredBias, calibration, measured_bias
from diffnum.inverse.exact_law import AffineLaw, PosteriorBias, exact_law, posterior_map
from diffnum.inverse.problem import Conditioned, Inverse
from diffnum.inverse.record import PosteriorSampler
from diffnum.inverse.sampling import METHODS, sample
