"""Figures of the analysis: regions of stability, and gains on Gaussian data.

As in :mod:`diffnum.plot`, functions take result objects and read a few attributes of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from diffnum.plot import INK, look_of, style

__all__ = ["plot_response", "plot_stability"]


def plot_stability(region: Any, ax: Axes | None = None, *, family: str | None = None, fill: bool = True) -> Axes:
    """Draw a region of absolute stability.

    Parameters
    ----------
    region : StabilityRegion
        Read are ``method``, ``step``, ``re``, ``im``, ``radius``.
    ax : matplotlib axes, optional
        Where to draw; a new figure by default. Several regions may share it.
    family : str, optional
        Family of methods, which fixes the look; the name of the method by default.
    fill : bool
        Whether the inside is shaded.

    Returns
    -------
    matplotlib axes
        Axes of equal scale: the total exponent ``z = -s h`` of a step.

    Raises
    ------
    ValueError
        If the shapes of the axes and of the radius do not fit.
    """
    if region.radius.shape != (len(region.im), len(region.re)):
        raise ValueError(
            f"region.radius has shape {region.radius.shape}: expected {(len(region.im), len(region.re))} for its axes"
        )
    look = look_of(family or region.method)
    with style():
        ax = _axes(ax)
        limit = [1 + 1e-10]
        ax.axhline(0, color=INK, linewidth=0.5)
        ax.axvline(0, color=INK, linewidth=0.5)
        if fill:
            inside = (region.radius <= limit[0]).astype(float)
            ax.contourf(region.re, region.im, inside, levels=[0.5, 1.5], colors=[look.color], alpha=0.15)
        ax.contour(region.re, region.im, region.radius, levels=limit, colors=[look.color], linewidths=1.6)
        step = f", h = {region.step:g}" if region.step else ""
        ax.plot([], [], color=look.color, label=f"{region.method}{step}")
        ax.legend(frameon=False, loc="upper left")
        ax.set_aspect("equal")
        ax.set_xlabel("real part of z")
        ax.set_ylabel("imaginary part of z")
    return ax


def plot_response(output: Any, ax: Axes | None = None) -> Axes:
    """Draw the standard deviation of a sampler's output over that of the data, by eigenvalue of the covariance.

    Parameters
    ----------
    output : FrequencyResponse or GaussianOutput
        Read are ``method`` and either ``outputs`` or ``nfe``, ``eigenvalues``, ``variance``.
    ax : matplotlib axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib axes
        Eigenvalues on a logarithmic axis; one curve for each number of evaluations, darker for more.

    Raises
    ------
    ValueError
        If all eigenvalues are zero.
    """
    outputs = tuple(getattr(output, "outputs", (output,)))
    look = look_of(output.method)
    with style():
        ax = _axes(ax)
        ax.axhline(1.0, color=INK, linewidth=0.7, linestyle=":")
        for i, one in enumerate(outputs):
            order = np.argsort(one.eigenvalues)
            order = order[one.eigenvalues[order] > 0]
            if not len(order):
                raise ValueError(f"output of {output.method} has no positive eigenvalue: nothing to draw")
            ratio = np.sqrt(one.variance[order] / one.eigenvalues[order])
            strength = (i + 1) / len(outputs)
            ax.plot(
                one.eigenvalues[order], ratio, color=look.color, alpha=0.25 + 0.75 * strength, label=f"{one.nfe} NFE"
            )
        ax.set_xscale("log")
        ax.set_xlabel("eigenvalue of the data covariance")
        ax.set_ylabel("standard deviation, output / data")
        ax.set_title(f"{output.method} on Gaussian data")
        ax.legend(frameon=False)
    return ax


def _axes(ax: Axes | None) -> Axes:
    """Given axes, or those of a new figure that no window manager knows."""
    return Figure(figsize=(5.6, 3.4), layout="constrained").subplots() if ax is None else ax
