"""What tells one model from another: its name and numbers, its condition, and how it is guided.

Plans that were found for one model say for which, and what was measured on one is kept under its name; both would be
wrong if two models had the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

__all__ = ["identity_of", "weights_digest"]

_PLAIN = {"interval": None, "rescale": 0.0, "weak": None}
"""What a guided model has besides its scale, where nothing is said."""

_digests: WeakKeyDictionary[Any, tuple[Any, str]] = WeakKeyDictionary()


def identity_of(model: Any) -> dict[str, Any]:
    """Name, digest of the numbers, condition and guidance of a model, as far as it has them.

    Parameters
    ----------
    model : Denoiser
        A network, the exact denoiser of a problem, or anything else; guided or not.

    Returns
    -------
    dict
        JSON-able. ``model`` and ``sha256``; ``label`` or ``condition`` where one is bound; ``guidance``, ``interval``,
        ``rescale``, ``weak`` and ``rule`` where it is guided so. Empty for a model that says nothing of itself.
    """
    guided = "main" in getattr(model, "__dict__", {})
    found: dict[str, Any] = identity_of(model.main) if guided else _of_itself(model)
    for field in fields(model) if guided else ():
        value = getattr(model, field.name)
        if field.name == "scale":
            found["guidance"] = float(value) if isinstance(value, float | int) else _named(value)
        elif field.name == "weak" and value is not None:
            found["weak"] = identity_of(value)
        elif field.name == "rule":
            found["rule"] = _named(value)
        elif field.name in _PLAIN and value != _PLAIN[field.name]:
            found[field.name] = list(value) if isinstance(value, tuple) else value
    return found


def _of_itself(model: Any) -> dict[str, Any]:
    """Identity of a model that is not guided."""
    name, core = getattr(model, "name", None), getattr(model, "core", None)
    if name is None and core is not None:
        return {"model": f"exact {type(core).__name__}", "sha256": _digest_of(core)}
    found: dict[str, Any] = {} if name is None else {"model": str(name)}
    if hasattr(getattr(model, "module", None), "state_dict"):
        found["sha256"] = weights_digest(model)
    labels = getattr(model, "labels", None)
    if labels is not None:
        found["label"] = labels.tolist()
    condition = getattr(model, "condition", None)
    if condition is not None:
        found["condition"] = _digest_of(condition)
    return found


def weights_digest(model: Any) -> str:
    """SHA-256 of all parameters and buffers of a network, the same in float32 and float64.

    Parameters
    ----------
    model : NetworkDenoiser or Guided
        The network.
    """
    entries = sorted(model.module.state_dict().items())
    try:
        stamp = tuple((name, id(value), value._version) for name, value in entries)
    except (AttributeError, RuntimeError):  # no tensors of torch, or such as do not count their changes
        stamp = None
    known = _digests.get(model.module)
    if known is not None and stamp is not None and known[0] == stamp:
        return known[1]
    total = hashlib.sha256()
    for name, value in entries:
        total.update(name.encode() + b"\0")
        total.update(_bytes(value))
    _digests[model.module] = stamp, total.hexdigest()
    return total.hexdigest()


def _bytes(tensor: Any) -> bytes:
    """Numbers of a tensor of torch in float64."""
    return bytes(tensor.detach().to("cpu").double().contiguous().numpy().tobytes())


def _named(value: Any) -> str:
    """Name of a function or of a record of one, with its numbers."""
    name = getattr(value, "__qualname__", type(value).__qualname__)
    return f"{name} {_digest_of(value)[:12]}"


def _digest_of(value: Any) -> str:
    total = hashlib.sha256()
    _feed(total, value)
    return total.hexdigest()


def _feed(total: Any, value: Any) -> None:
    """Feed the numbers of a record to a hash, field by field."""
    if isinstance(value, np.ndarray):
        total.update(np.ascontiguousarray(value).tobytes())
    elif hasattr(value, "detach"):
        total.update(_bytes(value))
    elif is_dataclass(value):
        for field in fields(value):
            if field.init:  # what a record computes for itself may grow as it is used
                _feed(total, getattr(value, field.name))
    elif isinstance(value, Mapping):
        for key in sorted(value):
            _feed(total, value[key])
    elif isinstance(value, list | tuple):
        for entry in value:
            _feed(total, entry)
    elif hasattr(value, "__code__"):  # a function: what it does, and what it was given
        total.update(value.__code__.co_code)
        _feed(total, [value.__code__.co_names, [c for c in value.__code__.co_consts if not hasattr(c, "co_code")]])
        _feed(total, [cell.cell_contents for cell in value.__closure__ or ()])
    else:
        total.update(repr(value).encode())
