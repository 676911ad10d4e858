"""Sphinx extension: links to the repository, whose address the clone knows from which the book is built.

A book that names an address is wrong in every fork. The role ``{repository}`` and the button of each page lead where
the clone came from; in a folder that came from nowhere the words of the role stand alone, and there is no button. The
directive ``{in-a-clone}`` shows commands behind those that bring the clone, or that enter the one that is there.
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
from sphinx.util.docutils import SphinxDirective

WEB = re.compile(r"https?://(?:[^@/]+@)?(?P<host>[^/@:]+\.[^/@:]+)/(?P<path>.+)")
SHELL = re.compile(r"(?:ssh://)?(?:[^@/]+@)(?P<host>[^/@:]+\.[^/@:]+)(?::\d+/|[:/])(?P<path>[^:]+)")

FILES = {"bitbucket": "src", "gitlab": "-/blob"}
"""What stands before the commit in the address of a file, by a word in the host's name; ``blob`` elsewhere."""


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


def file_of(address: str, path: str) -> str:
    """Address of a file of the repository with that page."""
    host = address.split("/")[2]
    folder = next((folder for name, folder in FILES.items() if name in host), "blob")
    return f"{address}/{folder}/HEAD/{path}"


def linked(
    name: str,  # noqa: ARG001 - the signature of a role
    rawtext: str,
    text: str,
    lineno: int,  # noqa: ARG001
    inliner: Any,
    options: Any = None,  # noqa: ARG001
    content: Any = (),  # noqa: ARG001
) -> tuple[list[nodes.Node], list[nodes.Node]]:
    """Role: its words, as a link where there is an address; ``words <path>`` leads to a file of the repository."""
    words, path = re.fullmatch(r"(.*?)(?:\s*<([^<>]*)>)?", unescape(text), re.DOTALL).groups(default="")  # type: ignore[union-attr]
    address = inliner.document.settings.env.config.html_theme_options.get("repository_url")
    address = file_of(address, path) if address and path else address
    node = nodes.reference(rawtext, words, refuri=address) if address else nodes.Text(words)
    return [node], []


def commands(address: str, wanted: str) -> str:
    """Commands in a clone, behind those that bring it from an address or, without one, enter it.

    Parameters
    ----------
    address : str
        Page of the repository, or empty.
    wanted : str
        What is typed in the clone, a line a command.
    """
    name = address.rpartition("/")[2]
    before = [f"git clone {address}.git", f"cd {name}"] if address else ["cd diffnum    # the folder of the repository"]
    return "\n".join([*before, wanted])


class InAClone(SphinxDirective):
    """Directive: a block of commands."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Literal block with the commands."""
        address = self.env.config.html_theme_options.get("repository_url", "")
        text = commands(address, "\n".join(self.content))
        block = nodes.literal_block(text, text, language="sh")
        self.set_source_info(block)
        return [block]


def tell(app: Sphinx, config: Config) -> None:
    """Give the theme the address, and the button where it has a sign for the host: it stops at others."""
    if address := page(Path(app.srcdir)):
        host = address.split("/")[2]
        provider = next((name for name in ("github", "gitlab", "bitbucket") if name in host), "")
        config.html_theme_options |= {
            "repository_url": address,
            "use_repository_button": bool(provider),
            "repository_provider": provider or "github",  # it insists on one, and needs it for buttons alone
        }


def setup(app: Sphinx) -> dict[str, bool]:
    """Listen to the configuration, and know the role."""
    app.connect("config-inited", tell)
    app.add_role("repository", linked)
    app.add_directive("in-a-clone", InAClone)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
