"""Figures of the best possible sampler: its levels and zeros, and its error beside that of methods.

As in :mod:`diffnum.plot`, functions take result objects and read a few attributes of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from diffnum.plot import INK, look_of, style
from diffnum.plot.canvas import new_axes
from diffnum.plot.labels import SMALL, label_ends

__all__ = ["plot_levels", "plot_limit"]

NAMED = 6
"""Methods up to which each has a colour and a name; more are grey, and the best of them is named."""


def plot_levels(limits: Sequence[Any], ax: Axes | None = None) -> Axes:
    """Draw the noise levels and the zeros of limits, one row a number of evaluations.

    Parameters
    ----------
    limits : sequence of GaussianLimit or SpectralLimit
        Read are ``nfe``, ``noise_levels``, ``levels``, ``zeros``.
    ax : matplotlib axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib axes
        sigma / alpha on a logarithmic axis that falls to the right, as sampling goes.

    Raises
    ------
    ValueError
        If there is no limit.
    """
    if not len(limits):
        msg = "limits is empty: pass at least one"
        raise ValueError(msg)
    level, zero = look_of("adams"), look_of("heun")
    with style():
        ax = new_axes(ax)
        for row, limit in enumerate(limits):
            ends = [v for v in limit.noise_levels if v > 0]
            ax.plot(ends, [row] * len(ends), color=INK, linewidth=0.7, marker="|")
            names = ("level", "zero") if row == 0 else ("_level", "_zero")
            ax.plot(limit.levels, [row] * limit.nfe, level.marker, color=level.color, label=names[0])
            ax.plot(
                limit.zeros, [row] * limit.nfe, zero.marker, color=zero.color, markerfacecolor="none", label=names[1]
            )
        ax.set_xscale("log")
        ax.invert_xaxis()
        ax.set_yticks(range(len(limits)), [str(limit.nfe) for limit in limits])
        ax.set_ylim(len(limits) - 0.5, -0.7)
        ax.set_xlabel("noise level sigma / alpha")
        ax.set_ylabel("evaluations")
        ax.legend(frameon=False, loc="upper left", ncols=2, borderaxespad=0.0)
    return ax


def plot_limit(rankings: Sequence[Any], ax: Axes | None = None) -> Axes:
    """Draw the worst error of methods, each on its best grid, against the evaluations, beside the limit.

    Parameters
    ----------
    rankings : sequence of Ranking
        Read are ``nfe``, ``limit.error`` and ``rows`` (``method``, ``worst``). Up to six methods are named; of more,
        the best at each number of evaluations.
    ax : matplotlib axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib axes
        Logarithmic errors; those above 10 are out of sight.

    Raises
    ------
    ValueError
        If there is no ranking.
    """
    if not len(rankings):
        msg = "rankings is empty: pass at least one"
        raise ValueError(msg)
    ordered = sorted(rankings, key=lambda ranking: ranking.nfe)
    nfe = np.array([ranking.nfe for ranking in ordered])
    worst: dict[str, np.ndarray[Any, Any]] = {}
    for column, ranking in enumerate(ordered):
        for row in ranking.rows:
            values = worst.setdefault(row.method, np.full(len(nfe), np.nan))
            values[column] = np.fmin(values[column], row.worst)
    named = len(worst) <= NAMED
    with style():
        ax = new_axes(ax)
        labels = []
        for name, values in worst.items():
            look = look_of(name)
            if named:
                ax.plot(nfe, values, color=look.color, linestyle=look.dash, marker=look.marker)
                labels.append((float(nfe[-1]), float(values[-1]), name, look.color))
            else:
                ax.plot(nfe, values, color=INK, linewidth=0.6, alpha=0.5)
        if not named:
            best = np.nanmin(np.stack(list(worst.values())), axis=0)
            look = look_of("heun")
            ax.plot(nfe, best, color=look.color, marker=look.marker, linestyle=look.dash)
            labels.append((float(nfe[-1]), float(best[-1]), f"best of {len(worst)}", look.color))
        look = look_of("adams")
        errors = [ranking.limit.error for ranking in ordered]
        ax.plot(nfe, errors, color=look.color, marker=look.marker, linewidth=2.0)
        labels.append((float(nfe[-1]), float(errors[-1]), "the limit", look.color))
        ax.set_yscale("log")
        ax.set_ylim(min(e for e in errors if e > 0) / 3 if any(errors) else None, 10.0)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        label_ends(ax, [label for label in labels if np.isfinite(label[1])])
        ax.set_xlabel("evaluations")
        ax.set_ylabel("worst relative error")
        ax.tick_params(labelsize=SMALL)
    return ax
