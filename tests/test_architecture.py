"""The architecture holds: import directions, light imports, public names, citations, sizes, packaging."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections import Counter
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import diffnum
from diffnum.coefficients.catalogue import aliases, method, methods
from tests import optional
from tests.optional import NEEDS

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "diffnum"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MAX_LINES = 600


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the package and the contracts in ``folder``."""
    code = "from importlinter.cli import lint_imports_command as main; main(['--no-cache', '--no-logo'])"
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def copy_with(folder: Path, module: str, line: str) -> Path:
    """Copy package and contracts, with one more line in one module."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, folder / "diffnum", ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    with (folder / "diffnum" / module).open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")
    return folder


def test_imports_keep_every_contract() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("phi.py", "from diffnum.solver import solve", "dependencies point one way"),
        ("coefficients/programme.py", "from diffnum.coefficients.catalogue import methods", "records know families"),
        ("derivation/__init__.py", "import diffnum.coefficients", "never see each other"),
        ("problems/__init__.py", "import sympy", "sympy lives in"),
        ("solver/__init__.py", "def f():\n    import torch.nn", "torch lives in"),
    ],
)
def test_an_import_against_the_direction_is_rejected(tmp_path: Path, module: str, line: str, broken: str) -> None:
    done = lint_imports(copy_with(tmp_path, module, line))
    assert done.returncode != 0
    assert re.search(f"{broken}.*BROKEN", done.stdout), done.stdout + done.stderr


def modules() -> list[str]:
    """Names of all modules below the package, such as ``diffnum.problems.mixture``."""
    paths = (p.relative_to(ROOT).with_suffix("") for p in PACKAGE.rglob("*.py"))
    names = (".".join(p.parts).removesuffix(".__init__") for p in paths)
    return sorted(name for name in names if name != "diffnum")


def test_every_module_has_its_place_in_the_layers() -> None:
    contract = next(c for c in PYPROJECT["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    placed = {name for layer in contract["layers"] for name in re.findall(r"[\w.]+", layer)}
    missing = [name for name in modules() if not any(f"{name}.".startswith(f"{p}.") for p in placed)]
    assert not missing, f"give {missing} a line in the layers of pyproject.toml"


def imports_of(text: str, known: set[str]) -> set[str]:
    """Modules of the package that a module imports, inside functions too; imports for annotations run nothing."""
    left: list[ast.AST] = [ast.parse(text)]
    found: set[str] = set()
    while left:
        node = left.pop()
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            left.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= whole if whole & known else {node.module}
    return found & known


def circles(texts: dict[str, str]) -> list[list[str]]:
    """Modules that import each other, directly or through others: what is left when leaves are taken off."""
    left = {name: imports_of(text, set(texts)) - {name} for name, text in texts.items()}
    while leaves := {name for name, needed in left.items() if not needed & set(left)}:
        left = {name: needed for name, needed in left.items() if name not in leaves}
    while roots := set(left) - set().union(*left.values()):
        left = {name: needed for name, needed in left.items() if name not in roots}
    return [sorted(left)] if left else []


def test_no_module_imports_itself_through_others() -> None:
    assert circles({"a": "import b", "b": "def f():\n    import c", "c": "from a import x"}) == [["a", "b", "c"]]
    assert circles({"a": "import b", "b": "if TYPE_CHECKING:\n    import a"}) == []
    paths = {
        ".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p for p in PACKAGE.rglob("*.py")
    }
    # The face of the package names everything, and loads it when it is asked.
    texts = {name: path.read_text(encoding="utf-8") for name, path in paths.items() if name != "diffnum"}
    assert circles(texts) == []


def loaded_by(statement: str) -> set[str]:
    """Top-level modules that a statement loads in a fresh interpreter."""
    code = f"{statement}\nimport sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


HEAVY = {"sympy", "torch", "scipy", "matplotlib", "mpmath", "rich", "typer"}


def test_coefficients_load_nothing_heavier_than_numpy() -> None:
    assert not loaded_by("import diffnum.coefficients") & HEAVY


def test_the_package_itself_loads_nothing_heavy() -> None:
    assert not loaded_by("import diffnum; dir(diffnum)") & HEAVY


def test_no_face_of_the_core_loads_all_of_scipy_s_statistics() -> None:
    faces = (
        "import diffnum as dn; dn.plan, dn.solve, dn.prove, dn.convergence_study, dn.Gaussian, dn.analysis, dn.inverse"
    )
    code = f"{faces}\nimport sys; print('scipy.stats' in sys.modules, 'scipy.special' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_loaded_modules_are_seen() -> None:
    assert "scipy" in loaded_by("import scipy")


@pytest.mark.parametrize("name", sorted(diffnum.__all__))
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(diffnum, name) is not None


def test_public_names_are_unique_and_unknown_ones_are_refused() -> None:
    assert len(set(diffnum.__all__)) == len(diffnum.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = diffnum.no_such_name


def bibliography() -> list[str]:
    text = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    return re.findall(r"^@\w+\{([^,\s]+),", text, re.MULTILINE)


def test_every_cited_work_is_in_the_bibliography() -> None:
    keys = bibliography()
    assert len(set(keys)) == len(keys), "a key occurs twice"
    assert sorted({m.cite for m in methods().values()} - set(keys)) == []


def test_every_alias_leads_to_a_record() -> None:
    assert {alias: method(alias).name for alias in aliases()} == dict(aliases())


def classes(text: str) -> list[str]:
    """Names of the classes that a module defines for others."""
    return [n.name for n in ast.walk(ast.parse(text)) if isinstance(n, ast.ClassDef) and not n.name.startswith("_")]


def test_a_class_name_means_one_thing() -> None:
    assert classes("class A:\n  class B: ...\nclass _C: ...") == ["A", "B"]
    homes = Counter(name for path in PACKAGE.rglob("*.py") for name in classes(path.read_text(encoding="utf-8")))
    assert [name for name, count in homes.items() if count > 1] == []


def test_no_module_is_too_long() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for folder in (PACKAGE, ROOT / "tests", ROOT / "toy_models")
        for path in folder.rglob("*.py")
    }
    assert {path: n for path, n in lengths.items() if n > MAX_LINES} == {}


def test_library_code_has_no_bare_assert() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in PACKAGE.rglob("*.py")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.match(r"\s*assert\b(?! is)", line)
    ]
    assert found == []


def test_the_version_is_stated_once() -> None:
    assert PYPROJECT["project"]["dynamic"] == ["version"]
    source = PACKAGE / "_version.py"
    assert PYPROJECT["tool"]["hatch"]["version"]["path"] == str(source.relative_to(ROOT))
    assert f'"{diffnum.__version__}"' in source.read_text(encoding="utf-8")
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {diffnum.__version__}\n" in citation
    assert f"## {diffnum.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def pins(name: str = "constraints.txt") -> dict[str, str]:
    lines = (ROOT / ".ci" / name).read_text(encoding="utf-8").splitlines()
    found = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): pin for name, pin in found}


def declared_requirements() -> list[Requirement]:
    """Requirements of the project, of its extras and of its build."""
    project = PYPROJECT["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    return [Requirement(text) for group in [*groups, PYPROJECT["build-system"]["requires"]] for text in group]


def installed_requirements(start: Requirement, seen: set[str]) -> None:
    """Collect the installed distributions that a requirement leads to."""
    name = canonicalize_name(start.name)
    if name in seen:
        return
    try:
        needs = [Requirement(text) for text in requires(name) or ()]
    except PackageNotFoundError:
        return
    seen.add(name)
    for need in needs:
        if need.marker is None or any(need.marker.evaluate({"extra": e}) for e in ("", *start.extras)):
            installed_requirements(need, seen)


def test_everything_that_is_installed_is_pinned() -> None:
    seen: set[str] = set()
    for requirement in declared_requirements():
        installed_requirements(requirement, seen)
    # The accelerator libraries that torch brings on some machines come in versions of its own choice.
    unpinned = {name for name in seen - set(pins()) if not name.startswith(("nvidia-", "triton", "cuda-"))}
    assert not unpinned, f"add {sorted(unpinned)} to .ci/constraints.txt"


def test_pins_satisfy_the_bounds_of_the_project() -> None:
    project = PYPROJECT["project"]
    wanted = [
        *project["dependencies"],
        *(text for e in project["optional-dependencies"].values() for text in e),
    ]
    for requirement in map(Requirement, wanted):
        assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)]), requirement


def lower_bounds(*extras: str) -> dict[str, str]:
    """Lowest version that the project allows of each base dependency and of each that ``extras`` ask for."""
    project = PYPROJECT["project"]
    texts = [*project["dependencies"], *(text for extra in extras for text in project["optional-dependencies"][extra])]
    return {
        canonicalize_name(requirement.name): bound.version
        for requirement in map(Requirement, texts)
        for bound in requirement.specifier
        if bound.operator == ">="
    }


def test_the_lowest_versions_that_are_tested_are_the_lowest_that_are_allowed() -> None:
    tested = pins("lowest.txt")
    bounds = lower_bounds("report", "verify")
    bounds |= {name: bound for name, bound in lower_bounds("dev").items() if name in {"pytest", "hypothesis"}}
    assert len(bounds) > 10
    assert {name: Version(tested[name]) for name in bounds} == {name: Version(bound) for name, bound in bounds.items()}


def test_release_notes_have_a_category_for_every_key_of_the_changelog() -> None:
    notes = (ROOT / ".github" / "release.yml").read_text(encoding="utf-8")
    labels = re.findall(r"labels: \[(\w+)\]", notes.split("categories:")[1])
    keys = re.findall(r"^\| `(\w+)` \|", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(labels) == sorted(keys)


def test_tests_that_need_more_than_the_base_are_there() -> None:
    assert [place for place in NEEDS if not (ROOT / "tests" / place).exists()] == []


def test_what_is_not_installed_is_left_out_and_what_is_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optional, "NEEDS", {"plot": ("no_such_library",), "test_phi.py": ("numpy",)})
    here = ROOT / "tests"
    assert optional.missing(here / "plot" / "test_plot.py") == ["no_such_library"]
    assert optional.missing(here / "test_phi.py") == optional.missing(here / "plots") == []
    with pytest.raises(pytest.skip.Exception, match="needs no_such_library"):
        _ = optional.optional("no_such_library").zeros


@pytest.mark.slow
def test_the_wheel_holds_the_type_marker_and_the_toy_models(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    code = (
        "import sys; from hatchling.builders.wheel import WheelBuilder; "
        "print(*WheelBuilder('.').build(directory=sys.argv[1], versions=[sys.argv[2]]))"
    )

    def names(kind: str) -> list[str]:
        folder = tmp_path / kind
        subprocess.run([sys.executable, "-c", code, str(folder), kind], cwd=ROOT, check=True, capture_output=True)
        (wheel,) = folder.glob("diffnum-*.whl")
        assert wheel.stat().st_size < 26e6  # the toy models, and the classifiers that guide them
        with zipfile.ZipFile(wheel) as archive:
            return archive.namelist()

    whole = names("standard")
    assert "diffnum/py.typed" in whole
    for path in (ROOT / "toy_models").rglob("*.safetensors"):
        assert f"diffnum/_toy_models/{path.relative_to(ROOT / 'toy_models').as_posix()}" in whole
    assert not [name for name in whole if name.endswith("checkpoint.pt") or "/cache/" in name]
    # An editable install reads them where they are; a copy would only grow old.
    assert not [name for name in names("editable") if "_toy_models" in name]
    assert version("diffnum") == diffnum.__version__
