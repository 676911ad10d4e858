"""Places are checked before the work, nothing of the user's is replaced unasked, and every way out has its status."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from diffnum import cli
from diffnum.cli.outputs import some_path
from tests.cli.test_progress import spoken

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def command(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            cli.main(words)
        return int(left.value.code or 0), *capsys.readouterr()

    return command


def untimed(err: str) -> str:
    """What was said without the lines of progress, which a busy machine adds."""
    return "".join(line for line in err.splitlines(keepends=True) if not re.search(r" \.\.\.( \d+ s)?$", line))


WRITERS = [
    ("sample", "toy/digits", "--out", "x.png"),
    ("sample", "toy/digits", "--out", "x.npy"),
    ("compare", "toy/digits", "--out", "x.html"),
    ("compare", "toy/digits", "--out", "x.svg"),
    ("fit", "toy/digits", "--out", "x.json"),
    ("analyse", "ddim", "--out", "x.svg"),
    ("analyse", "--spectrum", "--out", "x.pdf"),
    ("verify", "ddim", "--out", "x.html"),
    ("report", "--out", "x.html"),
    ("audit", "diffusers", "--out", "x.html"),
    ("audit", "diffusers", "--results", "x.json"),
]
needs_all = pytest.mark.needs("torch", "jinja2")


@needs_all
@pytest.mark.parametrize("words", WRITERS, ids=" ".join)
def test_what_is_there_is_kept_and_told_of_before_the_work(run: Run, words: tuple[str, ...]) -> None:
    place = Path(words[-1])
    place.write_text("mine")
    status, out, err = run(*words)
    assert (status, out) == (2, "")
    assert untimed(err) == f"diffnum: {place} exists: give another place, or replace it with --force\n"
    assert place.read_text() == "mine"


@needs_all
@pytest.mark.parametrize("words", WRITERS, ids=" ".join)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: (p.mkdir(), p)[1], "is a folder"),
        (lambda p: p.with_suffix(".xyz"), "ends in"),
        (lambda p: Path("file") / p, "cannot be written"),
        (lambda _: "", "is no path: is a variable of the shell unset?"),
    ],
    ids=["folder", "ending", "place", "empty"],
)
def test_places_that_cannot_be_written_are_refused_before_the_work(
    run: Run, words: tuple[str, ...], change: Callable[[Path], object], message: str
) -> None:
    if message == "is a folder" and words[0] == "verify":
        pytest.skip("takes folders")
    Path("file").touch()
    status, out, err = run(*words[:-1], str(change(Path(words[-1]))))
    assert (status, out) == (2, ""), err
    assert message in err
    assert len(spoken(err).splitlines()) == 1


@needs_all
def test_force_replaces(run: Run) -> None:
    Path("x.svg").write_text("mine")
    assert run("analyse", "ddim", "--nfe", "5,10", "--out", "x.svg", "--force")[0] == 0
    assert "<svg" in Path("x.svg").read_text()


@pytest.mark.skipif(os.name != "posix", reason="links")
@needs_all
def test_a_link_counts_as_a_file_that_is_there(run: Run) -> None:
    Path("x.npy").symlink_to("nowhere")
    status, _, err = run("sample", "toy/digits", "--out", "x.npy")
    assert (status, "x.npy exists" in err) == (2, True)


@pytest.mark.parametrize("taken", ["README.md", "index.json", "vectors/ddim.json"])
def test_vectors_replace_nothing_unasked(run: Run, taken: str) -> None:
    place = Path("folder") / taken
    place.parent.mkdir(parents=True)
    place.write_text("mine")
    status, _, err = run("golden", "export", "folder", "ddim")
    assert status == 2
    assert f"{place} exists" in err
    assert [p for p in Path("folder").rglob("*") if p.is_file()] == [place]
    assert place.read_text() == "mine"
    assert run("golden", "export", "folder", "ddim", "--force")[0] == 0
    assert place.read_text() != "mine"


@needs_all
def test_a_folder_of_other_things_takes_no_images(run: Run) -> None:
    Path("thesis.tex").touch()
    status, _, err = run("sample", "toy/digits", "--n", "1", "--steps", "1", "--out", "./")
    assert status == 2
    assert ". holds other files, such as thesis.tex, and no images of diffnum" in err
    assert [p.name for p in Path().iterdir()] == ["thesis.tex"]


@needs_all
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--out", "x.npy", "--format", "npy"), "--format and --shard are for folders"),
        (("--out", "x.png", "--shard", "16"), "--format and --shard are for folders"),
        (("--out", "folder", "--format", "gif"), "--format 'gif' is unknown: use npy, safetensors or png"),
        (("--out", "folder", "--force"), "which is continued and never replaced"),
    ],
)
def test_options_that_would_be_ignored_are_refused(run: Run, words: tuple[str, ...], message: str) -> None:
    status, _, err = run("sample", "toy/digits", *words)
    assert status == 2
    assert message in err


@needs_all
def test_a_folder_may_have_a_dot_in_its_name(run: Run) -> None:
    assert run("sample", "toy/digits", "--n", "1", "--steps", "1", "--out", "runs/v1.5")[0] == 0
    assert Path("runs/v1.5/manifest.json").exists()


@needs_all
def test_pages_of_methods_with_noise_are_refused_not_forgotten(run: Run) -> None:
    for words in (("ddpm", "--out", "page.html"), ("ddpm", "--mutate"), ("--kind", "all", "--out", "page.html")):
        status, _, err = run("verify", *words)
        assert status == 2
        assert "methods with noise have none: leave out " in err


SAMPLERS = """
import sys

