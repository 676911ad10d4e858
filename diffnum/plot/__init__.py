"""Figures of the package: errors against steps, errors against evaluations, grids of images.

Functions take result objects and read a few attributes of them; none imports what made them. Styles are applied to the
figures at hand, never to matplotlib's global settings. Backgrounds are transparent and text is a grey that reads on
white and on black; in a page, :func:`to_svg` lets text follow the colour of the page. Curves differ in colour, marker
and dash, so that they also differ in grey.
"""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator
from numpy.typing import ArrayLike, NDArray

from diffnum.jobs.files import write_file
from diffnum.plot.canvas import Png, in_a_notebook, new_axes
from diffnum.plot.labels import SMALL, label_ends

__all__ = [
    "Curve",
    "Look",
    "image_grid",
    "look_of",
    "plot_study",
    "plot_work_precision",
    "save",
    "style",
    "to_data_uri",
    "to_svg",
]

INK = "#767676"
"""Colour of text, axes and guide lines: 4.5 to 1 on white, 4.6 to 1 on black."""


@dataclass(frozen=True)
class Look:
    """How a curve is drawn: colour, marker and dash pattern.

    Parameters
    ----------
    color : str
        As matplotlib takes it.
    marker, dash : object
        Shape of the points, and pattern of the line, as matplotlib takes them.
    """

    color: str
    marker: str
    dash: Any = "-"


# Hues that remain distinct for the colour-blind, of middle lightness so that they show on white and on black.
_LOOKS = (
    Look("#2f7fc1", "o"),
    Look("#d9622b", "s", (0, (5, 1.5))),
    Look("#1d9a6c", "^", (0, (3, 1, 1, 1))),
    Look("#b3589a", "D", (0, (1, 1))),
    Look("#b58900", "v", (0, (6, 1, 1, 1, 1, 1))),
    Look("#3aa6b9", "P", (0, (8, 2))),
    Look("#c2485c", "X", (0, (2, 1))),
    Look("#7d78c9", "p", (0, (4, 1, 2, 1))),
)
FAMILIES: Mapping[str, Look] = MappingProxyType(
    dict(
        zip(
            ("adams", "heun", "dpmpp_2m", "dpmpp_3m_corrected", "unipc", "ghvb", "dpmpp_3m", "dpm_solver_3"),
            _LOOKS,
            strict=True,
        )
    )
)
"""Look of each family of methods, the same in every figure."""

_GRIDS: Mapping[str, Look] = MappingProxyType(dict(zip(("uniform", "smooth", "irregular"), _LOOKS, strict=False)))


class Curve(Protocol):
    """What :func:`plot_work_precision` reads of a curve."""

    @property
    def label(self) -> str:
        """Name, written at the end of the curve."""

    @property
    def family(self) -> str:
        """Family of methods, which fixes the look."""

    @property
    def nfe(self) -> Sequence[int]:
        """Model evaluations, increasing."""

    @property
    def errors(self) -> Sequence[float]:
        """Errors, one per number of evaluations."""


def look_of(family: str) -> Look:
    """Look of a family; a family that has none of its own gets one that depends on its name alone.

    Parameters
    ----------
    family : str
        Family of methods.

    Returns
    -------
    Look
    """
    return FAMILIES.get(family) or _LOOKS[sum(family.encode()) % len(_LOOKS)]


SETTINGS: Mapping[str, Any] = MappingProxyType(
    {
        **{f"axes.spines.{side}": False for side in ("top", "right")},
        **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
        "font.family": "sans-serif",
        "font.size": 10.0,
        "axes.titlesize": 10.5,
        "legend.fontsize": SMALL,
        "legend.frameon": False,  # grounds are transparent, and a frame for white pages glares on dark ones
        "axes.linewidth": 0.7,
        "axes.titlelocation": "left",
        "lines.linewidth": 1.6,
        "lines.markersize": 4.5,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.facecolor": "none",
        "svg.fonttype": "none",
        "svg.hashsalt": "diffnum",
    }
)
"""Matplotlib settings of the package's figures."""


