"""A whole sampling run as one CUDA graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from diffnum.models.update import fused
from diffnum.plans import Plan
from diffnum.solver import Noise, solve
from diffnum.types import Denoiser

__all__ = ["CapturedRun", "capture"]


@dataclass(frozen=True, eq=False)
class CapturedRun:
    """A run that is launched at once.

    Parameters
    ----------
    plan : Plan
        Numbers of the run.
    graph : torch.cuda.CUDAGraph
        Launches of all its kernels.
    start, end : tensor
        Where the graph reads the initial sample and leaves the result.
    """

    plan: Plan
    graph: torch.cuda.CUDAGraph
    start: torch.Tensor
    end: torch.Tensor

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Run from another initial sample.

        Parameters
        ----------
        x : tensor
            Of the shape that was captured.

        Returns
        -------
        tensor
            Result, in memory of its own.

        Raises
        ------
        ValueError
            If ``x`` has another shape.
        """
        if x.shape != self.start.shape:
            msg = f"x has shape {tuple(x.shape)}, the run was captured for {tuple(self.start.shape)}: capture it again"
            raise ValueError(msg)
        self.start.copy_(x)
        self.graph.replay()
        return self.end.clone()


def capture(
    plan: Plan, model: Denoiser, x: torch.Tensor, *, noise: Noise | None = None, warmup: int = 2
) -> CapturedRun:
    """Capture a run in a CUDA graph: loop, model and update are then launched without Python.

    Parameters
    ----------
    plan : Plan
        Numbers of the run.
    model : Denoiser
        Must launch the same kernels whatever the values are, and read none of them back.
    x : tensor, shape (batch, ...), on a CUDA device
        A sample of the shape, dtype and memory format that the run is for.
    noise : callable, optional
        Source of noise of a stochastic method; by default torch's own generator, which goes on from replay to replay.
    warmup : int
        Runs before the capture, in which libraries choose their kernels.

    Returns
    -------
    CapturedRun

    Raises
    ------
    ValueError
        If ``x`` is not on a CUDA device.
    """
    if not x.is_cuda:
        msg = f"x is on {x.device}: only runs on a CUDA device can be captured, use solve(combine=fused)"
        raise ValueError(msg)
    draw = noise or (lambda step, index, like: torch.randn_like(like))  # noqa: ARG005

    def run(start: torch.Tensor) -> torch.Tensor:
        end: torch.Tensor = solve(plan, model, start, noise=draw, combine=fused, check_finite=False)
        return end

    start = x.clone(memory_format=torch.preserve_format)
    stream: Any = torch.cuda.Stream(x.device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(x.device))
    with torch.no_grad():
        with torch.cuda.stream(stream):
            for _ in range(warmup):
                run(start)
        torch.cuda.current_stream(x.device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            end = run(start)
    return CapturedRun(plan, graph, start, end)
