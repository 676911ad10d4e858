"""Numbers in checkpoints of others: what torch saved, and pickles of their classes, of which nothing is run."""

from __future__ import annotations

import io
import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diffnum.types import FloatArray

__all__ = ["read_checkpoint"]


def read_checkpoint(path: Path, allow_pickle: bool) -> dict[str, FloatArray]:
    """Numbers of a checkpoint by name, nested mappings and lists flattened with dots; anything else is left out.

    Parameters
    ----------
    path : Path
        File that ``torch.save`` or ``pickle.dump`` wrote.
    allow_pickle : bool
        Whether to unpickle what is more than tensors. Of a file of ``torch.save`` this runs whatever code its maker
        put there. In a bare pickle, classes and functions are replaced by stand-ins that keep what they are given, so
        that nothing of it runs but the rebuilding of tensors.

    Raises
    ------
    ValueError
        If the file holds more than tensors and that is not allowed, or is no such file.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about formats that are refused in the next line anyway
            if allow_pickle and _is_bare_pickle(path):
                content = _Inert(io.BytesIO(path.read_bytes())).load()
            else:
                content = torch.load(path, map_location="cpu", weights_only=not allow_pickle)
    except pickle.UnpicklingError as error:
        msg = (
            f"{str(path)!r} holds more than tensors, and to unpickle it would run code of whoever made it "
            f"({str(error).splitlines()[0]}): pass allow_pickle=True if you trust them"
        )
        raise ValueError(msg) from None
    except (RuntimeError, EOFError, ImportError, AttributeError) as error:
        msg = f"{str(path)!r} cannot be read as a checkpoint ({str(error).splitlines()[0]}): give a .json or .npz"
        raise ValueError(msg) from None
    found: dict[str, FloatArray] = {}
    pending: list[tuple[str, Any]] = [("", content)]
    while pending:
        name, value = pending.pop()
        if isinstance(value, _StandIn):
            value = value.given
        if isinstance(value, torch.Tensor):
            found[name or "tensor"] = value.detach().to(torch.float64).numpy()
        elif isinstance(value, bool | int | float):
            found[name or "number"] = np.asarray(float(value))
        elif isinstance(value, Mapping | list | tuple):
            entries = value.items() if isinstance(value, Mapping) else enumerate(value)
            pending += [(f"{name}.{key}" if name else str(key), entry) for key, entry in entries]
    return found


def _is_bare_pickle(path: Path) -> bool:
    """Whether a file is a pickle that torch did not write: neither a zip archive nor torch's old magic number."""
    if zipfile.is_zipfile(path):
        return False
    start = path.read_bytes()[:16]
    return start[:1] == b"\x80" and b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19" not in start


class _StandIn:
    """What stands for an object of a class that is not loaded: whatever it was given, and nothing that runs."""

    given: dict[str, Any]

    def __new__(cls, *given: Any, **named: Any) -> _StandIn:
        """An object that keeps the arguments, whichever way a pickle makes it."""
        made = super().__new__(cls)
        made.given = {str(i): value for i, value in enumerate(given)} | named
        return made

    def __setstate__(self, state: Any) -> None:
        self.given["state"] = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.given[str(key)] = value

    def append(self, value: Any) -> None:
        """Keep one more entry."""
        self.given[str(len(self.given))] = value

    def extend(self, values: Any) -> None:
        """Keep more entries."""
        for value in values:
            self.append(value)


def _storage(content: bytes) -> Any:
    """Storage of a tensor, which torch reads without running anything."""
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def _tensor(storage: Any, offset: int, size: Any, stride: Any, *_: Any) -> torch.Tensor:
    return torch.empty(0, dtype=storage.dtype).set_(storage.untyped(), offset, size, stride)


def _parameter(data: Any, *_: Any) -> Any:
    return data


_KNOWN: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): dict,
    ("torch.storage", "_load_from_bytes"): _storage,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
}


class _Inert(pickle.Unpickler):
    """An unpickler that finds no class and no function of anybody's, but those that rebuild tensors."""

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a name."""
        return _KNOWN.get((module, name), _StandIn)

    def persistent_load(self, pid: Any) -> Any:
        """Nothing outside the file is read."""
        msg = f"it refers to {pid!r} outside itself"
        raise pickle.UnpicklingError(msg)
