r"""Exact targets: laws made of a mixture by tilting, powers, products, measurements and restriction.

Guidance, reward steering, annealing, products of models and inverse problems each claim a target law. Made of Gaussian
mixtures these laws are Gaussian mixtures again, so that what a sampler does is held against what it says:

* :func:`tilted`: :math:`p(x)\, e^{b^T x + x^T A x / 2}`, linear and quadratic rewards;
* :func:`power`: :math:`p(x)^n`, annealing to an integer inverse temperature;
* :func:`product`: :math:`p(x)\, q(x)`;
* :func:`posterior`: :math:`p(x \mid Y)` for :math:`Y = A x + \text{noise}`;
* :func:`restricted`: the components of some classes;
* :class:`PowerProduct`: :math:`\prod_i p_i(x)^{\beta_i}` with any real exponents, by quadrature in one and two
  dimensions.

Each result tells ``log_evidence``, the logarithm of its normalising constant. All but the last are methods of
:class:`~diffnum.problems.GaussianMixture` too.
"""

from diffnum.problems.mixture import mixture_of
from diffnum.problems.targets.geometric import PowerProduct
from diffnum.problems.targets.mixtures import posterior, power, product, restricted, tilted

__all__ = ["PowerProduct", "mixture_of", "posterior", "power", "product", "restricted", "tilted"]