def leaves(model, x, nodes):
    sys.exit(0)

class Leaves:
    def __init__(self):
        sys.exit(0)
    def set_timesteps(self, n):
        pass
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("leaves", "leaves leaves the program with sys.exit(0): let it return its sample"),
        ("Leaves", "it leaves the program with status 0; a sampler must not call exit"),
    ],
)
def test_a_sampler_that_leaves_is_told_of(
    run: Run, name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "leaving.py").write_text(SAMPLERS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "leaving", raising=False)
    status, out, err = run("verify", "--sampler", f"leaving:{name}", "--order", "1", "--schedule", "edm")
    assert (status, out) == (2, "")
    assert message in err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import sys\nsys.exit(0)\n", "leaves the program with status 0 when it is imported"),
        ("1 / 0\n", "raises ZeroDivisionError when it is imported"),
        ("def f(:\n", "raises SyntaxError when it is imported"),
    ],
)
def test_a_module_that_cannot_be_imported_is_told_of(
    run: Run, text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "unimportable.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "unimportable", raising=False)
    status, _, err = run("verify", "--sampler", "unimportable:f", "--order", "1")
    assert status == 2
    assert message in err


@pytest.mark.parametrize("words", [(), ("golden",)])
def test_no_arguments_print_help_that_can_be_read(run: Run, words: tuple[str, ...]) -> None:
    status, out, err = run(*words)
    assert (status, out) == (2, "")
    assert err.startswith("Usage: ")
    assert "\nCommands:\n" in err
    assert max(map(len, err.splitlines())) <= 80


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_names_every_command_in_a_whole_sentence(run: Run, word: str) -> None:
    for words in ((), ("golden",)):
        status, out, _ = run(*words, word)
        assert status == 0
        listed = out.split("\nCommands:\n")[1].split("\n\n")[0].splitlines()
        assert all(line.endswith(".") and not line.endswith("...") for line in listed), out


def test_the_version_is_printed(run: Run) -> None:
    from diffnum import __version__

    status, out, _ = run("--version")
    assert (status, out.split(", ")[0]) == (0, f"diffnum {__version__}")


@needs_all
@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"WORLD_SIZE": "1"}, "RANK is missing in the environment"),
        ({"WORLD_SIZE": "two", "RANK": "0"}, "WORLD_SIZE is 'two', no whole number"),
    ],
)
def test_half_a_torchrun_is_told_of(
    run: Run, environment: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    status, _, err = run("sample", "toy/digits", "--out", "x.npy")
    assert status == 2
    assert message in err


def shell(command: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """A command under a shell that tells the status of each part."""
    root = str(Path(__file__).resolve().parents[2])
    program = f"{sys.executable} -m diffnum"
    environment = {**os.environ, "PYTHONPATH": root}
    words = ["bash", "-c", command.replace("diffnum", program)]
    return subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.skipif(os.name != "posix", reason="pipes")
def test_a_reader_that_leaves_early_ends_the_command_quietly(tmp_path: Path) -> None:
    done = shell("diffnum methods | head -1; echo ${PIPESTATUS[0]}", tmp_path)
    assert done.stdout.splitlines()[-1] in ("141", "0")  # 0 where all was written before
    assert spoken(done.stderr) == ""


@pytest.mark.skipif(os.name != "posix", reason="pipes")
def test_a_closed_output_is_told_of(tmp_path: Path) -> None:
    done = shell("diffnum methods >&-", tmp_path)
    assert done.returncode == 2
    assert spoken(done.stderr).startswith("diffnum: standard output is closed")


@pytest.mark.parametrize("typed", ["~", "~/out", "~/out/v1.5", "~/x.npy"])
def test_the_home_folder_is_meant_by_a_tilde(typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert some_path(typed) == tmp_path / typed.removeprefix("~").removeprefix("/")
    assert some_path("./~") == Path("./~")  # what shells pass for a folder of that name


@pytest.mark.parametrize(
    "typed",
    ["x.npy.", "x.", "runs/v1.", "~nobody-of-this-name/x.npy", ".png", "out/.html", "x.npy/", "a/x.html//", "", " "],
)
def test_a_name_that_leaves_open_what_is_meant_is_refused(typed: str) -> None:
    with pytest.raises(typer.BadParameter):
        some_path(typed)


@pytest.mark.parametrize("typed", [".", "..", "../..", ".cache", "runs/v1.5", "runs/", "a.b/", "x.npy", "x y.npy"])
def test_other_names_are_taken_as_they_are(typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert some_path(typed) == Path(typed)


def test_a_folder_with_the_name_of_a_file_may_be_named_with_its_stroke(tmp_path: Path) -> None:
    (tmp_path / "x.png").mkdir()
    assert some_path(f"{tmp_path}/x.png/") == tmp_path / "x.png"


@needs_all
def test_no_folder_is_made_of_a_tilde(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    assert run("sample", "toy/digits", "--n", "2", "--steps", "2", "--out", "~/new/x.npy")[0] == 0
    assert [p.name for p in tmp_path.iterdir()] == ["home"]
    assert (home / "new" / "x.npy").is_file()
