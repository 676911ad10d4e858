"""Sphinx extension: no page of the built book asks the network for anything.

Jupyter Book 1 always loads sphinx-thebe, which writes the address of a script on the network into every page. The book
starts no kernels inside its pages, so the handlers and the stylesheet of sphinx-thebe are taken out again.
"""

from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, bool]:
    """Remove what sphinx-thebe has registered."""
    for event, listeners in app.events.listeners.items():
        kept = [one for one in listeners if not one.handler.__module__.startswith("sphinx_thebe")]
        app.events.listeners[event] = kept
    app.registry.css_files = [c for c in app.registry.css_files if "thebe" not in c[0]]
    return {"parallel_read_safe": True, "parallel_write_safe": True}