@contextmanager
def style() -> Iterator[None]:
    """:data:`SETTINGS`, in force inside a ``with`` block only.

    Returns
    -------
    iterator
    """
    if in_a_notebook():  # loads the backend, which settles for good how figures are shown: not inside the block
        import_module("matplotlib.pyplot").draw_if_interactive()
    settings: Any = dict(SETTINGS)  # the stubs know each key by name
    with mpl.rc_context(settings):
        yield


def plot_study(study: Any, ax: Axes | None = None) -> Axes:
    """Draw the errors of an order study against the number of steps.

    One colour per kind of grid: solid and filled for what the study is about (the update formula of a catalogue
    method), dashed and hollow for the run as shipped. Levels that the study left out (rounding floor, divergence) are
    grey. Where a study has several problems or quantities, one is drawn and the title names it: of those that were also
    run as shipped, the one whose error is largest.

    Parameters
    ----------
    study : ConvergenceStudy
        Read are ``name``, ``primary``, ``measure`` and ``series`` (``problem``, ``quantity``, ``grid``, ``variant``,
        ``measure``, ``estimate``).
    ax : matplotlib axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        If the study has no errors of its measure to draw.
    """
    if not hasattr(study, "series"):
        msg = f"study is a {type(study).__name__}: pass what convergence_study returns"
        raise TypeError(msg)
    drawn = [s for s in study.series if s.measure == study.measure and s.variant in (study.primary, "as shipped")]
    main = [s for s in drawn if s.variant == study.primary]
    if not main:
        msg = (
            f"study of {study.name} has no {study.measure} errors of its variant {study.primary!r}: measure them first"
        )
        raise ValueError(msg)
    both = {s.problem for s in drawn if s.variant != study.primary} or {s.problem for s in main}
    worst = max((s for s in main if s.problem in both), key=lambda s: _finest(s.estimate))
    same = [s for s in drawn if (s.problem, s.quantity) == (worst.problem, worst.quantity)]
    drawn = _distinct(same, study.primary)
    problem = f"{worst.problem}, {worst.quantity}" if worst.quantity else worst.problem
    with style():
        ax = new_axes(ax)
        labels = []
        for s, text in drawn:
            look = _GRIDS.get(s.grid) or look_of(s.grid)
            _draw_estimate(ax, s.estimate, look, s.variant == study.primary)
            labels.append((*_last_point(s.estimate), text, look.color))
        _log_axes(ax, (n for s, _ in drawn for n in s.estimate.steps.tolist()))
        estimates = [s.estimate for s, _ in drawn]
        for rank, order in enumerate(sorted({s.order for s, _ in drawn if s.order})):
            _guide_below(ax, estimates, next(s.estimate for s, _ in drawn if s.order == order), order, rank)
        label_ends(ax, labels)
        ax.set_xlabel("steps")
        ax.set_ylabel("error (root mean square)")
        ax.set_title(f"{study.name} on {problem}")
    return ax


