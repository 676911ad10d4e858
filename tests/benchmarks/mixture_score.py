"""Time the exact mixture score against torch.distributions with autograd, side by side on the same inputs.

Run ``python -m tests.benchmarks.mixture_score``. The baseline is ``MixtureSameFamily.log_prob`` and
``torch.autograd.grad``, with its distribution built beforehand (a sampler would build a new one at every
noise level, and for full covariances factorise it); ours starts from the state and the time. Times are the
fastest of interleaved repeats; the last column is the largest difference between the two scores, relative to
the largest score.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import distributions as td

from diffnum.problems import GaussianMixture
from diffnum.schedules import VPLinear
from diffnum.types import Denoiser

CASES = [
    ("isotropic", 10, 2),
    ("isotropic", 100, 64),
    ("isotropic", 1000, 256),
    ("isotropic", 10000, 64),
    ("isotropic", 200, 4096),
    ("diagonal", 100, 64),
    ("diagonal", 1000, 256),
    ("full", 10, 2),
    ("full", 20, 32),
    ("full", 10, 128),
]


def make_mixture(kind: str, count: int, dim: int) -> GaussianMixture:
    rng = np.random.default_rng(0)
    means = rng.standard_normal((count, dim))
    if kind == "full":
        factors = rng.standard_normal((count, dim, dim)) / np.sqrt(dim)
        covariances = 0.2 * factors @ np.swapaxes(factors, 1, 2) + 0.1 * np.eye(dim)
    else:
        covariances = rng.uniform(0.1, 0.5, count if kind == "isotropic" else (count, dim))
    return GaussianMixture(np.full(count, 1.0 / count), means, covariances)


def baseline_score(marginal: GaussianMixture, dtype: torch.dtype) -> Callable[[torch.Tensor], torch.Tensor]:
    means = torch.tensor(marginal.means, dtype=dtype)
    covariances = torch.tensor(marginal.covariances, dtype=dtype)
    components: td.Distribution
    if covariances.ndim == 3:
        components = td.MultivariateNormal(means, covariances, validate_args=False)
    else:
        scale = torch.sqrt(covariances if covariances.ndim == 2 else covariances[:, None]).expand_as(means)
        components = td.Independent(td.Normal(means, scale, validate_args=False), 1, validate_args=False)
    choice = td.Categorical(torch.tensor(marginal.weights, dtype=dtype), validate_args=False)
    mixture = td.MixtureSameFamily(choice, components, validate_args=False)

    def score(x: torch.Tensor) -> torch.Tensor:
        x = x.detach().requires_grad_(True)
        return torch.autograd.grad(mixture.log_prob(x).sum(), x)[0]

    return score


def without_gradients(model: Denoiser, x: torch.Tensor, t: float) -> torch.Tensor:
    with torch.no_grad():
        answer: torch.Tensor = model(x, t)
    return answer


def race(first: Callable[[], object], second: Callable[[], object], budget: float) -> tuple[float, float]:
    best = [float("inf"), float("inf")]
    end = time.perf_counter() + budget
    repeats = 0
    while repeats < 3 or time.perf_counter() < end:
        for index, function in enumerate((first, second)):
            start = time.perf_counter()
            function()
            best[index] = min(best[index], time.perf_counter() - start)
        repeats += 1
    return best[0], best[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=0.5, help="time spent on each case")
    arguments = parser.parse_args()
    schedule, t = VPLinear(), 0.3
    print(f"batch {arguments.batch}, {torch.get_num_threads()} threads")
    print(
        f"{'covariance':>10} {'K':>6} {'d':>5} {'dtype':>8} {'ours/ms':>9} {'baseline/ms':>12} {'ratio':>7}  difference"
    )
    for kind, count, dim in CASES:
        mixture = make_mixture(kind, count, dim)
        model, marginal = mixture.denoiser(schedule, "score"), mixture.at(schedule, t)
        for dtype in (torch.float32, torch.float64):
            x = torch.tensor(marginal.sample(arguments.batch, seed=1), dtype=dtype)
            baseline = baseline_score(marginal, dtype)
            ours = without_gradients(model, x, t)
            theirs = baseline(x)
            difference = float((ours - theirs).abs().max() / theirs.abs().max())

            fast, slow = race(partial(without_gradients, model, x, t), partial(baseline, x), arguments.seconds)
            name = str(dtype).removeprefix("torch.")
            print(
                f"{kind:>10} {count:>6} {dim:>5} {name:>8} {1e3 * fast:>9.3f} {1e3 * slow:>12.3f} "
                f"{slow / fast:>7.1f}  {difference:.1e}",
                flush=True,
            )


if __name__ == "__main__":
    main()
