"""Figures to draw on: in a notebook such as are shown there, elsewhere such as no window manager knows."""

from __future__ import annotations

import sys
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["Png", "in_a_notebook", "new_axes", "new_figure"]


class Png(bytes):
    """A PNG file that a notebook shows."""

    def __repr__(self) -> str:
        """Size, in place of the content."""
        width, height = (int.from_bytes(self[at : at + 4]) for at in (16, 20))
        return f"Png({width} x {height} pixels, {len(self)} bytes of PNG)"

    def _repr_png_(self) -> bytes:
        return bytes(self)


def in_a_notebook() -> bool:
    """Whether this is a cell of a notebook, which shows the figures of pyplot when it ends."""
    module: Any = sys.modules.get("IPython")
    shell = None if module is None else module.get_ipython()
    return getattr(shell, "kernel", None) is not None


def new_figure(size: tuple[float, float]) -> Figure:
    """An empty figure; in a notebook one of pyplot, so that it is shown once, at the end of the cell or by ``show``.

    Parameters
    ----------
    size : (float, float)
        Width and height in inches.
    """
    if in_a_notebook():
        from matplotlib import pyplot

        return pyplot.figure(figsize=size, layout="constrained")
    return Figure(figsize=size, layout="constrained")


def new_axes(ax: Axes | None) -> Axes:
    """Given axes, or those of a new figure."""
    return new_figure((5.6, 3.4)).subplots() if ax is None else ax
