"""What a plan was found for: what tells a model from another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from diffnum.guidance import Guided

__all__ = ["feed", "guidance_of"]


def guidance_of(model: Any) -> dict[str, Any]:
    """Scale of a guided model, which is part of what a plan was found for."""
    if not isinstance(model, Guided):
        return {}
    return {"guidance": float(model.scale) if isinstance(model.scale, float | int) else repr(model.scale)}


def feed(total: Any, value: Any) -> None:
    """Feed the numbers of a record to a hash, field by field."""
    if isinstance(value, np.ndarray):
        total.update(np.ascontiguousarray(value).tobytes())
    elif is_dataclass(value):
        for field in fields(value):
            if field.init:  # what a record computes for itself may grow as it is used
                feed(total, getattr(value, field.name))
    elif isinstance(value, Mapping):
        for key in sorted(value):
            feed(total, value[key])
    elif isinstance(value, list | tuple):
        for entry in value:
            feed(total, entry)
    else:
        total.update(repr(value).encode())