def plot_work_precision(
    curves: Iterable[Curve],
    ax: Axes | None = None,
    *,
    floor: float = 0.0,
    orders: Sequence[int] = (1, 2, 3),
    title: str = "",
) -> Axes:
    """Draw errors against model evaluations for several methods.

    Parameters
    ----------
    curves : iterable of Curve
        Anything with ``label``, ``family``, ``nfe``, ``errors``.
    ax : matplotlib axes, optional
        Where to draw; a new figure by default.
    floor : float
        Accuracy of the reference, shaded: errors below it mean nothing.
    orders : sequence of int
        Slopes of the guide lines.
    title : str
        Title of the axes.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        If there is no curve, or one has lengths that differ.
    """
    curves = list(curves)
    if not curves:
        msg = "curves is empty: pass at least one"
        raise ValueError(msg)
    for c in curves:
        if len(c.nfe) != len(c.errors):
            msg = f"curve {c.label!r} has {len(c.nfe)} nfe and {len(c.errors)} errors: pass one error for each"
            raise ValueError(msg)
    with style():
        ax = new_axes(ax)
        labels = []
        used: dict[str, int] = {}
        for c in curves:
            look = look_of(c.family)
            again = used.setdefault(c.family, 0)
            used[c.family] += 1
            face = look.color if not again else "none"
            x, y = np.asarray(c.nfe, dtype=float), np.asarray(c.errors, dtype=float)
            ax.plot(x, y, color=look.color, marker=look.marker, linestyle=look.dash, markerfacecolor=face)
            good = np.flatnonzero(np.isfinite(y) & (y > 0))
            if good.size:
                labels.append((x[good[-1]], y[good[-1]], c.label, look.color))
        _log_axes(ax, (n for c in curves for n in c.nfe))
        low, high = ax.get_ylim()
        if floor > 0 and floor > low / 10:
            ax.axhspan(min(low, floor / 3), floor, color=INK, alpha=0.15, linewidth=0)
            ax.set_ylim(min(low, floor / 3), high)
        _guide_fan(ax, orders)
        label_ends(ax, labels)
        ax.set_xlabel("model evaluations")
        ax.set_ylabel("relative error (root mean square)")
        if title:
            ax.set_title(title)
    return ax


