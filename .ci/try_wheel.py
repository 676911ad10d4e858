"""Install a wheel in a fresh environment outside the clone, and do there what the README promises of a bare install.

Run ``python .ci/try_wheel.py dist/diffnum-*.whl``. Nothing of the clone is read but the pinned versions, the README,
whose first two programs need the base dependencies alone, and chapters of the book, as their readers take them away.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book/_ext"))

import nbformat  # noqa: E402

from notebooks import file_of, notebook  # noqa: E402

CHAPTERS = {"fitted/learned_solvers": False, "practice/interop": True}
"""Chapter that is taken away and run -> whether cells of it need more than a base install, and say so."""

PROGRAM = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
WHERE = """
import importlib.metadata, pathlib, diffnum
home = pathlib.Path(diffnum.__file__).parent
assert "site-packages" in home.parts, home
assert diffnum.__version__ == importlib.metadata.version("diffnum")
assert (home / "py.typed").exists()
assert list((home / "_toy_models").rglob("*.safetensors"))
"""


def main(wheel: str) -> None:
    """Raise ``SystemExit`` with the output of the first thing that does not do what it should."""
    programs = PROGRAM.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    bare = [code for code in programs if "dn.load(" not in code]
    if len(bare) < 2:
        msg = "the README has no two programs for a bare install"
        raise SystemExit(msg)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        venv.create(folder / "venv", with_pip=True)
        commands = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
        environment = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "VIRTUAL_ENV"}}
        environment["JUPYTER_PREFER_ENV_PATH"] = "1"  # its kernel, and not one of the user

        def run(*words: str, status: int = 0, program: str = "diffnum") -> str:
            done = subprocess.run(
                [commands / program, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
            )
            if done.returncode != status:
                msg = f"{program} {' '.join(words)}: status {done.returncode}\n{done.stdout}{done.stderr}"
                raise SystemExit(msg)
            print("ok:", program, *(word.strip().splitlines()[0] for word in words), flush=True)
            return done.stdout + done.stderr

        constraints = ROOT / ".ci" / "constraints.txt"
        quiet = ("--disable-pip-version-check", "--quiet")
        run("install", *quiet, "-c", str(constraints), str(Path(wheel).resolve()), program="pip")
        run("-c", WHERE, program="python")
        for code in bare:
            run("-c", code, program="python")
        names = {row["name"] for row in json.loads(run("methods", "--json"))}
        if "dpmpp_2m" not in names:
            msg = "diffnum methods --json does not list dpmpp_2m"
            raise SystemExit(msg)
        run("plan", "dpmpp_2m", "--steps", "8", "--json")
        run("prove", "dpmpp_2m")
        run("derive", "unipc_3", "--code", "rust")
        midpoint = next(code for code in bare if "def midpoint" in code).split("study =")[0]
        (folder / "own.py").write_text(midpoint, encoding="utf-8")
        (folder / "wrong.py").write_text(midpoint.replace("model.noise(half", "model.noise(x"), encoding="utf-8")
        run("verify", "--sampler", "own:midpoint", "--schedule", "edm", "--order", "2")
        run("verify", "--sampler", "wrong:midpoint", "--schedule", "edm", "--order", "2", status=1)
        if "pip install '.[" not in run("sample", "toy/digits", "-n", "1", status=2):
            msg = "diffnum sample without torch does not say what to install"
            raise SystemExit(msg)
        run("install", *quiet, "-c", str(constraints), "nbclient", "ipykernel", program="pip")
        for name, more in CHAPTERS.items():
            file = folder / "empty" / file_of(name)
            file.parent.mkdir(exist_ok=True)
            nbformat.write(notebook(ROOT / "book" / f"{name}.md", {}), file)
            run("--inplace", str(file), program="jupyter-execute")
            if more != ("Passed over for want of torch: pip install" in file.read_text(encoding="utf-8")):
                msg = f"{name}: what cells need beyond a base install is {'not ' * more}said"
                raise SystemExit(msg)
            file.unlink()
        if left := list(file.parent.iterdir()):
            msg = f"chapters leave {left}"
            raise SystemExit(msg)


if __name__ == "__main__":
    main(*sys.argv[1:])
