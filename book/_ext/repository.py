"""Sphinx extension: links to the repository, whose address the clone knows from which the book is built.

A book that names an address is wrong in every fork. The role ``{repository}`` and the button of each page lead where
the clone came from; in a folder that came from nowhere the words of the role stand alone, and there is no button.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils import unescape
from sphinx.application import Sphinx
from sphinx.config import Config

WEB = re.compile(r"https?://(?:[^@/]+@)?(?P<host>[^/@:]+\.[^/@:]+)/(?P<path>.+)")
SHELL = re.compile(r"(?:ssh://)?(?:[^@/]+@)(?P<host>[^/@:]+\.[^/@:]+)(?::\d+/|[:/])(?P<path>[^:]+)")


def page_of(remote: str) -> str:
    """Address of a repository's page, without the name or password of who cloned it; empty for what is on this machine.

    Parameters
    ----------
    remote : str
        What ``git remote get-url`` prints: https, or the two ways to write ssh.
    """
    found = WEB.fullmatch(remote.strip()) or SHELL.fullmatch(remote.strip())
    return f"https://{found['host']}/{found['path'].rstrip('/').removesuffix('.git')}" if found else ""


def page(folder: Path) -> str:
    """Address of the page of the repository from which a folder was cloned; empty where that is not known."""
    try:
        told = subprocess.run(
            ["git", "-C", str(folder), "remote", "get-url", "origin"], capture_output=True, text=True, check=False
        )
    except OSError:  # no git
        return ""
    return page_of(told.stdout) if told.returncode == 0 else ""


def linked(
    name: str,  # noqa: ARG001 - the signature of a role
    rawtext: str,
    text: str,
    lineno: int,  # noqa: ARG001
    inliner: Any,
    options: Any = None,  # noqa: ARG001
    content: Any = (),  # noqa: ARG001
) -> tuple[list[nodes.Node], list[nodes.Node]]:
    """Role: its words, as a link where there is an address."""
    words = unescape(text)
    address = inliner.document.settings.env.config.html_theme_options.get("repository_url")
    node = nodes.reference(rawtext, words, refuri=address) if address else nodes.Text(words)
    return [node], []


def tell(app: Sphinx, config: Config) -> None:
    """Give the theme the address."""
    if address := page(Path(app.srcdir)):
        config.html_theme_options |= {"repository_url": address, "use_repository_button": True}


def setup(app: Sphinx) -> dict[str, bool]:
    """Listen to the configuration, and know the role."""
    app.connect("config-inited", tell)
    app.add_role("repository", linked)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
