"""The installed foreign libraries, imported as they are."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import warnings
from collections.abc import Callable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any, ClassVar

__all__ = ["diffusers_schedulers", "k_diffusion_samplers", "k_diffusion_sampling", "library_version"]

_DISTRIBUTIONS = {"diffusers": "diffusers", "k-diffusion": "k-diffusion"}
_UNUSED = ("torchvision", "skimage", "clip", "cleanfid", "wandb", "accelerate", "kornia", "einops", "jsonmerge")
"""Packages that k-diffusion imports for training and metrics, and that its samplers do not use."""


def library_version(library: str) -> str:
    """Installed version of a library.

    Raises
    ------
    ModuleNotFoundError
        If it is not installed.
    """
    try:
        return version(_DISTRIBUTIONS[library])
    except PackageNotFoundError:
        whole = "pip install --no-deps k-diffusion torchsde trampoline torchdiffeq"
        remedy = whole if library == "k-diffusion" else f"pip install {library}"
        msg = f"{library} is not installed: {remedy}"
        raise ModuleNotFoundError(msg, name=library.replace("-", "_")) from None


@cache
def diffusers_schedulers() -> dict[str, type[Any]]:
    """Scheduler classes of the installed diffusers, by name."""
    library_version("diffusers")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from diffusers import schedulers
        from diffusers.utils import logging

        logging.set_verbosity_error()
        found = {
            name: getattr(schedulers, name, None) for name in sorted(dir(schedulers)) if name.endswith("Scheduler")
        }
    return {
        name: c
        for name, c in found.items()
        if inspect.isclass(c) and c.__module__.startswith("diffusers.schedulers") and hasattr(c, "from_config")
    }


class _StandIn(ModuleType):
    """A package that is not installed; it lets itself be imported, and nothing else."""

    __path__: ClassVar[list[str]] = []  # type: ignore[misc]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _StandIn(f"{self.__name__}.{name}")


class _StandInFinder:
    """Finds stand-ins for packages that are not installed."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> Any:  # noqa: ARG004
        """Specification of a stand-in."""
        if name.partition(".")[0] in _UNUSED:
            return importlib.util.spec_from_loader(name, _StandInFinder)  # type: ignore[arg-type]
        return None

    @staticmethod
    def create_module(spec: Any) -> ModuleType:
        """Make a stand-in."""
        return _StandIn(spec.name)

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        """Leave a stand-in empty."""


def k_diffusion_samplers() -> dict[str, Callable[..., Any]]:
    """Functions ``sample_*`` of the installed k-diffusion, by name.

    Returns
    -------
    dict of str to callable
    """
    return {name: f for name, f in sorted(vars(k_diffusion_sampling()).items()) if name.startswith("sample_")}


@cache
def k_diffusion_sampling() -> ModuleType:
    """Module ``k_diffusion.sampling`` as installed; the training code of the package is not imported."""
    library_version("k-diffusion")
    package = importlib.util.find_spec("k_diffusion")
    if package is None or package.submodule_search_locations is None:
        msg = "k-diffusion is installed without its module k_diffusion: install it again"
        raise ImportError(msg)
    before = set(sys.modules)
    shell = ModuleType("k_diffusion")
    shell.__path__ = list(package.submodule_search_locations)
    whole = sys.modules.get("k_diffusion")
    sys.modules.setdefault("k_diffusion", shell)
    sys.meta_path.append(_StandInFinder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sampling = importlib.import_module("k_diffusion.sampling")
    finally:
        sys.meta_path.remove(_StandInFinder)
        for name in set(sys.modules) - before:
            if isinstance(sys.modules[name], _StandIn) or (whole is None and name.partition(".")[0] == "k_diffusion"):
                del sys.modules[name]
    return sampling
