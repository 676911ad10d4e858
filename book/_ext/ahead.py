"""Sphinx extension: the chapters' cells run before the pages are read, several chapters at a time.

Sphinx reads one page after the other, and a page waits for its cells. What runs here is kept where the reading of pages
looks for it (the cache of notebooks, by their code), so that it finds every result there. A chapter that fails here
leaves nothing, fails again when its page is read, and is reported there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from jupyter_cache.executors.utils import single_nb_execution
from myst_nb.core.read import create_nb_reader
from nbformat import NotebookNode
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.display import status_iterator

from diffnum.jobs.parallel import spread


class Chapter(NamedTuple):
    """A page with cells whose results are not known."""

    path: Path
    notebook: NotebookNode
    timeout: int


def unknown(app: Sphinx, names: list[str]) -> list[Chapter]:
    """Pages with cells that are not in the cache, in the order of their names."""
    config: Any = app.env.mystnb_config  # type: ignore[attr-defined]
    cache = get_cache(config.execution_cache_path)
    found = []
    for name in names:
        path = Path(app.env.doc2path(name))
        source = path.read_text(encoding="utf-8")
        reader = create_nb_reader(str(path), app.env.myst_config, config, source)  # type: ignore[attr-defined]
        if reader is None:
            continue
        notebook = reader.read(source)
        try:
            cache.match_cache_notebook(notebook)
        except KeyError:
            found.append(Chapter(path, notebook, config.execution_timeout))
    return found


def executed(chapter: Chapter) -> CacheBundleIn | None:
    """Run all cells where the page lies; None where one fails."""
    folder = str(chapter.path.parent)
    result = single_nb_execution(chapter.notebook, cwd=folder, timeout=chapter.timeout, allow_errors=False)
    data = {"execution_seconds": result.time}
    return CacheBundleIn(chapter.notebook, str(chapter.path), data=data) if result.err is None else None


def execute(app: Sphinx, env: BuildEnvironment, names: list[str]) -> None:
    """Fill the cache."""
    config: Any = env.mystnb_config  # type: ignore[attr-defined]
    if config.execution_mode != "cache":
        return
    work = unknown(app, names)
    if not work:
        return
    cache = get_cache(config.execution_cache_path)
    done = spread(executed, work)
    for _, bundle in status_iterator(
        done, "running cells... ", "green", len(work), app.verbosity, lambda pair: env.path2doc(str(pair[0].path)) or ""
    ):
        if bundle is not None:
            cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)


def setup(app: Sphinx) -> dict[str, bool]:
    """Run before pages are read."""
    app.connect("env-before-read-docs", execute)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
