"""The CPU kernel of :func:`diffnum.models.compiled`: an operator of torch in C++, built once on each machine."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shlex
import subprocess
import sysconfig
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch.utils import cpp_extension

from diffnum.models.loading.files import cache_folder

__all__ = ["kernel"]

SOURCE = Path(__file__).with_suffix(".cpp")

INSTRUCTIONS = {"AVX2": ["-mavx2", "-mfma"], "AVX512": ["-mavx512f", "-mavx512vl", "-mavx2", "-mfma"]}
"""Options for what torch finds this processor capable of; a home folder may serve machines that differ."""


@cache
def kernel() -> Callable[[Sequence[torch.Tensor], Sequence[torch.Tensor], Sequence[Sequence[float]]], None]:
    """Load the kernel from the user's cache folder; build it at the first use.

    Returns
    -------
    callable
        ``combine(targets, sources, weights)`` writes one or two linear combinations of one to eight tensors of one
        shape, with one row of weights a target. Targets are float32 or float64, without gaps, and of one memory
        format; one may be a source, too. Sources of another precision or memory format are copied first.

    Raises
    ------
    RuntimeError
        If it cannot be built or loaded.
    """
    include = [*cpp_extension.include_paths(), sysconfig.get_path("include")]
    options = [
        *("-std=c++20", "-O3", "-fPIC", "-shared", "-fopenmp-simd"),
        *INSTRUCTIONS.get(torch.backends.cpu.get_cpu_capability(), []),
        *(f"-I{folder}" for folder in include),
        *(f"-L{folder}" for folder in cpp_extension.library_paths()),
    ]
    content = SOURCE.read_bytes() + repr((torch.__version__, options)).encode()
    library = cache_folder() / f"native-{hashlib.sha256(content).hexdigest()[:16]}.so"
    try:
        if not library.exists():
            _build(library, options)
        return _loaded(library).combine  # type: ignore[no-any-return]
    except (OSError, ImportError, subprocess.CalledProcessError) as error:
        msg = (
            f"combine=compiled needs a C++ compiler, $CXX or c++, and the headers of Python; use combine=fused. "
            f"It failed: {getattr(error, 'stderr', error)}"
        )
        raise RuntimeError(msg) from error


def _build(library: Path, options: Sequence[str]) -> None:
    """Compile beside the library and move it into place, so that a half-written one is never loaded."""
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        made = Path(folder) / library.name
        command = [*shlex.split(os.environ.get("CXX") or "c++"), str(SOURCE), "-o", str(made), *options]
        libraries = ["-ltorch_python", "-ltorch_cpu", "-lc10"]
        subprocess.run([*command, *libraries], check=True, capture_output=True, text=True)
        made.replace(library)


def _loaded(library: Path) -> Any:
    """Extension module of a file."""
    spec = importlib.util.spec_from_file_location("diffnum_native", library)
    if spec is None or spec.loader is None:
        msg = f"{library} is no extension module"
        raise ImportError(msg)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
