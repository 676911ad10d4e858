"""Figures of the analysis: regions of stability, and gains on Gaussian data.

As in :mod:`diffnum.plot`, functions take result objects and read a few attributes of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from diffnum.plot import INK, look_of, style
from diffnum.plot.canvas import new_axes, new_figure
from diffnum.plot.labels import label_lines

__all__ = ["plot_analysis", "plot_constants", "plot_distances", "plot_response", "plot_roots", "plot_stability"]


def plot_stability(
    region: Any, ax: Axes | None = None, *, family: str | None = None, fill: bool = True, label: str | None = None
) -> Axes:
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
    label : str, optional
        Stands in the legend above the axes, where it lies on no curve; the method and its step by default.

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
        msg = f"region.radius has shape {region.radius.shape}: expected {(len(region.im), len(region.re))} for its axes"
        raise ValueError(msg)
    look = look_of(family or region.method)
    with style():
        ax = new_axes(ax)
        limit = [1 + 1e-10]
        ax.axhline(0, color=INK, linewidth=0.5)
        ax.axvline(0, color=INK, linewidth=0.5)
        if fill:
            inside = (region.radius <= limit[0]).astype(float)
            ax.contourf(region.re, region.im, inside, levels=[0.5, 1.5], colors=[look.color], alpha=0.15)
        drawn: dict[str, Any] = {"colors": [look.color], "linestyles": [look.dash], "linewidths": 1.6}
        ax.contour(region.re, region.im, region.radius, levels=limit, **drawn)
        step = f", h = {region.step:g}" if region.step else ""
        ax.plot([], [], color=look.color, linestyle=look.dash, label=label or f"{region.method}{step}")
        named = len(ax.get_legend_handles_labels()[1])
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=min(named, 2), frameon=False)
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
        ax = new_axes(ax)
        ax.axhline(1.0, color=INK, linewidth=0.7, linestyle=":")
        for i, one in enumerate(outputs):
            order = np.argsort(one.eigenvalues)
            order = order[one.eigenvalues[order] > 0]
            if not len(order):
                msg = f"output of {output.method} has no positive eigenvalue: nothing to draw"
                raise ValueError(msg)
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


def plot_distances(response: Any, ax: Axes | None = None) -> Axes:
    """Draw the distances of a sampler's output law to Gaussian data against the evaluations.

    Parameters
    ----------
    response : FrequencyResponse
        Read are ``method``, ``nfe`` and the methods ``w2``, ``kl``, ``frechet``.
    ax : matplotlib axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib axes
        Logarithmic axes; distances that are infinite or zero are left out.
    """
    with style():
        ax = new_axes(ax)
        for name, label in (("w2", "W2"), ("kl", "KL (nats)"), ("frechet", "Frechet")):
            values = np.asarray(getattr(response, name)())
            shown = np.isfinite(values) & (values > 0)
            look = look_of(name)
            line = ax.plot(np.asarray(response.nfe)[shown], values[shown], label=label)[0]
            line.set(color=look.color, marker=look.marker, linestyle=look.dash)
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlabel("evaluations")
        ax.set_ylabel("distance to the data")
        ax.set_title(f"{response.method} on Gaussian data")
        label_lines(ax)
    return ax


def plot_roots(zero: Any, ax: Axes | None = None) -> Axes:
    """Draw the roots of a method with the model switched off, and the unit circle that they must not leave.

    Parameters
    ----------
    zero : ZeroStability
        Read are ``method``, ``roots``, ``stable``.
    ax : matplotlib axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib axes
        Axes of equal scale.
    """
    look = look_of(zero.method)
    with style():
        ax = new_axes(ax)
        angle = np.linspace(0.0, 2 * np.pi, 181)
        ax.plot(np.cos(angle), np.sin(angle), color=INK, linewidth=0.7)
        roots = np.asarray(zero.roots)
        ax.plot(roots.real, roots.imag, color=look.color, marker=look.marker, linestyle="none")
        ax.set_aspect("equal")
        ax.set_xlabel("real part")
        ax.set_ylabel("imaginary part")
        ax.set_title(f"{zero.method}: {'zero-stable' if zero.stable else 'not zero-stable'}")
    return ax


def plot_constants(constant: Any, ax: Axes | None = None) -> Axes:
    """Draw the principal error constant of a method over the stiffness nu of ``z' = -nu z``, z = x/alpha.

    Parameters
    ----------
    constant : ErrorConstant
        Read are ``method``, ``order`` and the method ``at_stiffness``.
    ax : matplotlib axes, optional
        Where to draw; a new figure by default. Several methods may share it.

    Returns
    -------
    matplotlib axes
        On Gaussian data of variance c, nu = 1/(1 + c SNR): near 1 where noise rules, near 0 where data do.
    """
    look = look_of(constant.method)
    with style():
        ax = new_axes(ax)
        s = np.linspace(0.0, 1.0, 101)
        values = [constant.at_stiffness(float(one)) for one in s]
        label = f"{constant.method}, order {constant.order}"
        ax.axhline(0, color=INK, linewidth=0.5)
        ax.plot(s, values, color=look.color, linestyle=look.dash, label=label)
        ax.set_xlabel(r"stiffness $\nu$")
        ax.set_ylabel("error constant")
        ax.legend(frameon=False)
    return ax


def plot_analysis(found: Any) -> Figure:
    """Draw all parts of an analysis that apply to the method.

    Parameters
    ----------
    found : Analysis
        Read are ``stability``, ``region``, ``constant``, ``response``.

    Returns
    -------
    matplotlib figure

    Raises
    ------
    ValueError
        If no part applies.
    """
    zero = found.stability and found.stability.zero
    parts = (
        (plot_stability, found.region),
        (plot_roots, zero),
        (plot_constants, found.constant),
        (plot_response, found.response),
        (plot_distances, found.response),
    )
    drawn = [(draw, part) for draw, part in parts if part is not None]
    if not drawn:
        msg = f"nothing of {found.method} can be analysed: {'; '.join(found.refusals.values())}"
        raise ValueError(msg)
    figure = new_figure((3.9 * len(drawn), 3.6))
    with style():
        for (draw, part), ax in zip(drawn, figure.subplots(1, len(drawn), squeeze=False)[0], strict=True):
            draw(part, ax)
    return figure
