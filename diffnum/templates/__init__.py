"""Pages in HTML, from the templates of the package."""

from __future__ import annotations

from typing import Any

from diffnum.jobs.extras import lacking

__all__ = ["render"]


def render(template: str, /, **values: Any) -> str:
    """Fill in a template.

    Parameters
    ----------
    template : str
        File of ``diffnum/templates``.
    **values
        What the template names; functions among them may be called in it.

    Returns
    -------
    str
        HTML, in which values are escaped.

    Raises
    ------
    ModuleNotFoundError
        If jinja2 is absent.
    jinja2.UndefinedError
        If the template names a value that is not given.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ModuleNotFoundError as error:
        msg = "the page"
        raise lacking(msg, "jinja2") from error
    environment = Environment(
        loader=PackageLoader("diffnum"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)
