"""Check the built book without a network: ``python book/tools/check_links.py book/_build/html``.

Every relative link, anchor, image, script and stylesheet must exist; no script, style, font, image or frame may come
from the network; every image has a text that stands for it.
"""

import re
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ASSETS = ("script", "img", "iframe", "source", "video", "audio", "embed")
ASSET_LINKS = ("stylesheet", "preload", "icon", "preconnect", "dns-prefetch", "modulepreload")
NETWORK_CSS = re.compile(r"url\(\s*['\"]?(?:https?:)?//[^)]+|@import\s+['\"]https?:[^'\"]+")


@dataclass
class Page(HTMLParser):
    """Anchors of a page and what it refers to."""

    anchors: set[str] = field(default_factory=set)
    references: list[tuple[str, bool]] = field(default_factory=list)
    silent_images: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect."""
        values = dict(attrs)
        self.anchors.update(value for key in ("id", "name") if (value := values.get(key)))
        is_asset = tag in ASSETS or (tag == "link" and values.get("rel") in ASSET_LINKS)
        self.references += [(value, is_asset) for key in ("href", "src", "data-src") if (value := values.get(key))]
        if tag == "img" and not (values.get("alt") or "").strip():
            self.silent_images.append(values.get("src") or "?")


def read(path: Path) -> Page:
    """Parse a page."""
    page = Page()
    page.feed(path.read_text(encoding="utf-8", errors="replace"))
    return page


def problems(root: Path) -> tuple[list[str], int, int]:
    """What is wrong, the number of pages, the number of local links."""
    pages = {path.resolve(): read(path) for path in root.rglob("*.html") if not path.name.endswith("macros.html")}
    found, links = [], 0
    for path, page in pages.items():
        here = path.relative_to(root)
        found += [f"{here}: image without a text: {source[:60]}" for source in page.silent_images]
        for url, is_asset in page.references:
            parts = urlsplit(url)
            if parts.scheme in ("http", "https") or url.startswith("//"):
                if is_asset:
                    found.append(f"{here}: network asset: {url}")
                continue
            if parts.scheme:
                continue
            links += 1
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                found.append(f"{here}: missing file: {url}")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                found.append(f"{here}: missing anchor: {url}")
    for path in root.rglob("*.css"):
        found += [
            f"{path.relative_to(root)}: network: {m}" for m in NETWORK_CSS.findall(path.read_text("utf-8", "replace"))
        ]
    return found, len(pages), links


def main(folder: str) -> int:
    """Print what is wrong; exit status 1 if anything is, or if there is nothing to check."""
    found, pages, links = problems(Path(folder).resolve())
    print("\n".join([*found, f"{pages} pages, {links} local links, {len(found)} problems"]))
    return int(bool(found) or not pages)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
