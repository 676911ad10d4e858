"""Names of curves, written at the curves."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from numpy.typing import NDArray

__all__ = ["SMALL", "label_ends", "label_lines", "spread"]

SMALL = 9.6
"""Size of labels at curves, in points: with a figure 5.5 inches wide still 8 pixels on a phone."""


def label_lines(ax: Axes, at: Mapping[str, float | tuple[float, ...]] | None = None) -> Axes:
    """Write the labels of lines at the lines, in their colours, in place of a legend.

    Parameters
    ----------
    ax : matplotlib axes
        Lines without a label of their own are left alone; a legend is taken away.
    at : mapping of str to float, (float, float) or (float, float, float), optional
        Abscissa at which a label stands, its distance above the line in points (3 by default; below if negative), and
        its distance to the right (0 by default: centred; to the left if negative). Labels that are not mentioned stand
        at the right ends of their lines, moved apart.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        If ``at`` names no label, or an abscissa where the line is not drawn.
    """
    lines = {str(line.get_label()): line for line in ax.get_lines() if not str(line.get_label()).startswith("_")}
    if unknown := sorted(set(at or {}) - set(lines)):
        msg = f"at names {unknown}, which no line is labelled: use {sorted(lines)}"
        raise ValueError(msg)
    if legend := ax.get_legend():
        legend.remove()
    ax.autoscale_view()
    ends = []
    for text, line in lines.items():
        x, y = (np.asarray(values, dtype=float) for values in line.get_data())
        good = np.isfinite(x) & np.isfinite(y)
        if text not in (at or {}):
            ends.append((float(x[good][-1]), float(y[good][-1]), text, to_hex(line.get_color())))
            continue
        place = (at or {})[text]
        given = place if isinstance(place, tuple) else (place,)
        where, above, right = (*given, *(0.0, 3.0, 0.0)[len(given) :])
        if not x[good].min() <= where <= x[good].max():
            msg = f"at places {text!r} at {where:g}, outside its line: {x[good].min():g} to {x[good].max():g}"
            raise ValueError(msg)
        ax.annotate(
            text,
            (where, _height(ax, x[good], y[good], where)),
            xytext=(right, above),
            textcoords="offset points",
            color=line.get_color(),
            fontsize=SMALL,
            ha="center" if not right else "left" if right > 0 else "right",
            va="bottom" if above > 0 else "top",
        )
    label_ends(ax, ends)
    return ax


def label_ends(ax: Axes, labels: Sequence[tuple[float, float, str, str]]) -> None:
    """Write names at the right of the curves, moved apart where they would touch, with a line to the curve's end.

    Parameters
    ----------
    ax : matplotlib axes
        Where the curves are.
    labels : sequence of (float, float, str, str)
        End of a curve, its name and its colour.
    """
    if not labels:
        return
    ax.margins(x=0.03)
    ax.autoscale_view()
    transform = ax.transData + ax.transAxes.inverted()
    places = [transform.transform((x, y)) for x, y, _, _ in labels]
    points = ax.get_window_extent().height * 72 / ax.figure.dpi
    gap = 1.3 * SMALL / points
    heights = inside(spread([float(y) for _, y in places], gap), gap)
    for (x, y, text, color), height in zip(labels, heights, strict=True):
        ax.annotate(
            text,
            (x, y),
            xytext=(1.035, height),
            textcoords="axes fraction",
            color=color,
            fontsize=SMALL,
            va="center",
            arrowprops={
                "arrowstyle": "-",
                "color": color,
                "linewidth": 0.5,
                "alpha": 0.6,
                "shrinkA": 1,
                "shrinkB": 3,
                "relpos": (0, 0.5),
            },
            annotation_clip=False,
        )


def _height(ax: Axes, x: NDArray[np.float64], y: NDArray[np.float64], where: float) -> float:
    """Ordinate of a drawn line at an abscissa, straight between its points on the axes' scales."""
    transform = ax.transScale
    drawn = transform.transform(np.column_stack([x, y]))
    order = np.argsort(drawn[:, 0])
    across = transform.transform((where, y[0]))[0]
    up = np.interp(across, drawn[order, 0], drawn[order, 1])
    return float(transform.inverted().transform((across, up))[1])


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Heights moved as little as needed to be ``gap`` apart, in the same order."""
    order = sorted(range(len(heights)), key=heights.__getitem__)
    blocks: list[list[Any]] = []  # (centre, members): neighbours that touch move as one
    for i in order:
        blocks.append([heights[i], [i]])
        while len(blocks) > 1 and _touch(blocks[-2], blocks[-1], gap):
            _, second = blocks.pop()
            _, first = blocks.pop()
            members = first + second
            blocks.append([sum(heights[k] for k in members) / len(members), members])
    placed = dict(
        itertools.chain.from_iterable(
            ((k, centre + gap * (j - (len(members) - 1) / 2)) for j, k in enumerate(members))
            for centre, members in blocks
        )
    )
    return [placed[i] for i in range(len(heights))]


def inside(heights: Sequence[float], gap: float) -> list[float]:
    """Heights that are ``gap`` apart, moved into the axes, from 0 to 1, if all of them have room there."""
    if gap * (len(heights) - 1) > 1:
        return list(heights)
    order = sorted(range(len(heights)), key=heights.__getitem__)
    placed = list(heights)
    for k, i in enumerate(order):  # from below, then from above: no label passes another
        placed[i] = max(placed[i], 0.0, placed[order[k - 1]] + gap if k else 0.0)
    for k, i in enumerate(reversed(order)):
        placed[i] = min(placed[i], 1.0, placed[order[-k]] - gap if k else 1.0)
    return placed


def _touch(lower: Sequence[Any], upper: Sequence[Any], gap: float) -> bool:
    """Whether two blocks of labels come closer than ``gap``."""
    return bool(upper[0] - lower[0] < gap * (len(lower[1]) + len(upper[1])) / 2)
