"""Look at the built book in headless Chromium: ``python book/tools/look.py book/_build/html out [NAME ...]``.

Every page (or those whose path holds a NAME) is opened on a wide screen, on a phone, in the dark and on paper; pictures
and PDF files go to the folder, and what a reader could not read is printed: a page that scrolls sideways, content that
sticks out or is cut off, writing in figures below eight pixels, entries of a legend that are alike in grey, print that
runs over the margin.
Needs Chromium, so it is run by hand; exit status 1 if anything is wrong.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import combinations, count
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import numpy as np
from tornado.httpclient import AsyncHTTPClient
from tornado.websocket import WebSocketClientConnection, websocket_connect

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")

SMALLEST = 8.0
"""Height of writing, in CSS pixels, below which a figure cannot be read."""

GREYS = 10.0
"""Lightness, of 100, by which two entries of a legend differ if nothing but their colour tells them apart."""

SVG, LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"

MEASURE = Path(__file__).with_name("measure.js").read_text(encoding="utf-8")
"""What the browser is asked for: an expression that gives JSON."""


@dataclass(frozen=True)
class View:
    """How a page is looked at."""

    name: str
    width: int
    dark: bool = False


VIEWS = (View("wide", 1280), View("narrow", 390), View("dark", 1280, dark=True))
PAPER = View("print", 680)
"""A4 less its margins, in CSS pixels: as wide as Chromium lays a printed page out."""


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


def complaints(found: dict[str, Any]) -> list[str]:
    """What is wrong with a page, from what the browser measured."""
    lines = [f"scrolls sideways by {found['sideways']} px"] if found["sideways"] > 0 else []
    lines += [f"sticks out: {one}" for one in found["outside"]]
    lines += [f"is cut off: {one}" for one in found["cut"]]
    lines += [f"scrolls, which paper cannot: {one}" for one in found["lost"]]
    for url, width in found["images"]:
        file = Path(unquote(urlsplit(url).path))
        size = smallest_writing(file.read_text(encoding="utf-8"), width)
        if size < SMALLEST:
            lines.append(f"writing of {size:.1f} px in a figure: {file.name[:12]}")
        if file.suffix == ".svg":
            lines += [f"alike in grey: {pair} in {file.name[:12]}" for pair in alike_in_grey(file.read_text("utf-8"))]
    return lines


class Browser:
    """A page of a running Chromium."""

    def __init__(self, socket: WebSocketClientConnection) -> None:
        self.socket = socket
        self.numbers = count(1)

    async def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command of the DevTools protocol; its result."""
        number = next(self.numbers)
        await self.socket.write_message(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(await self.socket.read_message() or '{"error": "Chromium has gone"}')
            if "error" in answer:
                msg = f"{method}: {answer['error']}"
                raise RuntimeError(msg)
            if answer.get("id") == number:
                return dict(answer["result"])

    async def open(self, page: Path, view: View, *, media: str = "screen") -> dict[str, Any]:
        """Show a page, formulas and images complete; what :data:`MEASURE` finds."""
        theme = {"name": "prefers-color-scheme", "value": "dark" if view.dark else "light"}
        await self.ask("Emulation.setEmulatedMedia", media=media, features=[theme])
        await self._resize(view.width, 900)
        await self.ask("Page.navigate", url=page.resolve().as_uri())
        while not await self.evaluate("document.readyState === 'complete'"):
            await asyncio.sleep(0.05)
        return dict(json.loads(await self.evaluate(MEASURE)))

    async def picture(self, view: View, height: int) -> bytes:
        """The whole page as PNG."""
        await self._resize(view.width, height)
        return base64.b64decode((await self.ask("Page.captureScreenshot"))["data"])

    async def pdf(self) -> bytes:
        """The page as it is printed."""
        return base64.b64decode((await self.ask("Page.printToPDF", preferCSSPageSize=True))["data"])

    async def _resize(self, width: int, height: int) -> None:
        await self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    async def evaluate(self, expression: str) -> Any:
        """Value of an expression on the page, which JSON must carry."""
        found = await self.ask("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(str(found["exceptionDetails"]))
        return found["result"].get("value")


async def look(pages: dict[str, Path], out: Path, browser: Browser) -> list[str]:
    """Take the pictures of all pages; what is wrong."""
    found = []
    for name, page in pages.items():
        for view in VIEWS:
            seen = await browser.open(page, view)
            (out / f"{name}.{view.name}.png").write_bytes(await browser.picture(view, seen["height"]))
            found += [f"{name}, {view.name}: {line}" for line in complaints(seen)]
        seen = await browser.open(page, PAPER, media="print")
        found += [f"{name}, {PAPER.name}: {line}" for line in complaints(seen)]
        (out / f"{name}.pdf").write_bytes(await browser.pdf())
    return found


@asynccontextmanager
async def chromium(program: str) -> AsyncIterator[Browser]:
    """A Chromium that runs as long as it is used."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-background-networking"]
    # processes of the browser may still write there when the first of them has ended
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [program, *options, "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"],
            stderr=subprocess.DEVNULL,
        )
        socket = None
        try:
            socket = await _connect(Path(profile) / "DevToolsActivePort")
            yield Browser(socket)
        finally:
            if socket:
                socket.close()
                await socket.read_message()  # until it is closed
            process.terminate()
            process.wait()


def installed() -> str | None:
    """Path of the Chromium of this machine."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


async def run(html: Path, out: Path, names: list[str]) -> int:
    """Start Chromium, look, and print what is wrong."""
    program = installed()
    if program is None:
        print("Chromium is not installed: install it, or look with your own browser", file=sys.stderr)
        return 2
    pages = {
        "-".join(path.relative_to(html).with_suffix("").parts): path
        for path in sorted(html.rglob("*.html"))
        if not any(part.startswith("_") for part in path.relative_to(html).parts)
        and (not names or any(name in str(path.relative_to(html)) for name in names))
    }
    out.mkdir(parents=True, exist_ok=True)
    async with chromium(program) as browser:
        found = await look(pages, out, browser)
    print("\n".join([*found, f"{len(pages)} pages, {len(found)} problems; pictures in {out}"]))
    return int(bool(found) or not pages)


async def _connect(note: Path) -> WebSocketClientConnection:
    """Connection to the browser's first page, whose port the browser writes into a note."""
    for _ in range(300):
        if note.exists() and note.read_text(encoding="utf-8").strip():
            break
        await asyncio.sleep(0.1)
    port = note.read_text(encoding="utf-8").splitlines()[0]
    targets = json.loads((await AsyncHTTPClient().fetch(f"http://127.0.0.1:{port}/json")).body)
    url = next(target["webSocketDebuggerUrl"] for target in targets if target["type"] == "page")
    return await websocket_connect(url, max_message_size=2**30)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(asyncio.run(run(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])))
