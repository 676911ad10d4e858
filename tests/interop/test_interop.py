"""The drop-in package: names load when they are used, and say what they need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import diffnum as dn

ROOT = Path(__file__).resolve().parents[2]


def test_names_are_listed_and_load_nothing_before_they_are_used() -> None:
    assert dir(dn.interop) == ["PlanScheduler", "flow", "k_diffusion"]
    code = "import sys, diffnum as dn; dir(dn.interop); print('torch' in sys.modules, 'diffusers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(AttributeError, match="PlanScheduler, flow, k_diffusion"):
        dn.interop.Scheduler


def test_a_missing_library_is_named_with_the_command_that_installs_it() -> None:
    code = "import sys; sys.modules['diffusers'] = None; import diffnum as dn; dn.interop.PlanScheduler()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install '.[interop]'" in done.stderr
