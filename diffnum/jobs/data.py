"""Records as data: dataclasses to and from what JSON can say, one rule for all files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from cattrs import Converter

__all__ = ["from_data", "json_text", "jsonable"]

R = TypeVar("R")


def jsonable(value: Any) -> Any:
    """Value made of what JSON can say: records become mappings, arrays lists, and what is not finite null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: jsonable(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    return jsonable(value.tolist()) if hasattr(value, "tolist") else value


def json_text(value: Any, *, indent: int | None = 1) -> str:
    """JSON that every reader accepts, of anything that :func:`jsonable` takes."""
    return json.dumps(jsonable(value), indent=indent, ensure_ascii=False, allow_nan=False) + "\n"


def from_data(kind: type[R], data: Any) -> R:
    """Record of a dataclass from what :func:`jsonable` made of it; null is read as infinite where a number must be.

    Parameters
    ----------
    kind : type
        The dataclass.
    data : mapping
        Its fields; unknown ones are ignored, so that older versions read files of newer ones.

    Raises
    ------
    ValueError
        If a field is missing or of another type.
    """
    from cattrs import BaseValidationError, transform_error  # kept out of the import of the package

    try:
        return _converter().structure(data, kind)
    except BaseValidationError as error:
        reasons = "; ".join(transform_error(error))
        msg = f"data is no {kind.__name__}: {reasons}"
        raise ValueError(msg) from None


@cache
def _converter() -> Converter:
    """The one converter."""
    from cattrs import Converter

    converter = Converter()
    converter.register_structure_hook(float, lambda value, _: math.inf if value is None else float(value))
    return converter
