"""One door to pretrained models: ``load("galaxies/hsc-32")``, ``load("toy/digits")``."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from diffnum.models.denoiser import NetworkDenoiser, resolve_device, resolve_dtype
from diffnum.models.loading.edm import load_edm
from diffnum.models.loading.galaxies import galaxy_names, load_galaxy
from diffnum.models.loading.pipelines import load_diffusers
from diffnum.models.loading.toy import load_toy, toy_names

__all__ = ["load", "model_ids"]


@dataclass(frozen=True, slots=True)
class _Family:
    """Models whose identifiers begin alike; ``names`` is ``None`` when they cannot be listed (paths, say)."""

    load: Callable[..., NetworkDenoiser]
    names: Callable[[], tuple[str, ...]] | None


_FAMILIES: dict[str, _Family] = {
    "galaxies/": _Family(load_galaxy, galaxy_names),
    "toy/": _Family(load_toy, toy_names),
    "diffusers:": _Family(load_diffusers, None),
    "edm:": _Family(load_edm, None),
}


def model_ids() -> tuple[str, ...]:
    """List the identifiers that :func:`load` knows; the weights of ``galaxies/`` may have to be fetched.

    Returns
    -------
    tuple of str
    """
    return tuple(prefix + name for prefix, family in _FAMILIES.items() if family.names for name in family.names())


def load(
    model_id: str, *, dtype: str | torch.dtype = "float32", device: str | torch.device = "cpu", **options: Any
) -> NetworkDenoiser:
    """Load a pretrained model.

    Parameters
    ----------
    model_id
        ``"galaxies/NAME"`` or ``"toy/NAME"``, which :func:`model_ids` lists; ``"diffusers:PATH_OR_ID"``,
        ``"edm:PATH"``.
    dtype
        ``"float32"``, ``"float64"`` (for studies of convergence), ``"bfloat16"`` or ``"float16"``.
    device
        ``"cpu"``, ``"cuda"``, and so on.
    **options
        Options of the family's loader: :func:`diffnum.models.loading.pipelines.load_diffusers`,
        :func:`diffnum.models.loading.edm.load_edm`.

    Returns
    -------
    NetworkDenoiser
        The model with its prediction, schedule, shape, value range, dtype and device.

    Raises
    ------
    ValueError
        If the identifier, dtype or device is unknown; the message lists the nearest identifiers.
    MissingModelError
        If the weights are not on this machine; the message names the command that fetches them.
    ModelFileError
        If the weights are not the recorded ones.
    """
    if not isinstance(model_id, str):
        msg = f"model_id is a {type(model_id).__name__}; give a string such as 'toy/digits'."
        raise TypeError(msg)
    for prefix, family in _FAMILIES.items():
        name = model_id.removeprefix(prefix)
        if name != model_id and (family.names is None or name in family.names()):
            _check_options(model_id, family, options)
            return family.load(name, dtype=resolve_dtype(dtype), device=resolve_device(device), **options)
    near = difflib.get_close_matches(model_id, model_ids(), n=3, cutoff=0.4)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    msg = f"model_id={model_id!r} is unknown.{hint} Known: {', '.join(model_ids())}, diffusers:PATH_OR_ID, edm:PATH."
    raise ValueError(msg)


def _check_options(model_id: str, family: _Family, options: Mapping[str, Any]) -> None:
    """Refuse options that the loader of the family does not take."""
    known = [p for p in inspect.signature(family.load).parameters if p not in ("name", "dtype", "device")]
    unknown = sorted(set(options) - set(known))
    if unknown:
        msg = f"{unknown[0]}={options[unknown[0]]!r}: {model_id} takes {', '.join(known) or 'no options'}."
        raise ValueError(msg)
