"""What tests need beyond the base dependencies, and what becomes of them where it is not installed."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

NEEDS = {
    "audits": ("torch", "jinja2"),
    "benchmarks": ("torch",),
    "calibration/test_decision_search.py": ("sklearn",),
    "calibration/test_estimate.py": ("torch",),
    "certificates": ("flint", "jinja2"),
    "conformance": ("jsonschema",),
    "foreign": ("torch",),
    "inverse/test_networks.py": ("torch", "safetensors"),
    "interop": ("torch", "safetensors"),
    "jobs/test_moved.py": ("torch",),
    "models": ("torch", "safetensors"),
    "particles/test_networks.py": ("torch", "safetensors"),
    "problems/test_threads.py": ("torch",),
    "templates": ("jinja2",),
    "test_architecture.py": ("importlinter", "torch"),
    "test_docstrings.py": ("torch", "diffusers", "flint", "jinja2"),
    "test_misuses.py": ("torch", "diffusers", "flint", "jinja2"),
    "test_notebooks.py": ("torch", "jupytext", "nbclient", "ipykernel"),
    "test_readme.py": ("torch",),
    "test_report.py": ("torch", "jinja2"),
    "test_shown.py": ("torch", "nbclient", "ipykernel"),
}
"""Folders and files of ``tests/`` that make no sense without these libraries. Everything else runs on the base
dependencies; single tests that want more are marked ``needs``, or use :func:`optional` or ``pytest.importorskip``."""


def missing(path: Path) -> list[str]:
    """Libraries that a folder or file of tests needs and that are not installed."""
    place = path.relative_to(Path(__file__).parent).as_posix()
    wanted = [needs for start, needs in NEEDS.items() if place == start or place.startswith(f"{start}/")]
    return sorted({name for needs in wanted for name in needs if find_spec(name) is None})


def optional(name: str) -> Any:
    """Module ``name``, or a stand-in that skips the test that first uses it."""
    return import_module(name) if find_spec(name.partition(".")[0]) else _Absent(name)


class _Absent:
    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith(("_", "pytest")):  # pytest looks at everything that a file holds
            raise AttributeError(attribute)
        pytest.skip(f"needs {self._name}", allow_module_level=True)
