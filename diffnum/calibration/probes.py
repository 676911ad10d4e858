"""Normal equations of a fit by reverse differentiation, whose cost does not grow with the number of unknowns.

Forward differentiation pushes one tangent an unknown through the network. Here one product with the transposed Jacobian
gives the gradient exactly, for all unknowns, and a few more along random signs give the matrix of the normal equations
in the mean: for signs :math:`v` with independent entries :math:`E[J^T v v^T J] = J^T J`, sample by sample. With many
samples the matrix is known well enough to precondition a step, which is all that Levenberg-Marquardt asks of it:
whether a step is taken the loss itself decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from diffnum.calibration.descent import SumOfSquares
from diffnum.calibration.hosts import Host
from diffnum.calibration.weights import Numbers, Slopes
from diffnum.types import Array, FloatArray

__all__ = ["PRODUCTS", "ProbedSum", "probes_for"]

PRODUCTS = 6
"""Products with the transposed Jacobian for each unknown, over all samples."""


def probes_for(unknowns: int, samples: int) -> int:
    """Random directions a sample, so that their products determine the matrix well.

    Parameters
    ----------
    unknowns : int
        Rank of the matrix at most.
    samples : int
        Over which it is summed.
    """
    return max(1, -(-PRODUCTS * unknowns // samples))


@dataclass(frozen=True, eq=False)
class ProbedSum:
    """The loss of a fit to end points, its normal equations by products with the transposed Jacobian.

    Parameters
    ----------
    plain : SumOfSquares
        The loss, held against end points.
    seed : int
        Seed of the signs. They are the same at every point, so that a run that goes on finds the same numbers.
    probes : int
        Random directions a sample.

    References
    ----------
    Random signs: Hutchinson, Commun. Stat. Simul. Comput. 19 (1990) 433; exact gradients with a matrix that is known in
    part: Byrd et al., SIAM J. Optim. 21 (2011) 977.
    """

    plain: SumOfSquares
    seed: int
    probes: int

    def loss(self, theta: FloatArray) -> float:
        """Sum of squares."""
        return self.plain.loss(theta)

    def linearise(self, theta: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        """Sum of squares, its gradient exactly, its matrix in the mean over the signs."""
        plain, host = self.plain, self.plain.host
        full = plain.whole(theta)
        numbers, slopes = plain.space.numbers(full), plain.space.slopes(full)
        total, gradient, gram = 0.0, np.zeros(len(theta)), np.zeros((len(theta), len(theta)))
        for number, (part, (native, x, goal)) in enumerate(zip(plain.parts, plain.natives(), strict=True)):
            end, pull = host.reversed_run(part, native.prediction, numbers, x)
            residual = goal.residuals([end], numbers).reshape(end.shape)
            value, factors = plain.judged(host.numpy(residual))
            total += value
            gradient += factors @ _by_unknown(pull(residual), slopes)
            for signs in _signs(host, self.seed + number, self.probes, end):
                rows = _by_unknown(pull(signs), slopes)
                gram += (rows.T * factors) @ rows / self.probes
        if not math.isfinite(total + float(gram.sum())):
            msg = "the model, or its derivatives, returned NaN or infinity on the way: check its weights"
            raise ValueError(msg)
        return total / plain.size, gradient / plain.size, gram / plain.size


def _signs(host: Host, seed: int, count: int, like: Array) -> Iterator[Array]:
    """Random signs in the shape of a batch."""
    generator = np.random.default_rng([seed, count])
    for _ in range(count):
        yield host.array(2.0 * generator.integers(0, 2, like.shape) - 1.0)


def _by_unknown(pulled: Numbers, slopes: Slopes) -> FloatArray:
    """Products with the transposed Jacobian of the unknowns, shape (n, p), from those of the sampler's numbers."""
    return np.asarray(
        pulled.carry @ slopes.carry.T + np.einsum("nij,pij->np", pulled.weights, slopes.weights) + pulled.t @ slopes.t.T
    )
