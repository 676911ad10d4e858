"""Sums of Gaussian terms, as arrays: what becomes of them under tilts, powers, products and measurements.

Nothing here knows of laws: :class:`~diffnum.problems.GaussianMixture` and :mod:`diffnum.problems.targets` build on it.
"""

from diffnum.problems.terms.posteriors import posterior_terms
from diffnum.problems.terms.powers import power_terms
from diffnum.problems.terms.products import product_terms
from diffnum.problems.terms.sums import Terms, TermSum, shares_of
from diffnum.problems.terms.tilts import tilted_terms

__all__ = ["TermSum", "Terms", "posterior_terms", "power_terms", "product_terms", "shares_of", "tilted_terms"]
