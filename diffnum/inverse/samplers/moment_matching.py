r"""Moment matching: the data given the state get the covariance that they have.

Of any law the data given a noisy state have the covariance :math:`C = \frac{\sigma^2}{\alpha} J` with J the derivative
of the predicted data (Tweedie's second formula), so that

.. math:: \nabla_{x_t} \log p(Y \mid x_t) \approx J^T A^T (A C A^T + \sigma_Y^2 I)^{-1} (Y - A \hat x_0) .

On Gaussian data that is the exact score of the posterior: these records are the reference of the others there. On
mixtures it is the exact posterior mean of a Gaussian with the right two moments, which is not that of the mixture.
"""

from __future__ import annotations

import math

from array_api_compat import array_namespace, device

from diffnum.inverse.operators import conjugate_gradients
from diffnum.inverse.problem import Inverse, Reading
from diffnum.inverse.record import Options, PosteriorSampler
from diffnum.types import Array

__all__ = ["SAMPLERS"]

DIRECT = 64
"""Most measurements for which the matrix of the system is formed."""


def _matched(look: Reading, problem: Inverse, options: Options) -> Array:
    """Exact covariance; the matrix by products with the derivative, or conjugate gradients."""
    op, strength = problem.op, look.sigma**2 / look.alpha
    residual = problem.residual(look.data)

    def covered(v: Array) -> Array:
        return strength * op(look.pull(op.adjoint(v))) + problem.noise_std**2 * v

    count = math.prod(op.measured)
    if count <= DIRECT and not options["iterations"]:
        xp = array_namespace(residual)
        unit = xp.eye(count, dtype=residual.dtype, device=device(residual))
        n = residual.shape[0]
        flat = (n, count)
        columns = [xp.reshape(covered(xp.reshape(_repeated(unit[k], n), residual.shape)), flat) for k in range(count)]
        matrix = xp.stack(columns, axis=2)
        explained = xp.linalg.solve(matrix, xp.reshape(residual, flat)[:, :, None])[:, :, 0]
        explained = xp.reshape(explained, residual.shape)
    else:
        explained = conjugate_gradients(covered, residual, 0.0 * residual, options["iterations"])
    return look.data + strength * look.pull(op.adjoint(explained))


def _by_rows(look: Reading, problem: Inverse, options: Options) -> Array:  # noqa: ARG001
    """Sums of the rows of A C A^T in place of the matrix."""
    op, strength = problem.op, look.sigma**2 / look.alpha
    xp = array_namespace(look.data)
    residual = problem.residual(look.data)
    rows = strength * op(look.pull(op.adjoint(xp.ones_like(residual))))
    explained = residual / (rows + problem.noise_std**2)
    return look.data + strength * look.pull(op.adjoint(explained))


def _repeated(row: Array, n: int) -> Array:
    xp = array_namespace(row)
    return xp.broadcast_to(row[None], (n, row.shape[0]))


SAMPLERS = {
    "moment_matching": PosteriorSampler(
        name="moment_matching",
        title="likelihood with the exact covariance of the predicted data",
        source="Rozet, Andry, Lanusse and Louppe 2024, arXiv:2405.13712 (moment matching posterior sampling); Boys et "
        "al. 2023, arXiv:2310.06721, Section 3 (the covariance is sigma^2/alpha times the derivative)",
        cite="rozet2024learning",
        guess=_matched,
        needs=frozenset({"gradient"}),
        options={"iterations": 0},
        deviations=("the system is solved exactly; iterations > 0 truncates conjugate gradients as the paper does",),
    ),
    "tmpd": PosteriorSampler(
        name="tmpd",
        title="the same with the covariance's row sums for a diagonal",
        source="Boys et al. 2023, arXiv:2310.06721, Section 3 (diagonal approximation by row sums)",
        cite="boys2023tweedie",
        guess=_by_rows,
        needs=frozenset({"gradient"}),
    ),
}
