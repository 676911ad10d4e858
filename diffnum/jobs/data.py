"""Records as data: dataclasses to and from what JSON can say, one rule for all files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from cattrs import Converter

__all__ = ["from_data", "json_text", "jsonable", "parsed", "read_json"]

R = TypeVar("R")


def jsonable(value: Any) -> Any:
    """Value made of what JSON can say: records become mappings, arrays lists, and what is not finite null.

    Raises
    ------
    TypeError
        If it holds what is no data, such as a function: found where the record is made, not where a file is written.
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: jsonable(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if hasattr(value, "tolist"):
        return jsonable(value.tolist())
    msg = f"{value!r} is no data: keep its name, or the text that makes it, in the record"
    raise TypeError(msg)


def json_text(value: Any, *, indent: int | None = 1) -> str:
    """JSON that every reader accepts, of anything that :func:`jsonable` takes."""
    return json.dumps(jsonable(value), indent=indent, ensure_ascii=False, allow_nan=False) + "\n"


def parsed(text: str, name: str = "text") -> Any:
    """Data of a JSON text.

    Parameters
    ----------
    text : str
        The text.
    name : str
        What it is called in complaints.

    Raises
    ------
    ValueError
        If it is no JSON, or nested deeper than any file of this package is.
    """
    try:
        return json.loads(text)
    except RecursionError:
        reason = "it is nested too deeply"
    except ValueError as error:
        reason = str(error)
    msg = f"{name} is no JSON ({reason}): give a whole JSON text"
    raise ValueError(msg)


def read_json(path: str | Path) -> Any:
    """Data of a JSON file in UTF-8.

    Raises
    ------
    ValueError
        If it holds no JSON, or what is nested too deeply.
    OSError
        If it cannot be read.
    """
    try:
        return parsed(Path(path).read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        msg = f"{path} is no text in UTF-8 ({error.reason}): give a JSON file"
        raise ValueError(msg) from None


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
