"""Check the figures of the built book: ``python book/tools/check_figures.py book/_build/html``.

On a phone the smallest writing is eight pixels high; where print is grey the entries of a legend are told apart; no
legend lies on a curve.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

SMALLEST = 8.0
"""Height of writing, in CSS pixels, below which a figure cannot be read."""

PHONE = 358.0
"""Width of a figure on a phone: its 390 CSS pixels less the margins of a page."""

GREYS = 10.0
"""Lightness, of 100, by which two entries of a legend differ if nothing but their colour tells them apart."""

SVG, LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"

FONTS = r"'(cm(?:ex|mi|r|sy)10)'"
"""Fonts of single signs, primes say, at places of their own: a browser that lacks them shows other letters."""

WIDE = 0.45
"""Width of a letter over the height of the writing, at least."""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


def smallest_writing(svg: str, width: float) -> float:
    """Height in pixels of the smallest writing of an SVG figure (exponents apart) that is shown at a width."""
    box = re.search(r'viewBox="[\d.-]+ [\d.-]+ ([\d.]+)', svg)
    text = re.sub(r"<tspan.*?</tspan>", "", svg, flags=re.DOTALL)
    sizes = [float(size) for size in re.findall(r"font(?:-size)?: ?(?:[a-z0-9]+ )?([\d.]+)px", text)]
    return min(sizes) * width / float(box[1]) if box and sizes else float("inf")


def lightness(color: str) -> float:
    """Lightness L* of a colour such as ``#2f7fc1``, from 0 to 100: what grey print keeps of it."""
    parts = np.array([int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)])
    light = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722)
    return float(116 * np.cbrt(light) - 16 if light > 216 / 24389 else light * 24389 / 27)


def alike_in_grey(svg: str) -> list[str]:
    """Pairs of entries of a legend that differ in neither marker, dash, width nor hatch, and hardly in lightness."""
    tree = ElementTree.fromstring(svg)
    shapes = {one.get("id"): str(one.get("d")) for one in tree.iter(f"{SVG}path") if one.get("id")}
    for pattern in tree.iter(f"{SVG}pattern"):
        shapes[pattern.get("id")] = " ".join(str(one.get("d")) for one in pattern.iter(f"{SVG}path"))
    found = []
    for legend in (one for one in tree.iter(f"{SVG}g") if str(one.get("id")).startswith("legend_")):
        entries: list[tuple[str, list[Any], float]] = []
        drawn: list[Any] = []
        for part in legend.iter():
            if part.tag in (f"{SVG}path", f"{SVG}use") and not part.get("id"):
                drawn += [part] * ("Q" not in str(part.get("d")))  # the frame of a legend alone has round corners
            elif str(part.get("id")).startswith("text_") and drawn:
                entries.append(("".join(part.itertext()).strip(), *_drawn(drawn, shapes)))
                drawn = []
        found += [
            f"{one} and {two}"
            for (one, look, light), (two, again, light_again) in combinations(entries, 2)
            if look == again and abs(light - light_again) < GREYS
        ]
    return found


def _drawn(parts: list[Any], shapes: dict[str | None, str]) -> tuple[list[Any], float]:
    """How the sample of a legend looks without colour, and its lightness."""
    look: list[Any] = []
    light = 0.0
    for part in parts:
        style = dict(re.findall(r"([a-z-]+): ([^;]+)", part.get("style") or ""))
        fill, stroke = style.get("fill", "#000000"), style.get("stroke", "none")
        color = stroke if stroke.startswith("#") else fill
        if re.fullmatch("#[0-9a-f]{6}", color):
            light = 100 - float(style.get("opacity", 1)) * (100 - lightness(color))  # on white
        marker = shapes.get(str(part.get(f"{LINK}href"))[1:])
        hatch = shapes.get(fill[5:-1])  # of url(#name)
        hollow = fill == "none" or style.get("fill-opacity") == "0"
        look.append((marker, hatch, hollow, style.get("stroke-dasharray"), style.get("stroke-width")))
    return look, light


def legends_on_curves(svg: str) -> list[str]:
    """Names of the legends that lie on a curve, each with the number of curves below it."""
    found = []
    for axes in (one for one in ElementTree.fromstring(svg).iter(f"{SVG}g") if _called(one, "axes_")):
        curves = [_corners(path) for one in axes if _called(one, "line2d_") for path in one.iter(f"{SVG}path")]
        for legend in (one for one in axes if _called(one, "legend_")):
            box = _box(legend)
            if below := sum(_enters(curve, box) for curve in curves):
                first = next(("".join(one.itertext()).strip() for one in legend.iter(f"{SVG}text")), "")
                found.append(f"{first} ({below})")
    return found


def _called(group: Any, name: str) -> bool:
    return str(group.get("id")).startswith(name)


def _corners(path: Any) -> np.ndarray:
    """Corners of a path of straight lines, shape (n, 2)."""
    return np.array([float(x) for x in re.findall(r"-?[\d.]+(?:e-?\d+)?", str(path.get("d")))]).reshape(-1, 2)


def _box(legend: Any) -> Box:
    """What a legend covers: its frame, or where there is none its samples and the writing."""
    frames = [path for path in legend.iter(f"{SVG}path") if "Q" in str(path.get("d"))]
    points = [_corners(frame) for frame in frames]
    if not frames:
        points += [_corners(path) for path in legend.iter(f"{SVG}path") if not path.get("id")]
        points += [np.array([[float(one.get("x")), float(one.get("y"))]]) for one in legend.iter(f"{SVG}use")]
        for text in legend.iter(f"{SVG}text"):
            x, y = float(text.get("x")), float(text.get("y"))
            height = float(re.findall(r"([\d.]+)px", str(text.get("style")))[0])
            words = "".join(text.itertext()).strip()
            points.append(np.array([[x, y - height], [x + WIDE * height * len(words), y]]))
    corners = np.concatenate(points)
    return (*corners.min(axis=0), *corners.max(axis=0))


def _enters(curve: np.ndarray, box: Box, margin: float = 1.0) -> bool:
    """Whether a curve runs through a box, less a margin."""
    low, high = np.array(box[:2]) + margin, np.array(box[2:]) - margin
    for one, two in pairwise(curve):
        step = np.where(two == one, 1e-9, two - one)
        enter, leave = (
            np.minimum((low - one) / step, (high - one) / step),
            np.maximum((low - one) / step, (high - one) / step),
        )
        if max(enter.max(), 0.0) < min(leave.min(), 1.0):
            return True
    return False


def unreadable(svg: str) -> Iterator[str]:
    """What cannot be read in a figure at any size."""
    yield from (f"alike in grey: {pair}" for pair in alike_in_grey(svg))
    yield from (f"a legend on curves: {name}" for name in legends_on_curves(svg))
    yield from (f"signs of a font that readers do not have: {font}" for font in sorted(set(re.findall(FONTS, svg))))


def main(html: str) -> int:
    """Print what is wrong with the figures of the pages."""
    figures = sorted(Path(html).rglob("_images/*.svg"))
    found = []
    for file in figures:
        svg = file.read_text(encoding="utf-8")
        found += [f"{file.name}: {one}" for one in unreadable(svg)]
        size = smallest_writing(svg, PHONE)
        if size < SMALLEST:
            found.append(f"{file.name}: writing of {size:.1f} px on a phone")
    print("\n".join([*found, f"{len(figures)} figures, {len(found)} problems"]))
    return int(bool(found) or not figures)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
