r"""Brownian paths from torchsde as a source of noise, and torch generators.

:class:`diffnum.solver.noise.BrownianPath` needs no torch and is the default; torchsde's ``BrownianTree`` is what
k-diffusion uses. Here it runs in the clock in which the noise of the reverse equation *is* a Brownian motion,
:math:`q = \int e^{2 r \lambda} d\lambda`, so that a coarse step sees exactly the sum of the fine steps' noise;
k-diffusion runs it in sigma, where that holds only as the steps shrink.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from diffnum.plans import Plan
from diffnum.solver.noise import check_key, exponential_clock, noise_intervals

__all__ = ["TorchsdePath", "generator_noise"]


@dataclass
class TorchsdePath:
    r"""The path :math:`M(\lambda) = \int e^{r l} dW_l` from one torchsde tree a sample, the same in every batch.

    Parameters
    ----------
    seed : int
        From 0 to 2**64 - 1.
    start, end : float
        Half-log-SNRs of the interval, ``start < end``.
    rate : float
        r: tau^2 for data prediction, -1 for noise prediction, 0 for W itself.
    first : int
        Number of the first sample of the batch.
    tolerance : float
        Of the tree, as a share of the interval in its clock: below it the path is linear.

    Raises
    ------
    ModuleNotFoundError
        If torchsde is not installed.
    TypeError, ValueError
        If ``seed`` or ``first`` is no such integer, or the interval is empty or not finite.
    """

    seed: int
    start: float
    end: float
    rate: float = 0.0
    first: int = 0
    tolerance: float = 1e-6
    _trees: dict[tuple[int, tuple[int, ...]], Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_key(self.seed, self.first)
        if not (math.isfinite(self.start) and math.isfinite(self.end) and self.start < self.end):
            msg = f"start={self.start}, end={self.end}: give two finite half-log-SNRs, the noisy end first and smaller"
            raise ValueError(msg)
        try:
            import torchsde  # noqa: F401
        except ImportError:
            msg = "torchsde is not installed: pip install torchsde, or use diffnum.solver.noise.BrownianPath"
            raise ModuleNotFoundError(msg, name="torchsde") from None

    def normal(self, a: float, b: float, like: torch.Tensor) -> torch.Tensor:
        """Increment over its standard deviation: a standard normal draw, ``start <= a < b <= end``."""
        low, high = self._position(a), self._position(b)
        if not low < high:
            msg = f"a={a}, b={b}: give half-log-SNRs of the path with a < b"
            raise ValueError(msg)
        shape = tuple(like.shape[1:])
        rows = [self._tree(self.first + i, shape)(low, high) for i in range(len(like))]
        return (torch.stack(rows) / math.sqrt(high - low)).to(dtype=like.dtype, device=like.device)

    def source(self, plan: Plan) -> Callable[[int, int, torch.Tensor], torch.Tensor]:
        """Noise for a run of a plan, as :func:`diffnum.solve` wants it."""
        intervals = noise_intervals(plan)
        return lambda step, index, like: self.normal(*intervals[step][index], like)

    def _position(self, lam: float) -> float:
        """Place of a half-log-SNR in the clock, from 0 to 1."""
        slack = 1e-9 * (self.end - self.start)
        if not self.start - slack <= lam <= self.end + slack:
            msg = f"lam={lam} is outside the path from {self.start} to {self.end}: make a longer path"
            raise ValueError(msg)
        whole = float(exponential_clock(self.end - self.start, self.rate))
        return min(1.0, max(0.0, float(exponential_clock(lam - self.start, self.rate)) / whole))

    def _tree(self, sample: int, shape: tuple[int, ...]) -> Any:
        """Tree of a sample."""
        if (sample, shape) not in self._trees:
            import torchsde

            entropy = int(np.random.SeedSequence([self.seed, sample]).generate_state(1, np.uint32)[0])
            zero = torch.zeros(shape, dtype=torch.float64)
            self._trees[sample, shape] = torchsde.BrownianTree(0.0, zero, 1.0, entropy=entropy, tol=self.tolerance)
        return self._trees[sample, shape]


def generator_noise(
    generator: torch.Generator | np.random.Generator,
) -> Callable[[int, int, Any], Any]:
    """Noise from a generator, for ``solve(noise=...)``; it depends on the batch and on what was drawn before.

    Parameters
    ----------
    generator : torch.Generator or numpy.random.Generator
        Source of normal draws. A seed gives each sample a stream of its own and is to be preferred.

    Raises
    ------
    TypeError
        If it is no generator.
    """
    if isinstance(generator, torch.Generator):

        def draw(_: int, __: int, like: Any) -> Any:
            if not isinstance(like, torch.Tensor):
                msg = "generator is torch's and the state no tensor: pass a numpy.random.Generator"
                raise TypeError(msg)
            shape, device = tuple(like.shape), generator.device
            return torch.randn(shape, generator=generator, dtype=like.dtype, device=device).to(like.device)

        return draw
    if isinstance(generator, np.random.Generator):

        def draw_numpy(_: int, __: int, like: Any) -> Any:
            values = generator.standard_normal(tuple(like.shape))
            if isinstance(like, torch.Tensor):
                return torch.as_tensor(values, dtype=like.dtype, device=like.device)
            return values.astype(like.dtype)

        return draw_numpy
    msg = f"generator={generator!r}: pass a torch.Generator or a numpy.random.Generator, or solve(seed=...)"
    raise TypeError(msg)