def image_grid(
    images: ArrayLike | Sequence[ArrayLike],
    columns: int | None = None,
    *,
    pad: int = 1,
    scale: int = 1,
    cmap: str = "gray",
) -> Png:
    """Tile images into one PNG.

    Parameters
    ----------
    images : array_like, shape (n, height, width) or (n, height, width, 3)
        Intensities in [0, 1].
    columns : int, optional
        Images in a row; about as many as rows by default.
    pad : int
        Transparent pixels between images.
    scale : int
        Size of a pixel of an image in pixels of the PNG.
    cmap : str
        Colour map of single-channel images.

    Returns
    -------
    Png
        The PNG file: bytes that a notebook shows.

    Raises
    ------
    ValueError
        If the shape is another, there is no image, or a value is not finite.
    """
    for name, value, least in (("columns", columns, 1), ("pad", pad, 0), ("scale", scale, 1)):
        if value is not None and (not isinstance(value, int | np.integer) or value < least):
            msg = f"{name}={value!r}: pass a whole number, at least {least}"
            raise ValueError(msg)
    if cmap not in mpl.colormaps:
        msg = f"cmap={cmap!r} is no colour map of matplotlib: use one of matplotlib.colormaps, such as 'gray'"
        raise ValueError(msg)
    try:
        stack = np.asarray(images, dtype=np.float64)
    except (TypeError, ValueError) as error:
        msg = f"images is a {type(images).__name__}, no array of numbers of one shape: pass (n, height, width)"
        raise TypeError(msg) from error
    if stack.ndim not in (3, 4) or not stack.shape[0] or (stack.ndim == 4 and stack.shape[3] != 3):
        msg = f"images has shape {stack.shape}: pass (n, height, width) or (n, height, width, 3), n > 0"
        raise ValueError(msg)
    if not np.isfinite(stack).all():
        msg = "images has values that are not finite: replace them first"
        raise ValueError(msg)
    coloured = mpl.colormaps[cmap](stack.clip(0.0, 1.0)) if stack.ndim == 3 else _opaque(stack.clip(0.0, 1.0))
    n, height, width = coloured.shape[:3]
    columns = math.ceil(math.sqrt(n)) if columns is None else min(columns, n)
    rows = -(-n // columns)
    height, width = height * scale, width * scale
    canvas = np.zeros((rows * (height + pad) - pad, columns * (width + pad) - pad, 4))
    for i, picture in enumerate(coloured):
        top, left = (i // columns) * (height + pad), (i % columns) * (width + pad)
        canvas[top : top + height, left : left + width] = picture.repeat(scale, axis=0).repeat(scale, axis=1)
    buffer = io.BytesIO()
    imsave(buffer, np.rint(canvas * 255).astype(np.uint8), format="png")
    return Png(buffer.getvalue())


def to_data_uri(png: bytes) -> str:
    """PNG as an address that a page can hold: ``data:image/png;base64,...``.

    Parameters
    ----------
    png : bytes
        The picture.

    Returns
    -------
    str
    """
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def to_svg(figure: Figure | Axes, *, title: str, prefix: str) -> str:
    """Figure as an ``<svg>`` element for a page, with text that follows the colour of the page.

    Parameters
    ----------
    figure : matplotlib figure or axes
        What to draw.
    title : str
        What the figure shows, for those who do not see it.
    prefix : str
        Put before every identifier in the drawing: unique in the page.

    Returns
    -------
    str
        The element, without scripts, fonts or addresses.
    """
    buffer = io.StringIO()
    with style():
        _whole(figure).savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'\s+xmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'(url\(|href=")#', rf"\1#{prefix}-", text).replace(INK, "currentColor")
    text = re.sub(r'<svg height="[^"]*"', "<svg", text.replace("\n", " "), count=1)
    head, body = text.split(">", 1)
    width = re.search(r'width="([\d.]+)', head)
    head = re.sub(r'\s(?:width|height|version)="[^"]*"', "", head)
    size = f' style="max-width:{float(width[1]) * 4 / 3:.0f}px"' if width else ""
    return f'{head} role="img" aria-label="{escape(title)}"{size}>{re.sub(r"  +", " ", body).strip()}'


def save(figure: Figure | Axes, path: str | Path) -> None:
    """Write a figure to a file, in the format that the file's ending names.

    Parameters
    ----------
    figure : matplotlib figure or axes
        What to draw.
    path : str or Path
        Such as ``"errors.svg"``, ``"errors.png"``.

    Raises
    ------
    ValueError
        If no figure has that ending.
    OSError
        If it cannot be written; a file that was there is as it was.
    """
    if not isinstance(figure, Figure | Axes):
        msg = f"figure is a {type(figure).__name__}: pass what the functions of diffnum.plot return"
        raise TypeError(msg)
    path, content = Path(path), io.BytesIO()
    whole = _whole(figure)
    kinds = whole.canvas.get_supported_filetypes()
    if path.suffix[1:] not in kinds:
        msg = f"path={str(path)!r}: no figure ends in {path.suffix or 'nothing'}: use .svg, .png or .pdf"
        raise ValueError(msg)
    with style():
        whole.savefig(content, format=path.suffix[1:], bbox_inches="tight", dpi=150)
    write_file(path, [content.getvalue()])


# ---------------------------------------------------------------- parts of figures


def _whole(figure: Figure | Axes) -> Any:
    """Figure to which axes belong."""
    return figure.get_figure(root=True) if isinstance(figure, Axes) else figure


def _finest(estimate: Any) -> float:
    """Error at the finest level."""
    return float(estimate.errors[-1])


def _last_point(estimate: Any) -> tuple[float, float]:
    """Last level with a finite, positive error."""
    good = np.flatnonzero(np.isfinite(estimate.errors) & (estimate.errors > 0))
    last = good[-1] if good.size else -1
    return float(estimate.steps[last]), float(estimate.errors[last])


def _draw_estimate(ax: Axes, estimate: Any, look: Look, primary: bool) -> None:
    """One curve; levels with a note in grey."""
    errors = np.where(np.isfinite(estimate.errors) & (estimate.errors > 0), estimate.errors, np.nan)
    noted = np.array([bool(note) for note in estimate.notes])
    kept, dropped = np.where(noted, np.nan, errors), np.where(noted, errors, np.nan)
    face = look.color if primary else "none"
    dash = "-" if primary else (0, (3, 2))
    ax.plot(estimate.steps, errors, color=INK, linestyle=":", linewidth=0.7, zorder=1)
    ax.plot(estimate.steps, dropped, color=INK, marker=look.marker, linestyle="none", alpha=0.6)
    ax.plot(estimate.steps, kept, color=look.color, marker=look.marker, linestyle=dash, markerfacecolor=face)


def _log_axes(ax: Axes, counts: Iterable[float]) -> None:
    """Logarithmic axes whose horizontal ticks are counts that occur, thinned out."""
    ax.set_xscale("log")
    ax.set_yscale("log")
    ticks: list[float] = []
    for n in sorted(set(counts)):
        if not ticks or n >= 1.9 * ticks[-1]:
            ticks.append(n)
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.grid(True, which="major", color=INK, alpha=0.18, linewidth=0.5)


def _distinct(series: Sequence[Any], primary: str) -> list[tuple[Any, str]]:
    """Curves with their names; a run as shipped that cannot be told from the formula is named, not drawn."""
    formula = {s.grid: s for s in series if s.variant == primary}
    shipped = {s.grid: s for s in series if s.variant != primary}
    found = []
    for grid, s in formula.items():
        other = shipped.get(grid)
        same = other is not None and _agree(s.estimate, other.estimate)
        text = f"{grid}{', also as shipped' if same else ''}{'' if s.order is not None else ' (undecided)'}"
        found.append((s, text))
        if other is not None and not same:
            found.append((other, f"{grid}, as shipped{'' if other.order is not None else ' (undecided)'}"))
    return found


def _agree(first: Any, second: Any) -> bool:
    """Whether two curves cannot be told apart in a figure."""
    same = np.array_equal(first.steps, second.steps)
    return same and np.allclose(first.errors, second.errors, rtol=0.25, atol=0.0)


def _guide_below(ax: Axes, curves: Sequence[Any], example: Any, order: float, rank: int) -> None:
    """Line of slope -order over the last levels of a curve, below all curves, with its order written at it."""
    n = np.array([k for k, note in zip(example.steps.tolist(), example.notes, strict=True) if not note], dtype=float)[
        -4:
    ]
    points = [
        (k, e)
        for c in curves
        for k, e in zip(c.steps.tolist(), c.errors.tolist(), strict=True)
        if n.size and n[0] <= k <= n[-1] and e > 0
    ]
    if n.size < 2 or not points:
        return
    level = min(e * k**order for k, e in points) * 0.5 * 0.6**rank
    line = level * n**-order
    ax.plot(n, line, color=INK, linewidth=0.9, linestyle=(0, (1, 1.5)))
    ax.annotate(
        f"order {order:g}",
        (n[0], line[0]),
        xytext=(-2, 0),
        textcoords="offset points",
        color=INK,
        fontsize=SMALL,
        ha="right",
        va="center",
    )


def _guide_fan(ax: Axes, orders: Sequence[int]) -> None:
    """Short lines of several slopes in the lower left corner, with their orders."""
    if not orders:
        return
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    span = math.log10(right / left)
    x = left * 10 ** (span * np.array([0.05, 0.36]))
    rise = math.log10(x[1] / x[0])
    top = low * (high / low) ** 0.30
    steepest = top * 10 ** (-rise * max(orders))
    ax.set_ylim(min(low, steepest * 0.7), high)
    for order in orders:
        y = np.array([top, top * 10 ** (-rise * order)])
        ax.plot(x, y, color=INK, linewidth=0.9, linestyle=(0, (1, 1.5)))
        ax.annotate(
            f"{order}", (x[1], y[1]), xytext=(3, 0), textcoords="offset points", color=INK, fontsize=SMALL, va="center"
        )
    ax.annotate("order", (x[0], top), xytext=(0, 3), textcoords="offset points", color=INK, fontsize=SMALL, va="bottom")


def _opaque(colours: NDArray[np.float64]) -> NDArray[np.float64]:
    """Colours with an alpha of one."""
    return np.concatenate([colours, np.ones((*colours.shape[:-1], 1))], axis=-1)
