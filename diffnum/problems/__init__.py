"""Data distributions whose scores, and whose probability-flow maps, are known exactly."""

from diffnum.problems import targets
from diffnum.problems._denoiser import ExactDenoiser
from diffnum.problems._examples import examples, gaussian_example, rotated_product, three_peaks
from diffnum.problems.dataset import FiniteDataset
from diffnum.problems.gaussian import Gaussian
from diffnum.problems.mixture import GaussianMixture
from diffnum.problems.product import Mixture1D, RotatedProduct

__all__ = [
    "ExactDenoiser",
    "FiniteDataset",
    "Gaussian",
    "GaussianMixture",
    "Mixture1D",
    "RotatedProduct",
    "examples",
    "gaussian_example",
    "rotated_product",
    "targets",
    "three_peaks",
]
