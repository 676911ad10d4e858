"""Look at the built book in headless Chromium: ``python book/tools/look.py book/_build/html out [NAME ...]``.

Every page (or those whose path holds a NAME) is opened on a wide screen, on a phone, in the dark and on paper; pictures
and PDF files go to the folder, and what a reader could not read is printed: a page that scrolls sideways, content that
sticks out or is cut off, a playground that stays empty, writing in figures below eight pixels, entries of a legend that
are alike in grey, print that runs over the margin.
Needs Chromium, so it is run by hand; exit status 1 if anything is wrong.
"""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tornado.httpclient import AsyncHTTPClient
from tornado.websocket import WebSocketClientConnection, websocket_connect

sys.path.insert(0, str(Path(__file__).parent))

from check_figures import SMALLEST, smallest_writing, unreadable

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")

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


def complaints(found: dict[str, Any]) -> list[str]:
    """What is wrong with a page, from what the browser measured."""
    lines = [f"scrolls sideways by {found['sideways']} px"] if found["sideways"] > 0 else []
    lines += [f"sticks out: {one}" for one in found["outside"]]
    lines += [f"is cut off: {one}" for one in found["cut"]]
    lines += [f"a playground is empty: {one}" for one in found["empty"]]
    lines += [f"scrolls, which paper cannot: {one}" for one in found["lost"]]
    for url, width in found["images"]:
        file = Path(unquote(urlsplit(url).path))
        size = smallest_writing(file.read_text(encoding="utf-8"), width)
        if size < SMALLEST:
            lines.append(f"writing of {size:.1f} px in a figure: {file.name[:12]}")
        lines += [f"{one} in {file.name[:12]}" for one in unreadable(file.read_text("utf-8"))]
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
        """Show a page, formulas, images and playgrounds complete; what :data:`MEASURE` finds."""
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
