"""The checkers of `make check` reject, with this project's settings, what they are there for."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PLANTED = {
    "vulture": ("def never_called_by_anyone():\n    return 1\n", "unused function 'never_called_by_anyone'"),
    "codespell_lib": ("# The rec" + "ieved wisdom.\n", "==> received"),
    "deptry": ("import networkx\n\nnetworkx.Graph()\n", "networkx"),
}


def checked(tool: str, code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a checker on a package ``diffnum`` of one file, with the settings of the project."""
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "diffnum").mkdir()
    (folder / "diffnum" / "__init__.py").write_text(code, encoding="utf-8")
    words = [sys.executable, "-m", tool, "diffnum"]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("tool", PLANTED)
def test_a_checker_finds_what_is_planted_and_nothing_else(tool: str, tmp_path: Path) -> None:
    pytest.importorskip(tool)
    code, finding = PLANTED[tool]
    (tmp_path / "bad").mkdir()
    bad = checked(tool, code, tmp_path / "bad")
    assert bad.returncode != 0
    assert finding in bad.stdout + bad.stderr
    if tool != "deptry":  # which would miss the uses of what is declared
        (tmp_path / "good").mkdir()
        good = checked(tool, '"""Nothing to find."""\n', tmp_path / "good")
        assert good.returncode == 0, good.stdout + good.stderr
