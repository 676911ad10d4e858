"""Frames: all that a form says of a group of steps, asked for once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from diffnum.forms.kernels import Kernel, Nodes
from diffnum.forms.semilinear import SemilinearForm
from diffnum.types import FloatArray, Schedule

__all__ = ["Frame", "Stages"]

Target: TypeAlias = tuple[FloatArray, FloatArray, FloatArray]
"""Scale, gain and noise standard deviation where a row of a step ends, each of shape (m,)."""


@dataclass(frozen=True)
class Stages:
    """Where the evaluations of a group of ``m`` steps are made, and what they weigh there.

    Parameters
    ----------
    nodes : tuple of Nodes
        Of the stages, arrays of shape (m,).
    targets : tuple of (scale, gain, sigma)
        Of the stages, and of the end of the steps.
    slopes : tuple of list
        For forms with a linear part, the factors (p, q) of ``p x + q M``, a list of m pairs a stage; empty otherwise.
    """

    nodes: tuple[Nodes, ...]
    targets: tuple[Target, ...]
    slopes: tuple[list[tuple[float, float]], ...]

    def stacked(self, name: str) -> FloatArray:
        """One number of the nodes, ``"t"``, ``"alpha"`` or ``"sigma"``, shape (m, stages)."""
        if not self.nodes:
            return np.empty((len(self.targets[-1][0]), 0))
        return np.stack([getattr(nodes, name) for nodes in self.nodes], axis=1)


@dataclass(frozen=True)
class Frame:
    """A group of ``m`` steps in the coordinates of a form; all arrays of shape (m,).

    Parameters
    ----------
    form, schedule : SemilinearForm, Schedule
        Whose coordinates.
    start, end : Nodes
        Ends of the steps.
    around : tuple of Nodes
        End, start, and the nodes before it.
    step : ndarray
        Length of the steps in the clock.
    past, inner : tuple of ndarray
        Earlier and inner nodes as fractions of the step in the clock.
    past_times : tuple of ndarray
        Earlier nodes as fractions of the step in time.
    kernel : Kernel
        Moments of the steps.
    scale : ndarray
        Scale at the start.
    """

    form: SemilinearForm
    schedule: Schedule
    start: Nodes
    end: Nodes
    around: tuple[Nodes, ...]
    step: FloatArray
    past: tuple[FloatArray, ...]
    inner: tuple[FloatArray, ...]
    past_times: tuple[FloatArray, ...]
    kernel: Kernel
    scale: FloatArray

    @classmethod
    def of(
        cls,
        form: SemilinearForm,
        schedule: Schedule,
        nodes: Nodes,
        index: NDArray[np.int64],
        *,
        stride: int = 1,
        past: int = 0,
        inner_times: Sequence[float] = (),
    ) -> Frame:
        """Frame of the steps that begin at the nodes ``index``.

        Parameters
        ----------
        form, schedule : SemilinearForm, Schedule
            Whose coordinates.
        nodes : Nodes
            All nodes of the run, arrays of shape (n + 1,).
        index : ndarray of int, shape (m,)
            Where the steps begin.
        stride : int
            Intervals that a step spans; the nodes between are its inner ones.
        past : int
            Earlier nodes that are wanted.
        inner_times : sequence of float
            Inner nodes as fractions of the step in time, instead of those of the grid.
        """
        start, end = nodes[index], nodes[index + stride]
        clock = form.clock(nodes)
        first = clock[index]
        step = clock[index + stride] - first
        inner: tuple[Any, ...] = tuple((clock[index + j] - first) / step for j in range(1, stride))
        if inner_times:
            mids = (Nodes.at(schedule, start.t + fraction * (end.t - start.t)) for fraction in inner_times)
            inner = tuple((form.clock(mid) - first) / step for mid in mids)
        before = [nodes[index - j] for j in range(1, past + 1)]
        return cls(
            form=form,
            schedule=schedule,
            start=start,
            end=end,
            around=(end, start, *before),
            step=step,
            past=tuple((clock[index - j] - first) / step for j in range(1, past + 1)),
            inner=inner,
            past_times=tuple((node.t - start.t) / (end.t - start.t) for node in before),
            kernel=form.kernel(schedule, start, end, step, count=past + 1),
            scale=form.scale(start),
        )

    def stages(self, fractions: Sequence[Any]) -> Stages:
        """Evaluations at fractions of the steps in the clock."""
        form, schedule = self.form, self.schedule
        nodes = tuple(form.inner(schedule, self.start, self.end, fraction) for fraction in fractions)
        slopes = (np.stack(form.slope(schedule, n), axis=1).tolist() for n in nodes) if form.linear else ()
        return Stages(nodes, tuple((form.scale(n), form.gain(n), n.sigma) for n in (*nodes, self.end)), tuple(slopes))
