"""Files are whole or absent, and in a shared folder nothing but them is touched."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from diffnum.jobs import files
from diffnum.jobs.data import parsed, read_json
from diffnum.jobs.ledger import Ledger

posix = pytest.mark.skipif(os.name != "posix", reason="links")


def test_a_file_is_written_whole_with_the_usual_permissions(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    files.write_file(path, [b"ab", b"c"])
    assert path.read_bytes() == b"abc"
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert {p.name for p in tmp_path.iterdir()} == {"x.bin", "plain"}


def test_what_fails_half_way_leaves_what_was_there(tmp_path: Path) -> None:
    def broken():  # type: ignore[no-untyped-def]
        yield b"half"
        raise OSError(28, "No space left on device")

    path = tmp_path / "x.bin"
    path.write_bytes(b"before")
    with pytest.raises(OSError, match="No space left"):
        files.write_file(path, broken())
    with pytest.raises(OSError, match="No space left"):
        files.write_folder(tmp_path / "folder", [("a", [b"1"]), ("b", broken())])
    assert [p.name for p in tmp_path.iterdir()] == ["x.bin"]
    assert path.read_bytes() == b"before"


def test_names_of_what_is_being_written_cannot_be_guessed(tmp_path: Path) -> None:
    seen = []

    def looking():  # type: ignore[no-untyped-def]
        seen.append([p.name for p in tmp_path.iterdir()])
        yield b"x"

    files.write_file(tmp_path / "x.bin", looking())
    files.write_file(tmp_path / "x.bin", looking())
    first, second = seen[0][0], next(name for name in seen[1] if name != "x.bin")
    assert re.fullmatch(r"\.[0-9a-f]{16}\.part", first)
    assert first != second


@posix
def test_no_link_leads_a_write_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim, folder = tmp_path / "victim", tmp_path / "out"
    victim.write_text("mine")
    folder.mkdir()
    (folder / "x.bin").symlink_to(victim)
    files.write_file(folder / "x.bin", [b"new"])  # the link is replaced, not followed
    assert not (folder / "x.bin").is_symlink()

    monkeypatch.setattr(files.secrets, "token_hex", lambda _: "0" * 16)  # as if the name had been guessed
    (folder / f".{'0' * 16}.part").symlink_to(victim)
    with pytest.raises(FileExistsError):
        files.write_file(folder / "y.bin", [b"new"])

    (folder / "lock").symlink_to(victim)
    with (
        pytest.raises(OSError, match="lock is a link: remove it, or give another place"),
        files.locked(folder / "lock"),
    ):
        pass
    (folder / "ledger.jsonl").symlink_to(victim)
    with pytest.raises(OSError, match="is a link"):
        Ledger(folder / "ledger.jsonl").put("a", 1)
    assert victim.read_text() == "mine"


@posix
def test_a_folder_that_is_replaced_is_no_link_either(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine").touch()
    (tmp_path / "folder").symlink_to(tmp_path / "elsewhere")
    files.write_folder(tmp_path / "folder", [("a", [b"1"])])
    assert (tmp_path / "elsewhere" / "mine").exists()
    assert [p.name for p in (tmp_path / "folder").iterdir()] == ["a"]


def test_what_stopped_runs_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    for name in (f".{'ab' * 8}.part", ".mine.part", "x.part", "a.npy"):
        (tmp_path / name).touch()
    (tmp_path / f".{'cd' * 8}.part").mkdir()
    files.sweep(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {".mine.part", "x.part", "a.npy"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", r"is no JSON \(Expecting"),
        (b"[" * 200_000, "is no JSON .it is nested too deeply."),
        (b"\xff\xfe", "is no text in UTF-8"),
    ],
)
def test_files_that_are_no_json_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(ValueError, match=f"x.json {message}"):
        read_json(tmp_path / "x.json")


def test_texts_that_are_json_are_read() -> None:
    assert parsed('{"a": [1, null]}') == {"a": [1, None]}
