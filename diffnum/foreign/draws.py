"""Foreign samplers that draw noise, as ``sampler(model, x, nodes, noise)``: their draws are handed to them.

Three ways in, by what it takes: a parameter ``noise_sampler`` (k-diffusion: of two noise levels; the increments
of a Brownian motion in sigma), a parameter ``noise`` (of two times or levels of its convention), or none, in which case
``torch.randn``, ``torch.randn_like`` and the like answer while it runs. Draws of the last kind belong to one step each,
in their order.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from diffnum.foreign.adapters import FlowSampler, KDiffusionSampler, adapt
from diffnum.foreign.conventions import Convention
from diffnum.types import FloatArray

__all__ = ["drawing", "handed"]

_IN_SIGMA = -0.5
"""Rate of a Brownian motion in sigma = exp(-lam): its increments are integrals of exp(-lam/2) dW."""


@contextmanager
def handed(draw: Callable[[tuple[int, ...]], FloatArray]) -> Iterator[None]:
    """Let torch's normal draws be those of ``draw(shape)`` while foreign code runs. Not thread-safe.

    Parameters
    ----------
    draw : callable
        Draw of a shape, float64.
    """

    def randn(*size: Any, **options: Any) -> torch.Tensor:
        shape = size[0] if len(size) == 1 and not isinstance(size[0], int) else size or options["size"]
        return torch.tensor(draw(tuple(shape)), dtype=options.get("dtype"), device=options.get("device"))

    def randn_like(x: torch.Tensor, **options: Any) -> torch.Tensor:
        return torch.tensor(draw(tuple(x.shape)), dtype=options.get("dtype", x.dtype), device=x.device)

    def normal_(x: torch.Tensor, mean: float = 0.0, std: float = 1.0, **_: Any) -> torch.Tensor:
        return x.copy_(mean + std * torch.tensor(draw(tuple(x.shape))))

    with (
        patch.object(torch, "randn", randn),
        patch.object(torch, "randn_like", randn_like),
        patch.object(torch.Tensor, "normal_", normal_),
    ):
        yield


def drawing(sampler: Any, convention: Convention, **options: Any) -> Callable[..., Any]:
    """Sampler of a foreign convention as ``sampler(model, x, nodes, noise)``.

    Parameters
    ----------
    sampler : callable, or scheduler object or class
        What to call.
    convention : {"k-diffusion", "diffusers", "flow"}
        How.
    **options
        As in :func:`~diffnum.foreign.adapters.adapt`.

    Returns
    -------
    callable
        ``noise(a, b, rate)`` are standard normal draws between two half-log-SNRs, of the shape of ``x``.
    """
    adapted = adapt(sampler, convention, **options)
    parameters = _parameters(sampler)

    def run(model: Any, x: FloatArray, nodes: FloatArray, noise: Any) -> Any:
        if isinstance(adapted, KDiffusionSampler) and parameters & {"noise_sampler", "noise"}:
            given = {name: _between_levels(noise) for name in parameters & {"noise_sampler", "noise"}}
            called: Any = KDiffusionSampler(adapted.function, {**adapted.options, **given}, double=adapted.double)
            return called(model, x, nodes)
        if isinstance(adapted, FlowSampler) and "noise" in parameters:
            given = {"noise": _between_times(noise, adapted.backend)}
            called = FlowSampler(adapted.function, adapted.backend, {**adapted.options, **given}, double=adapted.double)
            return called(model, x, nodes)
        steps = _InOrder(noise, nodes, np.shape(x))
        with handed(steps):
            return adapted(model, x, nodes)

    run.__name__ = getattr(adapted, "__name__", type(sampler).__name__)
    return run


def _parameters(sampler: Any) -> set[str]:
    """Names of the parameters of a function; none of a scheduler."""
    if isinstance(sampler, type) or hasattr(sampler, "step"):
        return set()
    try:
        return set(inspect.signature(sampler).parameters)
    except (TypeError, ValueError):
        return set()


def _between_levels(noise: Any) -> Callable[..., torch.Tensor]:
    """Draws between two noise levels sigma/alpha, in either order."""

    def draw(sigma: Any, later: Any) -> torch.Tensor:
        ends = sorted(-math.log(float(level)) for level in (sigma, later))
        return torch.tensor(noise(*ends, rate=_IN_SIGMA))

    return draw


def _between_times(noise: Any, backend: str) -> Callable[..., Any]:
    """Draws between two flow times, in either order."""

    def draw(t: Any, later: Any, rate: float = 0.0) -> Any:
        ends = sorted(math.log1p(-float(time)) - math.log(float(time)) for time in (t, later))
        found = noise(*ends, rate=rate)
        return torch.tensor(found) if backend == "torch" else found

    return draw


class _InOrder:
    """Draws without a place: the first is that of the first step, and so on; more than steps are independent."""

    def __init__(self, noise: Any, nodes: FloatArray, shape: tuple[int, ...]) -> None:
        self._noise, self._shape = noise, shape
        self._ends = np.asarray(nodes, dtype=np.float64).tolist()
        self._count = 0

    def __call__(self, shape: tuple[int, ...]) -> FloatArray:
        if shape != self._shape:
            msg = (
                f"sampler draws noise of shape {shape} for states of shape {self._shape}: draw one number for each "
                "number of the state, as torch.randn_like does"
            )
            raise ValueError(msg)
        i, self._count = self._count, self._count + 1
        beyond = i - (len(self._ends) - 1)
        found: FloatArray = (
            self._noise(self._ends[i], self._ends[i + 1])
            if beyond < 0
            else self._noise(self._ends[-1] + beyond, self._ends[-1] + beyond + 1)
        )
        return found
